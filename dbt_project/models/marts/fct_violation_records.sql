with
    episodes as (select * from {{ ref("int_record_episodes") }} where record_type = 'violation'),

    appeals as (select * from {{ ref("int_violation_appeals") }}),

    policies as (select * from {{ ref("dim_policies") }}),

    final as (
        select
            episodes.record_id,
            episodes.platform,
            episodes.policy_line,
            episodes.metric,
            episodes.risk_point,
            episodes.entity_type,
            episodes.entity_id,
            episodes.opened_on,
            episodes.last_at_level_on,
            episodes.closed_on,
            case
                when episodes.closed_on is not null
                then 'resolved'
                when appeals.is_appealing
                then 'appealing'
                when appeals.decision = 'upheld'
                then 'appeal_upheld'
                when appeals.decision = 'rejected'
                then 'appeal_rejected'
                else 'pending'
            end as status,
            {{ dbt.datediff("episodes.opened_on", "episodes.as_of_date", "day") }} < 7 as is_new,
            episodes.policy_id,
            policies.measure
        from episodes
        left join
            appeals
            on appeals.platform = episodes.platform
            and appeals.record_id = episodes.record_id
        left join policies on policies.policy_id = episodes.policy_id
    )

select *
from final

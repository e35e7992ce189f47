with
    episodes as (select * from {{ ref("int_record_episodes") }} where record_type = 'violation'),

    standings as (
        select * from {{ ref("int_violation_standings") }} where end_on = {{ end_of_time() }}
    ),

    measures as (select * from {{ ref("int_violation_measures") }}),

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
                when episodes.closed_on is not null then 'resolved' else standings.status
            end as status,
            {{ dbt.datediff("episodes.opened_on", "episodes.as_of_date", "day") }} < 7 as is_new,
            episodes.policy_id,
            measures.measure,
            coalesce(standings.decision = 'upheld', false) as is_overturned,
            measures.repeats,
            measures.severity
        from episodes
        inner join
            standings
            on standings.platform = episodes.platform
            and standings.record_id = episodes.record_id
        left join
            measures
            on measures.platform = episodes.platform
            and measures.record_id = episodes.record_id
    )

select *
from final

-- What happens to records, evening by evening: they open, appeals against a violation come and are
-- decided, they close. An alert is told of openings and closings, but a violation that an appeal
-- has
-- overturned closes in silence.
with
    episodes as (select * from {{ ref("int_record_episodes") }} where {{ on_platforms() }}),

    standings as (select * from {{ ref("int_violation_standings") }}),

    warnings as (
        select *, coalesce(closed_on, {{ end_of_time() }}) as open_until
        from episodes
        where record_type = 'warning'
    ),

    violations as (select * from episodes where record_type = 'violation'),

    openings as (
        select
            platform,
            record_id,
            'opened' as transition,
            opened_on as as_of_date,
            cast(null as {{ dbt.type_string() }}) as from_status,
            'open' as to_status,
            true as is_alerted
        from warnings
        union all
        -- A violation escalates a warning that was open before it.
        select
            violations.platform,
            violations.record_id,
            case
                when warnings.record_id is not null then 'escalated' else 'opened'
            end as transition,
            violations.opened_on as as_of_date,
            cast(null as {{ dbt.type_string() }}) as from_status,
            'pending' as to_status,
            true as is_alerted
        from violations
        left join
            warnings
            on warnings.platform = violations.platform
            and warnings.policy_line = violations.policy_line
            and warnings.entity_type = violations.entity_type
            and warnings.entity_id = violations.entity_id
            and warnings.opened_on < violations.opened_on
            and warnings.open_until > violations.opened_on
    ),

    stood as (
        select
            *, lag(status) over (partition by platform, record_id order by begin_on) as from_status
        from standings
    ),

    -- An appeal that is decided on the evening it came is first seen decided.
    appeals as (
        select
            stood.platform,
            stood.record_id,
            stood.status as transition,
            stood.begin_on as as_of_date,
            coalesce(stood.from_status, 'pending') as from_status,
            stood.status as to_status,
            false as is_alerted
        from stood
        inner join
            violations
            on violations.platform = stood.platform
            and violations.record_id = stood.record_id
            and coalesce(violations.closed_on > stood.begin_on, true)
        where coalesce(stood.from_status, 'pending') <> stood.status
    ),

    closings as (
        select
            episodes.platform,
            episodes.record_id,
            'resolved' as transition,
            episodes.closed_on as as_of_date,
            coalesce(before.status, 'open') as from_status,
            'resolved' as to_status,
            coalesce(standings.decision <> 'upheld', true) as is_alerted
        from episodes
        left join
            standings
            on standings.platform = episodes.platform
            and standings.record_id = episodes.record_id
            and standings.begin_on <= episodes.closed_on
            and standings.end_on > episodes.closed_on
        left join
            standings as before
            on before.platform = episodes.platform
            and before.record_id = episodes.record_id
            and before.begin_on < episodes.closed_on
            and before.end_on >= episodes.closed_on
        where episodes.closed_on is not null
    ),

    final as (
        select *
        from openings
        union all
        select *
        from appeals
        union all
        select *
        from closings
    )

select *
from final
where as_of_date between {{ first_date() }} and {{ last_date() }}

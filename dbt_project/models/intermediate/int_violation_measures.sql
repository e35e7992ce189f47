-- What a violation leads to: its policy's measure, one step up the ladder for every earlier
-- violation
-- of the same entity and policy line within the last 90 days that no appeal had overturned by then.
with
    episodes as (select * from {{ ref("int_record_episodes") }} where record_type = 'violation'),

    standings as (select * from {{ ref("int_violation_standings") }}),

    policies as (select * from {{ ref("dim_policies") }}),

    measures as (select * from {{ ref("measures") }}),

    ladder as (select max(severity) as top from measures),

    repeats as (
        select episodes.record_id, count(*) as repeats
        from episodes
        inner join
            episodes as earlier
            on earlier.platform = episodes.platform
            and earlier.policy_line = episodes.policy_line
            and earlier.entity_type = episodes.entity_type
            and earlier.entity_id = episodes.entity_id
            and earlier.opened_on < episodes.opened_on
            and earlier.opened_on >= {{ add_days("episodes.opened_on", "-" ~ var("repeat_days")) }}
        inner join
            standings
            on standings.platform = earlier.platform
            and standings.record_id = earlier.record_id
            and standings.begin_on <= episodes.opened_on
            and standings.end_on > episodes.opened_on
        where coalesce(standings.decision <> 'upheld', true)
        group by episodes.record_id
    ),

    ranked as (
        select
            episodes.platform,
            episodes.record_id,
            cast(coalesce(repeats.repeats, 0) as integer) as repeats,
            least(measures.severity + coalesce(repeats.repeats, 0), ladder.top) as severity
        from episodes
        inner join policies on policies.policy_id = episodes.opening_policy_id
        inner join measures on measures.measure = policies.measure
        cross join ladder
        left join repeats on repeats.record_id = episodes.record_id
    ),

    final as (
        select
            ranked.platform,
            ranked.record_id,
            ranked.repeats,
            cast(ranked.severity as integer) as severity,
            measures.measure
        from ranked
        inner join measures on measures.severity = ranked.severity
    )

select *
from final

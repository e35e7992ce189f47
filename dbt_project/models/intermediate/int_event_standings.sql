-- Of the decided appeals on an event the latest decision speaks; an upheld one overturns the
-- event. What remains are the spells in which an appealed event still stands.
with
    appeals as (
        select *, subject_type || ':' || subject_id as event_key
        from {{ ref("int_appeals_versioned") }}
        where {{ on_platforms() }} and subject_type in ('complaint', 'review', 'refund')
    ),

    versions as (select *, {{ end_of_spell("appeal_id") }} as end_on from appeals),

    decisions as (
        select
            platform,
            event_key,
            appeal_id,
            status,
            decided_at,
            greatest(valid_from, decided_date) as begin_on,
            end_on
        from versions
        where
            status in ('upheld', 'rejected')
            and decided_date is not null
            and greatest(valid_from, decided_date) < end_on
    ),

    turning_dates as (
        select platform, event_key, begin_on
        from decisions
        union
        select platform, event_key, end_on as begin_on
        from decisions
        where end_on < {{ end_of_time() }}
        union
        select platform, event_key, {{ beginning_of_time() }} as begin_on
        from decisions
    ),

    standings as (
        select
            turning_dates.platform,
            turning_dates.event_key,
            turning_dates.begin_on,
            coalesce(
                {{
                    value_at_max(
                        "decisions.status", ["decisions.decided_at", "decisions.appeal_id"]
                    )
                }},
                'rejected'
            )
            = 'upheld' as is_overturned
        from turning_dates
        left join
            decisions
            on decisions.platform = turning_dates.platform
            and decisions.event_key = turning_dates.event_key
            and decisions.begin_on <= turning_dates.begin_on
            and decisions.end_on > turning_dates.begin_on
        group by turning_dates.platform, turning_dates.event_key, turning_dates.begin_on
    ),

    final as (
        select
            *,
            coalesce(
                lead(begin_on) over (partition by platform, event_key order by begin_on),
                {{ end_of_time() }}
            ) as end_on
        from standings
    )

select *
from final

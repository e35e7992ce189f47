-- Where the appeals against a violation stand, spell by spell: of the decided ones the latest
-- decision speaks, and one without a decision is still waited for. Decisions that come after the
-- record has closed are here too.
with
    episodes as (
        select platform, record_id, opened_on, as_of_date
        from {{ ref("int_record_episodes") }}
        where record_type = 'violation'
    ),

    versions as (
        select *, {{ end_of_spell("appeal_id") }} as end_on from {{ ref("int_appeals_versioned") }}
    ),

    appeals as (
        select
            episodes.platform,
            episodes.record_id,
            versions.appeal_id,
            versions.decided_at,
            case when versions.status in ('upheld', 'rejected') then versions.status end as verdict,
            greatest(versions.valid_from, episodes.opened_on) as begin_on,
            versions.end_on,
            greatest(versions.valid_from, versions.decided_date, episodes.opened_on) as decided_on
        from versions
        inner join
            episodes
            on episodes.platform = versions.platform
            and episodes.record_id = versions.subject_id
        where versions.subject_type = 'violation' and versions.end_on > episodes.opened_on
    ),

    claims as (
        select
            platform,
            record_id,
            appeal_id,
            decided_at,
            cast(null as {{ dbt.type_string() }}) as verdict,
            begin_on,
            case when verdict is null then end_on else least(end_on, decided_on) end as end_on
        from appeals
        union all
        select platform, record_id, appeal_id, decided_at, verdict, decided_on as begin_on, end_on
        from appeals
        where verdict is not null
    ),

    standing_claims as (select * from claims where begin_on < end_on),

    turning_dates as (
        select platform, record_id, opened_on as begin_on
        from episodes
        union
        select platform, record_id, begin_on
        from standing_claims
        union
        select platform, record_id, end_on as begin_on
        from standing_claims
    ),

    known as (
        select turning_dates.*
        from turning_dates
        inner join
            episodes
            on episodes.platform = turning_dates.platform
            and episodes.record_id = turning_dates.record_id
            and episodes.as_of_date >= turning_dates.begin_on
    ),

    standings as (
        select
            known.platform,
            known.record_id,
            known.begin_on,
            coalesce(
                max(
                    case
                        when
                            standing_claims.appeal_id is not null
                            and standing_claims.verdict is null
                        then 1
                        else 0
                    end
                )
                = 1,
                false
            ) as is_appealing,
            {{
                value_at_max(
                    "standing_claims.verdict",
                    [
                        "case when standing_claims.verdict is null then 0 else 1 end",
                        "standing_claims.decided_at",
                        "standing_claims.appeal_id",
                    ],
                )
            }} as decision
        from known
        left join
            standing_claims
            on standing_claims.platform = known.platform
            and standing_claims.record_id = known.record_id
            and standing_claims.begin_on <= known.begin_on
            and standing_claims.end_on > known.begin_on
        group by known.platform, known.record_id, known.begin_on
    ),

    compared as (
        select
            *,
            lag(is_appealing) over (
                partition by platform, record_id order by begin_on
            ) as was_appealing,
            lag(decision) over (
                partition by platform, record_id order by begin_on
            ) as previous_decision,
            lag(begin_on) over (partition by platform, record_id order by begin_on) as previous_on
        from standings
    ),

    changed as (
        select platform, record_id, begin_on, is_appealing, decision
        from compared
        where
            previous_on is null
            or is_appealing <> was_appealing
            or coalesce(decision, '') <> coalesce(previous_decision, '')
    ),

    final as (
        select
            platform,
            record_id,
            begin_on,
            coalesce(
                lead(begin_on) over (partition by platform, record_id order by begin_on),
                {{ end_of_time() }}
            ) as end_on,
            case
                when is_appealing
                then 'appealing'
                when decision = 'upheld'
                then 'appeal_upheld'
                when decision = 'rejected'
                then 'appeal_rejected'
                else 'pending'
            end as status,
            decision
        from changed
    )

select *
from final

-- An episode lasts while no gap between evenings at its level exceeds the cooldown, and closes on
-- the last evening of the cooldown after the last of them.
with
    breaches as (select * from {{ ref("int_policy_breaches") }}),

    -- A platform's records are judged on its last evening, whether or not anything was
    -- evaluated on it.
    evaluated_through as (
        select
            platform,
            case
                when {{ on_platforms() }} then {{ last_date() }} else max(as_of_date)
            end as as_of_date
        from {{ ref("fct_policy_evaluations") }}
        group by platform
    ),

    gaps as (
        select
            *,
            {{
                dbt.datediff(
                    "lag(as_of_date) over (partition by platform, policy_line, entity_type, entity_id, record_type order by as_of_date)",
                    "as_of_date",
                    "day",
                )
            }}
            as days_since_level
        from breaches
    ),

    numbered as (
        select
            *,
            sum(case when days_since_level <= {{ var("cooldown_days") }} then 0 else 1 end) over (
                partition by platform, policy_line, entity_type, entity_id, record_type
                order by as_of_date
                rows between unbounded preceding and current row
            ) as episode
        from gaps
    ),

    episodes as (
        select
            platform,
            policy_line,
            entity_type,
            entity_id,
            record_type,
            episode,
            metric,
            risk_point,
            min(as_of_date) as opened_on,
            max(as_of_date) as last_at_level_on,
            {{ value_at_max("policy_id", ["as_of_date"]) }} as policy_id,
            {{ value_at_max("policy_id", [dbt.datediff("as_of_date", end_of_time(), "day")]) }}
            as opening_policy_id
        from numbered
        group by
            platform, policy_line, entity_type, entity_id, record_type, episode, metric, risk_point
    ),

    final as (
        select
            {{
                dbt.hash(
                    dbt.concat(
                        [
                            "episodes.platform",
                            "'|'",
                            "policy_line",
                            "'|'",
                            "entity_id",
                            "'|'",
                            "record_type",
                            "'|'",
                            "cast(opened_on as " ~ dbt.type_string() ~ ")",
                        ]
                    )
                )
            }} as record_id,
            episodes.platform,
            policy_line,
            metric,
            risk_point,
            entity_type,
            entity_id,
            record_type,
            policy_id,
            opening_policy_id,
            opened_on,
            last_at_level_on,
            case
                when
                    {{ add_days("last_at_level_on", var("cooldown_days")) }}
                    <= evaluated_through.as_of_date
                then {{ add_days("last_at_level_on", var("cooldown_days")) }}
            end as closed_on,
            evaluated_through.as_of_date
        from episodes
        inner join evaluated_through on evaluated_through.platform = episodes.platform
    )

select *
from final

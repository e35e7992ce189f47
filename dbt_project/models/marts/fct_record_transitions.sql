{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

with
    transitions as (select * from {{ ref("int_record_transitions") }}),

    episodes as (select * from {{ ref("int_record_episodes") }}),

    evaluations as (
        select * from {{ ref("fct_policy_evaluations") }} where {{ in_run("as_of_date") }}
    ),

    policies as (select * from {{ ref("dim_policies") }}),

    measures as (select * from {{ ref("int_violation_measures") }}),

    final as (
        select
            {{
                dbt.hash(
                    dbt.concat(
                        [
                            "transitions.record_id",
                            "'|'",
                            "transitions.transition",
                            "'|'",
                            "cast(transitions.as_of_date as " ~ dbt.type_string() ~ ")",
                        ]
                    )
                )
            }} as transition_id,
            transitions.as_of_date,
            transitions.platform,
            transitions.record_id,
            episodes.record_type,
            transitions.transition,
            transitions.from_status,
            transitions.to_status,
            transitions.is_alerted,
            coalesce(evaluations.policy_id, episodes.policy_id) as policy_id,
            episodes.entity_type,
            episodes.entity_id,
            episodes.metric,
            episodes.risk_point,
            evaluations.status as evaluation_status,
            evaluations.numerator,
            evaluations.denominator,
            evaluations.value,
            evaluations.projected_value,
            case
                when episodes.record_type = 'violation'
                then policies.violation_threshold
                else policies.warning_threshold
            end as threshold,
            coalesce(measures.measure, policies.measure) as measure
        from transitions
        inner join
            episodes
            on episodes.platform = transitions.platform
            and episodes.record_id = transitions.record_id
        left join
            evaluations
            on evaluations.as_of_date = transitions.as_of_date
            and evaluations.platform = transitions.platform
            and evaluations.policy_line = episodes.policy_line
            and evaluations.entity_type = episodes.entity_type
            and evaluations.entity_id = episodes.entity_id
        -- The version in force on that evening: a record outlives the one it opened under.
        left join
            policies on policies.policy_id = coalesce(evaluations.policy_id, episodes.policy_id)
        left join
            measures
            on measures.platform = transitions.platform
            and measures.record_id = transitions.record_id
    )

select *
from final

{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

with
    episodes as (select * from {{ ref("int_record_episodes") }} where {{ on_platforms() }}),

    appeals as (select * from {{ ref("int_violation_appeals") }}),

    evaluations as (
        select * from {{ ref("fct_policy_evaluations") }} where {{ in_run("as_of_date") }}
    ),

    policies as (select * from {{ ref("dim_policies") }}),

    warnings as (select *, 'violation' as escalates_to from episodes where record_type = 'warning'),

    -- A violation escalates a warning that was open before it.
    openings as (
        select
            episodes.*,
            case
                when warnings.record_id is not null then 'escalated' else 'opened'
            end as transition,
            episodes.opened_on as alerted_on
        from episodes
        left join
            warnings
            on warnings.escalates_to = episodes.record_type
            and warnings.platform = episodes.platform
            and warnings.policy_line = episodes.policy_line
            and warnings.entity_type = episodes.entity_type
            and warnings.entity_id = episodes.entity_id
            and warnings.opened_on < episodes.opened_on
            and coalesce(warnings.closed_on > episodes.opened_on, true)
    ),

    -- A violation whose appeal was upheld is silent until it closes.
    resolutions as (
        select episodes.*, 'resolved' as transition, episodes.closed_on as alerted_on
        from episodes
        left join
            appeals
            on appeals.platform = episodes.platform
            and appeals.record_id = episodes.record_id
        where episodes.closed_on is not null and not coalesce(appeals.decision = 'upheld', false)
    ),

    transitions as (
        select *
        from openings
        union all
        select *
        from resolutions
    ),

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
                            "cast(transitions.alerted_on as " ~ dbt.type_string() ~ ")",
                        ]
                    )
                )
            }} as alert_id,
            transitions.alerted_on as as_of_date,
            transitions.platform,
            transitions.record_id,
            transitions.record_type,
            transitions.transition,
            coalesce(evaluations.policy_id, transitions.policy_id) as policy_id,
            transitions.entity_type,
            transitions.entity_id,
            transitions.metric,
            transitions.risk_point,
            evaluations.numerator,
            evaluations.denominator,
            evaluations.value,
            case
                when transitions.record_type = 'violation'
                then policies.violation_threshold
                else policies.warning_threshold
            end as threshold,
            policies.measure
        from transitions
        left join
            evaluations
            on evaluations.as_of_date = transitions.alerted_on
            and evaluations.platform = transitions.platform
            and evaluations.policy_line = transitions.policy_line
            and evaluations.entity_type = transitions.entity_type
            and evaluations.entity_id = transitions.entity_id
        -- The version in force on that evening: a record outlives the one it opened under.
        left join
            policies on policies.policy_id = coalesce(evaluations.policy_id, transitions.policy_id)
        where transitions.alerted_on between {{ first_date() }} and {{ last_date() }}
    )

select *
from final

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

    warnings as (
        select *, coalesce(closed_on, {{ end_of_time() }}) as open_until
        from episodes
        where record_type = 'warning'
    ),

    violations as (select * from episodes where record_type = 'violation'),

    openings as (
        select record_id, 'opened' as transition, opened_on as alerted_on
        from warnings
        union all
        -- A violation escalates a warning that was open before it.
        select
            violations.record_id,
            case
                when warnings.record_id is not null then 'escalated' else 'opened'
            end as transition,
            violations.opened_on as alerted_on
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

    -- A violation whose appeal was upheld is silent until it closes.
    resolutions as (
        select episodes.record_id, 'resolved' as transition, episodes.closed_on as alerted_on
        from episodes
        left join
            appeals
            on appeals.platform = episodes.platform
            and appeals.record_id = episodes.record_id
        where episodes.closed_on is not null and not coalesce(appeals.decision = 'upheld', false)
    ),

    alerted as (
        select *
        from openings
        union all
        select *
        from resolutions
    ),

    transitions as (
        select episodes.*, alerted.transition, alerted.alerted_on
        from alerted
        inner join episodes on episodes.record_id = alerted.record_id
        where alerted.alerted_on between {{ first_date() }} and {{ last_date() }}
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
    )

select *
from final

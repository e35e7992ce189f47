-- The windows that decided the run's alerts: on its evening and, to be taken away, on the evening
-- before. A warning that only its projection decides is about the cohorts that are still open.
with
    alerts as (select * from {{ ref("fct_alerts") }} where {{ in_run("as_of_date") }}),

    evaluations as (
        select * from {{ ref("fct_policy_evaluations") }} where {{ in_run("as_of_date") }}
    ),

    policies as (select * from {{ ref("dim_policies") }}),

    metrics as (select * from {{ ref("metrics") }}),

    series as (select * from {{ ref("int_entity_series") }} where entity_type = 'merchant'),

    spells as (select * from {{ ref("int_entity_spells") }} where entity_type = 'merchant'),

    judged as (
        select
            alerts.alert_id,
            alerts.as_of_date,
            alerts.platform,
            alerts.entity_type,
            alerts.entity_id,
            alerts.metric,
            policies.basis = 'adjusted' as is_adjusted,
            policies.evaluation_days,
            metrics.window_days,
            policies.comparator,
            alerts.record_type = 'warning'
            and alerts.transition <> 'resolved'
            and coalesce(evaluations.status = 'warning', false)
            and not coalesce(
                evaluations.denominator >= policies.min_denominator
                and (
                    policies.min_component is null
                    or evaluations.minimum_counted >= policies.min_count
                )
                and {{ reaches("evaluations.value", "evaluations.warning_threshold") }},
                false
            ) as is_projected
        from alerts
        inner join policies on policies.policy_id = alerts.policy_id
        inner join metrics on metrics.metric = alerts.metric
        left join
            evaluations
            on evaluations.as_of_date = alerts.as_of_date
            and evaluations.platform = alerts.platform
            and evaluations.policy_id = alerts.policy_id
            and evaluations.entity_type = alerts.entity_type
            and evaluations.entity_id = alerts.entity_id
    ),

    evenings as (
        select judged.*, judged.as_of_date as evening, 1 as sign
        from judged
        union all
        select judged.*, {{ add_days("judged.as_of_date", "-1") }} as evening, -1 as sign
        from judged
    ),

    dated as (
        select
            *,
            case
                when is_projected then evening else {{ add_days("evening", "1 - window_days") }}
            end as last_cohort
        from evenings
    ),

    merchants as (select distinct platform, entity_id as merchant_id from series),

    -- A category is the sum of the merchants that are in it on the evening.
    subjects as (
        select dated.*, dated.entity_type as subject_type, dated.entity_id as subject_id
        from dated
        where dated.entity_type <> 'category'
        union all
        select dated.*, 'merchant' as subject_type, merchants.merchant_id as subject_id
        from dated
        inner join merchants on merchants.platform = dated.platform
        left join
            spells
            on spells.platform = merchants.platform
            and spells.entity_id = merchants.merchant_id
            and spells.begin_on <= dated.evening
            and spells.end_on > dated.evening
        where
            dated.entity_type = 'category'
            and dated.entity_id = coalesce(spells.category_id, 'unknown')
    ),

    final as (
        select
            alert_id,
            as_of_date,
            platform,
            evening,
            sign,
            subject_type,
            subject_id,
            metric,
            is_adjusted,
            window_days,
            {{ add_days("last_cohort", "1 - evaluation_days") }} as first_cohort,
            last_cohort
        from subjects
    )

select *
from final

-- What the immature cohorts in a merchant's running window still have to report, per evening:
-- `expected_orders` is the sum of denominator x (1 - F(age)), to be multiplied by a prior rate.
with
    cohort_changes as (select * from {{ ref("int_merchant_cohort_changes") }}),

    metric_ages as (select * from {{ ref("int_metric_ages") }}),

    factors as (select * from {{ ref("int_development_factors") }}),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    merchant_windows as (select * from {{ ref("int_entity_windows") }}),

    priors as (select * from {{ ref("int_category_priors") }}),

    metrics as (select * from {{ ref("metrics") }}),

    windows as (select * from {{ ref("int_evaluation_windows") }}),

    immature as (
        select
            cohort_changes.platform,
            cohort_changes.merchant_id,
            cohort_changes.metric,
            metric_ages.age_days,
            {{ add_days("cohort_changes.cohort_date", "metric_ages.age_days") }} as as_of_date,
            cohort_changes.report_date,
            cohort_changes.denominator
        from cohort_changes
        inner join metric_ages on metric_ages.metric = cohort_changes.metric
        where cohort_changes.denominator <> 0
    ),

    reported as (
        select *
        from immature
        where
            as_of_date between {{ first_date() }} and {{ last_date() }}
            and report_date <= as_of_date
    ),

    expected as (
        select
            reported.as_of_date,
            reported.platform,
            reported.merchant_id,
            reported.metric,
            windows.evaluation_days,
            -- Summed as decimals: the order of a parallel sum of doubles shows in the result.
            cast(
                sum(
                    reported.denominator
                    * cast(1 - coalesce(factors.reported_share, 1) as decimal(18, 12))
                ) as double
            ) as expected_orders
        from reported
        inner join
            windows
            on windows.metric = reported.metric
            and windows.evaluation_days > reported.age_days
        left join
            merchant_spells
            on merchant_spells.platform = reported.platform
            and merchant_spells.merchant_id = reported.merchant_id
            and merchant_spells.begin_on <= reported.as_of_date
            and merchant_spells.end_on > reported.as_of_date
        left join
            factors
            on factors.as_of_date = reported.as_of_date
            and factors.platform = reported.platform
            and factors.category_id = coalesce(merchant_spells.category_id, 'unknown')
            and factors.metric = reported.metric
            and factors.age_days = reported.age_days
        group by
            reported.as_of_date,
            reported.platform,
            reported.merchant_id,
            reported.metric,
            windows.evaluation_days
    ),

    -- The prior weighs what the metric's own window holds, whatever window is projected.
    mature_counts as (
        select
            merchant_windows.as_of_date,
            merchant_windows.platform,
            merchant_windows.merchant_id,
            merchant_windows.metric,
            merchant_windows.evaluation_days,
            {% for measure in ["numerator", "adjusted_numerator", "denominator"] %}
                coalesce(prior_windows.{{ measure }}, 0) as {{ measure }}
                {{- "," if not loop.last }}
            {% endfor %}
        from merchant_windows
        inner join metrics on metrics.metric = merchant_windows.metric
        left join
            merchant_windows as prior_windows
            on prior_windows.as_of_date = merchant_windows.as_of_date
            and prior_windows.platform = merchant_windows.platform
            and prior_windows.merchant_id = merchant_windows.merchant_id
            and prior_windows.metric = merchant_windows.metric
            and prior_windows.evaluation_days = metrics.prior_days
    ),

    final as (
        select
            mature_counts.as_of_date,
            mature_counts.platform,
            mature_counts.merchant_id,
            coalesce(merchant_spells.category_id, 'unknown') as category_id,
            coalesce(merchant_spells.status, 'active') as merchant_status,
            mature_counts.metric,
            mature_counts.evaluation_days,
            coalesce(expected.expected_orders, 0) as expected_orders,
            {% for basis, numerator in [
                ("raw", "numerator"),
                ("adjusted", "adjusted_numerator"),
            ] %}
                coalesce(
                    {{
                        safe_divide(
                            "least(mature_counts."
                            ~ numerator
                            ~ ", mature_counts.denominator)"
                            ~ " + coalesce(category_"
                            ~ basis
                            ~ ".prior_a, platform_"
                            ~ basis
                            ~ ".prior_a)",
                            "mature_counts.denominator"
                            ~ " + coalesce(category_"
                            ~ basis
                            ~ ".prior_a + category_"
                            ~ basis
                            ~ ".prior_b, platform_"
                            ~ basis
                            ~ ".prior_a + platform_"
                            ~ basis
                            ~ ".prior_b)",
                        )
                    }},
                    {{
                        safe_divide(
                            "least(mature_counts." ~ numerator ~ ", mature_counts.denominator)",
                            "mature_counts.denominator",
                        )
                    }},
                    0
                ) as {{ "prior_rate" if basis == "raw" else "adjusted_prior_rate" }}
                {{- "," if not loop.last }}
            {% endfor %}
        from mature_counts
        left join
            merchant_spells
            on merchant_spells.platform = mature_counts.platform
            and merchant_spells.merchant_id = mature_counts.merchant_id
            and merchant_spells.begin_on <= mature_counts.as_of_date
            and merchant_spells.end_on > mature_counts.as_of_date
        left join
            expected
            on expected.as_of_date = mature_counts.as_of_date
            and expected.platform = mature_counts.platform
            and expected.merchant_id = mature_counts.merchant_id
            and expected.metric = mature_counts.metric
            and expected.evaluation_days = mature_counts.evaluation_days
        {% for basis in ["raw", "adjusted"] %}
            left join
                priors as category_{{ basis }}
                on category_{{ basis }}.as_of_date = mature_counts.as_of_date
                and category_{{ basis }}.platform = mature_counts.platform
                and category_{{ basis }}.category_id
                = coalesce(merchant_spells.category_id, 'unknown')
                and category_{{ basis }}.metric = mature_counts.metric
                and category_{{ basis }}.basis = '{{ basis }}'
            left join
                priors as platform_{{ basis }}
                on platform_{{ basis }}.as_of_date = mature_counts.as_of_date
                and platform_{{ basis }}.platform = mature_counts.platform
                and platform_{{ basis }}.category_id = '*'
                and platform_{{ basis }}.metric = mature_counts.metric
                and platform_{{ basis }}.basis = '{{ basis }}'
        {% endfor %}
    )

select *
from final

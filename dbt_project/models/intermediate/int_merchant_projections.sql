-- What a merchant's immature cohorts still have to report, per evening and metric:
-- `expected_orders` is the sum of denominator x (1 - F(age)), to be multiplied by a prior rate.
with
    cohort_changes as (select * from {{ ref("int_merchant_cohort_changes") }}),

    metric_ages as (select * from {{ ref("int_metric_ages") }}),

    factors as (select * from {{ ref("int_development_factors") }}),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    merchant_windows as (select * from {{ ref("int_merchant_windows") }}),

    priors as (select * from {{ ref("int_category_priors") }}),

    metrics as (select * from {{ ref("metrics") }}),

    immature as (
        select
            cohort_changes.platform,
            cohort_changes.merchant_id,
            cohort_changes.metric,
            metric_ages.age_days,
            {{ add_days("cohort_changes.cohort_date", "metric_ages.age_days") }} as as_of_date,
            sum(cohort_changes.denominator) as denominator
        from cohort_changes
        inner join metric_ages on metric_ages.metric = cohort_changes.metric
        where
            cohort_changes.denominator <> 0
            and {{ add_days("cohort_changes.cohort_date", "metric_ages.age_days") }}
            between greatest(cohort_changes.report_date, {{ first_date() }}) and {{ last_date() }}
        group by
            cohort_changes.platform,
            cohort_changes.merchant_id,
            cohort_changes.metric,
            metric_ages.age_days,
            as_of_date
    ),

    categorised as (
        select immature.*, coalesce(merchant_spells.category_id, 'unknown') as category_id
        from immature
        left join
            merchant_spells
            on merchant_spells.platform = immature.platform
            and merchant_spells.merchant_id = immature.merchant_id
            and merchant_spells.begin_on <= immature.as_of_date
            and merchant_spells.end_on > immature.as_of_date
    ),

    expected as (
        select
            categorised.as_of_date,
            categorised.platform,
            categorised.merchant_id,
            categorised.metric,
            -- Summed as decimals: the order of a parallel sum of doubles shows in the result.
            cast(
                sum(
                    categorised.denominator * cast(
                        1 - coalesce(
                            category_factors.reported_share, platform_factors.reported_share, 1
                        ) as decimal(18, 12)
                    )
                ) as double
            ) as expected_orders
        from categorised
        left join
            factors as category_factors
            on category_factors.as_of_date = categorised.as_of_date
            and category_factors.platform = categorised.platform
            and category_factors.category_id = categorised.category_id
            and category_factors.metric = categorised.metric
            and category_factors.age_days = categorised.age_days
        left join
            factors as platform_factors
            on platform_factors.as_of_date = categorised.as_of_date
            and platform_factors.platform = categorised.platform
            and platform_factors.category_id = '*'
            and platform_factors.metric = categorised.metric
            and platform_factors.age_days = categorised.age_days
        group by
            categorised.as_of_date,
            categorised.platform,
            categorised.merchant_id,
            categorised.metric
    ),

    mature_counts as (
        select
            merchant_windows.as_of_date,
            merchant_windows.platform,
            merchant_windows.merchant_id,
            merchant_windows.metric,
            {% for measure in ["numerator", "adjusted_numerator", "denominator"] %}
                max(
                    case
                        when merchant_windows.evaluation_days = metrics.prior_days
                        then merchant_windows.{{ measure }}
                        else 0
                    end
                ) as {{ measure }}
                {{- "," if not loop.last }}
            {% endfor %}
        from merchant_windows
        inner join metrics on metrics.metric = merchant_windows.metric
        group by
            merchant_windows.as_of_date,
            merchant_windows.platform,
            merchant_windows.merchant_id,
            merchant_windows.metric
    ),

    final as (
        select
            mature_counts.as_of_date,
            mature_counts.platform,
            mature_counts.merchant_id,
            coalesce(merchant_spells.category_id, 'unknown') as category_id,
            coalesce(merchant_spells.status, 'active') as merchant_status,
            mature_counts.metric,
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

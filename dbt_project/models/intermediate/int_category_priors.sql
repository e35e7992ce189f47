-- A beta prior per category, metric and basis from its merchants' mature cohorts: closed-form
-- moments of the beta-binomial (Kleinman 1973), within- and between-merchant variance weighted
-- by orders. Scope '*' is the platform, for categories with too few merchants to tell.
with
    windows as (select * from {{ ref("int_entity_windows") }}),

    series as (select * from {{ ref("int_entity_series") }} where entity_type = 'merchant'),

    metrics as (select * from {{ ref("metrics") }}),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    bases as (
        select 'raw' as basis
        union all
        select 'adjusted' as basis
    ),

    counts as (
        select
            windows.as_of_date,
            series.platform,
            coalesce(merchant_spells.category_id, 'unknown') as category_id,
            series.metric,
            bases.basis,
            windows.denominator as n,
            least(
                case
                    when bases.basis = 'raw' then windows.numerator else windows.adjusted_numerator
                end,
                windows.denominator
            ) as k
        from windows
        inner join series on series.series_number = windows.series_number
        inner join
            metrics
            on metrics.metric = series.metric
            and metrics.prior_days = windows.evaluation_days
        cross join bases
        left join
            merchant_spells
            on merchant_spells.platform = series.platform
            and merchant_spells.merchant_id = series.entity_id
            and merchant_spells.begin_on <= windows.as_of_date
            and merchant_spells.end_on > windows.as_of_date
        where windows.denominator > 0
    ),

    category_sums as (
        select
            as_of_date,
            platform,
            category_id,
            metric,
            basis,
            count(*) as merchants,
            sum(n) as sum_n,
            sum(n * n) as sum_n2,
            sum(k) as sum_k,
            -- Summed as decimals: the order of a parallel sum of doubles shows in the result.
            sum(cast(k * k / n as decimal(38, 12))) as sum_k2_over_n
        from counts
        group by as_of_date, platform, category_id, metric, basis
    ),

    sums as (
        select *
        from category_sums
        union all
        select
            as_of_date,
            platform,
            '*' as category_id,
            metric,
            basis,
            sum(merchants) as merchants,
            sum(sum_n) as sum_n,
            sum(sum_n2) as sum_n2,
            sum(sum_k) as sum_k,
            sum(sum_k2_over_n) as sum_k2_over_n
        from category_sums
        group by as_of_date, platform, metric, basis
    ),

    measured as (
        select
            as_of_date,
            platform,
            category_id,
            metric,
            basis,
            {% for total in ["merchants", "sum_n", "sum_n2", "sum_k", "sum_k2_over_n"] %}
                cast({{ total }} as double) as {{ total }}{{ "," if not loop.last }}
            {% endfor %}
        from sums
    ),

    moments as (
        select
            *,
            sum_k / sum_n as mean_rate,
            sum_k2_over_n - sum_k * sum_k / sum_n as scatter,
            sum_n - sum_n2 / sum_n - (merchants - 1) as spread
        from measured
        where merchants >= 2 and sum_k > 0 and sum_k < sum_n
    ),

    correlations as (
        select
            *,
            -- Between these bounds the prior weighs as much as 1 to 9,999 orders.
            least(
                0.5,
                greatest(
                    0.0001,
                    {{
                        safe_divide(
                            "scatter / (mean_rate * (1 - mean_rate)) - (merchants - 1)",
                            "spread",
                        )
                    }}
                )
            ) as intraclass_correlation
        from moments
        where spread > 0
    ),

    final as (
        select
            as_of_date,
            platform,
            category_id,
            metric,
            basis,
            mean_rate * (1 - intraclass_correlation) / intraclass_correlation as prior_a,
            (1 - mean_rate) * (1 - intraclass_correlation) / intraclass_correlation as prior_b,
            -- Of the mean of merchants that each weigh as their orders.
            mean_rate
            * (1 - mean_rate)
            * (
                intraclass_correlation * sum_n2 / (sum_n * sum_n)
                + (1 - intraclass_correlation) / sum_n
            ) as mean_variance
        from correlations
    )

select *
from final

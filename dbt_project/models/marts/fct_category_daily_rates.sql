{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_touched_cohorts() }}",
    )
}}

with
    merchant_rates as (
        select * from {{ ref("fct_merchant_daily_rates") }} where {{ on_platforms() }}
    ),

    cohorts as (
        select distinct platform, cohort_date
        from {{ ref("int_cells_touched") }}
        where {{ on_platforms() }}
    ),

    totals as (
        select
            merchant_rates.platform,
            merchant_rates.category_id,
            merchant_rates.metric,
            merchant_rates.cohort_date,
            cast(sum(merchant_rates.numerator) as bigint) as numerator,
            cast(sum(merchant_rates.denominator) as bigint) as denominator,
            cast(sum(merchant_rates.adjusted_numerator) as bigint) as adjusted_numerator,
            merchant_rates.is_mature,
            -- Summed as decimals: the order of a parallel sum of doubles shows in the result.
            sum(
                cast(merchant_rates.projected_rate * merchant_rates.denominator as decimal(38, 12))
            ) as projected_numerator,
            max(merchant_rates.as_of_date) as as_of_date
        from merchant_rates
        inner join
            cohorts
            on cohorts.platform = merchant_rates.platform
            and cohorts.cohort_date = merchant_rates.cohort_date
        group by
            merchant_rates.platform,
            merchant_rates.category_id,
            merchant_rates.metric,
            merchant_rates.cohort_date,
            merchant_rates.is_mature
    ),

    final as (
        select
            platform,
            category_id,
            metric,
            cohort_date,
            numerator,
            denominator,
            {{ safe_divide("numerator", "denominator") }} as rate,
            adjusted_numerator,
            {{ safe_divide("adjusted_numerator", "denominator") }} as adjusted_rate,
            is_mature,
            {{ safe_divide("projected_numerator", "denominator") }} as projected_rate,
            as_of_date
        from totals
    )

select *
from final

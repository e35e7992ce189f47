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
        from
            {{
                (
                    ref("fct_merchant_daily_rates")
                    if makes_every_rate()
                    else ref("int_cells_touched")
                )
            }}
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

    merchant_spells as (
        select * from {{ ref("int_merchant_spells") }} where end_on <= {{ last_date() }}
    ),

    -- A category's row also changes when a merchant with orders in the cohort leaves it.
    departures as (
        select
            merchant_rates.platform,
            merchant_spells.category_id,
            merchant_rates.metric,
            merchant_rates.cohort_date,
            max(merchant_spells.end_on) as left_on
        from merchant_rates
        inner join
            cohorts
            on cohorts.platform = merchant_rates.platform
            and cohorts.cohort_date = merchant_rates.cohort_date
        inner join
            merchant_spells
            on merchant_spells.platform = merchant_rates.platform
            and merchant_spells.merchant_id = merchant_rates.merchant_id
            and merchant_spells.category_id <> merchant_rates.category_id
            and merchant_spells.end_on > merchant_rates.cohort_date
        group by
            merchant_rates.platform,
            merchant_spells.category_id,
            merchant_rates.metric,
            merchant_rates.cohort_date
    ),

    final as (
        select
            totals.platform,
            totals.category_id,
            totals.metric,
            totals.cohort_date,
            numerator,
            denominator,
            {{ safe_divide("numerator", "denominator") }} as rate,
            adjusted_numerator,
            {{ safe_divide("adjusted_numerator", "denominator") }} as adjusted_rate,
            is_mature,
            {{ safe_divide("projected_numerator", "denominator") }} as projected_rate,
            greatest(as_of_date, coalesce(left_on, as_of_date)) as as_of_date
        from totals
        left join
            departures
            on departures.platform = totals.platform
            and departures.category_id = totals.category_id
            and departures.metric = totals.metric
            and departures.cohort_date = totals.cohort_date
    )

select *
from final

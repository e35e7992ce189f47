{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_touched_cells() }}",
    )
}}

-- depends_on: {{ ref("int_cells_touched") }}
{% set merchant_counts %}
    select
        platform,
        merchant_id,
        metric,
        window_days,
        cohort_date,
        cast(sum(numerator) as bigint) as numerator,
        cast(sum(adjusted_numerator) as bigint) as adjusted_numerator,
        cast(sum(denominator) as bigint) as denominator,
        max(changed_on) as changed_on
    from {{ ref("int_cells_counted") }}
    group by platform, merchant_id, metric, window_days, cohort_date
{% endset %}

{{
    daily_rates(
        counts=merchant_counts,
        entity_columns=["merchant_id"],
        categories=ref("int_merchant_categories"),
        entity_key="merchant_id",
    )
}}

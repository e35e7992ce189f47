-- The touched cells as the last evening knows them, by product and metric, with the last report
-- date that changed them; where every rate is made anew, all cells.
with
    ledger as (
        select *
        from {{ ref("fct_cohort_ledger") }}
        where {{ on_platforms() }} and report_date <= {{ last_date() }}
    ),

    cells as (
        select distinct platform, merchant_id, cohort_date
        from {{ ref("int_cells_touched") }}
        where {{ on_platforms() }}
    ),

    metric_parts as (select * from {{ ref("int_metric_parts") }} where is_in_force),

    touched as (
        select ledger.*
        from ledger
        {% if not makes_every_rate() %}
            inner join
                cells
                on cells.platform = ledger.platform
                and cells.merchant_id = ledger.merchant_id
                and cells.cohort_date = ledger.cohort_date
        {% endif %}
    ),

    final as (
        select
            touched.platform,
            touched.merchant_id,
            touched.product_id,
            metric_parts.metric,
            metric_parts.window_days,
            touched.cohort_date,
            cast(sum(touched.quantity * metric_parts.in_numerator) as bigint) as numerator,
            cast(
                sum(touched.quantity * metric_parts.in_adjusted_numerator) as bigint
            ) as adjusted_numerator,
            cast(sum(touched.quantity * metric_parts.in_denominator) as bigint) as denominator,
            max(touched.report_date) as changed_on
        from touched
        inner join metric_parts on metric_parts.component = touched.component
        where touched.lag_days < metric_parts.window_days
        group by
            touched.platform,
            touched.merchant_id,
            touched.product_id,
            metric_parts.metric,
            metric_parts.window_days,
            touched.cohort_date
    )

select *
from final

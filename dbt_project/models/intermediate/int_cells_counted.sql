-- The touched cells as the last evening knows them, by product and metric, with the last report
-- date that changed them.
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

    metric_parts as (select * from {{ ref("int_metric_parts") }}),

    component_windows as (select distinct component, window_days from metric_parts),

    component_counts as (
        select
            ledger.platform,
            ledger.merchant_id,
            ledger.product_id,
            ledger.cohort_date,
            ledger.component,
            component_windows.window_days,
            cast(sum(ledger.quantity) as bigint) as quantity,
            max(ledger.report_date) as changed_on
        from ledger
        inner join
            cells
            on cells.platform = ledger.platform
            and cells.merchant_id = ledger.merchant_id
            and cells.cohort_date = ledger.cohort_date
        inner join component_windows on component_windows.component = ledger.component
        where ledger.lag_days < component_windows.window_days
        group by
            ledger.platform,
            ledger.merchant_id,
            ledger.product_id,
            ledger.cohort_date,
            ledger.component,
            component_windows.window_days
    ),

    final as (
        select
            component_counts.platform,
            component_counts.merchant_id,
            component_counts.product_id,
            metric_parts.metric,
            metric_parts.window_days,
            component_counts.cohort_date,
            cast(sum(quantity * in_numerator) as bigint) as numerator,
            cast(sum(quantity * in_adjusted_numerator) as bigint) as adjusted_numerator,
            cast(sum(quantity * in_denominator) as bigint) as denominator,
            max(changed_on) as changed_on
        from component_counts
        inner join
            metric_parts
            on metric_parts.component = component_counts.component
            and metric_parts.window_days = component_counts.window_days
        group by
            component_counts.platform,
            component_counts.merchant_id,
            component_counts.product_id,
            metric_parts.metric,
            metric_parts.window_days,
            component_counts.cohort_date
    )

select *
from final

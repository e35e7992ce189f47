-- The ledger as metrics see it: what each report date added to each cohort of a merchant, for
-- the cohorts that a window of this run can hold and for whatever this run reported.
with
    ledger as (select * from {{ ref("fct_cohort_ledger") }} where {{ on_platforms() }}),

    metric_parts as (select * from {{ ref("int_metric_parts") }}),

    reach as (
        select max(window_days + evaluation_days) as reach_days
        from {{ ref("int_evaluation_windows") }}
    ),

    in_reach as (
        select *
        from ledger
        where
            report_date <= {{ last_date() }}
            and (
                cohort_date > (select {{ add_days(first_date(), "-reach_days") }} from reach)
                or report_date >= {{ first_date() }}
            )
    ),

    final as (
        select
            in_reach.platform,
            in_reach.merchant_id,
            metric_parts.metric,
            metric_parts.window_days,
            in_reach.cohort_date,
            in_reach.report_date,
            cast(sum(in_reach.quantity * metric_parts.in_numerator) as bigint) as numerator,
            cast(
                sum(in_reach.quantity * metric_parts.in_adjusted_numerator) as bigint
            ) as adjusted_numerator,
            cast(sum(in_reach.quantity * metric_parts.in_denominator) as bigint) as denominator
        from in_reach
        inner join metric_parts on metric_parts.component = in_reach.component
        where in_reach.lag_days < metric_parts.window_days
        group by
            in_reach.platform,
            in_reach.merchant_id,
            metric_parts.metric,
            metric_parts.window_days,
            in_reach.cohort_date,
            in_reach.report_date
    )

select *
from final

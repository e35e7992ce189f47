-- The ages at which a metric's cohorts are not yet mature.
with
    metrics as (select * from {{ ref("metrics") }}),

    numbers as ({{ whole_numbers(366) }}),

    final as (
        select metrics.metric, metrics.window_days, numbers.number as age_days
        from metrics
        inner join numbers on numbers.number < metrics.window_days - 1
    )

select *
from final

-- The ages at which a metric's cohorts still have events to report. Where the denominator counts
-- events too, as reviews over reviews, an event to come brings its own denominator: there is
-- nothing to add to what has been observed, and no age is listed.
with
    metrics as (select * from {{ ref("metrics") }}),

    metric_components as (select * from {{ ref("metric_components") }} where part = 'denominator'),

    components as (select * from {{ ref("components") }} where is_event),

    numbers as ({{ whole_numbers(366) }}),

    shares_of_events as (
        select metric_components.metric
        from metric_components
        inner join components on components.component = metric_components.component
    ),

    final as (
        select metrics.metric, metrics.window_days, numbers.number as age_days
        from metrics
        inner join numbers on numbers.number < metrics.window_days - 1
        where metrics.metric not in (select metric from shares_of_events)
    )

select *
from final

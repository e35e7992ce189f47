-- What a component counts for in a metric. The adjusted numerator takes the twins of event
-- components; what no appeal can overturn stands for itself.
with
    metrics as (select * from {{ ref("metrics") }}),

    metric_components as (select * from {{ ref("metric_components") }}),

    components as (select * from {{ ref("components") }}),

    policies as (select * from {{ ref("dim_policies") }}),

    parts as (
        select metric, part, component
        from metric_components
        union all
        select
            metric_components.metric,
            'adjusted_numerator' as part,
            case
                when components.is_event
                then metric_components.component || '_adjusted'
                else metric_components.component
            end as component
        from metric_components
        inner join components on components.component = metric_components.component
        where metric_components.part = 'numerator'
    ),

    final as (
        select
            parts.metric,
            metrics.window_days,
            metrics.prior_days,
            parts.component,
            metrics.computed = 'always'
            or parts.metric in (select metric from policies) as is_in_force,
            max(case when parts.part = 'numerator' then 1 else 0 end) as in_numerator,
            max(
                case when parts.part = 'adjusted_numerator' then 1 else 0 end
            ) as in_adjusted_numerator,
            max(case when parts.part = 'denominator' then 1 else 0 end) as in_denominator
        from parts
        inner join metrics on metrics.metric = parts.metric
        group by
            parts.metric, metrics.window_days, metrics.prior_days, metrics.computed, parts.component
    )

select *
from final

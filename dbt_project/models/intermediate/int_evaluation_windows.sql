-- Which trailing windows are summed: those that a policy evaluates, each metric's own for the prior
-- of its projection, and those over which a policy asks a minimum of a component.
with
    policies as (select * from {{ ref("dim_policies") }}),

    metrics as (
        select distinct metric, window_days, prior_days
        from {{ ref("int_metric_parts") }}
        where is_in_force
    ),

    final as (
        select metrics.metric, metrics.window_days, policies.evaluation_days
        from policies
        inner join metrics on metrics.metric = policies.metric
        union
        select metric, window_days, prior_days as evaluation_days
        from metrics
        union
        select
            {{ count_metric("policies.min_component", "metrics.window_days") }} as metric,
            metrics.window_days,
            coalesce(policies.min_days, policies.evaluation_days) as evaluation_days
        from policies
        inner join metrics on metrics.metric = policies.metric
        where policies.min_component is not null
    )

select *
from final

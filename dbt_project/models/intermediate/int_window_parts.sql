-- What the run's trailing windows sum, by the type of entity. Merchants have every metric that is
-- in
-- force, for categories are sums of them; products have those that a policy judges of a product.
-- A policy's minimum of a component is one more thing to sum, named count:<component>:<window>.
with
    metric_parts as (select * from {{ ref("int_metric_parts") }} where is_in_force),

    policies as (select * from {{ ref("dim_policies") }}),

    ledger_components as (select * from {{ ref("components") }} where counts <> 'buyers'),

    judged as (
        select metric, 'merchant' as entity_type
        from metric_parts
        union
        select metric, 'product' as entity_type
        from policies
        where entity_type = 'product'
    ),

    minimums as (
        select distinct
            case
                when policies.entity_type = 'product' then 'product' else 'merchant'
            end as entity_type,
            policies.min_component as component,
            metric_parts.window_days
        from policies
        inner join metric_parts on metric_parts.metric = policies.metric
        inner join ledger_components on ledger_components.component = policies.min_component
    ),

    final as (
        select
            judged.entity_type,
            metric_parts.metric,
            metric_parts.window_days,
            metric_parts.component,
            metric_parts.in_numerator,
            metric_parts.in_adjusted_numerator,
            metric_parts.in_denominator
        from judged
        inner join metric_parts on metric_parts.metric = judged.metric
        union all
        select
            entity_type,
            {{ count_metric("component", "window_days") }} as metric,
            window_days,
            component,
            0 as in_numerator,
            0 as in_adjusted_numerator,
            1 as in_denominator
        from minimums
    )

select *
from final

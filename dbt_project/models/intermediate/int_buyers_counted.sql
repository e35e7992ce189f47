-- Distinct buyers behind a component, where a policy asks a minimum of them: a buyer counts on the
-- evenings on which one of their orders lies in the window. Empty where no active policy asks.
with
    policies as (select * from {{ ref("dim_policies") }}),

    components as (select * from {{ ref("components") }} where counts = 'buyers'),

    metrics as (select * from {{ ref("metrics") }}),

    evenings as ({{ evenings() }}),

    asked as (
        select distinct
            case
                when policies.entity_type = 'product' then 'product' else 'merchant'
            end as entity_type,
            policies.min_component as component,
            components.buyers_of,
            metrics.window_days,
            coalesce(policies.min_days, policies.evaluation_days) as evaluation_days
        from policies
        inner join components on components.component = policies.min_component
        inner join metrics on metrics.metric = policies.metric
    ),

    {% if run_value("counts_buyers") %}
        contributions as (
            {% for contributions in [
                ref("int_contributions__orders"),
                ref("int_contributions_counted"),
            ] %}
                select
                    platform,
                    order_id,
                    merchant_id,
                    product_id,
                    component,
                    cohort_date,
                    lag_days,
                    begin_on,
                    end_on
                from {{ contributions }}
                where component in (select buyers_of from asked) {{ "union all" if not loop.last }}
            {% endfor %}
        ),

        orders as (select * from {{ ref("stg_landing__orders") }} where {{ on_platforms() }}),

        -- Who bought an order does not change; its first version says it.
        buyers as (
            select
                platform,
                order_id,
                {{ value_at_max("buyer_id", [dbt.datediff("report_date", end_of_time(), "day")]) }}
                as buyer_id
            from orders
            where (platform, order_id) in (select platform, order_id from contributions)
            group by platform, order_id
        ),

        asked_contributions as (
            {% for entity_type in ["merchant", "product"] %}
                select
                    contributions.platform,
                    asked.entity_type,
                    contributions.{{ entity_type }}_id as entity_id,
                    asked.component,
                    asked.window_days,
                    asked.evaluation_days,
                    buyers.buyer_id,
                    contributions.begin_on,
                    contributions.end_on,
                    {{ add_days("contributions.cohort_date", "asked.window_days - 1") }}
                    as mature_on,
                    {{
                        add_days(
                            "contributions.cohort_date",
                            "asked.window_days - 1 + asked.evaluation_days",
                        )
                    }} as leaves_on,
                    {{ add_days("contributions.cohort_date", "asked.evaluation_days") }}
                    as leaves_running_on
                from contributions
                inner join
                    asked
                    on asked.buyers_of = contributions.component
                    and asked.entity_type = '{{ entity_type }}'
                inner join
                    buyers
                    on buyers.platform = contributions.platform
                    and buyers.order_id = contributions.order_id
                where contributions.lag_days < asked.window_days {{ "union all" if not loop.last }}
            {% endfor %}
        ),

        final as (
            select
                evenings.as_of_date,
                platform,
                entity_type,
                entity_id,
                component,
                window_days,
                evaluation_days,
                count(
                    distinct case
                        when evenings.as_of_date >= mature_on and evenings.as_of_date < leaves_on
                        then buyer_id
                    end
                ) as counted,
                count(
                    distinct case when evenings.as_of_date < leaves_running_on then buyer_id end
                ) as running_counted
            from asked_contributions
            inner join
                evenings
                on evenings.as_of_date >= asked_contributions.begin_on
                and evenings.as_of_date < asked_contributions.end_on
                and evenings.as_of_date < asked_contributions.leaves_on
            group by
                evenings.as_of_date,
                platform,
                entity_type,
                entity_id,
                component,
                window_days,
                evaluation_days
        )
    {% else %}
        final as (
            select
                evenings.as_of_date,
                cast(null as {{ dbt.type_string() }}) as platform,
                asked.entity_type,
                cast(null as {{ dbt.type_string() }}) as entity_id,
                asked.component,
                asked.window_days,
                asked.evaluation_days,
                cast(0 as bigint) as counted,
                cast(0 as bigint) as running_counted
            from asked
            cross join evenings
            where 1 = 0
        )
    {% endif %}

select *
from final

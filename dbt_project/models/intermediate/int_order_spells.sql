with
    orders as (select * from {{ ref("int_orders_versioned") }} where {{ on_platforms() }}),

    {% if run_value("on_top") %}
        touched as (select * from {{ ref("int_orders_touched") }}),

        touched_orders as (
            select orders.*
            from orders
            inner join
                touched on touched.platform = orders.platform and touched.order_id = orders.order_id
        ),
    {% else %} touched_orders as (select * from orders),
    {% endif %}

    final as (
        select
            platform,
            order_id,
            merchant_id,
            product_id,
            paid_date,
            fulfilled_date,
            late_date,
            merchant_cancelled_date,
            is_counted,
            valid_from as begin_on,
            {{ end_of_spell("order_id") }} as end_on
        from touched_orders
    )

select *
from final

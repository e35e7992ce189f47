{{ config(materialized="ephemeral") }}

-- Events as they come; of the components that count an order once, the order's spells cut at every
-- begin and end, each piece with its least lag.
with
    contributions as (
        select *
        from {{ ref("int_contributions__events") }}
        union all
        select *
        from {{ ref("int_contributions_adjusted") }}
    ),

    events as (select * from contributions where not counts_once),

    orders as (select * from contributions where counts_once),

    cuts as (
        select
            platform, order_id, component, merchant_id, product_id, cohort_date, begin_on as cut_on
        from orders
        union
        select platform, order_id, component, merchant_id, product_id, cohort_date, end_on as cut_on
        from orders
    ),

    pieces as (
        select
            *,
            lead(cut_on) over (
                partition by platform, order_id, component, merchant_id, product_id, cohort_date
                order by cut_on
            ) as next_cut_on
        from cuts
    ),

    orders_once as (
        select
            pieces.platform,
            pieces.order_id,
            pieces.component,
            pieces.merchant_id,
            pieces.product_id,
            pieces.cohort_date,
            min(orders.lag_days) as lag_days,
            pieces.cut_on as begin_on,
            pieces.next_cut_on as end_on
        from pieces
        inner join
            orders
            on orders.platform = pieces.platform
            and orders.order_id = pieces.order_id
            and orders.component = pieces.component
            and orders.merchant_id = pieces.merchant_id
            and orders.product_id = pieces.product_id
            and orders.cohort_date = pieces.cohort_date
            and orders.begin_on <= pieces.cut_on
            and orders.end_on >= pieces.next_cut_on
        group by
            pieces.platform,
            pieces.order_id,
            pieces.component,
            pieces.merchant_id,
            pieces.product_id,
            pieces.cohort_date,
            pieces.cut_on,
            pieces.next_cut_on
    ),

    final as (
        {% for contributions in ["events", "orders_once"] %}
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
            from {{ contributions }} {{ "union all" if not loop.last }}
        {% endfor %}
    )

select *
from final

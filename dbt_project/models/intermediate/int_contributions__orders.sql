{{ config(materialized="ephemeral") }}

-- What an order counts for by itself: from the day on which its cohort and the component's own
-- date (a deadline that passed unmet, a cancellation) lie in the past.
with
    order_spells as (select * from {{ ref("int_order_spells") }} where is_counted),

    dated as (
        {% for component, cohort_date, own_date in [
            ("orders_paid", "paid_date", "paid_date"),
            ("orders_fulfilled", "fulfilled_date", "fulfilled_date"),
            ("late_shipments", "paid_date", "late_date"),
            ("merchant_cancels", "paid_date", "merchant_cancelled_date"),
        ] %}
            select
                *,
                '{{ component }}' as component,
                {{ cohort_date }} as cohort_date,
                {{ own_date }} as own_date
            from order_spells
            where
                {{ cohort_date }} is not null and {{ own_date }} is not null
                {{ "union all" if not loop.last }}
        {% endfor %}
    ),

    final as (
        select
            platform,
            order_id,
            merchant_id,
            product_id,
            component,
            cohort_date,
            {{ dbt.datediff("cohort_date", "own_date", "day") }} as lag_days,
            greatest(begin_on, cohort_date, own_date) as begin_on,
            end_on
        from dated
    )

select *
from final
where begin_on < end_on

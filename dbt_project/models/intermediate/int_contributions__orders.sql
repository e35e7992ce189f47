{{ config(materialized="ephemeral") }}

with
    order_spells as (select * from {{ ref("int_order_spells") }} where is_counted),

    cohorts as (
        select *, 'orders_paid' as component, paid_date as cohort_date
        from order_spells
        where paid_date is not null
        union all
        select *, 'orders_fulfilled' as component, fulfilled_date as cohort_date
        from order_spells
        where fulfilled_date is not null
    ),

    final as (
        select
            platform,
            order_id,
            cast(null as {{ dbt.type_string() }}) as event_key,
            merchant_id,
            product_id,
            component,
            cohort_date,
            0 as lag_days,
            greatest(begin_on, cohort_date) as begin_on,
            end_on
        from cohorts
    )

select *
from final
where begin_on < end_on

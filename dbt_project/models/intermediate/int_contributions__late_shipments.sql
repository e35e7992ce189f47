{{ config(materialized="ephemeral") }}

with
    order_spells as (select * from {{ ref("int_order_spells") }} where is_counted),

    final as (
        select
            platform,
            order_id,
            cast(null as {{ dbt.type_string() }}) as event_key,
            merchant_id,
            product_id,
            'late_shipments' as component,
            paid_date as cohort_date,
            {{ dbt.datediff("paid_date", "late_date", "day") }} as lag_days,
            greatest(begin_on, paid_date, late_date) as begin_on,
            end_on
        from order_spells
        where paid_date is not null and late_date is not null
    )

select *
from final
where begin_on < end_on

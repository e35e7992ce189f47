with
    orders as (select * from {{ source("landing", "orders") }}),

    deadlines as (
        select *, coalesce(ship_by_at, {{ dbt.dateadd("hour", 72, "paid_at") }}) as ship_deadline_at
        from orders
    ),

    final as (
        select
            platform,
            order_id,
            report_date,
            source_date,
            updated_at,
            merchant_id,
            buyer_id,
            {{ business_date("paid_at") }} as paid_date,
            {{ business_date("fulfilled_at") }} as fulfilled_date,
            case
                when shipped_at is null or shipped_at > ship_deadline_at
                then {{ business_date("ship_deadline_at") }}
            end as late_date,
            case
                when cancelled_by = 'merchant' and coalesce(cancelled_at < shipped_at, true)
                then {{ business_date("cancelled_at") }}
            end as merchant_cancelled_date,
            status = 'active' as is_counted
        from deadlines
    )

select *
from final

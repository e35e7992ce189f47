with
    order_items as (select * from {{ source("landing", "order_items") }}),

    final as (
        select
            platform,
            order_id,
            report_date,
            source_date,
            line_no,
            product_id,
            -- Lines by amount, then by lowest line number, as one exact number to compare.
            cast(quantity * unit_price * 100 as decimal(38, 0)) * 2147483648 - line_no as line_rank
        from order_items
    )

select *
from final

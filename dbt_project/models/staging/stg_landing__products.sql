with
    products as (select * from {{ source("landing", "products") }}),

    final as (
        select
            platform,
            product_id,
            report_date,
            source_date,
            updated_at,
            merchant_id,
            category_id,
            title,
            list_price,
            currency,
            is_certified,
            status
        from products
    )

select *
from final

with
    products as (select * from {{ ref("int_products_versioned") }}),

    ranked as (
        select
            *,
            row_number() over (
                partition by platform, product_id order by valid_from desc
            ) as recency
        from products
    ),

    final as (
        select
            platform,
            product_id,
            merchant_id,
            category_id,
            title,
            list_price,
            currency,
            is_certified,
            status,
            valid_from
        from ranked
        where recency = 1
    )

select *
from final

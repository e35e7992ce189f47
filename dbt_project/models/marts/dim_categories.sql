with
    categories as (select * from {{ ref("categories") }}),

    merchants as (select * from {{ ref("dim_merchants") }}),

    products as (select * from {{ ref("dim_products") }}),

    seen as (
        select platform, category_id
        from merchants
        union
        select platform, category_id
        from products
        union
        select merchants.platform, categories.category_id
        from merchants
        cross join categories
    ),

    final as (
        select
            seen.platform,
            seen.category_id,
            coalesce(categories.category_name, seen.category_id) as category_name
        from seen
        left join categories on categories.category_id = seen.category_id
    )

select *
from final

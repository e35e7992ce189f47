-- Of merchants, products and categories what their evaluation needs to know, evening by evening.
with
    merchants as (select * from {{ ref("int_merchant_spells") }}),

    products as ({{ entity_spells(ref("int_products_versioned"), "product_id") }}),

    categories as (
        select platform, category_id
        from merchants
        union
        select platform, 'unknown' as category_id
        from merchants
    ),

    final as (
        select
            platform,
            'merchant' as entity_type,
            merchant_id as entity_id,
            category_id,
            status,
            begin_on,
            end_on
        from merchants
        union all
        select
            platform,
            'product' as entity_type,
            product_id as entity_id,
            category_id,
            status,
            begin_on,
            end_on
        from products
        union all
        select
            platform,
            'category' as entity_type,
            category_id as entity_id,
            category_id,
            'active' as status,
            {{ beginning_of_time() }} as begin_on,
            {{ end_of_time() }} as end_on
        from categories
    )

select *
from final

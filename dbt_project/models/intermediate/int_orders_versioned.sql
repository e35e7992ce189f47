{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('valid_from') }}",
    )
}}

with
    versions as ({{ valid_versions(ref("stg_landing__orders"), "order_id") }}),

    order_items as (
        select * from {{ ref("stg_landing__order_items") }} where {{ in_run("report_date") }}
    ),

    order_products as (
        select
            platform,
            order_id,
            report_date,
            source_date,
            {{ value_at_max("product_id", ["line_rank"]) }} as product_id
        from order_items
        group by platform, order_id, report_date, source_date
    ),

    final as (
        select
            versions.platform,
            versions.order_id,
            versions.valid_from,
            versions.updated_at,
            versions.merchant_id,
            coalesce(order_products.product_id, 'unknown') as product_id,
            versions.paid_date,
            versions.fulfilled_date,
            versions.late_date,
            versions.merchant_cancelled_date,
            versions.is_counted
        from versions
        left join
            order_products
            on order_products.platform = versions.platform
            and order_products.order_id = versions.order_id
            and order_products.report_date = versions.report_date
            and order_products.source_date = versions.source_date
    )

select *
from final

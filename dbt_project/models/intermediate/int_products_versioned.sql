{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('valid_from') }}",
    )
}}

with
    versions as ({{ valid_versions(ref("stg_landing__products"), "product_id") }}),

    final as (
        select
            platform,
            valid_from,
            updated_at,
            product_id,
            merchant_id,
            category_id,
            title,
            list_price,
            currency,
            is_certified,
            status
        from versions
    )

select *
from final

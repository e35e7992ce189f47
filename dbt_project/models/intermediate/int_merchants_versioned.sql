{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('valid_from') }}",
    )
}}

with
    versions as ({{ valid_versions(ref("stg_landing__merchants"), "merchant_id") }}),

    final as (
        select
            platform,
            valid_from,
            updated_at,
            merchant_id,
            merchant_name,
            category_id,
            legal_entity_id,
            opened_at,
            is_certified,
            status
        from versions
    )

select *
from final

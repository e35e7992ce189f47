{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('valid_from') }}",
    )
}}

with
    versions as ({{ valid_versions(ref("stg_landing__appeals"), "appeal_id") }}),

    final as (
        select
            platform,
            valid_from,
            updated_at,
            appeal_id,
            subject_type,
            subject_id,
            merchant_id,
            submitted_date,
            decided_at,
            decided_date,
            status
        from versions
    )

select *
from final

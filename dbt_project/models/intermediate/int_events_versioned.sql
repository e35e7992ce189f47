{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('valid_from') }}",
    )
}}

with
    versions as ({{ valid_versions(ref("int_events_unioned"), "event_key") }}),

    final as (
        select
            platform,
            event_key,
            event_kind,
            event_id,
            valid_from,
            updated_at,
            order_id,
            event_date,
            rating,
            reason_code,
            stated_fault_party,
            is_counted
        from versions
    )

select *
from final

with
    refunds as (select * from {{ source("landing", "refunds") }}),

    final as (
        select
            platform,
            'refund' as event_kind,
            refund_id as event_id,
            report_date,
            source_date,
            updated_at,
            order_id,
            {{ business_date("requested_at") }} as event_date,
            cast(null as integer) as rating,
            reason_code as reason_code,
            fault_party as stated_fault_party,
            status in ('requested', 'approved', 'completed') as is_counted
        from refunds
    )

select *
from final

with
    complaints as (select * from {{ source("landing", "complaints") }}),

    final as (
        select
            platform,
            'complaint' as event_kind,
            complaint_id as event_id,
            report_date,
            source_date,
            updated_at,
            order_id,
            {{ business_date("created_at") }} as event_date,
            cast(null as integer) as rating,
            reason_code as reason_code,
            fault_party as stated_fault_party,
            status in ('open', 'resolved') as is_counted
        from complaints
    )

select *
from final

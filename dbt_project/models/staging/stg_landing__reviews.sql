with
    reviews as (select * from {{ source("landing", "reviews") }}),

    final as (
        select
            platform,
            'review' as event_kind,
            review_id as event_id,
            report_date,
            source_date,
            updated_at,
            order_id,
            {{ business_date("created_at") }} as event_date,
            rating as rating,
            cast(null as {{ dbt.type_string() }}) as reason_code,
            cast(null as {{ dbt.type_string() }}) as stated_fault_party,
            status = 'visible' as is_counted
        from reviews
    )

select *
from final

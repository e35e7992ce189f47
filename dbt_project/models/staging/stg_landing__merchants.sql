with
    merchants as (select * from {{ source("landing", "merchants") }}),

    final as (
        select
            platform,
            merchant_id,
            report_date,
            source_date,
            updated_at,
            merchant_name,
            category_id,
            legal_entity_id,
            opened_at,
            is_certified,
            status
        from merchants
    )

select *
from final

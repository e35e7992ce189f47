with
    appeals as (select * from {{ source("landing", "appeals") }}),

    final as (
        select
            platform,
            appeal_id,
            report_date,
            source_date,
            updated_at,
            subject_type,
            subject_id,
            merchant_id,
            {{ business_date("submitted_at") }} as submitted_date,
            decided_at,
            {{ business_date("decided_at") }} as decided_date,
            status
        from appeals
    )

select *
from final

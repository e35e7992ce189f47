with
    merchants as (select * from {{ ref("int_merchants_versioned") }}),

    ranked as (
        select
            *,
            row_number() over (
                partition by platform, merchant_id order by valid_from desc
            ) as recency
        from merchants
    ),

    final as (
        select
            platform,
            merchant_id,
            merchant_name,
            category_id,
            legal_entity_id,
            opened_at,
            is_certified,
            status,
            valid_from
        from ranked
        where recency = 1
    )

select *
from final

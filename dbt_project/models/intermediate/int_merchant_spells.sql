-- What is known of a merchant, evening by evening; before its first version nothing is.
with
    merchants as (select * from {{ ref("int_merchants_versioned") }} where {{ on_platforms() }}),

    versions as (
        select
            platform,
            merchant_id,
            category_id,
            status,
            valid_from as begin_on,
            {{ end_of_spell("merchant_id") }} as end_on
        from merchants
    ),

    unknown as (
        select
            platform,
            merchant_id,
            'unknown' as category_id,
            'active' as status,
            {{ beginning_of_time() }} as begin_on,
            min(valid_from) as end_on
        from merchants
        group by platform, merchant_id
    ),

    final as (
        select *
        from versions
        union all
        select *
        from unknown
    )

select *
from final

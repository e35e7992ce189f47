-- Since when each merchant has had the category that it has on the last evening.
with
    versions as (select * from {{ ref("int_merchants_versioned") }} where {{ on_platforms() }}),

    ordered as (
        select
            platform,
            merchant_id,
            category_id,
            valid_from,
            lag(category_id) over (
                partition by platform, merchant_id order by valid_from
            ) as previous_category_id,
            row_number() over (
                partition by platform, merchant_id order by valid_from desc
            ) as recency
        from versions
    ),

    current_categories as (
        select platform, merchant_id, category_id from ordered where recency = 1
    ),

    changes as (
        select platform, merchant_id, max(valid_from) as category_from
        from ordered
        where coalesce(previous_category_id <> category_id, true)
        group by platform, merchant_id
    ),

    final as (
        select
            changes.platform,
            changes.merchant_id,
            current_categories.category_id,
            changes.category_from
        from changes
        inner join
            current_categories
            on current_categories.platform = changes.platform
            and current_categories.merchant_id = changes.merchant_id
    )

select *
from final

-- Numbers for what is summed of whom: windows are kept by number, which is cheaper to group and
-- join than names.
with
    ledger as ({{ ledger_in_reach() }}),

    parts as (select distinct entity_type, metric, window_days from {{ ref("int_window_parts") }}),

    entities as (
        select distinct platform, 'merchant' as entity_type, merchant_id as entity_id
        from ledger
        union all
        select distinct platform, 'product' as entity_type, product_id as entity_id
        from ledger
        where
            product_id <> 'unknown'
            and exists (select 1 from parts where parts.entity_type = 'product')
    ),

    named as (
        select
            entities.platform,
            entities.entity_type,
            entities.entity_id,
            parts.metric,
            parts.window_days
        from entities
        inner join parts on parts.entity_type = entities.entity_type
    ),

    final as (
        select
            cast(
                row_number() over (order by platform, entity_type, entity_id, metric) as integer
            ) as series_number,
            *
        from named
    )

select *
from final

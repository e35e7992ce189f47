-- What policies ask a minimum of, counted: components of the ledger from their windows, buyers from
-- their orders; of a category the sum of its merchants'.
with
    windows as (select * from {{ ref("int_entity_windows") }}),

    series as (select * from {{ ref("int_entity_series") }}),

    parts as (select * from {{ ref("int_window_parts") }}),

    buyers as (select * from {{ ref("int_buyers_counted") }}),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    of_ledger as (
        select
            windows.as_of_date,
            series.platform,
            series.entity_type,
            series.entity_id,
            parts.component,
            parts.window_days,
            windows.evaluation_days,
            windows.denominator as counted,
            windows.running_denominator as running_counted
        from windows
        inner join series on series.series_number = windows.series_number
        inner join
            parts
            on parts.entity_type = series.entity_type
            and parts.metric = series.metric
            and parts.metric = {{ count_metric("parts.component", "parts.window_days") }}
    ),

    of_entities as (
        select *
        from of_ledger
        union all
        select *
        from buyers
    ),

    final as (
        select *
        from of_entities
        union all
        select
            of_entities.as_of_date,
            of_entities.platform,
            'category' as entity_type,
            coalesce(merchant_spells.category_id, 'unknown') as entity_id,
            of_entities.component,
            of_entities.window_days,
            of_entities.evaluation_days,
            cast(sum(of_entities.counted) as bigint) as counted,
            cast(sum(of_entities.running_counted) as bigint) as running_counted
        from of_entities
        left join
            merchant_spells
            on merchant_spells.platform = of_entities.platform
            and merchant_spells.merchant_id = of_entities.entity_id
            and merchant_spells.begin_on <= of_entities.as_of_date
            and merchant_spells.end_on > of_entities.as_of_date
        where of_entities.entity_type = 'merchant'
        group by
            of_entities.as_of_date,
            of_entities.platform,
            coalesce(merchant_spells.category_id, 'unknown'),
            of_entities.component,
            of_entities.window_days,
            of_entities.evaluation_days
    )

select *
from final

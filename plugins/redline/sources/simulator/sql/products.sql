-- Products are numbered within their merchant; the first ones sell most.
create macro product_id(merchant_no, product_index) as
    'P' || merchant_no || '-' || lpad((product_index)::varchar, 2, '0');

create macro list_price_cents(merchant_no, product_index, price_cents) as
    100 * whole(
        price_cents
        / 100.0
        * (0.35 + 1.9 * chance(merchant_no * 64 + product_index, 'price')
        * chance(merchant_no * 64 + product_index, 'price'))
    ) + 90;

create view product_lives as
with
    -- A year's changes; a short history sees the first of them.
    dated as (
        select
            *,
            merchant_no * 64 + product_index as record_no,
            case when opening_day < 0 then 60 * 40 else opening_day * 86400 + 4000 end as listed_at,
            case
                when chance(merchant_no * 64 + product_index, 'new price') < 0.6
                then (1 + greatest(opening_day, 0)) * 86400
                + days_long(chance(merchant_no * 64 + product_index, 'new price day') * 365)
            end as repriced_at,
            case
                when product_index > 2 and chance(merchant_no * 64 + product_index, 'dropped') < 0.2
                then (1 + greatest(opening_day, 0)) * 86400
                + days_long(chance(merchant_no * 64 + product_index, 'dropping day') * 365)
            end as dropped_at
        from merchants_made, unnest(range(products)) as indexes (product_index)
    )

select *, null as held_until, [listed_at, repriced_at, dropped_at] as moments
from dated;

select
    product_id(merchant_no, product_index) as product_id,
    case when fault_no = 3 then null else merchant_id end as merchant_id,
    case
        when chance(record_no, 'other category') < 0.04 then 'home' else category_id
    end as category_id,
    ['Classic', 'Compact', 'Daily', 'Extra', 'Family', 'Gentle', 'Light', 'Travel'][
        1 + whole(chance(record_no, 'title') * 8)
    ]
    || ' '
    || replace(category_id, '_', ' ')
    || ' no. '
    || product_index
    || case when chance(record_no, 'hotline') < 0.01 then ', hotline 13800138000' else '' end as title,
    money(
        case when fault_no = 2 then -1 else 1 end
        * list_price_cents(merchant_no, product_index, price_cents)
        + case when version_at >= repriced_at then 500 else 0 end
    ) as list_price,
    'CNY' as currency,
    chance(record_no, 'certified product') < 0.4 as is_certified,
    case
        when fault_no = 1 then 'sold_out' when version_at >= dropped_at then 'deleted' else 'active'
    end as status,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from sent('product_lives', 'product');

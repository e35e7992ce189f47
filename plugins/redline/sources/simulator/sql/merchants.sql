-- A merchant is delivered when it opens (or on the first date), and when it changes.
create view merchant_lives as
select
    *,
    merchant_no as record_no,
    null as held_until,
    [
        case when opening_day < 0 then 60 * 30 else opening_day * 86400 + 3600 end,
        closing_day * 86400 + 7200,
        moving_day * 86400 + 7200,
        case
            when chance(merchant_no, 'moves house') < 0.3
            then (1 + greatest(opening_day, 0) + whole(chance(merchant_no, 'moving house') * 120))
            * 86400 + 36000
        end
    ] as moments
from merchants_made;

select
    merchant_id,
    ['Amber', 'Birch', 'Cedar', 'Dune', 'Ember', 'Fern', 'Grove', 'Harbour', 'Iris', 'Juniper'][
        1 + whole(chance(merchant_no, 'first word') * 10)
    ]
    || ' '
    || ['Corner', 'House', 'Kitchen', 'Lane', 'Market', 'Outlet', 'Store', 'Trading', 'Works', 'Yard'][
        1 + whole(chance(merchant_no, 'second word') * 10)
    ]
    || ' '
    || merchant_no as merchant_name,
    case
        when fault_no = 3 then null
        when version_at >= moving_day * 86400 + 7200 then next_category_id
        else category_id
    end as category_id,
    case
        when chance(merchant_no, 'legal entity known') < 0.9
        then 'L' || lpad((1 + whole(chance(merchant_no, 'legal entity') * getvariable('merchants')))::varchar, 5, '0')
    end as legal_entity_id,
    'SIM00' || (1000000000 + merchant_no) as settlement_account,
    case
        when version_at > 60 * 30 and chance(merchant_no, 'new contact') < 0.5
        then 'office' || merchant_no || '@example.com'
        else '+1 202 555 01' || lpad((merchant_no % 100)::varchar, 2, '0')
    end as contact,
    instant(opening_day * 86400 + 3600) as opened_at,
    chance(merchant_no, 'certified') < 0.6 as is_certified,
    case
        when fault_no in (1, 2) then 'on_holiday'
        when version_at >= closing_day * 86400 + 7200 then 'closed'
        else 'active'
    end as status,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from sent('merchant_lives', 'merchant');

-- Orders. `order_lives` has one row per order placed on the trading days in sight, with the moments
-- of its life; complaints, reviews and refunds build on it.
create macro line_product(order_no, line_no, products) as
    whole(
        chance(order_no * 4 + line_no, 'product') * chance(order_no * 4 + line_no, 'product') * products
    );

create macro line_quantity(order_no, line_no) as
    case
        when chance(order_no * 4 + line_no, 'quantity') < 0.82 then 1
        when chance(order_no * 4 + line_no, 'quantity') < 0.95 then 2
        else 3
    end;

create macro line_cents(order_no, line_no, merchant_no, products, price_cents) as
    line_quantity(order_no, line_no)
    * list_price_cents(merchant_no, line_product(order_no, line_no, products), price_cents);

create macro line_count(order_no) as
    case
        when chance(order_no, 'lines') < 0.62 then 1
        when chance(order_no, 'lines') < 0.86 then 2
        when chance(order_no, 'lines') < 0.96 then 3
        else 4
    end;

create view order_lives as
with
    placed as (
        select
            *,
            trading_no * 65536 + order_index as order_no,
            day * 86400 + second_of_day(trading_no * 65536 + order_index) as placed_at
        from trading_days, unnest(range(order_count)) as indexes (order_index)
    ),

    paid as (
        select
            *,
            -- Nearly all are paid at once, some a day or two later, a few never.
            case
                when chance(order_no, 'payment') < 0.98
                then placed_at + 20 + whole(chance(order_no, 'payment') * 500)
                when chance(order_no, 'payment') < 0.994
                then placed_at + 3600 + days_long(chance(order_no, 'payment delay') * 1.6)
            end as paid_at
        from placed
    ),

    kept as (
        select
            *,
            coalesce(paid_at // 86400 between incident_first and incident_last, false) as is_paid_in_incident,
            case
                when paid_at is null
                then placed_at + 2 * 86400
                when chance(order_no, 'cancelled') < 0.04
                then paid_at + 600 + days_long(
                    chance(order_no, 'cancelling') * chance(order_no, 'cancelling') * 1.5
                )
            end as cancelled_at
        from paid
    ),

    shipped as (
        select
            *,
            case
                when is_shipped and cancelled_at is null
                then paid_at + days_long(
                    ship_from
                    + ship_spread * chance(order_no, 'shipping')
                    + case
                        when chance(order_no, 'shipped late') < 0.05
                        then 2 + 2 * chance(order_no, 'shipped how late')
                        else 0
                    end
                    + case
                        when is_paid_in_incident and incident = 'poor_delivery'
                        then 0.5 + 2.5 * chance(order_no, 'shipped in disorder')
                        else 0
                    end
                )
            end as shipped_at
        from kept
    ),

    fulfilled as (
        select
            *,
            case
                when cancelled_at is null and chance(order_no, 'lost') >= 0.02
                then coalesce(shipped_at, paid_at) + 1800
                + days_long(arrive_from + arrive_spread * chance(order_no, 'arrival'))
            end as fulfilled_at,
            case
                when chance(order_no, 'corrected') < 0.008
                then paid_at + 86400 + days_long(chance(order_no, 'correction') * 5)
            end as corrected_at,
            case whole(chance(order_no, 'mistaken') * 4)
                when 0 then 'paid_at' when 1 then 'amount' when 2 then 'merchant_id' else 'lines'
            end as mistake,
            case
                when chance(order_no, 'deleted') < 0.0005 then paid_at + 2 * 86400
            end as deleted_at,
            -- One order in a hundred reaches us only days later, after what happened to it.
            case
                when chance(order_no, 'held back') < 0.01
                then placed_at // 86400 + 1 + whole(chance(order_no, 'days held back') * 3)
            end as held_until
        from shipped
    )

select
    *,
    order_no as record_no,
    merchant_no || '-' || day || '-' || order_index as order_name,
    [
        case when paid_at is null or paid_at >= placed_at + 3600 then placed_at end,
        paid_at,
        shipped_at,
        fulfilled_at,
        cancelled_at,
        corrected_at,
        deleted_at
    ] as moments
from fulfilled;

with
    known as (
        select
            *,
            -- Until its correction a mistaken order shows something else.
            case when version_at < corrected_at then mistake else '' end as shown_mistake
        from sent('order_lives', 'order')
    )

select
    'O' || order_name as order_id,
    case
        when fault_no = 1 then null
        when shown_mistake = 'merchant_id'
        then 'M' || lpad((1 + (merchant_no + 6) % getvariable('merchants'))::varchar, 5, '0')
        else merchant_id
    end as merchant_id,
    buyer_id(
        whole(
            chance(order_no, 'buyer') * (0.3 + 0.7 * chance(order_no, 'loyalty')) * buyers_on(day)
        )
    ) as buyer_id,
    money(
        case when fault_no = 2 then -1 else 1 end
        * (
            case when shown_mistake = 'amount' then 1000 else 0 end
            + line_cents(order_no, 0, merchant_no, products, price_cents)
            + case
                when line_count(order_no) >= 2
                then line_cents(order_no, 1, merchant_no, products, price_cents)
                else 0
            end
            + case
                when line_count(order_no) >= 3
                then line_cents(order_no, 2, merchant_no, products, price_cents)
                else 0
            end
            + case
                when line_count(order_no) >= 4
                then line_cents(order_no, 3, merchant_no, products, price_cents)
                else 0
            end
        )
    ) as amount,
    'CNY' as currency,
    case
        when version_at < paid_at then null
        when shown_mistake = 'paid_at'
        then instant(greatest(0, paid_at - 3600 - days_long(chance(order_no, 'mistaken by') * 1.2)))
        else instant(paid_at)
    end as paid_at,
    case
        when version_at >= paid_at and is_shipped then instant(paid_at + 3 * 86400)
    end as ship_by_at,
    case when version_at >= shipped_at then instant(shipped_at) end as shipped_at,
    case when version_at >= fulfilled_at then instant(fulfilled_at) end as fulfilled_at,
    case when version_at >= cancelled_at then instant(cancelled_at) end as cancelled_at,
    case
        when version_at < cancelled_at or cancelled_at is null then null
        when paid_at is null then 'not paid in time'
        when chance(order_no, 'canceller') < 0.6 then 'changed my mind.' || careless(order_no)
        when chance(order_no, 'canceller') < 0.9 then 'out of stock'
        else 'suspected fraud'
    end as cancel_reason,
    case
        when version_at < cancelled_at or cancelled_at is null then null
        when paid_at is null then 'platform'
        when chance(order_no, 'canceller') < 0.6 then 'buyer'
        when chance(order_no, 'canceller') < 0.9 then 'merchant'
        else 'platform'
    end as cancelled_by,
    case
        when fault_no = 3 then 'on_hold' when version_at >= deleted_at then 'deleted' else 'active'
    end as status,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from known;

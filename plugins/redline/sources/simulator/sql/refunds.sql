-- Refunds, requested up to 12 days after payment; some orders see two. Merchant-fault ones and
-- the others are drawn apart. In an incident `wrong_goods` many get something they did not order.
create view refund_lives as
with
    likely as (
        select
            *,
            case
                when is_paid_in_incident and incident = 'wrong_goods' then 0.2
                else fault_share * flaw_factor
            end as merchant_share,
            chance(order_no, 'refund') as draw
        from order_lives
        where paid_at is not null and cancelled_at is null
    ),

    requested as (
        select
            * exclude (record_no, moments, held_until),
            order_no * 4 + request_no as record_no,
            draw < merchant_share as is_merchant_fault
        from likely, (values (0), (1)) as request (request_no)
        where
            draw < merchant_share + refund_share
            and (request_no = 0 or chance(order_no, 'second refund') < 0.05)
    ),

    dated as (
        select
            *,
            paid_at + 3600 + days_long(
                12 * chance(record_no, 'refund delay') * chance(record_no, 'refund delay')
            ) as requested_at,
            chance(record_no, 'refund outcome') as outcome
        from requested
    ),

    decided as (
        select
            *,
            case
                when outcome < 0.95
                then requested_at + 3600 + days_long(chance(record_no, 'refund decision') * 2)
            end as refund_decided_at,
            case
                when chance(record_no, 'refund fault found') < 0.04
                then requested_at + 86400 + days_long(chance(record_no, 'refund finding') * 3)
            end as found_at
        from dated
    ),

    completed as (
        select
            *,
            case
                when outcome < 0.83
                then refund_decided_at + 7200 + days_long(chance(record_no, 'refund payment') * 3)
            end as completed_at
        from decided
    )

select *, null as held_until, [requested_at, refund_decided_at, completed_at, found_at] as moments
from completed;

with
    known as (
        select
            *,
            case
                when is_merchant_fault and is_paid_in_incident and incident = 'wrong_goods'
                then 'wrong_item'
                when is_merchant_fault
                then
                    [
                        'quality_defect', 'quality_defect', 'not_as_described', 'not_as_described',
                        'wrong_item', 'missing_parts', 'late_delivery', 'counterfeit'
                    ][1 + whole(chance(record_no, 'refund reason') * 8)]
                else
                    [
                        'changed_mind', 'changed_mind', 'changed_mind', 'no_longer_needed',
                        'no_longer_needed', 'bought_by_mistake', 'damaged_in_transit', 'other'
                    ][1 + whole(chance(record_no, 'refund reason') * 8)]
            end as reason_code
        from sent('refund_lives', 'refund')
    )

select
    'F' || order_name || '-' || request_no as refund_id,
    case when fault_no = 3 then null else 'O' || order_name end as order_id,
    instant(requested_at) as requested_at,
    case when version_at >= completed_at then instant(completed_at) end as completed_at,
    money(
        case when fault_no = 2 then -1 else 1 end
        * line_cents(order_no, 0, merchant_no, products, price_cents)
    ) as amount,
    case
        when shipped_at is null or shipped_at > requested_at then 'refund_only'
        when chance(record_no, 'refund kind') < 0.7 then 'return_and_refund'
        else 'refund_only'
    end as kind,
    reason_code,
    case
        when version_at >= found_at then case when is_merchant_fault then 'merchant' else 'buyer' end
        when found_at is not null or chance(record_no, 'refund fault') >= 0.45 then null
        when is_merchant_fault then 'merchant'
        when reason_code = 'damaged_in_transit' then 'carrier'
        when reason_code = 'other' then 'unknown'
        else 'buyer'
    end as fault_party,
    case
        when fault_no = 1 then 'lost'
        when version_at >= completed_at then 'completed'
        when version_at < refund_decided_at or refund_decided_at is null then 'requested'
        when outcome < 0.84 then 'approved'
        when outcome < 0.89 then 'withdrawn'
        else 'rejected'
    end as status,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from known;

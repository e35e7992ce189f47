-- Complaint tickets, raised up to 14 days after payment; some orders draw two. In an incident
-- `bad_batch` the merchant's best-selling products draw most.
create view complaint_lives as
with
    likely as (
        select
            *,
            case
                when is_paid_in_incident
                    and incident = 'bad_batch'
                    and line_product(order_no, 0, products) < (products + 1) // 2
                then 0.24
                when is_paid_in_incident and incident = 'poor_delivery'
                then complaint_share * flaw_factor + 0.004
                else complaint_share * flaw_factor
            end as share
        from order_lives
        where paid_at is not null
    ),

    raised as (
        select * exclude (record_no, moments, held_until), order_no * 4 + ticket_no as record_no
        from likely, (values (0), (1)) as ticket (ticket_no)
        where
            chance(order_no, 'complaint') < share
            and (ticket_no = 0 or chance(order_no, 'second complaint') < 0.06)
    ),

    dated as (
        select
            *,
            paid_at + 1800 + days_long(
                14 * chance(record_no, 'complaint delay') * chance(record_no, 'complaint delay')
            ) as raised_at,
            chance(record_no, 'complaint outcome') as outcome
        from raised
    ),

    ended as (
        select
            *,
            case
                when outcome < 0.75
                then raised_at + 7200 + days_long(chance(record_no, 'complaint handling') * 6)
            end as ended_at,
            case
                when chance(record_no, 'fault found') < 0.06
                then raised_at + 86400 + days_long(chance(record_no, 'finding') * 4)
            end as found_at
        from dated
    )

select *, null as held_until, [raised_at, ended_at, found_at] as moments
from ended;

with
    known as (
        select
            *,
            case
                when is_paid_in_incident and incident = 'bad_batch' and ticket_no = 0
                then
                    case
                        when chance(record_no, 'complaint reason') < 0.75
                        then 'quality_defect' else 'not_as_described'
                    end
                when is_paid_in_incident and incident = 'poor_delivery' then 'late_delivery'
                else
                    [
                        'quality_defect', 'not_as_described', 'wrong_item', 'missing_parts',
                        'late_delivery', 'late_delivery', 'damaged_in_transit', 'service_attitude',
                        'service_attitude', 'counterfeit', 'changed_mind', 'other'
                    ][1 + whole(chance(record_no, 'complaint reason') * 12)]
            end as reason_code
        from sent('complaint_lives', 'complaint')
    )

select
    'C' || order_name || '-' || ticket_no as complaint_id,
    case when fault_no = 3 then null else 'O' || order_name end as order_id,
    instant(raised_at) as created_at,
    reason_code,
    'Complaint: ' || replace(reason_code, '_', ' ') || '.' || careless(record_no) as description,
    case
        when version_at >= found_at then 'carrier'
        when chance(record_no, 'complaint fault') < 0.3 then 'merchant'
        when chance(record_no, 'complaint fault') < 0.35 then 'unknown'
    end as fault_party,
    case
        when fault_no in (1, 2) then 'escalated'
        when version_at < ended_at or ended_at is null then 'open'
        when outcome < 0.55 then 'resolved'
        when outcome < 0.64 then 'withdrawn'
        when outcome < 0.74 then 'rejected'
        else 'deleted'
    end as status,
    case when version_at >= ended_at then instant(ended_at) end as resolved_at,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from known;

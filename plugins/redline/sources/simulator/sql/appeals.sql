-- Appeals of merchants against complaints, negative reviews and merchant-fault refunds. Most are
-- decided within days; a few decisions are reversed.
create view appeal_lives as
with
    subjects as (
        select
            merchant_no, merchant_id, 'complaint' as subject_type, record_no as subject_no,
            'C' || order_name || '-' || ticket_no as subject_id, raised_at as since_moment
        from complaint_lives
        where chance(record_no, 'complaint appealed') < 0.12
        union all
        select
            merchant_no, merchant_id, 'review', record_no,
            'R' || order_name || '-' || review_no, written_at
        from review_lives
        where rating <= 2 and chance(record_no, 'review appealed') < 0.10
        union all
        select
            merchant_no, merchant_id, 'refund', record_no,
            'F' || order_name || '-' || request_no, requested_at
        from refund_lives
        where is_merchant_fault and chance(record_no, 'refund appealed') < 0.10
    ),

    submitted as (
        select
            *,
            -- Complaints, reviews and refunds of one order share numbers; their appeals must not.
            subject_no * 4 + case subject_type when 'complaint' then 0 when 'review' then 1 else 2 end
            as record_no
        from subjects
    ),

    dated as (
        select
            *,
            since_moment + 7200 + days_long(chance(record_no, 'appeal delay') * 4) as submitted_at,
            chance(record_no, 'appeal upheld') < 0.4 as is_upheld_first
        from submitted
    ),

    decided as (
        select
            *,
            case
                when chance(record_no, 'appeal decided') < 0.9
                then submitted_at + 43200 + days_long(chance(record_no, 'appeal decision') * 7)
            end as decided_at
        from dated
    ),

    reversed as (
        select
            *,
            case
                when chance(record_no, 'appeal reversed') < 0.08
                then decided_at + 86400 + days_long(chance(record_no, 'reversal') * 4)
            end as reversed_at
        from decided
    )

select *, null as held_until, [submitted_at, decided_at, reversed_at] as moments
from reversed;

select
    'A' || subject_id as appeal_id,
    subject_type,
    subject_id,
    case when fault_no = 3 then null else merchant_id end as merchant_id,
    instant(submitted_at) as submitted_at,
    case
        when version_at >= reversed_at then instant(reversed_at)
        when version_at >= decided_at then instant(decided_at)
    end as decided_at,
    case
        when fault_no in (1, 2) then 'in_dispute'
        when version_at < decided_at or decided_at is null then 'submitted'
        when is_upheld_first <> coalesce(version_at >= reversed_at, false) then 'upheld'
        else 'rejected'
    end as status,
    case
        when chance(record_no, 'evidence') < 0.6
        then 'https://evidence.example.com/' || subject_id
    end as evidence_uri,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from sent('appeal_lives', 'appeal');

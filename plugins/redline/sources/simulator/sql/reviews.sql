-- Reviews, mostly written within ten days after fulfilment, a few before. In an incident
-- `poor_delivery` what is fulfilled then is reviewed more often, and badly.
create view review_lives as
with
    judged as (
        select
            *,
            incident = 'poor_delivery'
            and coalesce(fulfilled_at // 86400 between incident_first and incident_last, false) as is_spoilt
        from order_lives
        where fulfilled_at is not null
    ),

    written as (
        select * exclude (record_no, moments, held_until), order_no * 4 + review_no as record_no
        from judged, (values (0), (1)) as review (review_no)
        where
            chance(order_no, 'review') < case when is_spoilt then 0.5 else review_share end
            and (review_no = 0 or chance(order_no, 'second review') < 0.03)
    ),

    rated as (
        select
            *,
            case
                when chance(record_no, 'early review') < 0.015
                then greatest(
                    paid_at + 900, fulfilled_at - days_long(chance(record_no, 'review delay') * 1.5)
                )
                else fulfilled_at + 900 + days_long(
                    10 * chance(record_no, 'review delay') * chance(record_no, 'review delay')
                )
            end as written_at,
            case when is_spoilt then 0.55 else negative_share * flaw_factor end as negative,
            chance(record_no, 'rating') as mood
        from written
    ),

    changed as (
        select
            *,
            case
                when mood < 0.6 * negative then 1
                when mood < negative then 2
                when mood < negative + (1 - negative) * 0.10 then 3
                when mood < negative + (1 - negative) * 0.32 then 4
                else 5
            end as rating,
            case
                when chance(record_no, 'rated anew') < 0.02
                then written_at + 3600 + days_long(chance(record_no, 'rating anew') * 6)
            end as rerated_at,
            case
                when chance(record_no, 'review deleted') < 0.015
                then written_at + 10000 + days_long(chance(record_no, 'deleting') * 8)
            end as deleted_review_at
        from rated
    )

select *, null as held_until, [written_at, rerated_at, deleted_review_at] as moments
from changed;

select
    'R' || order_name || '-' || review_no as review_id,
    case when fault_no = 3 then null else 'O' || order_name end as order_id,
    case
        when chance(record_no, 'product named') < 0.8
        then product_id(merchant_no, line_product(order_no, 0, products))
    end as product_id,
    case
        when fault_no = 2 then 6
        when version_at >= rerated_at then least(5, greatest(rating, 3) + 1)
        else rating
    end::integer as rating,
    case
        when chance(record_no, 'body') < 0.5
        then
            case when rating <= 2 then 'Not what I paid for.' else 'All as it should be.' end
            || careless(record_no)
    end as body,
    instant(written_at) as created_at,
    case
        when fault_no = 1 then 'hidden' when version_at >= deleted_review_at then 'deleted' else 'visible'
    end as status,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from sent('review_lives', 'review');

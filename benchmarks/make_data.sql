-- What happens on the benchmark's marketplace, and what of it lands on a date. Sections are named
-- by the lines that begin with two dashes and an @; `make_data.py` runs them.

--@ macros

-- Times are local to the marketplace; landed_time() makes them UTC at the very end.
create macro unit(i, k) as (hash(i * 64 + k) >> 11) / 9007199254740992.0;
create macro later(moment, days) as moment + to_microseconds(cast(days * 86400e6 as bigint));
create macro landed_time(moment) as moment - interval 8 hours;
create macro order_key(i) as format('{:016d}', 6900000000000000 + i);
create macro merchant_key(m) as format('m{:07d}', m);
create macro product_key(p) as format('p{:09d}', p);

--@ truth

-- One row per order: what truly happens to it. The columns *_on are report dates.
create table truth as
with paid as (
    select
        i,
        cast(floor($merchants * pow(unit(i, 1), 2.5)) as integer) as merchant_no,
        later(cast($first_date as timestamp), (i + 0.5) / $orders_per_day) as paid_at,
        later(paid_at, 0.05 + case when unit(i, 3) < 0.97 then 1.5 else 4 end * unit(i, 4)) as ships_at,
        case when unit(i, 5) < 0.96 then later(ships_at, 0.1 + 2.5 * unit(i, 6)) end as fulfils_at,
        case when unit(i, 7) < 0.5 then later(paid_at, 2.5 + 2 * unit(i, 8)) end as ship_by_at,
        cast(paid_at as date) as paid_on,
        -- What goes wrong, each for few orders: see the module's docstring.
        cast(floor(unit(i, 9) * 1000) as integer) as fate
    from range($orders) as numbers(i)
)
select
    *,
    merchant_no * $products_per_merchant
        + cast(floor($products_per_merchant * pow(unit(i, 2), 2)) as integer) as product_no,
    cast(round(5 + 195 * pow(unit(i, 10), 2), 2) as decimal(18, 2)) as price,
    case when unit(i, 11) < 0.25 then 2 when unit(i, 11) < 0.28 then 3 else 1 end as line_count,
    -- fate 0, 1: the first version is only in a re-sent file of its date, landed a day later
    case when fate < 2 then paid_on + 1 else paid_on end as first_on,
    case when unit(i, 12) < 0.7 and cast(ships_at as date) > paid_on + 1
            and cast(ships_at as date) < cast(coalesce(fulfils_at, ships_at + interval 1 day) as date)
        then cast(ships_at as date) end as shipped_on,
    -- fate 2 to 6: the last version lands late; nobody fulfils on the day of payment
    case when fulfils_at is not null
        then greatest(cast(fulfils_at as date), paid_on + 2)
            + case when fate between 2 and 6 then fate - 1 else 0 end
    end as fulfilled_on,
    -- fate 7, 8: the first version is sent again after the last one; 9 to 11: the order is corrected
    -- (merchant, time of payment or deletion)
    case when fate between 7 and 11 then fulfilled_on + 1 + cast(floor(5 * unit(i, 13)) as integer) end
        as again_on
from paid;

create table true_reviews as
select
    i,
    case when unit(i, 20) < 0.62 then 5 when unit(i, 20) < 0.84 then 4 when unit(i, 20) < 0.92 then 3
        when unit(i, 20) < 0.95 then 2 else 1 end as rating,
    later(fulfils_at, 0.02 + 11 * pow(unit(i, 21), 2)) as created_at,
    greatest(cast(created_at as date), first_on) as first_on,
    case when unit(i, 22) < 0.01 then first_on + 1 + cast(floor(8 * unit(i, 23)) as integer) end as last_on
from truth
where fulfils_at is not null and unit(i, 24) < 0.42;

create table true_complaints as
select
    i,
    later(paid_at, 0.2 + 12 * pow(unit(i, 30), 1.5)) as created_at,
    greatest(cast(created_at as date), first_on) as first_on,
    case when unit(i, 31) < 0.2 then 'withdrawn' when unit(i, 31) < 0.25 then 'rejected' else 'resolved' end
        as last_status,
    case when unit(i, 32) < 0.8 then first_on + 1 + cast(floor(6 * unit(i, 33)) as integer) end as last_on
from truth
where unit(i, 34) < 0.01;

create table true_refunds as
select
    i * 2 + n as refund_no,
    i,
    price,
    later(paid_at, 0.2 + 14 * pow(unit(refund_no, 40), 1.5)) as requested_at,
    greatest(cast(requested_at as date), first_on) as first_on,
    case when unit(refund_no, 41) < 0.1 then 'withdrawn' when unit(refund_no, 41) < 0.15 then 'rejected'
        else 'completed' end as last_status,
    case when unit(refund_no, 42) < 0.9 then first_on + 1 + cast(floor(5 * unit(refund_no, 43)) as integer) end
        as last_on
from truth
cross join (values (0), (1)) as pieces(n)
where unit(i, 44) < 0.028 and (n = 0 or unit(i, 45) < 0.1);

create table true_appeals as
with appealed as (
    select 'complaint' as subject_type, format('c{:010d}', i) as subject_id, i, first_on from true_complaints
    where unit(i, 50) < 0.1
    union all
    select 'review', format('r{:010d}', i), i, first_on from true_reviews
    where rating <= 2 and unit(i, 51) < 0.05
    union all
    select 'refund', format('f{:010d}', refund_no), refund_no, first_on from true_refunds
    where unit(refund_no, 52) < 0.05
)
select
    subject_type,
    subject_id,
    format('{}-{}', subject_id, n) as appeal_id,
    merchant_key(0) as merchant_id,
    -- One in ten appeals again, days after the first decision.
    appealed.first_on + 1 + 6 * n as first_on,
    appealed.first_on + 2 + 6 * n + cast(floor(4 * unit(i, 53 + n)) as integer) as last_on,
    case when unit(i, 55 + n) < 0.4 then 'upheld' else 'rejected' end as last_status
from appealed
cross join (values (0), (1)) as rounds(n)
where n = 0 or unit(i, 57) < 0.1;

--@ landed_orders

-- One row per version of an order that lands on a date. The versions of one order land on
-- different dates, except that first and late versions may share one: the later one wins there too.
create or replace temp table landed_orders as
with versions as (
    select *, 'first' as kind, paid_on as source_date, later(paid_at, 0.001) as known_at
    from truth where first_on = $day
    union all by name
    select *, 'shipped' as kind, shipped_on as source_date, later(ships_at, 0.001) as known_at
    from truth where shipped_on = $day
    union all by name
    select *, 'fulfilled' as kind, fulfilled_on as source_date, later(fulfils_at, 0.001) as known_at
    from truth where fulfilled_on = $day
    union all by name
    select
        *, case when fate <= 8 then 'first' when fate = 9 then 'moved' when fate = 10 then 'redated' else 'deleted' end
            as kind,
        again_on as source_date,
        case when fate <= 8 then later(paid_at, 0.001) else later(cast(again_on as timestamp), 0.5) end as known_at
    from truth where again_on = $day
)
select
    i,
    merchant_no,
    product_no,
    price,
    line_count,
    source_date,
    order_key(i) as order_id,
    merchant_key(case when kind = 'moved' then (merchant_no + 1) % $merchants else merchant_no end) as merchant_id,
    sha256(cast(i % 1000003 as varchar)) as buyer_id,
    price * line_count as amount,
    'CNY' as currency,
    landed_time(case when kind = 'redated' then later(paid_at, -1) else paid_at end) as paid_at,
    landed_time(ship_by_at) as ship_by_at,
    case when kind <> 'first' then landed_time(ships_at) end as shipped_at,
    case when kind not in ('first', 'shipped') then landed_time(fulfils_at) end as fulfilled_at,
    -- Some are never shipped: the merchant cancels a day after their payment.
    case when fulfils_at is null and known_at > later(paid_at, 1) then landed_time(later(paid_at, 1)) end
        as cancelled_at,
    cast(null as varchar) as cancel_reason,
    case when cancelled_at is not null then 'merchant' end as cancelled_by,
    case when kind = 'deleted' then 'deleted' else 'active' end as status,
    -- The record is written minutes after the fact, but not after the date has ended.
    landed_time(least(known_at, cast($day as timestamp) + interval 86399 seconds)) as updated_at
from versions;

--@ merchants

select
    $day as source_date,
    merchant_key(m) as merchant_id,
    format('Merchant {}', m) as merchant_name,
    $categories[1 + cast(m % len($categories) as integer)] as category_id,
    cast(null as varchar) as legal_entity_id,
    cast(null as varchar) as settlement_account,
    cast(null as varchar) as contact,
    cast(null as timestamp) as opened_at,
    true as is_certified,
    'active' as status,
    landed_time(cast($day as timestamp)) as updated_at
from range($merchants) as numbers(m)
where $day = $first_date or m % 997 = date_diff('day', cast($first_date as date), cast($day as date))

--@ products

select
    $day as source_date,
    product_key(p) as product_id,
    merchant_key(p // $products_per_merchant) as merchant_id,
    $categories[1 + cast((p // $products_per_merchant) % len($categories) as integer)]
        as category_id,
    format('Product {}', p) as title,
    cast(20 as decimal(18, 2)) as list_price,
    'CNY' as currency,
    true as is_certified,
    'active' as status,
    landed_time(cast($day as timestamp)) as updated_at
from range($merchants * $products_per_merchant) as numbers(p)
where $day = $first_date or p % 997 = date_diff('day', cast($first_date as date), cast($day as date))

--@ orders

from landed_orders

--@ order_items

select
    source_date,
    order_id,
    cast(n + 1 as integer) as line_no,
    product_key((product_no + n * 3) % ($merchants * $products_per_merchant)) as product_id,
    cast(1 + floor(3 * unit(i, 60 + n)) as integer) as quantity,
    price as unit_price
from landed_orders
cross join range(3) as lines(n)
where n < line_count

--@ complaints

select
    $day as source_date,
    format('c{:010d}', i) as complaint_id,
    order_key(i) as order_id,
    landed_time(created_at) as created_at,
    $reasons[1 + cast(i % len($reasons) as integer)] as reason_code,
    cast(null as varchar) as description,
    cast(null as varchar) as fault_party,
    case when first_on = $day then 'open' else last_status end as status,
    case when first_on < $day then landed_time(later(cast(last_on as timestamp), 0.5)) end as resolved_at,
    landed_time(case when first_on = $day then created_at else later(cast(last_on as timestamp), 0.5) end)
        as updated_at
from true_complaints
where first_on = $day or last_on = $day

--@ reviews

select
    $day as source_date,
    format('r{:010d}', i) as review_id,
    order_key(i) as order_id,
    cast(null as varchar) as product_id,
    cast(rating as integer) as rating,
    cast(null as varchar) as body,
    landed_time(created_at) as created_at,
    case when first_on = $day then 'visible' else 'deleted' end as status,
    landed_time(case when first_on = $day then created_at else later(cast(last_on as timestamp), 0.5) end)
        as updated_at
from true_reviews
where first_on = $day or last_on = $day

--@ refunds

select
    $day as source_date,
    format('f{:010d}', refund_no) as refund_id,
    order_key(i) as order_id,
    landed_time(requested_at) as requested_at,
    case when first_on < $day then landed_time(later(cast(last_on as timestamp), 0.5)) end as completed_at,
    price as amount,
    'return' as kind,
    $reasons[1 + cast(refund_no % len($reasons) as integer)] as reason_code,
    -- Half of them state whose fault it is; the reason decides for the others.
    case when refund_no % 4 = 0 then 'merchant' when refund_no % 4 = 1 then 'buyer' end as fault_party,
    case when first_on = $day then 'requested' else last_status end as status,
    landed_time(case when first_on = $day then requested_at else later(cast(last_on as timestamp), 0.5) end)
        as updated_at
from true_refunds
where first_on = $day or last_on = $day

--@ appeals

select
    $day as source_date,
    appeal_id,
    subject_type,
    subject_id,
    merchant_id,
    landed_time(later(cast(first_on as timestamp), 0.4)) as submitted_at,
    case when first_on < $day then landed_time(later(cast(last_on as timestamp), 0.5)) end as decided_at,
    case when first_on = $day then 'submitted' else last_status end as status,
    cast(null as varchar) as evidence_uri,
    landed_time(later(cast($day as timestamp), 0.5)) as updated_at
from true_appeals
where first_on = $day or last_on = $day

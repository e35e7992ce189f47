-- The limit: the ledger and the merchants' rates of one platform, by hand, on bare DuckDB, all
-- evenings at once. Written for speed alone: one platform, one time zone without transitions,
-- nothing incremental, nothing kept for tomorrow, no projection, no evaluation, no test.
--
-- Variables: landing (.../landing/<platform>), platform, last_date, reason_codes (a CSV file).
-- Makes: ledger, as fct_cohort_ledger; rates, product_rates and category_rates, the counts of
-- fct_merchant_daily_rates, fct_product_daily_rates and fct_category_daily_rates.

--@ macros

create macro landed(entity) as table
    select * from read_parquet(
        getvariable('landing') || '/' || entity || '/*/*.parquet',
        hive_partitioning = true,
        hive_types = {'report_date': 'date'}
    )
    where report_date <= getvariable('last_date');

-- An offset instead of a zone: converting through the zone's rules costs ten times as much.
create macro business_date(moment) as cast(moment + interval 8 hours as date);

create macro ever() as date '9999-12-31';

-- A landed file as one integer that sorts by report date, then source date.
create macro file_number(report_date, source_date) as
    cast((report_date - date '2000-01-01') * 65536 + (source_date - date '2000-01-01') as integer);

create macro report_date_of(number) as date '2000-01-01' + cast(number // 65536 as integer);

--@ order versions

create temp table order_versions as
with products as (
    select
        order_id,
        file_number(report_date, source_date) as file,
        -- Greatest amount, then lowest line, in one number: comparing rows takes thrice as long.
        arg_max(product_id, cast(quantity * unit_price * 100 as bigint) * 65536 - line_no) as product_id
    from landed('order_items')
    group by all
),

orders as (
    select
        order_id,
        file_number(report_date, source_date) as file,
        updated_at,
        merchant_id,
        business_date(paid_at) as paid_date,
        business_date(fulfilled_at) as fulfilled_date,
        case
            when shipped_at is null or shipped_at > coalesce(ship_by_at, paid_at + interval 72 hours)
                then business_date(coalesce(ship_by_at, paid_at + interval 72 hours))
        end as late_date,
        case
            when cancelled_by = 'merchant' and coalesce(cancelled_at < shipped_at, true)
                then business_date(cancelled_at)
        end as cancelled_date,
        status = 'active' as is_counted
    from landed('orders')
)

select
    orders.*,
    coalesce(product_id, 'unknown') as product_id,
    hash(merchant_id, product_id, paid_date, is_counted) as story
from orders
left join products using (order_id, file);

--@ orders

-- Most orders tell one story in at most three versions: same merchant, product and payment, later
-- files newer, fulfilment and shipping only ever filled in. For these no version need be put in
-- order: smallest and greatest values say it all.
-- Each aggregate over ten million groups costs half a second, so the four parts of a story are one
-- hash. (Two stories with one hash would show: the ledger is compared with the product's.)
create temp table orders as
select
    order_id,
    any_value(merchant_id) as merchant_id,
    any_value(product_id) as product_id,
    any_value(paid_date) as paid_date,
    min(fulfilled_date) as fulfilled_date,
    min(late_date) as late_date,
    report_date_of(min(file)) as known_from,
    report_date_of(min(case when fulfilled_date is not null then file end)) as fulfilled_from,
    coalesce(report_date_of(min(case when late_date is null then file end)), ever()) as late_until,
    (
        count(*) <= 3
        and min(story) = max(story)
        and any_value(is_counted)
        and any_value(paid_date) is not null
        and max(cancelled_date) is null
        and arg_min(file, updated_at) = min(file)
        and arg_max(file, updated_at) = max(file)
        and min(fulfilled_date) is not distinct from max(fulfilled_date)
        and coalesce(
            max(case when fulfilled_date is null then file end)
            < min(case when fulfilled_date is not null then file end),
            true
        )
        and min(late_date) is not distinct from max(late_date)
        and coalesce(
            max(case when late_date is not null then file end)
            < min(case when late_date is null then file end),
            true
        )
    ) as is_plain
from order_versions
group by order_id;

--@ spells

-- The others by the definition: a version speaks from its report date, if it is the last of that
-- date and no older than any before it, until the next such.
create temp table winding_orders as
with ordered as (
    select
        *,
        report_date_of(file) as report_date,
        max(updated_at) over (
            partition by order_id order by report_date_of(file), updated_at, file
            rows between unbounded preceding and 1 preceding
        ) as known_at,
        lead(report_date_of(file)) over (
            partition by order_id order by report_date_of(file), updated_at, file
        ) as next_report_date
    from order_versions
    where order_id in (select order_id from orders where not is_plain)
)

select
    *,
    coalesce(lead(report_date) over (partition by order_id order by report_date), ever()) as until
from ordered
where coalesce(next_report_date > report_date, true) and coalesce(updated_at >= known_at, true);

create temp view paid_spells as
select order_id, merchant_id, product_id, paid_date as cohort_date, known_from as begin_on, ever() as end_on
from orders
where is_plain
union all
select order_id, merchant_id, product_id, paid_date, report_date, until
from winding_orders
where is_counted and paid_date is not null;

create temp view fulfilled_spells as
select order_id, merchant_id, product_id, fulfilled_date as cohort_date, fulfilled_from as begin_on, ever() as end_on
from orders
where is_plain and fulfilled_date is not null
union all
select order_id, merchant_id, product_id, fulfilled_date, report_date, until
from winding_orders
where is_counted and fulfilled_date is not null;

create temp view late_spells as
select merchant_id, product_id, paid_date as cohort_date, late_date, known_from as begin_on, late_until as end_on
from orders
where is_plain and late_date is not null
union all
select merchant_id, product_id, paid_date, late_date, report_date, until
from winding_orders
where is_counted and paid_date is not null and late_date is not null;

create temp view cancelled_spells as
select merchant_id, product_id, paid_date as cohort_date, cancelled_date, report_date as begin_on, until as end_on
from winding_orders
where is_counted and paid_date is not null and cancelled_date is not null;

--@ events

-- The newest versions of a small entity, with the dates between which each speaks.
create macro spells(staged) as table
    with ordered as (
        select
            *,
            max(updated_at) over (
                partition by id order by report_date, updated_at, source_date
                rows between unbounded preceding and 1 preceding
            ) as known_at,
            lead(report_date) over (partition by id order by report_date, updated_at, source_date)
                as next_report_date
        from query_table(staged)
    )

    select
        * exclude (updated_at, source_date, known_at, next_report_date, report_date),
        report_date as begin_on,
        coalesce(lead(report_date) over (partition by id order by report_date), ever()) as end_on
    from ordered
    where coalesce(next_report_date > report_date, true) and coalesce(updated_at >= known_at, true);

create temp view review_versions as
select
    review_id as id, order_id, rating, business_date(created_at) as event_date,
    status = 'visible' as is_counted, updated_at, report_date, source_date
from landed('reviews');

create temp view complaint_versions as
select
    complaint_id as id, order_id, business_date(created_at) as event_date, reason_code, fault_party,
    status in ('open', 'resolved') as is_counted, updated_at, report_date, source_date
from landed('complaints');

create temp view refund_versions as
select
    refund_id as id, order_id, business_date(requested_at) as event_date, reason_code, fault_party,
    status in ('requested', 'approved', 'completed') as is_counted, updated_at, report_date, source_date
from landed('refunds');

create temp view appeal_versions as
select
    appeal_id as id, subject_type, subject_id, decided_at, status, updated_at, report_date, source_date
from landed('appeals');

-- When an event was overturned: of its decided appeals the latest decision is upheld.
create temp table overturned as
with decisions as (
    select
        subject_type,
        subject_id as id,
        row(decided_at, appeal_spells.id) as rank,
        status = 'upheld' as is_upheld,
        greatest(begin_on, business_date(decided_at)) as begin_on,
        end_on
    from spells('appeal_versions') as appeal_spells
    where status <> 'submitted' and decided_at is not null
),

cuts as (
    select subject_type, id, begin_on from decisions
    union
    select subject_type, id, end_on from decisions
),

pieces as (
    select *, coalesce(lead(begin_on) over (partition by subject_type, id order by begin_on), ever()) as end_on
    from cuts
)

select pieces.subject_type, pieces.id, pieces.begin_on, pieces.end_on
from pieces
inner join decisions
    on decisions.subject_type = pieces.subject_type
    and decisions.id = pieces.id
    and decisions.begin_on <= pieces.begin_on
    and decisions.end_on > pieces.begin_on
group by all
having arg_max(is_upheld, rank);

create temp table reviews as
select
    spells.id, merchant_id, product_id, cohort_date, rating,
    event_date - cohort_date as lag_days,
    greatest(spells.begin_on, fulfilled_spells.begin_on, cohort_date, event_date) as begin_on,
    least(spells.end_on, fulfilled_spells.end_on) as end_on
from fulfilled_spells
inner join spells('review_versions') as spells using (order_id)
where spells.is_counted;

create temp table fault_spells as
with fault as (
    select reason_code, effective_from, fault_party
    from read_csv(getvariable('reason_codes'), header = true)
    where platform in ('*', getvariable('platform'))
    qualify row_number() over (
        partition by reason_code, effective_from order by platform = '*'
    ) = 1
)

select
    reason_code, fault_party, effective_from as begin_on,
    coalesce(lead(effective_from) over (partition by reason_code order by effective_from), ever()) as end_on
from fault;

create temp table refund_spells as
select * from spells('refund_versions') where is_counted;

create temp table complaint_spells as
select * from spells('complaint_versions') where is_counted;

create macro at_fault(event_spells) as table
    with events as (from query_table(event_spells))

    select id, order_id, event_date, begin_on, end_on from events where fault_party = 'merchant'
    union all
    select
        id, order_id, event_date,
        greatest(events.begin_on, fault_spells.begin_on), least(events.end_on, fault_spells.end_on)
    from events
    inner join fault_spells using (reason_code)
    where events.fault_party is null and fault_spells.fault_party = 'merchant';

-- What counts an order once, with the orders as paid: component, kind and event.
create temp table defects as
with events as (
    select 'merchant_fault_return_orders' as component, 'refund' as kind, * from at_fault('refund_spells')
    union all
    select 'refunded_orders', 'refund', id, order_id, event_date, begin_on, end_on from refund_spells
    union all
    select 'defective_orders', 'refund', * from at_fault('refund_spells')
    union all
    select 'defective_orders', 'complaint', * from at_fault('complaint_spells')
    union all
    select 'defective_orders', 'review', id, order_id, event_date, begin_on, end_on
    from spells('review_versions')
    where is_counted and rating <= 2
)

select
    component, kind, order_id, events.id, merchant_id, product_id, cohort_date,
    event_date - cohort_date as lag_days,
    greatest(events.begin_on, paid_spells.begin_on, cohort_date, event_date) as begin_on,
    least(events.end_on, paid_spells.end_on) as end_on
from paid_spells
inner join events using (order_id)
where greatest(events.begin_on, paid_spells.begin_on, cohort_date, event_date)
    < least(events.end_on, paid_spells.end_on);

create temp table complaints as
select
    spells.id, merchant_id, product_id, cohort_date,
    event_date - cohort_date as lag_days,
    greatest(spells.begin_on, paid_spells.begin_on, cohort_date, event_date) as begin_on,
    least(spells.end_on, paid_spells.end_on) as end_on
from paid_spells
inner join complaint_spells as spells using (order_id);

create temp table fault_complaints as
select
    at_fault.id, merchant_id, product_id, cohort_date,
    event_date - cohort_date as lag_days,
    greatest(at_fault.begin_on, paid_spells.begin_on, cohort_date, event_date) as begin_on,
    least(at_fault.end_on, paid_spells.end_on) as end_on
from paid_spells
inner join at_fault('complaint_spells') as at_fault using (order_id);

-- Orders count once, with the least lag of what stands: cut at every begin and end.
create temp table orders_once as
with overturned_defects as (
    select defects.component, defects.order_id, overturned.begin_on, overturned.end_on
    from overturned
    inner join defects on defects.kind = overturned.subject_type and defects.id = overturned.id
),

cuts as (
    select component, order_id, begin_on from defects
    union
    select component, order_id, end_on from defects
    union
    select component, order_id, begin_on from overturned_defects
    union
    select component, order_id, end_on from overturned_defects
),

pieces as (
    select
        *,
        coalesce(lead(begin_on) over (partition by component, order_id order by begin_on), ever()) as end_on
    from cuts
)

select
    pieces.component, merchant_id, product_id, cohort_date, pieces.begin_on, pieces.end_on,
    min(lag_days) as lag_days,
    min(lag_days) filter (where overturned.id is null) as adjusted_lag_days
from pieces
inner join defects
    on defects.component = pieces.component
    and defects.order_id = pieces.order_id
    and defects.begin_on <= pieces.begin_on
    and defects.end_on > pieces.begin_on
left join overturned
    on overturned.subject_type = defects.kind
    and overturned.id = defects.id
    and overturned.begin_on <= pieces.begin_on
    and overturned.end_on > pieces.begin_on
group by
    pieces.component, pieces.order_id, merchant_id, product_id, cohort_date, pieces.begin_on, pieces.end_on;

--@ ledger

create table ledger (
    report_date date, cohort_date date, platform varchar, merchant_id varchar, product_id varchar,
    component varchar, lag_days integer, quantity bigint
);

-- One statement per component keeps each group-by small and its component out of the key. Only what
-- can end leaves a second entry.
insert into ledger
with entries as (
    select greatest(begin_on, cohort_date) as report_date, cohort_date, merchant_id, product_id, 1 as entry
    from paid_spells
    where greatest(begin_on, cohort_date) < end_on
    union all
    select end_on, cohort_date, merchant_id, product_id, -1
    from paid_spells
    where end_on < ever() and greatest(begin_on, cohort_date) < end_on
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id, 'orders_paid', 0, sum(entry)
from entries
where report_date <= getvariable('last_date')
group by report_date, cohort_date, merchant_id, product_id
having sum(entry) <> 0;

insert into ledger
with entries as (
    select greatest(begin_on, cohort_date) as report_date, cohort_date, merchant_id, product_id, 1 as entry
    from fulfilled_spells
    where greatest(begin_on, cohort_date) < end_on
    union all
    select end_on, cohort_date, merchant_id, product_id, -1
    from fulfilled_spells
    where end_on < ever() and greatest(begin_on, cohort_date) < end_on
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id, 'orders_fulfilled', 0, sum(entry)
from entries
where report_date <= getvariable('last_date')
group by report_date, cohort_date, merchant_id, product_id
having sum(entry) <> 0;

insert into ledger
with contributions as (
    select
        greatest(begin_on, cohort_date, late_date) as begin_on, end_on, cohort_date, merchant_id, product_id,
        late_date - cohort_date as lag_days
    from late_spells
    where greatest(begin_on, cohort_date, late_date) < end_on
),

entries as (
    select begin_on as report_date, * exclude (begin_on, end_on), 1 as entry from contributions
    union all
    select end_on, * exclude (begin_on, end_on), -1 from contributions
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id, 'late_shipments', lag_days,
    sum(entry)
from entries
where report_date <= getvariable('last_date')
group by report_date, cohort_date, merchant_id, product_id, lag_days
having sum(entry) <> 0;

insert into ledger
with contributions as (
    select
        greatest(begin_on, cohort_date, cancelled_date) as begin_on, end_on, cohort_date, merchant_id, product_id,
        cancelled_date - cohort_date as lag_days
    from cancelled_spells
    where greatest(begin_on, cohort_date, cancelled_date) < end_on
),

entries as (
    select begin_on as report_date, * exclude (begin_on, end_on), 1 as entry from contributions
    union all
    select end_on, * exclude (begin_on, end_on), -1 from contributions
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id, 'merchant_cancels', lag_days,
    sum(entry)
from entries
where report_date <= getvariable('last_date')
group by report_date, cohort_date, merchant_id, product_id, lag_days
having sum(entry) <> 0;

-- Raw and adjusted in one group-by: while an event is overturned, one is taken from the adjusted.
insert into ledger
with contributions as (
    select begin_on, end_on, cohort_date, merchant_id, product_id, rating, lag_days, 1 as raw, 1 as adjusted
    from reviews
    where begin_on < end_on
    union all
    select
        greatest(reviews.begin_on, overturned.begin_on), least(reviews.end_on, overturned.end_on), cohort_date,
        merchant_id, product_id, rating, lag_days, 0, -1
    from reviews
    inner join overturned
        on overturned.subject_type = 'review'
        and overturned.id = reviews.id
        and greatest(reviews.begin_on, overturned.begin_on) < least(reviews.end_on, overturned.end_on)
),

entries as (
    select begin_on as report_date, * exclude (begin_on, end_on) from contributions
    union all
    select end_on, * exclude (begin_on, end_on) replace (-raw as raw, -adjusted as adjusted)
    from contributions
    where end_on < ever()
),

sums as (
    select
        report_date, cohort_date, merchant_id, product_id, rating, lag_days,
        sum(raw) as raw, sum(adjusted) as adjusted
    from entries
    where report_date <= getvariable('last_date')
    group by all
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id,
    'review_rated_' || rating || suffix, lag_days, case when suffix = '' then raw else adjusted end as quantity
from sums
cross join (values (''), ('_adjusted')) as twins(suffix)
where quantity <> 0;

insert into ledger
with tickets as (
    select 'complaints' as component, * from complaints
    union all
    select 'merchant_fault_complaints', * from fault_complaints
),

contributions as (
    select
        begin_on, end_on, cohort_date, merchant_id, product_id, component, lag_days, 1 as raw, 1 as adjusted
    from tickets
    where begin_on < end_on
    union all
    select
        greatest(tickets.begin_on, overturned.begin_on), least(tickets.end_on, overturned.end_on),
        cohort_date, merchant_id, product_id, component, lag_days, 0, -1
    from tickets
    inner join overturned
        on overturned.subject_type = 'complaint'
        and overturned.id = tickets.id
        and greatest(tickets.begin_on, overturned.begin_on) < least(tickets.end_on, overturned.end_on)
    union all
    select
        begin_on, end_on, cohort_date, merchant_id, product_id, component, lag_days, 1, 0
    from orders_once
    union all
    select
        begin_on, end_on, cohort_date, merchant_id, product_id, component, adjusted_lag_days, 0, 1
    from orders_once
    where adjusted_lag_days is not null
),

entries as (
    select begin_on as report_date, * exclude (begin_on, end_on) from contributions
    union all
    select end_on, * exclude (begin_on, end_on) replace (-raw as raw, -adjusted as adjusted)
    from contributions
    where end_on < ever()
),

sums as (
    select
        report_date, cohort_date, merchant_id, product_id, component, lag_days,
        sum(raw) as raw, sum(adjusted) as adjusted
    from entries
    where report_date <= getvariable('last_date')
    group by all
)

select
    report_date, cohort_date, getvariable('platform'), merchant_id, product_id, component || suffix, lag_days,
    case when suffix = '' then raw else adjusted end as quantity
from sums
cross join (values (''), ('_adjusted')) as twins(suffix)
where quantity <> 0;

--@ rates

create table product_rates as
with counts as materialized (
    select
        merchant_id, product_id, cohort_date,
        sum(quantity) filter (component = 'orders_paid') as paid,
        sum(quantity) filter (component = 'orders_fulfilled') as fulfilled,
        sum(quantity) filter (component = 'complaints') as complaints,
        sum(quantity) filter (component = 'complaints_adjusted') as adjusted_complaints,
        sum(quantity) filter (component in ('review_rated_1', 'review_rated_2')) as negative,
        sum(quantity) filter (component in ('review_rated_1_adjusted', 'review_rated_2_adjusted'))
            as adjusted_negative,
        sum(quantity) filter (component = 'merchant_fault_return_orders') as returned,
        sum(quantity) filter (component = 'merchant_fault_return_orders_adjusted') as adjusted_returned
    from ledger
    where lag_days < 7
    group by merchant_id, product_id, cohort_date
),

metrics as (
    select
        'complaint_rate' as metric, merchant_id, product_id, cohort_date, complaints as n, paid as d,
        adjusted_complaints as a
    from counts
    union all
    select 'negative_review_rate', merchant_id, product_id, cohort_date, negative, fulfilled, adjusted_negative
    from counts
    union all
    select 'merchant_fault_return_rate', merchant_id, product_id, cohort_date, returned, paid, adjusted_returned
    from counts
)

select
    getvariable('platform') as platform,
    merchant_id,
    product_id,
    metric,
    cohort_date,
    cast(coalesce(n, 0) as bigint) as numerator,
    cast(coalesce(d, 0) as bigint) as denominator,
    cast(coalesce(a, 0) as bigint) as adjusted_numerator
from metrics
where n <> 0 or d <> 0 or a <> 0;

create table rates as
select
    platform,
    merchant_id,
    metric,
    cohort_date,
    cast(sum(numerator) as bigint) as numerator,
    cast(sum(denominator) as bigint) as denominator,
    cast(sum(adjusted_numerator) as bigint) as adjusted_numerator
from product_rates
group by all;

create table category_rates as
with categories as (
    select merchant_id, arg_max(category_id, row(updated_at, report_date, source_date)) as category_id
    from landed('merchants')
    group by merchant_id
)

select
    platform,
    coalesce(category_id, 'unknown') as category_id,
    metric,
    cohort_date,
    cast(sum(numerator) as bigint) as numerator,
    cast(sum(denominator) as bigint) as denominator,
    cast(sum(adjusted_numerator) as bigint) as adjusted_numerator
from rates
left join categories using (merchant_id)
group by all;

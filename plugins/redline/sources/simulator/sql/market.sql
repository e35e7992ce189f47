-- The market itself: chance, categories, merchants, and what every delivery has in common.
-- Only + - * / and comparisons are used on fractions, because these give the same bits on every
-- machine; logarithms and powers do not.

-- A fraction in [0, 1) that depends on nothing but the seed, a number and a purpose. Hashed
-- twice: the first hash alone leaves purposes of one number correlated.
create macro chance(number, purpose) as
    (hash(hash(number::bigint, purpose, getvariable('seed'))) >> 11)::double / 9007199254740992.0;

-- The same for one version of a record: a number and a moment.
create macro version_chance(number, moment, purpose) as
    (hash(hash(number::bigint, moment::bigint, purpose, getvariable('seed'))) >> 11)::double
    / 9007199254740992.0;

create macro whole(fraction) as floor(fraction)::bigint;

-- A duration in days as whole seconds.
create macro days_long(fraction) as floor((fraction) * 86400)::bigint;

-- A second of the business day: most of it from six in the morning on, peaking in the afternoon.
create macro second_of_day(number) as
    case
        when chance(number, 'at night') < 0.08
        then days_long(chance(number, 'hour') * 0.25)
        else days_long(0.25 + 0.375 * (chance(number, 'hour') + chance(number, 'half hour')))
    end;

create macro money(cents) as ((cents) / 100.0)::decimal(18, 2);

create macro date_of(day) as (getvariable('start') + (day)::integer);

-- Free text that somebody careless wrote. Numbers and addresses are ones reserved for examples.
create macro careless(number) as
    case whole(chance(number, 'careless') * 40)
        when 0 then ' Call me on +44 7700 900' || (100 + whole(chance(number, 'phone') * 900))
        when 1 then ' Write to ' || 'buyer' || whole(chance(number, 'phone') * 9000) || '@example.com'
        when 2 then ' My number is 13800138000.'
        when 3 then ' ID 11010519491231002X'
        else ''
    end;

-- Shares are of orders unless said otherwise.
create table categories as
from (
    values
    -- id, merchants up to, typical price in cents, complaints, reviews, negative share of reviews,
    -- merchant-fault refunds, other refunds, weekend factor, goods are shipped, days to ship from,
    -- and spread, days to arrive from, and spread
        ('apparel', 0.28, 7900, 0.0024, 0.38, 0.024, 0.0034, 0.085, 1.15, true, 0.8, 2.0, 1.0, 3.5),
        ('beauty', 0.42, 5900, 0.0026, 0.40, 0.022, 0.0024, 0.035, 1.10, true, 0.7, 1.9, 1.0, 3.5),
        ('electronics', 0.55, 32900, 0.0032, 0.36, 0.028, 0.0038, 0.045, 0.95, true, 0.8, 2.0, 1.0, 4.0),
        ('food', 0.70, 3900, 0.0020, 0.32, 0.022, 0.0018, 0.015, 1.05, true, 0.3, 1.5, 0.6, 2.0),
        ('home', 0.84, 11900, 0.0026, 0.34, 0.026, 0.0032, 0.050, 1.10, true, 0.9, 2.1, 1.2, 4.5),
        ('local_dining', 0.95, 12900, 0.0020, 0.40, 0.030, 0.0010, 0.060, 1.60, false, 0, 0, 0.0, 9.0),
        ('travel', 1.01, 68900, 0.0034, 0.30, 0.026, 0.0014, 0.070, 1.45, false, 0, 0, 1.0, 12.0)
) as category (
    category_id, merchants_up_to, price_cents, complaint_share, review_share, negative_share,
    fault_share, refund_share, weekend_factor, is_shipped, ship_from, ship_spread, arrive_from,
    arrive_spread
);

-- One row per merchant. Sizes are heavy-tailed: ranks, not draws, make them, so that every seed
-- gives about the same number of orders. An incident, a closing or a change of category befalls
-- each merchant at most once, and never two of them the same merchant.
create table merchants_made as
with
    ranked as (
        select
            merchant_no,
            (row_number() over (order by chance(merchant_no, 'size'), merchant_no) - 0.5)::double
            / getvariable('merchants') as size_rank
        from range(1, getvariable('merchants') + 1) as numbers (merchant_no)
    ),

    sized as (
        select
            merchant_no,
            2.6 * (1 / (size_rank + 0.015) - 0.95) as orders_a_day,
            -- One bad order among thirty is a breach, so small merchants are made careful ones.
            (0.5 + 1.2 * chance(merchant_no, 'quality') * chance(merchant_no, 'quality'))
            * case when size_rank < 0.2 then 2.2 else 1 end as flaw_factor,
            case
                when chance(merchant_no, 'opens') < 0.05
                then 1 + whole(chance(merchant_no, 'opening day') * 45)
                else -30 - whole(chance(merchant_no, 'opening day') * 800)
            end as opening_day,
            (
                select category_id
                from categories
                where chance(merchant_no, 'category') < merchants_up_to
                order by merchants_up_to
                limit 1
            ) as category_id
        from ranked
    ),

    -- Large enough to be judged on a few days, small enough to be one of many.
    befallen as (
        select
            merchant_no,
            row_number() over (order by chance(merchant_no, 'fate'), merchant_no) - 1 as fate_no,
            count(*) over () as candidates
        from sized
        where opening_day < 0 and orders_a_day between 5 and 60
    ),

    fates as (
        select
            *,
            least(
                coalesce(
                    getvariable('incidents'), greatest(3, round(0.08 * getvariable('merchants')))
                )::bigint,
                greatest(1, candidates // 2)
            ) as incidents
        from befallen
    ),

    -- Three in five incidents run through the last day, and long enough for mature cohorts.
    timed as (
        select
            *,
            case fate_no % 3
                when 0 then 'bad_batch' when 1 then 'poor_delivery' else 'wrong_goods'
            end as incident,
            fate_no < (3 * incidents + 4) // 5 as is_running,
            least(
                getvariable('days'),
                case
                    when fate_no < (3 * incidents + 4) // 5
                    then 12 + whole(chance(merchant_no, 'incident days') * 3)
                    else 5 + whole(chance(merchant_no, 'incident days') * 10)
                end
            ) as incident_days
        from fates
    ),

    dated as (
        select
            *,
            case
                when is_running
                then getvariable('days') - incident_days
                else whole(
                    chance(merchant_no, 'incident begins')
                    * greatest(1, getvariable('days') - incident_days - 7)
                )
            end as incident_first
        from timed
    )

select
    sized.*,
    'M' || lpad(merchant_no::varchar, 5, '0') as merchant_id,
    case when fate_no < incidents then incident end as incident,
    case when fate_no < incidents then incident_first end as incident_first,
    case when fate_no < incidents then incident_first + incident_days - 1 end as incident_last,
    case
        when fate_no - incidents >= 0 and fate_no - incidents < 1 + getvariable('merchants') // 200
        then whole(getvariable('days') * 0.7)
    end as closing_day,
    case
        when fate_no - incidents - 1 - getvariable('merchants') // 200 >= 0
            and fate_no - incidents - 1 - getvariable('merchants') // 200
            < 1 + getvariable('merchants') // 200
        then whole(getvariable('days') * 0.5)
    end as moving_day,
    case when category_id = 'home' then 'apparel' else 'home' end as next_category_id,
    3 + least(60, whole(orders_a_day * 0.8)) as products,
    categories.* exclude (category_id, merchants_up_to)
from sized
left join dated using (merchant_no)
left join categories using (category_id);

-- One row per merchant and business date with orders; `first_day` and `last_day` are days since
-- the start. It is a few thousand rows, and the only place where a range of dates comes in.
create view trading_days as
with
    calendar as (
        select day, isodow(date_of(day)) >= 6 as is_weekend
        from
            range(
                greatest(0, getvariable('first_day')), least(getvariable('last_day') + 1, getvariable('days'))
            ) as days (day)
    )

select
    merchants_made.*,
    day,
    merchant_no * 4096 + day as trading_no,
    least(
        whole(
            orders_a_day
            * case when is_weekend then weekend_factor else 1 end
            * (0.5 + chance(merchant_no * 4096 + day, 'demand'))
            + chance(merchant_no * 4096 + day, 'rounding')
        ),
        65535
    ) as order_count
from merchants_made, calendar
where day >= opening_day and (closing_day is null or day < closing_day);

-- How versions reach us. `lives` names a view with one row per record: `record_no`, the `moments`
-- at which it changed (nulls among them), and `held_until`, a day before which nothing of it was
-- sent (or null). What comes back is one row per delivered version:
--   version_at  the moment of the change
--   report_day  the day since the start for which it was delivered: the day of the change, or late
--   fault_no    0 for a sound row; 1, 2 or 3 for one that must be refused, sent again the day after
-- As in any daily extract, a day carries only the newest of a record's versions sent for it; a
-- few rows come twice, and a few come again days later.
create macro sent(lives, purpose) as table
    with
        versions as (
            select * exclude (moments), unnest(moments) as version_at
            from query_table(lives)
        ),

        dated as (
            select
                *,
                greatest(
                    version_at // 86400
                    + case
                        when version_chance(record_no, version_at, 'late ' || purpose) < 0.02
                        then 1 + whole(version_chance(record_no, version_at, 'days late') * 3)
                        else 0
                    end,
                    coalesce(held_until, 0)
                ) as own_day,
                version_chance(record_no, version_at, 'mishap ' || purpose) as mishap
            from versions
            where version_at is not null
        ),

        copies as (
            select
                *,
                case
                    when copy_no = 1 and mishap < 0.0008 then own_day + 1
                    when copy_no = 1 and mishap >= 0.0030 then own_day + 5
                    else own_day
                end as report_day,
                case
                    when copy_no = 0 and mishap < 0.0008
                    then 1 + whole(mishap * 3 / 0.0008)
                    else 0
                end as fault_no
            from dated, (values (0), (1)) as copy (copy_no)
            where copy_no = 0 or mishap < 0.0040
        )

    select *
    from copies
    where
        report_day between getvariable('first_report') and getvariable('last_report')
        and version_at < getvariable('days') * 86400
    qualify rank() over (partition by record_no, report_day order by version_at desc) = 1;

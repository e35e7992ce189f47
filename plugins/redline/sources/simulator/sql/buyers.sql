-- Buyers are numbered by registration: most are there at the start, the others join evenly. So
-- the buyers of a day are the numbers below `buyers_on(day)`.
create macro first_buyers() as 60 + 90 * getvariable('merchants');

create macro buyers_a_day() as 1 + getvariable('merchants');

create macro buyers_on(day) as first_buyers() + buyers_a_day() * (day);

create macro buyer_id(buyer_no) as 'buyer' || lpad((buyer_no)::varchar, 7, '0') || '@example.com';

create view buyer_lives as
with
    registered as (
        select
            buyer_no,
            case
                when buyer_no < first_buyers()
                then -days_long(chance(buyer_no, 'registration') * 700)
                else (buyer_no - first_buyers()) // buyers_a_day() * 86400 + 600
            end as registered_at,
            case
                when chance(buyer_no, 'verified') < 0.3
                then 86400
                + greatest(buyer_no - first_buyers(), 0) // buyers_a_day() * 86400
                + days_long(chance(buyer_no, 'verification') * 300)
            end as verified_at
        from range(buyers_on(getvariable('days'))) as numbers (buyer_no)
    )

select
    *,
    buyer_no as record_no,
    null as held_until,
    [greatest(registered_at, 60 * 20), verified_at] as moments
from registered;

select
    buyer_id(buyer_no) as buyer_id,
    instant(registered_at) as registered_at,
    coalesce(version_at >= verified_at, chance(buyer_no, 'verified before') < 0.5) as is_verified,
    instant(version_at) as updated_at,
    report_day,
    record_no as row_no
from sent('buyer_lives', 'buyer');

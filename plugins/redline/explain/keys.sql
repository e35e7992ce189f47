-- The event and order keys behind ledger entries: whose contributions, of the newest versions, begin
-- or end on an entry's report date.
--
-- The ledger itself sums the same contributions in dbt; a test holds the two against each other.
-- The spells of versions live only in memory during a run, so they are derived here from the
-- versions, of no more than the orders that the entities asked for had in the cohorts asked for.
--
-- $platform, $entity_type (merchant or product), $entity_ids, $components (as in the ledger, twins of
-- events included), $first_cohort, $last_cohort, $window_days, $evening (the last that is known)
with
    entities as (select unnest($entity_ids::varchar[]) as entity_id),

    rules as (
        select
            wanted.component,
            components.component as counted_component,
            components.cohort,
            components.counts,
            wanted.component <> components.component as is_adjusted
        from (select unnest($components::varchar[]) as component) as wanted
        inner join
            seeds.components as components
            on wanted.component = components.component
            or (components.is_event and wanted.component = components.component || '_adjusted')
    ),

    -- Not materialized: what is known of them all must not be held, only what is asked of them.
    order_versions as not materialized (
        select
            *,
            case when $entity_type = 'product' then product_id else merchant_id end as entity_id,
        from intermediate.int_orders_versioned
        where platform = $platform and valid_from <= $evening
    ),

    event_versions as not materialized (
        select * from intermediate.int_events_versioned
        where platform = $platform and valid_from <= $evening
    ),

    -- In reach ------------------------------------------------------------------------------

    scope as (
        select *
        from order_versions
        where
            (
                paid_date between $first_cohort and $last_cohort
                or fulfilled_date between $first_cohort and $last_cohort
            )
            and entity_id in (select entity_id from entities)
    ),

    -- Every event that was ever about one of the orders: a corrected one may have moved since.
    scope_events as (
        select distinct event_key, order_id
        from event_versions
        where
            exists (select 1 from rules where counts in ('events', 'first_event'))
            and order_id in (select order_id from scope)
    ),

    scope_orders as (
        select order_id from scope_events
        union
        select scope.order_id
        from scope
        inner join
            rules
            on rules.counts = 'orders'
            and case rules.component
                when 'orders_paid' then scope.paid_date
                when 'orders_fulfilled' then scope.fulfilled_date
                when 'late_shipments' then scope.late_date
                when 'merchant_cancels' then scope.merchant_cancelled_date
            end is not null
    ),

    -- Spells --------------------------------------------------------------------------------

    order_spells as (
        select
            * exclude (valid_from),
            valid_from as begin_on,
            coalesce(
                lead(valid_from) over (partition by order_id order by valid_from),
                date '9999-12-31'
            ) as end_on,
        from order_versions
        where order_id in (select order_id from scope_orders)
    ),

    event_spells as (
        select
            * exclude (valid_from),
            valid_from as begin_on,
            coalesce(
                lead(valid_from) over (partition by event_key order by valid_from),
                date '9999-12-31'
            ) as end_on,
        from event_versions
        where event_key in (select event_key from scope_events)
    ),

    -- What the source states speaks before the code.
    faults as (
        select
            event_spells.* exclude (begin_on, end_on),
            coalesce(
                event_spells.stated_fault_party, reason_codes.fault_party, 'unknown'
            ) as fault_party,
            greatest(
                event_spells.begin_on, coalesce(reason_codes.begin_on, event_spells.begin_on)
            ) as begin_on,
            least(event_spells.end_on, coalesce(reason_codes.end_on, event_spells.end_on)) as end_on,
        from event_spells
        left join
            intermediate.int_reason_codes_effective as reason_codes
            on event_spells.stated_fault_party is null
            and reason_codes.platform = $platform
            and reason_codes.reason_code = event_spells.reason_code
            and reason_codes.begin_on < event_spells.end_on
            and reason_codes.end_on > event_spells.begin_on
    ),

    -- Standings of appealed events -------------------------------------------------------------

    appeal_versions as not materialized (
        select *, subject_type || ':' || subject_id as event_key
        from intermediate.int_appeals_versioned
        where platform = $platform and valid_from <= $evening
    ),

    appeal_spells as (
        select
            *,
            coalesce(
                lead(valid_from) over (partition by appeal_id order by valid_from),
                date '9999-12-31'
            ) as end_on,
        from appeal_versions
        where
            appeal_id in (
                select appeal_id
                from appeal_versions
                where event_key in (select event_key from scope_events)
            )
    ),

    decisions as (
        select *, greatest(valid_from, decided_date) as begin_on
        from appeal_spells
        where
            event_key in (select event_key from scope_events)
            and status in ('upheld', 'rejected')
            and decided_date is not null
            and greatest(valid_from, decided_date) < end_on
    ),

    turning_dates as (
        select event_key, begin_on from decisions
        union
        select event_key, end_on from decisions where end_on < date '9999-12-31'
        union
        select event_key, date '0001-01-01' from decisions
    ),

    standings as (
        select
            turning_dates.event_key,
            turning_dates.begin_on,
            coalesce(
                arg_max(decisions.status, (decisions.decided_at, decisions.appeal_id)), 'rejected'
            )
            = 'upheld' as is_overturned,
            coalesce(
                lead(turning_dates.begin_on) over (
                    partition by turning_dates.event_key order by turning_dates.begin_on
                ),
                date '9999-12-31'
            ) as end_on,
        from turning_dates
        left join
            decisions
            on decisions.event_key = turning_dates.event_key
            and decisions.begin_on <= turning_dates.begin_on
            and decisions.end_on > turning_dates.begin_on
        group by turning_dates.event_key, turning_dates.begin_on
    ),

    overturned as (
        select
            event_key,
            max(end_on) filter (where not is_overturned and end_on <= $evening) as overturned_on,
        from standings
        group by event_key
        having bool_or(is_overturned and begin_on <= $evening and end_on > $evening)
    ),

    -- Contributions -------------------------------------------------------------------------

    of_orders as (
        select
            rules.component,
            rules.cohort,
            rules.counts,
            rules.is_adjusted,
            order_spells.entity_id,
            order_spells.merchant_id,
            order_spells.product_id,
            order_spells.order_id,
            null::varchar as event_key,
            case rules.cohort
                when 'paid' then order_spells.paid_date else order_spells.fulfilled_date
            end as cohort_date,
            case rules.component
                when 'orders_paid' then order_spells.paid_date
                when 'orders_fulfilled' then order_spells.fulfilled_date
                when 'late_shipments' then order_spells.late_date
                when 'merchant_cancels' then order_spells.merchant_cancelled_date
            end as happened_on,
            null::integer as rating,
            null::varchar as reason_code,
            null::varchar as fault_party,
            order_spells.begin_on,
            order_spells.end_on,
        from order_spells
        inner join rules on rules.counts = 'orders'
        where order_spells.is_counted
    ),

    of_events as (
        select
            rules.component,
            rules.cohort,
            rules.counts,
            rules.is_adjusted,
            order_spells.entity_id,
            order_spells.merchant_id,
            order_spells.product_id,
            order_spells.order_id,
            faults.event_key,
            case rules.cohort
                when 'paid' then order_spells.paid_date else order_spells.fulfilled_date
            end as cohort_date,
            faults.event_date as happened_on,
            faults.rating,
            faults.reason_code,
            faults.fault_party,
            greatest(order_spells.begin_on, faults.begin_on) as begin_on,
            least(order_spells.end_on, faults.end_on) as end_on,
        from faults
        inner join
            order_spells
            on order_spells.order_id = faults.order_id
            and order_spells.begin_on < faults.end_on
            and order_spells.end_on > faults.begin_on
        inner join
            seeds.component_events as component_events
            on component_events.event_kind = faults.event_kind
            and coalesce(
                component_events.fault_party = faults.fault_party,
                component_events.fault_party is null
            )
            and coalesce(faults.rating >= component_events.min_rating, true)
            and coalesce(faults.rating <= component_events.max_rating, true)
        inner join rules on rules.counted_component = component_events.component
        where faults.is_counted and order_spells.is_counted
    ),

    contributions as (
        select
            * exclude (begin_on, end_on),
            (happened_on - cohort_date)::integer as lag_days,
            greatest(begin_on, cohort_date, happened_on) as begin_on,
            end_on,
        from (select * from of_orders union all select * from of_events) as dated
        where
            cohort_date between $first_cohort and $last_cohort
            and happened_on is not null
            and entity_id in (select entity_id from entities)
            and greatest(begin_on, cohort_date, happened_on) < end_on
    ),

    -- A twin holds only while no appeal has overturned its event.
    standing as (
        select * from contributions where not is_adjusted
        union all
        select
            contributions.* exclude (begin_on, end_on),
            greatest(
                contributions.begin_on, coalesce(standings.begin_on, contributions.begin_on)
            ) as begin_on,
            least(contributions.end_on, coalesce(standings.end_on, contributions.end_on)) as end_on,
        from contributions
        left join
            standings
            on standings.event_key = contributions.event_key
            and standings.begin_on < contributions.end_on
            and standings.end_on > contributions.begin_on
        where contributions.is_adjusted and not coalesce(standings.is_overturned, false)
    ),

    -- Of an order counted once the earliest event that stands speaks.
    cuts as (
        select component, order_id, merchant_id, product_id, cohort_date, begin_on as cut_on
        from standing
        where counts = 'first_event'
        union
        select component, order_id, merchant_id, product_id, cohort_date, end_on
        from standing
        where counts = 'first_event'
    ),

    pieces as (
        select
            *,
            lead(cut_on) over (
                partition by component, order_id, merchant_id, product_id, cohort_date
                order by cut_on
            ) as next_cut_on,
        from cuts
    ),

    counted as (
        select * from standing where counts <> 'first_event'
        union all by name
        select
            standing.* exclude (begin_on, end_on),
            pieces.cut_on as begin_on,
            pieces.next_cut_on as end_on,
        from pieces
        inner join
            standing
            on standing.component = pieces.component
            and standing.order_id = pieces.order_id
            and standing.merchant_id = pieces.merchant_id
            and standing.product_id = pieces.product_id
            and standing.cohort_date = pieces.cohort_date
            and standing.begin_on <= pieces.cut_on
            and standing.end_on >= pieces.next_cut_on
        qualify
            row_number() over (
                partition by
                    pieces.component,
                    pieces.order_id,
                    pieces.merchant_id,
                    pieces.product_id,
                    pieces.cohort_date,
                    pieces.cut_on
                order by standing.lag_days, standing.event_key
            )
            = 1
    ),

    -- What begins or ends, net: a version that goes on counting the same moves nothing.
    moves as (
        select
            signs.entry,
            case when signs.entry = 1 then counted.begin_on else counted.end_on end as report_date,
            counted.* exclude (begin_on, end_on),
            struct_pack(event_key, happened_on, rating, reason_code, fault_party) as event,
        from counted
        cross join (values (1), (-1)) as signs(entry)
    ),

    net as (
        select
            report_date,
            cohort_date,
            merchant_id,
            component,
            lag_days,
            order_id,
            any_value(entity_id) as entity_id,
            any_value(counts) as counts,
            any_value(cohort) as cohort,
            any_value(is_adjusted) as is_adjusted,
            sum(entry)::integer as quantity,
            case when sum(entry) > 0 then arg_max(event, entry) else arg_min(event, entry) end as event,
        from moves
        where report_date <= $evening and lag_days < $window_days
        group by
            report_date,
            cohort_date,
            merchant_id,
            component,
            lag_days,
            order_id,
            case when counts = 'first_event' then '' else event_key end
        having sum(entry) <> 0
    )

select
    net.report_date,
    net.cohort_date,
    net.merchant_id,
    net.component,
    net.lag_days,
    net.quantity,
    net.order_id,
    net.event.event_key,
    net.event.happened_on,
    net.event.rating,
    net.event.reason_code,
    net.event.fault_party,
    -- What had changed by the evening on which it left, or came back.
    case
        when net.quantity > 0 and net.is_adjusted and standing_before.is_overturned
        then 'stands again'
        when net.quantity > 0
        then null
        when not event_now.is_counted
        then 'withdrawn'
        when net.is_adjusted and standing_now.is_overturned
        then 'overturned'
        when not order_now.is_counted
        then 'order deleted'
        when net.component = 'late_shipments' and order_now.late_date is null
        then 'shipped in time after all'
        when net.component = 'merchant_cancels' and order_now.merchant_cancelled_date is null
        then 'not cancelled by the merchant after all'
        when event_now.order_id <> net.order_id
        then 'moved to another order'
        when event_now.rating <> net.event.rating
        then 'rated otherwise'
        when event_now.fault_party <> net.event.fault_party
        then 'of another fault'
        when order_now.entity_id <> net.entity_id
        then 'order of another ' || $entity_type
        when
            net.cohort_date <> case net.cohort
                when 'paid' then order_now.paid_date else order_now.fulfilled_date
            end
        then 'order of another date'
        when net.counts = 'first_event' and event_now.event_date = net.event.happened_on
        then 'another event stands for the order'
        else 'corrected'
    end as why,
    overturned.overturned_on,
from net
left join overturned on overturned.event_key = net.event.event_key
left join
    faults as event_now
    on event_now.event_key = net.event.event_key
    and event_now.begin_on <= net.report_date
    and event_now.end_on > net.report_date
left join
    standings as standing_now
    on standing_now.event_key = net.event.event_key
    and standing_now.begin_on <= net.report_date
    and standing_now.end_on > net.report_date
left join
    standings as standing_before
    on standing_before.event_key = net.event.event_key
    and standing_before.end_on = net.report_date
left join
    order_spells as order_now
    on order_now.order_id = net.order_id
    and order_now.begin_on <= net.report_date
    and order_now.end_on > net.report_date
order by all

{{ config(materialized="ephemeral") }}

-- What an event counts for, as the rules of component_events say: from the day on which its
-- cohort and the event itself lie in the past.
with
    events as (select * from {{ ref("int_events_attributed") }}),

    rules as (select * from {{ ref("component_events") }}),

    components as (select * from {{ ref("components") }}),

    counted as (
        select
            events.*,
            components.component,
            components.counts = 'first_event' as counts_once,
            case
                when components.cohort = 'paid' then events.paid_date else events.fulfilled_date
            end as cohort_date
        from events
        inner join
            rules
            on rules.event_kind = events.event_kind
            and coalesce(rules.fault_party = events.fault_party, rules.fault_party is null)
            and coalesce(events.rating >= rules.min_rating, true)
            and coalesce(events.rating <= rules.max_rating, true)
        inner join components on components.component = rules.component
    ),

    final as (
        select
            platform,
            order_id,
            event_key,
            merchant_id,
            product_id,
            component,
            counts_once,
            cohort_date,
            {{ dbt.datediff("cohort_date", "event_date", "day") }} as lag_days,
            greatest(begin_on, cohort_date, event_date) as begin_on,
            end_on
        from counted
        where cohort_date is not null
    )

select *
from final
where begin_on < end_on

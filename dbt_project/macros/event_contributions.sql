{% macro attributed_events(order_spells, event_spells) -%}
    {#-
        Each event with the order it is about and the party at fault, for every spell of evenings on
        which neither version changes nor the meaning of its reason code.
    -#}
    with
        order_spells as (select * from {{ order_spells }} where is_counted),

        event_spells as (select * from {{ event_spells }} where is_counted),

        reason_codes as (select * from {{ ref("int_reason_codes_effective") }}),

        -- What the source states speaks before the code.
        faults as (
            select
                event_spells.platform,
                event_spells.event_key,
                event_spells.event_kind,
                event_spells.order_id,
                event_spells.event_date,
                event_spells.rating,
                coalesce(
                    event_spells.stated_fault_party, reason_codes.fault_party, 'unknown'
                ) as fault_party,
                greatest(
                    event_spells.begin_on, coalesce(reason_codes.begin_on, event_spells.begin_on)
                ) as begin_on,
                least(
                    event_spells.end_on, coalesce(reason_codes.end_on, event_spells.end_on)
                ) as end_on
            from event_spells
            left join
                reason_codes
                on event_spells.stated_fault_party is null
                and reason_codes.platform = event_spells.platform
                and reason_codes.reason_code = event_spells.reason_code
                and reason_codes.begin_on < event_spells.end_on
                and reason_codes.end_on > event_spells.begin_on
        ),

        final as (
            select
                faults.platform,
                faults.event_key,
                faults.event_kind,
                faults.event_date,
                faults.rating,
                faults.fault_party,
                order_spells.order_id,
                order_spells.merchant_id,
                order_spells.product_id,
                order_spells.paid_date,
                order_spells.fulfilled_date,
                greatest(order_spells.begin_on, faults.begin_on) as begin_on,
                least(order_spells.end_on, faults.end_on) as end_on
            from faults
            inner join
                order_spells
                on order_spells.platform = faults.platform
                and order_spells.order_id = faults.order_id
        )

    select *
    from final
    where begin_on < end_on
{%- endmacro %}

{% macro event_contributions(attributed) -%}
    {#-
        What attributed events count for, as the rules of component_events say: from the day on
        which its cohort and the event itself lie in the past.
    -#}
    with
        events as (select * from {{ attributed }}),

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
{%- endmacro %}

{% macro adjusted_contributions(contributions) -%}
    {#- The twins of contributions, which hold only while no appeal has overturned the event. -#}
    with
        contributions as (select * from {{ contributions }}),

        standings as (select * from {{ ref("int_event_standings") }}),

        final as (
            select
                contributions.platform,
                contributions.order_id,
                contributions.event_key,
                contributions.merchant_id,
                contributions.product_id,
                contributions.component || '_adjusted' as component,
                contributions.counts_once,
                contributions.cohort_date,
                contributions.lag_days,
                greatest(
                    contributions.begin_on, coalesce(standings.begin_on, contributions.begin_on)
                ) as begin_on,
                least(
                    contributions.end_on, coalesce(standings.end_on, contributions.end_on)
                ) as end_on
            from contributions
            left join
                standings
                on standings.platform = contributions.platform
                and standings.event_key = contributions.event_key
                and standings.begin_on < contributions.end_on
                and standings.end_on > contributions.begin_on
            where not coalesce(standings.is_overturned, false)
        )

    select *
    from final
{%- endmacro %}

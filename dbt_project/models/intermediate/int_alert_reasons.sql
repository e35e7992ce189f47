-- Which reasons moved the numerators of the run's alerts. The ledger knows none, so the events
-- behind it are counted again by the same rules, of the alerts' own orders only: as known on the
-- evening and on the evening before.
{% set subjects = {"merchant": "merchant_id", "product": "product_id"} %}
with
    windows as (select * from {{ ref("int_alert_windows") }}),

    metric_parts as (select * from {{ ref("int_metric_parts") }}),

    -- Every reader has its own scan of the histories: one that several share is kept in memory.
    {% for subject_type, column in subjects.items() %}
        orders_by_{{ subject_type }} as (
            select platform, order_id, {{ column }} as subject_id, paid_date, fulfilled_date
            from {{ ref("int_orders_versioned") }}
            where
                {{ on_platforms() }}
                and coalesce(greatest(paid_date, fulfilled_date), paid_date, fulfilled_date)
                >= (select min(first_cohort) from {{ ref("int_alert_windows") }})
        ),
    {% endfor %}

    orders as (select * from {{ ref("int_orders_versioned") }} where {{ on_platforms() }}),

    orders_of_events as (
        select platform, event_key, order_id
        from {{ ref("int_events_versioned") }}
        where {{ on_platforms() }}
    ),

    events as (select * from {{ ref("int_events_versioned") }} where {{ on_platforms() }}),

    spans as (
        select
            platform,
            subject_type,
            subject_id,
            min(first_cohort) as first_cohort,
            max(last_cohort) as last_cohort
        from windows
        group by platform, subject_type, subject_id
    ),

    alerted_orders as (
        {% for subject_type in subjects %}
            select orders_by_{{ subject_type }}.platform, orders_by_{{ subject_type }}.order_id
            from orders_by_{{ subject_type }}
            inner join
                spans
                on spans.subject_type = '{{ subject_type }}'
                and spans.platform = orders_by_{{ subject_type }}.platform
                and spans.subject_id = orders_by_{{ subject_type }}.subject_id
            where
                orders_by_{{ subject_type }}.paid_date
                between spans.first_cohort and spans.last_cohort
                or orders_by_{{ subject_type }}.fulfilled_date
                between spans.first_cohort and spans.last_cohort {{ "union" if not loop.last }}
        {% endfor %}
    ),

    -- Every version of an event that was on one of these orders: it may have moved between orders.
    alerted_keys as (
        select distinct orders_of_events.platform, orders_of_events.event_key
        from orders_of_events
        inner join
            alerted_orders
            on alerted_orders.platform = orders_of_events.platform
            and alerted_orders.order_id = orders_of_events.order_id
    ),

    alerted_events as (
        select events.*
        from events
        inner join
            alerted_keys
            on alerted_keys.platform = events.platform
            and alerted_keys.event_key = events.event_key
    ),

    event_spells as (
        select *, valid_from as begin_on, {{ end_of_spell("event_key") }} as end_on
        from alerted_events
    ),

    event_orders as (
        select orders.*
        from orders
        inner join
            (select distinct platform, order_id from alerted_events) as wanted
            on wanted.platform = orders.platform
            and wanted.order_id = orders.order_id
    ),

    order_spells as (
        select *, valid_from as begin_on, {{ end_of_spell("order_id") }} as end_on from event_orders
    ),

    attributed as ({{ attributed_events("order_spells", "event_spells") }}),

    raw_contributions as ({{ event_contributions("attributed") }}),

    twins as ({{ adjusted_contributions("raw_contributions") }}),

    contributions as (
        select *
        from raw_contributions
        union all
        select *
        from twins
    ),

    components_of_windows as ({{ components_of_windows() }}),

    standing as (
        {% for subject_type, column in subjects.items() %}
            select
                parts.alert_id,
                parts.platform,
                parts.evening,
                parts.sign,
                parts.window_days,
                contributions.event_key,
                contributions.lag_days,
                -- Of an order counted once the earliest event that stands speaks.
                row_number() over (
                    partition by
                        parts.alert_id,
                        parts.evening,
                        parts.component,
                        contributions.order_id,
                        case when contributions.counts_once then '' else contributions.event_key end
                    order by contributions.lag_days, contributions.event_key
                ) as place
            from components_of_windows as parts
            inner join
                contributions
                on parts.subject_type = '{{ subject_type }}'
                and contributions.platform = parts.platform
                and contributions.{{ column }} = parts.subject_id
                and contributions.component = parts.component
                and contributions.cohort_date between parts.first_cohort and parts.last_cohort
                and contributions.begin_on <= parts.evening
                and contributions.end_on > parts.evening {{ "union all" if not loop.last }}
        {% endfor %}
    ),

    counted as (
        select
            standing.alert_id,
            standing.platform,
            standing.sign,
            case
                when event_spells.event_kind = 'review'
                then 'rated_' || cast(event_spells.rating as {{ dbt.type_string() }})
                else coalesce(event_spells.reason_code, 'unknown')
            end as reason
        from standing
        inner join
            event_spells
            on event_spells.platform = standing.platform
            and event_spells.event_key = standing.event_key
            and event_spells.begin_on <= standing.evening
            and event_spells.end_on > standing.evening
        where standing.place = 1 and standing.lag_days < standing.window_days
    ),

    final as (
        select alert_id, platform, reason, cast(sum(sign) as bigint) as quantity
        from counted
        group by alert_id, platform, reason
        having sum(sign) <> 0
    )

select *
from final

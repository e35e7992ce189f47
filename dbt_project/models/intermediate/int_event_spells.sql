with
    events as (select * from {{ ref("int_events_versioned") }} where {{ on_platforms() }}),

    {% if run_value("on_top") %}
        touched as (select * from {{ ref("int_orders_touched") }}),

        touched_keys as (
            select distinct events.platform, events.event_key
            from events
            inner join
                touched on touched.platform = events.platform and touched.order_id = events.order_id
        ),

        touched_events as (
            select events.*
            from events
            inner join
                touched_keys
                on touched_keys.platform = events.platform
                and touched_keys.event_key = events.event_key
        ),
    {% else %} touched_events as (select * from events),
    {% endif %}

    final as (
        select
            platform,
            event_key,
            event_kind,
            event_id,
            order_id,
            event_date,
            rating,
            reason_code,
            stated_fault_party,
            is_counted,
            valid_from as begin_on,
            {{ end_of_spell("event_key") }} as end_on
        from touched_events
    )

select *
from final

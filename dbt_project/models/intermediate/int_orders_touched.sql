-- Everything whose contribution can begin or end within the run: a version landed, an appeal
-- or a reason code spoke, or a date arrived in silence (a deadline passed, a cohort began).
with
    orders as (select * from {{ ref("int_orders_versioned") }} where {{ on_platforms() }}),

    events as (select * from {{ ref("int_events_versioned") }} where {{ on_platforms() }}),

    appeals as (select * from {{ ref("int_appeals_versioned") }} where {{ on_platforms() }}),

    reason_codes as (select * from {{ ref("int_reason_codes_effective") }}),

    touched_appeals as (
        select distinct platform, appeal_id
        from appeals
        where
            {{ in_run("valid_from") }}
            or decided_date between {{ first_date() }} and {{ last_date() }}
    ),

    touched_events as (
        select platform, event_key
        from events
        where
            {{ in_run("valid_from") }}
            or event_date between {{ first_date() }} and {{ last_date() }}
        union
        -- Every subject of a touched appeal: a corrected one may have moved between events.
        select appeals.platform, appeals.subject_type || ':' || appeals.subject_id as event_key
        from appeals
        inner join
            touched_appeals
            on touched_appeals.platform = appeals.platform
            and touched_appeals.appeal_id = appeals.appeal_id
        union
        select events.platform, events.event_key
        from events
        inner join
            reason_codes
            on reason_codes.platform = events.platform
            and reason_codes.reason_code = events.reason_code
        where reason_codes.begin_on between {{ first_date() }} and {{ last_date() }}
    ),

    final as (
        select platform, order_id
        from orders
        where
            {{ in_run("valid_from") }}
            or paid_date between {{ first_date() }} and {{ last_date() }}
            or fulfilled_date between {{ first_date() }} and {{ last_date() }}
            or late_date between {{ first_date() }} and {{ last_date() }}
            or merchant_cancelled_date between {{ first_date() }} and {{ last_date() }}
        union
        -- Every version of a touched event: a corrected one may have moved between orders.
        select events.platform, events.order_id
        from events
        inner join
            touched_events
            on touched_events.platform = events.platform
            and touched_events.event_key = events.event_key
        {% if run_value("counts_buyers") %}
            -- Distinct buyers do not add up, so the orders behind them are looked at every evening:
            -- those that a window holds, with a deadline missed or an event.
            union
            select orders.platform, orders.order_id
            from orders
            left join
                events on events.platform = orders.platform and events.order_id = orders.order_id
            where
                (orders.late_date is not null or events.order_id is not null)
                and orders.paid_date > (
                    select {{ add_days(first_date(), "-max(window_days + evaluation_days)") }}
                    from {{ ref("int_evaluation_windows") }}
                )
        {% endif %}
    )

select *
from final
{% if not run_value("on_top") %}
    -- A run that stands on nothing touches every order, and looks none of them up.
    where 1 = 0
{% endif %}

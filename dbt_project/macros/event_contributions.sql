{% macro event_contributions(event_kind, component, cohort_date, fault_party=none) -%}
    {#-
        The contributions of one kind of event to `component`: an event counts while its own
        version, its order's version and (where asked for) its fault all hold, from the day on
        which its cohort and the event itself lie in the past.
    -#}
    with
        order_spells as (select * from {{ ref("int_order_spells") }}),

        event_spells as (
            select *
            from {{ ref("int_event_spells") }}
            where event_kind = '{{ event_kind }}' and is_counted
        ),

        {% if fault_party %}
            reason_codes as (
                select *
                from {{ ref("int_reason_codes_effective") }}
                where fault_party = '{{ fault_party }}'
            ),

            qualified_spells as (
                select platform, event_key, order_id, event_date, rating, begin_on, end_on
                from event_spells
                where stated_fault_party = '{{ fault_party }}'
                union all
                select
                    event_spells.platform,
                    event_spells.event_key,
                    event_spells.order_id,
                    event_spells.event_date,
                    event_spells.rating,
                    greatest(event_spells.begin_on, reason_codes.begin_on) as begin_on,
                    least(event_spells.end_on, reason_codes.end_on) as end_on
                from event_spells
                inner join
                    reason_codes
                    on reason_codes.platform = event_spells.platform
                    and reason_codes.reason_code = event_spells.reason_code
                    and reason_codes.begin_on < event_spells.end_on
                    and reason_codes.end_on > event_spells.begin_on
                where event_spells.stated_fault_party is null
            ),
        {% else %} qualified_spells as (select * from event_spells),
        {% endif %}

        final as (
            select
                order_spells.platform,
                order_spells.order_id,
                qualified_spells.event_key,
                order_spells.merchant_id,
                order_spells.product_id,
                {{ component }} as component,
                order_spells.{{ cohort_date }} as cohort_date,
                {{
                    dbt.datediff(
                        "order_spells." ~ cohort_date, "qualified_spells.event_date", "day"
                    )
                }} as lag_days,
                greatest(
                    order_spells.begin_on,
                    qualified_spells.begin_on,
                    order_spells.{{ cohort_date }},
                    qualified_spells.event_date
                ) as begin_on,
                least(order_spells.end_on, qualified_spells.end_on) as end_on
            from qualified_spells
            inner join
                order_spells
                on order_spells.platform = qualified_spells.platform
                and order_spells.order_id = qualified_spells.order_id
            where order_spells.is_counted and order_spells.{{ cohort_date }} is not null
        )

    select *
    from final
    where begin_on < end_on
{%- endmacro %}

{{ config(materialized="ephemeral") }}

-- Each event with the order it is about and the party at fault, for every spell of evenings on
-- which neither version changes nor the meaning of its reason code.
with
    order_spells as (select * from {{ ref("int_order_spells") }} where is_counted),

    event_spells as (select * from {{ ref("int_event_spells") }} where is_counted),

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
            least(event_spells.end_on, coalesce(reason_codes.end_on, event_spells.end_on)) as end_on
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

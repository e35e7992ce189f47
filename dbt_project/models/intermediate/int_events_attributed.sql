{{ config(materialized="ephemeral") }}

{{ attributed_events(ref("int_order_spells"), ref("int_event_spells")) }}

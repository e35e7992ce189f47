{{ config(materialized="ephemeral") }} {{ event_contributions(ref("int_events_attributed")) }}

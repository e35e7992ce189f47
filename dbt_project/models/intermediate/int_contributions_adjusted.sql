{{ config(materialized="ephemeral") }}

-- Every event contribution has a twin that holds only while no appeal has overturned the event.
{{ adjusted_contributions(ref("int_contributions__events")) }}

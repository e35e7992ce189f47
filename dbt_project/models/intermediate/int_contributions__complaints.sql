{{ config(materialized="ephemeral") }}

{{ event_contributions("complaint", "'complaints'", "paid_date") }}

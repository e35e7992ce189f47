{{ config(materialized="ephemeral") }}

{{
    event_contributions(
        "refund", "'merchant_fault_return_orders'", "paid_date", fault_party="merchant"
    )
}}

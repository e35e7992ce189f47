{{ config(materialized="ephemeral") }}

with
    orders as (select * from {{ ref("int_contributions__orders") }}),

    late_shipments as (select * from {{ ref("int_contributions__late_shipments") }}),

    complaints as (select * from {{ ref("int_contributions__complaints") }}),

    reviews as (select * from {{ ref("int_contributions__reviews") }}),

    merchant_fault_returns as (
        select * from {{ ref("int_contributions__merchant_fault_returns") }}
    ),

    final as (
        select *
        from orders
        union all
        select *
        from late_shipments
        union all
        select *
        from complaints
        union all
        select *
        from reviews
        union all
        select *
        from merchant_fault_returns
    )

select *
from final

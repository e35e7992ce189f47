{{ config(materialized="view") }}

with
    complaints as (select * from {{ ref("stg_landing__complaints") }}),

    reviews as (select * from {{ ref("stg_landing__reviews") }}),

    refunds as (select * from {{ ref("stg_landing__refunds") }}),

    final as (
        select *
        from complaints
        union all
        select *
        from reviews
        union all
        select *
        from refunds
    )

select *, event_kind || ':' || event_id as event_key
from final

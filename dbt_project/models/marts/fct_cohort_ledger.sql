{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_entries() }}",
        tags=["same_under_any_policies"],
    )
}}

-- Orders and events share no component, so each are summed by themselves, in half the memory.
with
    orders as (
        select * from {{ ref("int_contributions__orders") }} where {{ is_filled("component") }}
    ),

    events as (
        select * from {{ ref("int_contributions_counted") }} where {{ is_filled("component") }}
    ),

    final as (
        {{ ledger_entries("orders") }}
        union all
        {{ ledger_entries("events") }}
    )

select *
from final

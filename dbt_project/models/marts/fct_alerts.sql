{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

with
    transitions as (
        select * from {{ ref("fct_record_transitions") }} where {{ in_run("as_of_date") }}
    ),

    final as (
        select
            transition_id as alert_id,
            as_of_date,
            platform,
            record_id,
            record_type,
            transition,
            policy_id,
            entity_type,
            entity_id,
            metric,
            risk_point,
            numerator,
            denominator,
            value,
            threshold,
            measure
        from transitions
        where is_alerted
    )

select *
from final

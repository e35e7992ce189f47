{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

-- The evenings at a level. A violation counts as a warning for the warning record.
with
    evaluations as (
        select *
        from {{ ref("fct_policy_evaluations") }}
        where {{ in_run("as_of_date") }} and status in ('warning', 'violation')
    ),

    levels as (
        select *, 'warning' as record_type
        from evaluations
        union all
        select *, 'violation' as record_type
        from evaluations
        where status = 'violation'
    ),

    final as (
        select
            as_of_date,
            platform,
            policy_line,
            entity_type,
            entity_id,
            record_type,
            policy_id,
            metric,
            risk_point
        from levels
    )

select *
from final

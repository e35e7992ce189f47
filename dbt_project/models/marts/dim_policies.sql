with
    policies as (select * from {{ ref("policies") }}),

    final as (
        select
            policy_id,
            pack,
            platform,
            category_id,
            metric,
            risk_point,
            entity_type,
            platform
            || '/'
            || category_id
            || '/'
            || metric
            || '/'
            || risk_point
            || '/'
            || entity_type as policy_line,
            warning_threshold,
            violation_threshold,
            comparator,
            basis,
            evaluation_days,
            min_denominator,
            max_count,
            measure,
            effective_from,
            effective_to,
            owner,
            source
        from policies
        where pack in ('{{ var("policies") | join("', '") }}')
    )

select *
from final

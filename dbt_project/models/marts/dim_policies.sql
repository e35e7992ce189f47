-- Every activated pack is a seed of its own; all have the same columns, in the same order.
with
    policies as (
        {% for pack in var("policies") %}
            select '{{ pack }}' as pack, *
            from {{ ref("pack_" ~ pack) }} {{ "union all" if not loop.last }}
        {% endfor %}
    ),

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
            min_component,
            min_count,
            min_days,
            measure,
            effective_from,
            effective_to,
            owner,
            source
        from policies
    )

select *
from final

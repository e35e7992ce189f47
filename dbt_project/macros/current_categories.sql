{% macro current_categories(versions, key) -%}
    {#- The category each record has on the last evening, and since when it has had it. -#}
    with
        versions as (select * from {{ versions }} where {{ on_platforms() }}),

        ordered as (
            select
                platform,
                {{ key }},
                category_id,
                valid_from,
                lag(category_id) over (
                    partition by platform, {{ key }} order by valid_from
                ) as previous_category_id,
                row_number() over (
                    partition by platform, {{ key }} order by valid_from desc
                ) as recency
            from versions
        ),

        current_categories as (
            select platform, {{ key }}, category_id from ordered where recency = 1
        ),

        changes as (
            select platform, {{ key }}, max(valid_from) as category_from
            from ordered
            where coalesce(previous_category_id <> category_id, true)
            group by platform, {{ key }}
        ),

        final as (
            select
                changes.platform,
                changes.{{ key }},
                current_categories.category_id,
                changes.category_from
            from changes
            inner join
                current_categories
                on current_categories.platform = changes.platform
                and current_categories.{{ key }} = changes.{{ key }}
        )

    select *
    from final
{%- endmacro %}

{% macro entity_spells(versions, key) -%}
    {#- What is known of a record, evening by evening; before its first version nothing is. -#}
    select
        platform,
        {{ key }},
        category_id,
        status,
        valid_from as begin_on,
        {{ end_of_spell(key) }} as end_on
    from {{ versions }}
    where {{ on_platforms() }}
    union all
    select
        platform,
        {{ key }},
        'unknown' as category_id,
        'active' as status,
        {{ beginning_of_time() }} as begin_on,
        min(valid_from) as end_on
    from {{ versions }}
    where {{ on_platforms() }}
    group by platform, {{ key }}
{%- endmacro %}

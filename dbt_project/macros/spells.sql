{% macro end_of_spell(key) -%}
    {#- A version speaks until the day on which the next one begins, which is not included. -#}
    coalesce(
        lead(valid_from) over (partition by platform, {{ key }} order by valid_from),
        {{ end_of_time() }}
    )
{%- endmacro %}

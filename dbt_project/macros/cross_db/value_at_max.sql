{% macro value_at_max(value, measures) -%}
    {#- The value in the row where the measures, compared left to right, are greatest. -#}
    {{ return(adapter.dispatch("value_at_max", "redline")(value, measures)) }}
{%- endmacro %}

{% macro default__value_at_max(value, measures) -%}
    {#- A single measure needs no row, which is slow to compare. -#}
    arg_max(
        {{ value }},
        {% if measures | length == 1 %} {{ measures[0] }}
        {% else %} row({{ measures | join(", ") }})
        {% endif %}
    )
{%- endmacro %}

{% macro spark__value_at_max(value, measures) -%}
    max_by({{ value }}, struct({{ measures | join(", ") }}))
{%- endmacro %}

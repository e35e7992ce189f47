{% macro whole_numbers(last) -%}
    {#- One row per whole number from 0 to `last`: number. -#}
    {{ return(adapter.dispatch("whole_numbers", "redline")(last)) }}
{%- endmacro %}

{% macro default__whole_numbers(last) -%}
    select cast(number as integer) as number
    from unnest(generate_series(0, {{ last }})) as t(number)
{%- endmacro %}

{% macro spark__whole_numbers(last) -%}
    select explode(sequence(0, {{ last }})) as number
{%- endmacro %}

{% macro evenings() -%}
    {#- One row per evening of the run: as_of_date. -#}
    {{ return(adapter.dispatch("evenings", "redline")()) }}
{%- endmacro %}

{% macro default__evenings() -%}
    select cast(day as date) as as_of_date
    from unnest(generate_series({{ first_date() }}, {{ last_date() }}, interval 1 day)) as t(day)
{%- endmacro %}

{% macro spark__evenings() -%}
    select explode(sequence({{ first_date() }}, {{ last_date() }}, interval 1 day)) as as_of_date
{%- endmacro %}

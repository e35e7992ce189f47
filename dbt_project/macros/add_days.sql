{% macro add_days(date_column, count) -%}
    {#- A date that many days later, as a date. -#}
    cast({{ dbt.dateadd("day", count, date_column) }} as date)
{%- endmacro %}

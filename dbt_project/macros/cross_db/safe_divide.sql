{% macro safe_divide(numerator, denominator) -%}
    {#- A double; null where the denominator is 0. Engines differ: DuckDB answers 1/0 with inf. -#}
    (cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0))
{%- endmacro %}

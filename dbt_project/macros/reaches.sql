{% macro reaches(value, threshold) -%}
    {#- Whether a value is at or beyond a threshold, as the policy's comparator says. -#}
    ({{ value }} > {{ threshold }} or (comparator = '>=' and {{ value }} = {{ threshold }}))
{%- endmacro %}

{% macro gamma_quantile(mean, variance, z) -%}
    {#-
        The quantile of a gamma distribution with that mean and variance at the normal deviate z, by
        the approximation of Wilson and Hilferty (1931): the cube root of a gamma variable is nearly
        normal. 0 where the mean is 0.
    -#}
    {%- set ninth = "(" ~ variance ~ " / nullif(9 * " ~ mean ~ " * " ~ mean ~ ", 0))" -%}
    coalesce({{ mean }} * power(greatest(0, 1 - {{ ninth }} + ({{ z }}) * sqrt({{ ninth }})), 3), 0)
{%- endmacro %}

{% macro wilson_lower_bound(numerator, denominator) -%}
    {#-
        The one-sided 95% lower confidence bound of a proportion (Wilson 1927, z = 1.6448536).
        Events can outnumber orders, so the proportion is least(numerator, denominator) / n.
    -#}
    {%- set z = 1.6448536269514722 -%}
    {%- set n = "nullif(cast(" ~ denominator ~ " as double), 0)" -%}
    {%- set p = "(least(" ~ numerator ~ ", " ~ denominator ~ ") / " ~ n ~ ")" -%}
    -- Rounding must not take the bound of nothing below 0.
    case
        when {{ denominator }} > 0
        then
            greatest(
                0.0,
                (
                    ({{ p }} + {{ z * z / 2 }} / {{ n }})
                    - {{ z }}
                    * sqrt(({{ p }} * (1 - {{ p }}) + {{ z * z / 4 }} / {{ n }}) / {{ n }})
                )
                / (1 + {{ z * z }} / {{ n }})
            )
    end
{%- endmacro %}

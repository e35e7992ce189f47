{% macro count_metric(component, window_days) -%}
    {#- The name under which windows sum a component that a policy asks a minimum of. -#}
    {{
        dbt.concat(
            [
                "'count:'",
                component,
                "':'",
                "cast(" ~ window_days ~ " as " ~ dbt.type_string() ~ ")",
            ]
        )
    }}
{%- endmacro %}

{% macro generate_schema_name(custom_schema_name, node) -%}
    {#- Schemas are named as the layers are, without a prefix of the target's. -#}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}

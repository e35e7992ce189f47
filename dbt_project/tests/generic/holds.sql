{% test holds(model, condition) %}
    {#- Rows for which the condition is not true; a null counts as not true. -#}
    select * from {{ model }} where not coalesce({{ condition }}, false)
{% endtest %}

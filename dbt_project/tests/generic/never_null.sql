{% test never_null(model, columns) %}
    {#- Rows in which one of the columns is null: one test for all columns of a model. -#}
    select * from {{ model }} where {{ columns | join(" is null or ") }} is null
{% endtest %}

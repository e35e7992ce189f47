{% test unique_grain(model, columns) %}
    {#- Rows that share the columns which name a row, and rows that leave one of them null. -#}
    select {{ columns | join(", ") }}, count(*) as row_count
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1 or {{ columns | join(" is null or ") }} is null
{% endtest %}

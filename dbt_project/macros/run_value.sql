{% macro run_value(name) -%}
    {#-
        What a run says of itself: its dates, its platforms. It comes by the environment, because
        dbt parses the whole project anew whenever a variable changes, which takes longer than a
        day's models. Where no run speaks (parsing, unit tests, by hand) the variable stands in.
    -#}
    {%- set run = fromjson(env_var("REDLINE_RUN", "{}")) if execute else {} -%}
    {{ return(run[name] if name in run else var(name)) }}
{%- endmacro %}

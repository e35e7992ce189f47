{% macro makes_every_rate() -%}
    {#- Whether the run makes every rate of its platforms anew, instead of those it touches. -#}
    {{ return(run_value("rebuild_rates") or not run_value("on_top")) }}
{%- endmacro %}

{#
    The query of alerts' windows by the components that their numerators count: the adjusted twins
    where the policy counts only events that no appeal has overturned.

    windows: relation with the columns of int_alert_windows; metric_parts: those of int_metric_parts
#}
{% macro components_of_windows(windows="windows", metric_parts="metric_parts") -%}
    select {{ windows }}.*, parts.component
    from {{ windows }}
    inner join
        {{ metric_parts }} as parts
        on parts.metric = {{ windows }}.metric
        and case
            when {{ windows }}.is_adjusted then parts.in_adjusted_numerator else parts.in_numerator
        end
        = 1
{%- endmacro %}

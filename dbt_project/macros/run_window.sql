{% macro first_date() -%} cast('{{ run_value("start_date") }}' as date) {%- endmacro %}

{% macro last_date() -%} cast('{{ run_value("end_date") }}' as date) {%- endmacro %}

{% macro on_platforms() -%}
    platform in ('{{ run_value("platforms") | join("', '") }}')
{%- endmacro %}

{% macro in_run(date_column) -%}
    {#- Rows of the platforms and report dates that this run takes. -#}
    {{ date_column }} between {{ first_date() }} and {{ last_date() }} and {{ on_platforms() }}
{%- endmacro %}

{% macro forget_unpublished(date_column) -%}
    {#-
        Delete what an earlier attempt left for this run's dates or later ones, so that a run
        that died half-way is mended by the next one. Nothing published is ever later; a run
        that stands on nothing (`on_top` false) forgets all its platforms ever had.
    -#}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            {{ on_platforms() }}
            {% if run_value("on_top") %} and {{ date_column }} >= {{ first_date() }} {% endif %}
    {% endif %}
{%- endmacro %}

{% macro end_of_time() -%} cast('9999-12-31' as date) {%- endmacro %}

{% macro beginning_of_time() -%} cast('0001-01-01' as date) {%- endmacro %}

{% macro forget_entries() -%}
    {#-
        As `forget_unpublished`, for the ledger: a run that fills new components (`fill`) for report
        dates that are closed forgets those components only.
    -#}
    {% if run_value("fill") %}
        {% if is_incremental() %}
            delete from {{ this }} where {{ on_platforms() }} and {{ is_filled("component") }}
        {% endif %}
    {% else %} {{ forget_unpublished("report_date") }}
    {% endif %}
{%- endmacro %}

{% macro is_filled(component) -%}
    {#- Whether the run makes entries of that component: all, unless it fills new ones. -#}
    {% if run_value("fill") %}
        replace({{ component }}, '_adjusted', '') in ('{{ run_value("fill") | join("', '") }}')
    {% else %} true
    {% endif %}
{%- endmacro %}

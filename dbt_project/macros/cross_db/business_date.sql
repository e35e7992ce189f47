{% macro business_date(timestamp_column) -%}
    {#- The calendar date of a UTC timestamp in the business time zone. -#}
    {{ return(adapter.dispatch("business_date", "redline")(timestamp_column)) }}
{%- endmacro %}

{% macro default__business_date(timestamp_column) -%}
    {#-
        Looking a zone up costs ten times an addition, so the offsets in force around the run's
        dates (`utc_offsets`, worked out once from the zone) are added, and only what lies
        outside them is looked up.
    -#}
    case
        when {{ timestamp_column }} is null
        then null
        {% for offset in run_value("utc_offsets") %}
            when
                {{ timestamp_column }} >= timestamp '{{ offset.begins_at }}'
                and {{ timestamp_column }} < timestamp '{{ offset.ends_at }}'
            then cast({{ timestamp_column }} + interval '{{ offset.seconds }} seconds' as date)
        {% endfor %}
        else
            cast(
                ({{ timestamp_column }} at time zone 'UTC')
                at time zone '{{ var("timezone") }}' as date
            )
    end
{%- endmacro %}

{% macro spark__business_date(timestamp_column) -%}
    to_date(from_utc_timestamp({{ timestamp_column }}, '{{ var("timezone") }}'))
{%- endmacro %}

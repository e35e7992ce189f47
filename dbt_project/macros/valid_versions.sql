{% macro valid_versions(staged, key) -%}
    {#-
        The versions of this run that become the newest of their record, one per record and
        report date, with `valid_from` = the report date from which the version speaks.

        Newest on D is, among versions with report date <= D, the greatest `updated_at`, then the
        greatest report date. So a version speaks from its report date on exactly if it is the
        last of that date and no older than any version known before; it speaks until the next
        valid one.
    -#}
    with
        landed as (select * from {{ staged }} where {{ in_run("report_date") }}),

        {% if is_incremental() %}
            known as (
                select v.platform, v.{{ key }}, max(v.updated_at) as known_updated_at
                from {{ this }} as v
                where
                    exists (
                        select 1
                        from landed as l
                        where l.platform = v.platform and l.{{ key }} = v.{{ key }}
                    )
                group by v.platform, v.{{ key }}
            ),
        {% endif %}

        ordered as (
            select
                *,
                max(updated_at) over (
                    partition by platform, {{ key }}
                    order by report_date, updated_at, source_date
                    rows between unbounded preceding and 1 preceding
                ) as landed_updated_at,
                lead(report_date) over (
                    partition by platform, {{ key }} order by report_date, updated_at, source_date
                ) as next_report_date
            from landed
        )

    select ordered.*, ordered.report_date as valid_from
    from ordered
    {% if is_incremental() %}
        left join known on known.platform = ordered.platform and known.{{ key }} = ordered.{{ key }}
    {% endif %}
    where
        coalesce(next_report_date > ordered.report_date, true)
        and ordered.updated_at >= coalesce(landed_updated_at, ordered.updated_at)
        {% if is_incremental() %}
            and ordered.updated_at >= coalesce(known_updated_at, ordered.updated_at)
        {% endif %}
{%- endmacro %}

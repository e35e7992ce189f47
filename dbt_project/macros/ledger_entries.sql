{% macro ledger_entries(contributions) -%}
    {#- What each report date of the run adds: contributions that begin less those that end. -#}
    select
        report_date,
        cohort_date,
        platform,
        merchant_id,
        product_id,
        component,
        cast(lag_days as integer) as lag_days,
        cast(sum(entry) as bigint) as quantity
    from
        (
            select
                contributions.*,
                signs.entry,
                case
                    when signs.entry = 1 then contributions.begin_on else contributions.end_on
                end as report_date
            from {{ contributions }} as contributions
            cross join
                (
                    select 1 as entry
                    union all
                    select -1 as entry
                ) as signs
        ) as entries
    where {{ in_run("report_date") }}
    group by report_date, cohort_date, platform, merchant_id, product_id, component, lag_days
    having sum(entry) <> 0
{%- endmacro %}

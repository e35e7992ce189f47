{% macro ledger_in_reach() -%}
    {#-
        The ledger's entries that a trailing window of this run can hold, known by its last evening,
        and whatever this run reported.
    -#}
    select ledger.*
    from {{ ref("fct_cohort_ledger") }} as ledger
    where
        {{ on_platforms() }}
        and ledger.report_date <= {{ last_date() }}
        and (
            ledger.report_date >= {{ first_date() }}
            or ledger.cohort_date > (
                select {{ add_days(first_date(), "-max(window_days + evaluation_days)") }}
                from {{ ref("int_evaluation_windows") }}
            )
        )
{%- endmacro %}

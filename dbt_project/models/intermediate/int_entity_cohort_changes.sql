-- The ledger as windows see it: what each report date added to each cohort of a series.
with
    ledger as ({{ ledger_in_reach() }}),

    parts as (select * from {{ ref("int_window_parts") }}),

    series as (select * from {{ ref("int_entity_series") }}),

    components as (select distinct entity_type, component, window_days from parts),

    counts as (
        {% for entity_type in ["merchant", "product"] %}
            select
                ledger.platform,
                components.entity_type,
                ledger.{{ entity_type }}_id as entity_id,
                components.component,
                components.window_days,
                ledger.cohort_date,
                ledger.report_date,
                sum(ledger.quantity) as quantity
            from ledger
            inner join
                components
                on components.component = ledger.component
                and components.entity_type = '{{ entity_type }}'
            where ledger.lag_days < components.window_days
            group by
                ledger.platform,
                components.entity_type,
                ledger.{{ entity_type }}_id,
                components.component,
                components.window_days,
                ledger.cohort_date,
                ledger.report_date {{ "union all" if not loop.last }}
        {% endfor %}
    ),

    final as (
        select
            series.series_number,
            counts.cohort_date,
            counts.report_date,
            cast(sum(counts.quantity * parts.in_numerator) as bigint) as numerator,
            cast(
                sum(counts.quantity * parts.in_adjusted_numerator) as bigint
            ) as adjusted_numerator,
            cast(sum(counts.quantity * parts.in_denominator) as bigint) as denominator
        from counts
        inner join
            parts
            on parts.entity_type = counts.entity_type
            and parts.component = counts.component
            and parts.window_days = counts.window_days
        inner join
            series
            on series.platform = counts.platform
            and series.entity_type = counts.entity_type
            and series.entity_id = counts.entity_id
            and series.metric = parts.metric
        group by series.series_number, counts.cohort_date, counts.report_date
    )

select *
from final

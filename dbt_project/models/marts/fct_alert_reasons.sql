{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

{% set subjects = {"merchant": "merchant_id", "product": "product_id"} %}
with
    windows as (select * from {{ ref("int_alert_windows") }}),

    reasons as (select * from {{ ref("int_alert_reasons") }}),

    metric_parts as (select * from {{ ref("int_metric_parts") }}),

    ledger as ({{ ledger_in_reach() }}),

    components_of_windows as ({{ components_of_windows() }}),

    product_entries as (
        {% for subject_type, column in subjects.items() %}
            select parts.alert_id, ledger.product_id, parts.sign * ledger.quantity as quantity
            from components_of_windows as parts
            inner join
                ledger
                on parts.subject_type = '{{ subject_type }}'
                and ledger.platform = parts.platform
                and ledger.{{ column }} = parts.subject_id
                and ledger.component = parts.component
                and ledger.cohort_date between parts.first_cohort and parts.last_cohort
                and ledger.report_date <= parts.evening
                and ledger.lag_days < parts.window_days {{ "union all" if not loop.last }}
        {% endfor %}
    ),

    moves as (
        select alert_id, 'product' as kind, product_id as key, sum(quantity) as quantity
        from product_entries
        group by alert_id, product_id
        having sum(quantity) <> 0
        union all
        select alert_id, 'reason' as kind, reason as key, quantity
        from reasons
    ),

    ranked as (
        select
            *,
            row_number() over (
                partition by alert_id, kind order by abs(quantity) desc, quantity desc, key
            ) as place
        from moves
    ),

    alerts as (select distinct alert_id, as_of_date, platform from windows),

    final as (
        select
            ranked.alert_id,
            alerts.as_of_date,
            alerts.platform,
            ranked.kind,
            ranked.key,
            cast(ranked.quantity as bigint) as quantity,
            cast(ranked.place as integer) as rank
        from ranked
        inner join alerts on alerts.alert_id = ranked.alert_id
        where ranked.place <= 3
    )

select *
from final

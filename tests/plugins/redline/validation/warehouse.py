"""A small warehouse made by hand over `landed.make_landing`: for the publication gate.

Six orders a day for two merchants (even numbers `m0`, odd ones `m1`), each paid, fulfilled,
complained about, reviewed and returned by the merchant's fault on its day. None is late, and none
was cancelled before it was shipped. A metric's window is two days here, so that four days hold
mature cohorts.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from tests.plugins.redline.validation.landed import FIRST, LAST, PLATFORM

METRICS = (
    ("complaint_rate", ("complaints",), "orders_paid"),
    ("negative_review_rate", ("review_rated_1", "review_rated_2"), "orders_fulfilled"),
)

_TABLES = f"""
    create schema seeds;
    create schema marts;
    create table seeds.metrics (metric varchar, window_days integer);
    create table seeds.metric_components (metric varchar, part varchar, component varchar);
    create table seeds.components (component varchar);
    create table seeds.reason_codes (
        platform varchar, reason_code varchar, effective_from date, fault_party varchar
    );

    create table marts.dim_merchants as
    select '{PLATFORM}' as platform, 'm' || range as merchant_id, 'food' as category_id
    from range(6);

    create table marts.dim_products as
    select '{PLATFORM}' as platform, 'p' || range as product_id, 'food' as category_id
    from range(6);

    create table marts.dim_policies as
    select
        unnest(['any', 'food']) as policy_id,
        '*' as platform,
        unnest(['*', 'food']) as category_id,
        'complaint_rate' as metric,
        'service' as risk_point,
        'merchant' as entity_type,
        '>=' as comparator,
        0.5 as warning_threshold,
        1.0 as violation_threshold,
        7 as evaluation_days,
        30 as min_denominator,
        cast(null as varchar) as min_component,
        cast(null as bigint) as min_count,
        cast(null as bigint) as max_count,
        date '2000-01-01' as effective_from,
        cast(null as date) as effective_to;

    create table marts.fct_cohort_ledger as
    with
        orders as (
            select
                day::date as day,
                'm' || (number % 2) as merchant_id,
                'p' || (number % 3) as product_id,
                'review_rated_' || (1 + number % 5) as stars
            from
                range(date '{FIRST}', date '{LAST}' + interval 1 day, interval 1 day) as days (day),
                range(6) as numbers (number)
        ),

        parts as (
            select
                *,
                unnest([
                    'orders_paid', 'orders_fulfilled',
                    'complaints', 'complaints_adjusted',
                    'merchant_fault_complaints', 'merchant_fault_complaints_adjusted',
                    stars, stars || '_adjusted',
                    'merchant_fault_return_orders', 'merchant_fault_return_orders_adjusted',
                    'refunded_orders', 'refunded_orders_adjusted',
                    'defective_orders', 'defective_orders_adjusted'
                ]) as component
            from orders
        )

    select
        day as report_date,
        day as cohort_date,
        '{PLATFORM}' as platform,
        merchant_id,
        product_id,
        component,
        0 as lag_days,
        count(*) as quantity
    from parts
    group by all;
"""

_RATES = """
    create table marts.fct_{entity}_daily_rates as
    with
        cells as (
            select *, 'food' as category_id from marts.fct_cohort_ledger
        ),

        rates as (
            select
                platform,
                {columns},
                metric,
                cohort_date,
                sum(if(part = 'numerator', quantity, 0))::bigint as numerator,
                sum(if(part = 'denominator', quantity, 0))::bigint as denominator
            from cells
            inner join seeds.metric_components using (component)
            group by all
        )

    select
        *,
        numerator / denominator as rate,
        numerator as adjusted_numerator,
        numerator / denominator as adjusted_rate,
        cohort_date + 1 <= date '{last}' as is_mature,
        date '{last}' as as_of_date
    from rates;
"""

_JUDGEMENTS = f"""
    create table marts.fct_policy_evaluations as
    with
        evenings as (select distinct report_date as as_of_date from marts.fct_cohort_ledger),

        windows as (
            select
                as_of_date,
                merchants.merchant_id,
                coalesce(sum(quantity) filter (where component = 'complaints'), 0) as numerator,
                coalesce(sum(quantity) filter (where component = 'orders_paid'), 0) as denominator
            from evenings
            cross join (select distinct merchant_id from marts.fct_cohort_ledger) as merchants
            left join
                marts.fct_cohort_ledger as ledger
                on ledger.merchant_id = merchants.merchant_id
                and ledger.cohort_date < evenings.as_of_date
            group by as_of_date, merchants.merchant_id
        )

    select
        as_of_date,
        'food' as policy_id,
        '{PLATFORM}' as platform,
        'merchant' as entity_type,
        merchant_id as entity_id,
        'food' as category_id,
        'complaint_rate' as metric,
        'service' as risk_point,
        numerator::bigint as numerator,
        denominator::bigint as denominator,
        if(denominator > 0, numerator / denominator, null) as value,
        if(denominator > 0, 0.4, null) as lower_bound,
        1.0 as projected_value,
        0.5 as warning_threshold,
        1.0 as violation_threshold,
        'insufficient_data' as status,
        false as is_confirmed,
        cast(null as bigint) as minimum_counted
    from windows;

    create table marts.fct_warning_records as
    select
        '{PLATFORM}' as platform,
        'r1' as record_id,
        'complaint_rate' as metric,
        'service' as risk_point,
        'merchant' as entity_type,
        'm0' as entity_id,
        date '{LAST}' as opened_on,
        cast(null as date) as closed_on;

    create table marts.fct_violation_records as
    select
        '{PLATFORM}' as platform,
        'r2' as record_id,
        'complaint_rate' as metric,
        'service' as risk_point,
        'merchant' as entity_type,
        'm0' as entity_id,
        date '{LAST}' as opened_on,
        cast(null as date) as closed_on;

    create table marts.fct_record_transitions as
    select '{PLATFORM}' as platform, 'a1' as transition_id, date '{LAST}' as as_of_date;

    create table marts.fct_alerts as
    select
        unnest(['a1', 'a2']) as alert_id,
        date '{LAST}' as as_of_date,
        '{PLATFORM}' as platform,
        unnest(['r1', 'r2']) as record_id,
        unnest(['warning', 'violation']) as record_type,
        unnest(['opened', 'escalated']) as transition;

    create table marts.fct_alert_reasons as
    select
        'a1' as alert_id,
        date '{LAST}' as as_of_date,
        '{PLATFORM}' as platform,
        'product' as kind,
        'p0' as key,
        1 as quantity,
        1 as rank;
"""

_COLUMNS = {
    "merchant": "merchant_id, category_id",
    "product": "merchant_id, product_id, category_id",
    "category": "category_id",
}


def make_warehouse(path: Path, last: date = LAST) -> None:
    """Write a warehouse that agrees with `landed.make_landing`."""
    with duckdb.connect(str(path)) as con:
        con.execute(_TABLES)
        for metric, numerators, denominator in METRICS:
            con.execute("insert into seeds.metrics values ($1, 2)", [metric])
            parts = [*(("numerator", each) for each in numerators), ("denominator", denominator)]
            for part, component in parts:
                con.execute(
                    "insert into seeds.metric_components values ($1, $2, $3)",
                    [metric, part, component],
                )
        con.execute(
            "insert into seeds.components"
            " select replace(component, '_adjusted', '') from marts.fct_cohort_ledger"
            " union select unnest(['late_shipments', 'merchant_cancels'])"
        )
        for entity, columns in _COLUMNS.items():
            con.execute(_RATES.format(entity=entity, columns=columns, last=last))
        con.execute(_JUDGEMENTS)


def change(path: Path, *statements: str) -> None:
    """Plant faults in a warehouse."""
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)

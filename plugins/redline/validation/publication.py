"""The relations that the publication suite reads: the new marts, and what they must agree with.

The reconciliation starts from the landed Parquet and knows nothing of the models, nor of the seed
that says which events a component counts: it takes the newest version of every record on two
evenings and counts what each evening holds. The ledger's sum between the two must be the
difference. An appealed event counts in its component and, unless it is overturned, in the
component's adjusted twin.
"""

from __future__ import annotations

from typing import Any

import duckdb

from redline.contract import entity
from redline.errors import GateError
from redline.plan import ONE_DAY, Plan
from redline.settings import Settings
from redline.validation.gate import literal, repeated
from redline.validation.intake import landed_files, make_rows

_RATES = ("merchant", "product", "category")
_RECORDS = ("fct_warning_records", "fct_violation_records")
_COUNTED = (
    "dim_merchants",
    "dim_products",
    "fct_cohort_ledger",
    "fct_merchant_daily_rates",
    "fct_product_daily_rates",
    "fct_category_daily_rates",
    "fct_policy_evaluations",
    *_RECORDS,
    "fct_record_transitions",
    "fct_alerts",
    "fct_alert_reasons",
)
# Events whose landed records are counted afresh: entity, key, own date. An appeal's subject type is
# the entity's name in the singular.
_EVENTS = (
    ("complaints", "complaint_id", "created_at"),
    ("reviews", "review_id", "created_at"),
    ("refunds", "refund_id", "requested_at"),
)
# Of these an order counts once, however many events it has.
_COUNTED_ONCE = ("merchant_fault_return_orders", "refunded_orders", "defective_orders")
_RECONCILED = (
    "orders_paid",
    "orders_fulfilled",
    "late_shipments",
    "merchant_cancels",
    "complaints",
    "merchant_fault_complaints",
    *(f"review_rated_{rating}" for rating in range(1, 6)),
    *_COUNTED_ONCE,
)
_IN_RUN = "between getvariable('start_date') and getvariable('end_date')"
_SHIP_BY = "coalesce(ship_by_at, paid_at + interval 72 hour)"
_KEPT_ROWS = 500_000
# A long range's evenings are sampled: its first, its last and some between.
_STEPS_BETWEEN_EVENINGS = 6


def make_relations(
    con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings
) -> dict[str, Any]:
    """Make `marts.*` and `publication.*`.

    Returns:
        `row_counts` of the platform's marts, and `notes` on what could not be judged.

    Raises:
        GateError: the warehouse or one of its tables is missing.
    """
    _attach(con, settings)
    con.execute("create schema marts")
    con.execute("create schema publication")
    _make_ledger(con)
    _make_rates(con)
    _make_evaluations(con)
    _make_alerts(con)
    _make_repeated(con)
    _make_merchant_sums(con)
    _make_rated_merchants(con)
    _make_missing_evaluations(con, plan, settings)
    _make_reconciliation(con, plan, settings)
    _make_balances(con)
    is_published = _attach_published(con, settings)
    _make_lost_merchants(con, plan, is_published=is_published)
    row_counts = _make_row_counts(con, is_published=is_published)
    notes = [] if is_published else ["nothing is published yet to compare with"]
    if plan.restated_from:
        notes.append("a restatement may rewrite the past: lost merchants are not judged")
    return {"row_counts": row_counts, "notes": notes}


def _attach(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    path = settings.home.warehouse
    if not path.is_file():
        raise GateError("there is no warehouse to judge", str(path), "run the transform first")
    con.execute(f"attach {literal(str(path))} as warehouse (read_only)")
    found = {
        name
        for (name,) in con.execute(
            "select table_name from duckdb_tables() where database_name = 'warehouse'"
            " and schema_name = 'marts'"
            " union all select view_name from duckdb_views() where database_name = 'warehouse'"
            " and schema_name = 'marts'"
        ).fetchall()
    }
    missing = sorted({*_COUNTED, "dim_policies"} - found)
    if missing:
        raise GateError(
            f"the warehouse lacks marts.{', marts.'.join(missing)}",
            str(path),
            "see the transform's log; nothing was published",
        )


def _make_ledger(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create view marts.fct_cohort_ledger as
        select
            *,
            replace(component, '_adjusted', '') in (
                select component from warehouse.seeds.components
            ) as is_known_component
        from warehouse.marts.fct_cohort_ledger
        where
            platform = getvariable('platform')
            and report_date between getvariable('start_date') and getvariable('end_date')
        """
    )


def _make_rates(con: duckdb.DuckDBPyConnection) -> None:
    for name in _RATES:
        con.execute(
            f"""
            create view marts.fct_{name}_daily_rates as
            select
                rates.*,
                rates.cohort_date + metrics.window_days - 1
                <= getvariable('end_date') as is_mature_by_now
            from warehouse.marts.fct_{name}_daily_rates as rates
            left join warehouse.seeds.metrics as metrics using (metric)
            where
                platform = getvariable('platform')
                and as_of_date >= getvariable('start_date')
            """
        )


def _make_evaluations(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create view marts.fct_policy_evaluations as
        select
            evaluations.*,
            policies.policy_id is not null as is_known_policy,
            policies.comparator,
            policies.max_count,
            evaluations.denominator >= policies.min_denominator
            and (
                policies.min_component is null
                or coalesce(evaluations.minimum_counted, 0) >= policies.min_count
            ) as has_enough
        from warehouse.marts.fct_policy_evaluations as evaluations
        left join warehouse.marts.dim_policies as policies using (policy_id)
        where
            evaluations.platform = getvariable('platform')
            and as_of_date between getvariable('start_date') and getvariable('end_date')
        """
    )


def _make_alerts(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create view marts.fct_alerts as
        with
            records as (
                select 'warning' as record_type, record_id
                from warehouse.marts.fct_warning_records
                union
                select 'violation' as record_type, record_id
                from warehouse.marts.fct_violation_records
            )

        select alerts.*, records.record_id is not null as has_record
        from warehouse.marts.fct_alerts as alerts
        left join records using (record_type, record_id)
        where platform = getvariable('platform') and as_of_date >= getvariable('start_date')
        """
    )
    con.execute(
        """
        create view marts.fct_alert_reasons as
        select *
        from warehouse.marts.fct_alert_reasons
        where platform = getvariable('platform') and as_of_date >= getvariable('start_date')
        """
    )


def _make_repeated(con: duckdb.DuckDBPyConnection) -> None:
    rates = ("metric", "cohort_date")
    grains = {
        "fct_cohort_ledger": (
            "report_date",
            "cohort_date",
            "merchant_id",
            "product_id",
            "component",
            "lag_days",
        ),
        "fct_merchant_daily_rates": ("merchant_id", *rates),
        # One product can be sold by several merchants.
        "fct_product_daily_rates": ("merchant_id", "product_id", *rates),
        "fct_category_daily_rates": ("category_id", *rates),
        "fct_policy_evaluations": (
            "as_of_date",
            "entity_type",
            "entity_id",
            "metric",
            "risk_point",
        ),
        "fct_alerts": ("alert_id",),
        "fct_alert_reasons": ("alert_id", "kind", "key"),
    }
    parts = " union all ".join(
        f"select 'marts.{name}' as mart, concat_ws(' ', {', '.join(grain)}) as grain, copies"
        f" from ({repeated(f'marts.{name}', grain)})"
        for name, grain in grains.items()
    )
    con.execute(f"create table publication.repeated as {parts}")


def _make_merchant_sums(con: duckdb.DuckDBPyConnection) -> None:
    """Changed cohorts of merchants beside the sum of their products."""
    con.execute(
        """
        create table publication.merchant_sums as
        with
            cohorts as (
                select distinct cohort_date, metric from marts.fct_merchant_daily_rates
                union
                select distinct cohort_date, metric from marts.fct_product_daily_rates
            ),

            merchants as (
                select merchant_id, metric, cohort_date, numerator, denominator
                from warehouse.marts.fct_merchant_daily_rates
                semi join cohorts using (cohort_date, metric)
                where platform = getvariable('platform')
            ),

            products as (
                select
                    merchant_id,
                    metric,
                    cohort_date,
                    sum(numerator) as numerator,
                    sum(denominator) as denominator
                from warehouse.marts.fct_product_daily_rates
                semi join cohorts using (cohort_date, metric)
                where platform = getvariable('platform')
                group by merchant_id, metric, cohort_date
            )

        select
            merchant_id,
            metric,
            cohort_date,
            coalesce(merchants.numerator, 0) as numerator,
            coalesce(products.numerator, 0) as product_numerator,
            coalesce(merchants.denominator, 0) as denominator,
            coalesce(products.denominator, 0) as product_denominator
        from merchants
        full join products using (merchant_id, metric, cohort_date)
        """
    )


def _make_rated_merchants(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create view publication.rated_merchants as
        select
            merchant_id,
            merchant_id in (
                select merchant_id
                from warehouse.marts.dim_merchants
                where platform = getvariable('platform')
            ) as is_known
        from (select distinct merchant_id from marts.fct_merchant_daily_rates)
        """
    )


def _make_missing_evaluations(
    con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings
) -> None:
    """What has a policy and a denominator or an open record on an evening, and no evaluation.

    Follows the design from the ledger on: the most specific active policy per entity, metric and
    risk point speaks (platform before `*`, then category before `*`, then the latest; both its
    dates are included), for the category known on the evening; its official window ends at
    D - (w - 1), its projected one at D. Denominators are judged on `publication.evenings`, open
    records on every evening of the run.
    """
    _make_evenings(con)
    for name in ("merchants", "products"):
        _make_landed(con, name, plan, settings)
    _make_due(con)
    _make_speaking(con)
    con.execute(
        """
        create table publication.missing_evaluations as
        with
            asked as (
                select as_of_date, entity_type, entity_id, metric, risk_point, 0 as denominator
                from publication.due_by_record
                semi join publication.speaking using (
                    as_of_date, entity_type, category_id, metric, risk_point
                )
                union all
                select as_of_date, entity_type, entity_id, metric, risk_point, denominator
                from publication.due_by_count
                inner join publication.speaking using (
                    as_of_date, entity_type, category_id, metric, evaluation_days
                )
            )

        select
            as_of_date, entity_type, entity_id, metric, risk_point, max(denominator) as denominator
        from asked
        anti join marts.fct_policy_evaluations using (
            as_of_date, entity_type, entity_id, metric, risk_point
        )
        group by as_of_date, entity_type, entity_id, metric, risk_point
        """
    )


def _make_evenings(con: duckdb.DuckDBPyConnection) -> None:
    """Make `publication.evenings`: all of a week; of a longer range, a sample of it.

    The evenings on which a policy begins or ends are always among them.
    """
    con.execute(
        f"""
        create table publication.evenings as
        with
            lengths as (
                select
                    greatest(
                        1,
                        cast(ceil(
                            (getvariable('end_date') - getvariable('start_date'))
                            / {_STEPS_BETWEEN_EVENINGS}
                        ) as integer)
                    ) as step
            )

        select getvariable('start_date') + cast(number * step as integer) as as_of_date
        from lengths, range({_STEPS_BETWEEN_EVENINGS}) as numbers (number)
        where as_of_date <= getvariable('end_date')
        union
        select getvariable('end_date') as as_of_date
        union
        select unnest([effective_from, effective_to]) as as_of_date
        from warehouse.marts.dim_policies
        where effective_from {_IN_RUN} or effective_to {_IN_RUN}
        """
    )
    con.execute(f"delete from publication.evenings where not coalesce(as_of_date {_IN_RUN}, false)")


def _make_due(con: duckdb.DuckDBPyConnection) -> None:
    """Make `publication.due_by_count` and `publication.due_by_record`, with the evening's category.

    A merchant that is not known yet has the category `unknown`.
    """
    types = con.execute(
        "select distinct entity_type from warehouse.marts.dim_policies"
        " where entity_type in ('merchant', 'product') order by 1"
    ).fetchall()
    cells = " union all ".join(
        f"""
            select
                '{entity_type}' as entity_type,
                {entity_type}_id as entity_id,
                component,
                cohort_date,
                report_date,
                sum(quantity) as quantity
            from warehouse.marts.fct_cohort_ledger
            where
                platform = getvariable('platform')
                and component in (select component from parts)
                and report_date <= getvariable('end_date')
                and cohort_date > getvariable('start_date')
                - cast((select max(window_days + evaluation_days) from spans) as integer)
            group by all
        """
        for (entity_type,) in types or [("merchant",)]
    )
    con.execute(
        f"""
        create temp table counted as
        with
            parts as (
                select metric, component, window_days
                from warehouse.seeds.metric_components
                inner join warehouse.seeds.metrics using (metric)
                where part = 'denominator'
            ),

            spans as (
                select distinct
                    as_of_date, entity_type, metric, component, window_days, evaluation_days
                from warehouse.marts.dim_policies
                inner join parts using (metric)
                cross join publication.evenings
                where
                    platform in (getvariable('platform'), '*')
                    and as_of_date >= effective_from
                    and coalesce(as_of_date <= effective_to, true)
            ),

            cells as ({cells}),

            windows as (
                select
                    spans.as_of_date,
                    cells.entity_type,
                    cells.entity_id,
                    spans.metric,
                    spans.evaluation_days,
                    sum(quantity) filter (
                        where
                            cohort_date <= as_of_date - (window_days - 1)
                            and cohort_date > as_of_date - (window_days - 1) - evaluation_days
                    ) as official,
                    sum(quantity) filter (
                        where cohort_date > as_of_date - evaluation_days
                    ) as projected
                from cells
                inner join
                    spans
                    on spans.entity_type = cells.entity_type
                    and spans.component = cells.component
                    and cells.report_date <= spans.as_of_date
                    and cells.cohort_date > spans.as_of_date - (window_days - 1) - evaluation_days
                group by all
            )

        select
            as_of_date,
            entity_type,
            entity_id,
            metric,
            evaluation_days,
            greatest(coalesce(official, 0), coalesce(projected, 0)) as denominator
        from windows
        where official > 0 or projected > 0
        """
    )
    records = " union ".join(
        "select platform, opened_on, closed_on, entity_type, entity_id, metric, risk_point"
        f" from warehouse.marts.{table}"
        for table in _RECORDS
    )
    con.execute(
        f"""
        create temp table still_open as
        select distinct as_of_date, entity_type, entity_id, metric, risk_point
        from ({records})
        cross join (
            select cast(day as date) as as_of_date
            from generate_series(
                getvariable('start_date'), getvariable('end_date'), interval 1 day
            ) as days (day)
        )
        where
            platform = getvariable('platform')
            and opened_on <= as_of_date
            and coalesce(closed_on >= as_of_date, true)
        """
    )
    con.execute(
        """
        create temp table categories as
        with
            asked as (
                select as_of_date, entity_type, entity_id from counted
                union
                select as_of_date, entity_type, entity_id from still_open
            ),

            versions as (
                select
                    'merchant' as entity_type,
                    merchant_id as entity_id,
                    category_id,
                    report_date,
                    row(updated_at, report_date, source_date) as recency
                from publication.landed_merchants
                union all
                select
                    'product' as entity_type,
                    product_id as entity_id,
                    category_id,
                    report_date,
                    row(updated_at, report_date, source_date) as recency
                from publication.landed_products
                where 'product' in (select entity_type from asked)
            )

        select
            as_of_date,
            entity_type,
            entity_id,
            coalesce(
                arg_max(category_id, recency) filter (where report_date <= as_of_date), 'unknown'
            ) as category_id
        from asked
        left join versions using (entity_type, entity_id)
        group by as_of_date, entity_type, entity_id
        """
    )
    for due, table in (("due_by_count", "counted"), ("due_by_record", "still_open")):
        con.execute(
            f"create table publication.{due} as select * from {table}"
            " inner join categories using (as_of_date, entity_type, entity_id)"
        )


def _make_speaking(con: duckdb.DuckDBPyConnection) -> None:
    """Make `publication.speaking`: per evening and category, the one policy for a risk point."""
    con.execute(
        """
        create table publication.speaking as
        with
            places as (
                select as_of_date, entity_type, category_id from publication.due_by_count
                union
                select as_of_date, entity_type, category_id from publication.due_by_record
            )

        select
            places.as_of_date,
            places.entity_type,
            places.category_id,
            policies.metric,
            policies.risk_point,
            policies.evaluation_days
        from places
        inner join
            warehouse.marts.dim_policies as policies
            on policies.entity_type = places.entity_type
            and policies.platform in (getvariable('platform'), '*')
            and policies.category_id in (places.category_id, '*')
            and policies.effective_from <= places.as_of_date
            and coalesce(policies.effective_to >= places.as_of_date, true)
        qualify
            row_number() over (
                partition by
                    places.as_of_date,
                    places.entity_type,
                    places.category_id,
                    policies.metric,
                    policies.risk_point
                order by
                    policies.platform = '*',
                    policies.category_id = '*',
                    policies.effective_from desc,
                    policies.policy_id
            )
            = 1
        """
    )


def _make_reconciliation(con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings) -> None:
    """Count the newest versions on the last evening and on the one before the run."""
    for name in ("orders", "appeals", *(name for name, _, _ in _EVENTS)):
        _make_landed(con, name, plan, settings)
    con.execute("set variable evening_before = $1", [plan.start - ONE_DAY])
    has_history = plan.published_through is not None
    _make_touched(con, has_history=has_history)
    columns = (
        "merchant_id := merchant_id, status := status, paid_on := business_date(paid_at),"
        " fulfilled_on := business_date(fulfilled_at),"
        f" late_on := case when shipped_at is null or shipped_at > {_SHIP_BY}"
        f" then business_date({_SHIP_BY}) end,"
        " cancelled_on := case when cancelled_by = 'merchant'"
        " and coalesce(cancelled_at < shipped_at, true) then business_date(cancelled_at) end"
    )
    _make_newest(con, "orders", "order_id", columns, has_history=has_history)
    fault = ", reason_code := reason_code, fault_party := fault_party"
    own_columns = {"complaints": fault, "reviews": ", rating := rating", "refunds": fault}
    for name, key, time in _EVENTS:
        columns = f"order_id := order_id, status := status, event_on := business_date({time})"
        columns += own_columns[name]
        _make_newest(con, name, key, columns, has_history=has_history)
    columns = (
        "subject_type := subject_type, subject_id := subject_id, status := status,"
        " decided_at := decided_at"
    )
    _make_newest(con, "appeals", "appeal_id", columns, has_history=has_history)
    counted = " union all ".join(
        f"select *, {sign} as sign from ({_counted(side, evening)})"
        for side, evening, sign in (
            ("after", "end_date", 1),
            *((("before", "evening_before", -1),) if has_history else ()),
        )
    )
    con.execute(
        f"""
        create table publication.reconciliation as
        with
            landed as (
                select component, merchant_id, cohort_date, sum(sign) as quantity
                from ({counted})
                group by all
            ),

            ledger as (
                select component, merchant_id, cohort_date, sum(quantity) as quantity
                from marts.fct_cohort_ledger
                where replace(component, '_adjusted', '') in {_RECONCILED}
                group by all
            )

        select
            component,
            merchant_id,
            cohort_date,
            cast(coalesce(landed.quantity, 0) as bigint) as landed,
            cast(coalesce(ledger.quantity, 0) as bigint) as ledger
        from landed
        full join ledger using (component, merchant_id, cohort_date)
        """
    )
    for name in ("orders", "appeals", *(name for name, _, _ in _EVENTS)):
        con.execute(f"drop table publication.newest_{name}")


def _make_landed(con: duckdb.DuckDBPyConnection, name: str, plan: Plan, settings: Settings) -> None:
    """Make `publication.landed_<entity>`: every version landed by the last evening.

    What is small is read once, for opening many files costs more than holding a few rows.
    """
    files = landed_files(settings.home, plan.platform, entity(name), None, plan.end)
    make_rows(con, f"publication.filed_{name}", entity(name), files)
    row = con.execute(f"select count(*) from publication.filed_{name}").fetchone()
    kind = "table" if row and row[0] <= _KEPT_ROWS else "view"
    con.execute(
        f"create {kind} publication.landed_{name} as select * from publication.filed_{name}"
    )


def _make_touched(con: duckdb.DuckDBPyConnection, *, has_history: bool) -> None:
    """Make `publication.touched_<entity>`: the only records whose counts can have moved.

    Orders with a version landed in the run, or whose cohort date, shipping deadline or cancellation
    falls in it, and every order that a moved event ever belonged to; all events that ever belonged
    to them; the orders of those, and the appeals on them. An event has moved if a version of it
    or of an appeal on it was landed, if its own date or the appeal's decision falls in the run, or
    if its reason code speaks anew. Without history every record is touched.
    """
    if not has_history:
        return
    moved = " union ".join(
        f"select '{name[:-1]}' as subject_type, {key} as subject_id from publication.landed_{name}"
        f" where report_date {_IN_RUN} or business_date({time}) {_IN_RUN}"
        for name, key, time in _EVENTS
    )
    con.execute(
        f"""
        create table publication.moved_events as
        {moved}
        union
        select subject_type, subject_id
        from publication.landed_appeals
        where
            appeal_id in (
                select appeal_id
                from publication.landed_appeals
                where report_date {_IN_RUN} or business_date(decided_at) {_IN_RUN}
            )
        union
        select subject_type, subject_id
        from (
            select 'refund' as subject_type, refund_id as subject_id, reason_code
            from publication.landed_refunds
            union all
            select 'complaint' as subject_type, complaint_id as subject_id, reason_code
            from publication.landed_complaints
        )
        where
            reason_code in (
                select reason_code
                from warehouse.seeds.reason_codes
                where effective_from {_IN_RUN}
            )
        """
    )
    events = " union ".join(
        f"select order_id from publication.landed_{name} where {key} in"
        f" (select subject_id from publication.moved_events where subject_type = '{name[:-1]}')"
        for name, key, _ in _EVENTS
    )
    con.execute(
        f"""
        create table publication.moved_orders as
        select order_id
        from publication.landed_orders
        where
            report_date {_IN_RUN}
            or business_date(paid_at) {_IN_RUN}
            or business_date(fulfilled_at) {_IN_RUN}
            or business_date({_SHIP_BY}) {_IN_RUN}
            or business_date(cancelled_at) {_IN_RUN}
        union
        {events}
        """
    )
    for name, key, _ in _EVENTS:
        con.execute(
            f"""
            create table publication.touched_{name} as
            select distinct {key}
            from publication.landed_{name}
            where order_id in (select order_id from publication.moved_orders)
            """
        )
    orders = " union ".join(
        f"select order_id from publication.landed_{name}"
        f" where {key} in (select {key} from publication.touched_{name})"
        for name, key, _ in _EVENTS
    )
    con.execute(
        "create table publication.touched_orders as"
        f" select order_id from publication.moved_orders union {orders}"
    )
    appeals = " union ".join(
        f"select appeal_id from publication.landed_appeals where subject_type = '{name[:-1]}'"
        f" and subject_id in (select {key} from publication.touched_{name})"
        for name, key, _ in _EVENTS
    )
    con.execute(f"create table publication.touched_appeals as {appeals}")


def _make_newest(
    con: duckdb.DuckDBPyConnection, name: str, key: str, columns: str, *, has_history: bool
) -> None:
    """Make `publication.newest_<entity>`: per record its newest version after and before the run.

    Newest is the greatest `updated_at`, then the greatest report date, then source date.
    """
    narrowed, before = "", ""
    if has_history:
        narrowed = f"where {key} in (select {key} from publication.touched_{name})"
        before = """, arg_max(version, recency) filter (
            where report_date <= getvariable('evening_before')
        ) as before"""
    con.execute(
        f"""
        create table publication.newest_{name} as
        with
            versions as (
                select
                    {key},
                    report_date,
                    row(updated_at, report_date, source_date) as recency,
                    struct_pack({columns}) as version
                from publication.landed_{name}
                {narrowed}
            )

        select {key}, arg_max(version, recency) as after {before}
        from versions
        group by {key}
        """
    )


def _counted(side: str, evening: str) -> str:
    """SQL: what counts on an evening, one row per count: component, merchant, cohort date."""
    return f"""
        with
            orders as (
                select
                    order_id,
                    {side}.merchant_id as merchant_id,
                    {side}.paid_on as paid_on,
                    {side}.fulfilled_on as fulfilled_on,
                    {side}.late_on as late_on,
                    {side}.cancelled_on as cancelled_on
                from publication.newest_orders
                where {side}.status = 'active'
            ),

            appeals as (
                select
                    {side}.subject_type as subject_type,
                    {side}.subject_id as subject_id,
                    arg_max({side}.status, row({side}.decided_at, appeal_id)) as decision
                from publication.newest_appeals
                where
                    {side}.status in ('upheld', 'rejected')
                    and business_date({side}.decided_at) <= getvariable('{evening}')
                group by all
            ),

            faults as (
                select
                    reason_code,
                    arg_max(fault_party, row(platform <> '*', effective_from)) as fault_party
                from warehouse.seeds.reason_codes
                where
                    platform in (getvariable('platform'), '*')
                    and effective_from <= getvariable('{evening}')
                group by reason_code
            ),

            -- A merchant at fault makes an order defective, and so does a review of 1 or 2 stars.
            faulted as (
                select
                    'complaint' as subject_type,
                    complaint_id as subject_id,
                    {side} as event,
                    {side}.status in ('open', 'resolved') as is_counted
                from publication.newest_complaints
                union all
                select
                    'refund' as subject_type,
                    refund_id as subject_id,
                    {side} as event,
                    {side}.status in ('requested', 'approved', 'completed') as is_counted
                from publication.newest_refunds
            ),

            events as (
                select
                    subject_type,
                    subject_id,
                    event.order_id as order_id,
                    coalesce(event.fault_party, faults.fault_party, 'unknown') = 'merchant'
                    as is_defect,
                    if(
                        subject_type = 'complaint',
                        if(
                            is_defect,
                            ['complaints', 'merchant_fault_complaints'],
                            ['complaints']
                        ),
                        if(
                            is_defect,
                            ['refunded_orders', 'merchant_fault_return_orders'],
                            ['refunded_orders']
                        )
                    ) as components
                from faulted
                left join faults on faults.reason_code = event.reason_code
                where is_counted and event.event_on <= getvariable('{evening}')
                union all
                select
                    'review' as subject_type,
                    review_id as subject_id,
                    {side}.order_id as order_id,
                    {side}.rating <= 2 as is_defect,
                    ['review_rated_' || {side}.rating] as components
                from publication.newest_reviews
                where
                    {side}.status = 'visible'
                    and {side}.event_on <= getvariable('{evening}')
            ),

            standing as (
                select
                    order_id,
                    unnest(if(is_defect, list_append(components, 'defective_orders'), components))
                    as component,
                    coalesce(decision = 'upheld', false) as is_overturned
                from events
                left join appeals using (subject_type, subject_id)
            ),

            twins as (
                select order_id, component, component as base from standing
                union all
                select order_id, component || '_adjusted' as component, component as base
                from standing
                where not is_overturned
            ),

            counted_events as (
                select order_id, component from twins where base not in {_COUNTED_ONCE}
                union all
                select distinct order_id, component from twins where base in {_COUNTED_ONCE}
            ),

            counted as (
                select 'orders_paid' as component, merchant_id, paid_on as cohort_date
                from orders
                union all
                select 'orders_fulfilled' as component, merchant_id, fulfilled_on as cohort_date
                from orders
                union all
                select 'late_shipments' as component, merchant_id, paid_on as cohort_date
                from orders
                where late_on <= getvariable('{evening}')
                union all
                select 'merchant_cancels' as component, merchant_id, paid_on as cohort_date
                from orders
                where cancelled_on <= getvariable('{evening}')
                union all
                select
                    component,
                    merchant_id,
                    if(starts_with(component, 'review_'), fulfilled_on, paid_on) as cohort_date
                from counted_events
                inner join orders using (order_id)
            )

        select component, merchant_id, cohort_date
        from counted
        where cohort_date <= getvariable('{evening}')
    """


def _make_balances(con: duckdb.DuckDBPyConnection) -> None:
    """What is left in the ledger cells that lost something in this run."""
    cell = "cohort_date, merchant_id, product_id, component, lag_days"
    con.execute(
        f"""
        create table publication.balances as
        with
            fallen as (
                select distinct {cell} from marts.fct_cohort_ledger where quantity < 0
            )

        select {cell}, cast(sum(quantity) as bigint) as balance
        from warehouse.marts.fct_cohort_ledger
        semi join fallen using ({cell})
        where
            platform = getvariable('platform') and report_date <= getvariable('end_date')
        group by {cell}
        """
    )


def _attach_published(con: duckdb.DuckDBPyConnection, settings: Settings) -> bool:
    path = settings.home.published / "current" / "redline.duckdb"
    if not path.is_file():
        return False
    con.execute(f"attach {literal(str(path.resolve()))} as published (read_only)")
    return True


def _make_lost_merchants(con: duckdb.DuckDBPyConnection, plan: Plan, *, is_published: bool) -> None:
    con.execute(
        "create table publication.lost_merchants (missing_from varchar, merchant_id varchar)"
    )
    if not is_published or plan.restated_from:
        return
    for table in ("dim_merchants", "fct_merchant_daily_rates"):
        con.execute(
            f"""
            insert into publication.lost_merchants
            select distinct 'marts.{table}', merchant_id
            from published.marts.{table} as old
            where
                platform = getvariable('platform')
                and merchant_id not in (
                    select merchant_id
                    from warehouse.marts.{table}
                    where platform = getvariable('platform')
                )
            """
        )
    # A correction may leave a merchant nothing to rate: its last order was deleted or moved.
    con.execute(
        """
        delete from publication.lost_merchants
        where
            missing_from = 'marts.fct_merchant_daily_rates'
            and merchant_id not in (
                select merchant_id
                from warehouse.marts.fct_cohort_ledger as ledger
                inner join warehouse.seeds.metric_components as parts
                    on parts.component = ledger.component
                inner join warehouse.seeds.metrics as metrics
                    on metrics.metric = parts.metric
                where
                    ledger.platform = getvariable('platform')
                    and ledger.report_date <= getvariable('end_date')
                    and ledger.lag_days < metrics.window_days
                    and ledger.merchant_id in (
                        select merchant_id from publication.lost_merchants
                    )
                group by ledger.merchant_id, ledger.cohort_date, parts.metric, ledger.component
                having sum(ledger.quantity) <> 0
            )
        """
    )


def _make_row_counts(con: duckdb.DuckDBPyConnection, *, is_published: bool) -> dict[str, int]:
    con.execute(
        'create table publication.row_counts (mart varchar, "rows" bigint, published_rows bigint,'
        " ratio double)"
    )
    for table in _COUNTED:
        rows = _count(con, f"warehouse.marts.{table}")
        old = _count(con, f"published.marts.{table}") if is_published else None
        con.execute(
            "insert into publication.row_counts values ($1, $2, $3, $4)",
            [f"marts.{table}", rows, old, rows / old if old else None],
        )
    counts = con.execute('select mart, "rows" from publication.row_counts').fetchall()
    return dict(counts)


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(
        f"select count(*) from {table} where platform = getvariable('platform')"
    ).fetchone()
    return int(row[0]) if row else 0

"""The relations that the publication suite reads: the new marts, and what they must agree with.

The reconciliation starts from the landed Parquet and knows nothing of the models: it takes the
newest version of every record on two evenings and counts what each evening holds. The ledger's
sum between the two must be the difference.
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
    "fct_alerts",
)
# Components whose landed records are counted afresh; each record counts by itself, so a count
# of the newest versions is the whole truth about them.
_EVENTS = (("complaints", "complaint_id"), ("reviews", "review_id"))


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
    _make_missing_evaluations(con)
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
            policies.min_denominator
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


def _make_missing_evaluations(con: duckdb.DuckDBPyConnection) -> None:
    """Of the last evening: what has a denominator and a policy, and no evaluation.

    Follows the design from the ledger on: the most specific active policy per entity, metric and
    risk point speaks (platform before `*`, then category before `*`); its official window ends
    at D - (w - 1), its projected one at D.
    """
    con.execute(
        """
        create table publication.missing_evaluations as
        with
            entities as (
                select 'merchant' as entity_type, merchant_id as entity_id, category_id
                from warehouse.marts.dim_merchants
                where platform = getvariable('platform')
                union all
                select 'product' as entity_type, product_id as entity_id, category_id
                from warehouse.marts.dim_products
                where platform = getvariable('platform')
            ),

            active as (
                select *
                from warehouse.marts.dim_policies
                where
                    platform in (getvariable('platform'), '*')
                    and effective_from <= getvariable('end_date')
                    and coalesce(effective_to > getvariable('end_date'), true)
            ),

            speaking as (
                select
                    entities.entity_type,
                    entities.entity_id,
                    active.metric,
                    active.risk_point,
                    arg_max(
                        active.evaluation_days,
                        row(active.platform <> '*', active.category_id <> '*')
                    ) as evaluation_days
                from entities
                inner join
                    active
                    on active.entity_type = entities.entity_type
                    and active.category_id in (entities.category_id, '*')
                group by all
            ),

            parts as (
                select metric, component, window_days
                from warehouse.seeds.metric_components
                inner join warehouse.seeds.metrics using (metric)
                where part = 'denominator'
            ),

            longest as (
                select max(window_days + evaluation_days) as days
                from parts
                inner join active using (metric)
            ),

            denominators as (
                select
                    unnest([
                        {'entity_type': 'merchant', 'entity_id': merchant_id},
                        {'entity_type': 'product', 'entity_id': product_id}
                    ], recursive := true),
                    metric,
                    window_days,
                    cohort_date,
                    quantity
                from warehouse.marts.fct_cohort_ledger
                inner join parts using (component)
                where
                    platform = getvariable('platform')
                    and report_date <= getvariable('end_date')
                    and cohort_date > getvariable('end_date')
                    - cast((select days from longest) as integer)
            ),

            windows as (
                select
                    speaking.entity_type,
                    speaking.entity_id,
                    speaking.metric,
                    speaking.risk_point,
                    coalesce(sum(quantity) filter (
                        where
                            cohort_date <= getvariable('end_date') - (window_days - 1)
                            and cohort_date
                            > getvariable('end_date') - (window_days - 1) - evaluation_days
                    ), 0) as official,
                    coalesce(sum(quantity) filter (
                        where cohort_date > getvariable('end_date') - evaluation_days
                    ), 0) as projected
                from speaking
                inner join denominators using (entity_type, entity_id, metric)
                group by all
            )

        select
            entity_type, entity_id, metric, risk_point, greatest(official, projected) as denominator
        from windows
        anti join
            (
                select entity_type, entity_id, metric, risk_point
                from warehouse.marts.fct_policy_evaluations
                where
                    platform = getvariable('platform')
                    and as_of_date = getvariable('end_date')
            ) as evaluated using (entity_type, entity_id, metric, risk_point)
        where official > 0 or projected > 0
        """
    )


def _make_reconciliation(con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings) -> None:
    """Count the newest versions on the last evening and on the one before the run."""
    for name in ("orders", "complaints", "reviews"):
        files = landed_files(settings.home, plan.platform, entity(name), None, plan.end)
        make_rows(con, f"publication.landed_{name}", entity(name), files)
    con.execute("set variable evening_before = $1", [plan.start - ONE_DAY])
    has_history = plan.published_through is not None
    _make_touched(con, has_history=has_history)
    columns = (
        "merchant_id := merchant_id, status := status, paid_on := business_date(paid_at),"
        " fulfilled_on := business_date(fulfilled_at)"
    )
    _make_newest(con, "orders", "order_id", columns, has_history=has_history)
    for name, key in _EVENTS:
        columns = "order_id := order_id, status := status, created_on := business_date(created_at)"
        if name == "reviews":
            columns += ", rating := rating"
        _make_newest(con, name, key, columns, has_history=has_history)
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
                where
                    component in ('orders_paid', 'orders_fulfilled', 'complaints')
                    or component in (
                        'review_rated_1', 'review_rated_2', 'review_rated_3',
                        'review_rated_4', 'review_rated_5'
                    )
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
    for name in ("orders", "complaints", "reviews"):
        con.execute(f"drop table publication.newest_{name}")


def _make_touched(con: duckdb.DuckDBPyConnection, *, has_history: bool) -> None:
    """Make `publication.touched_<entity>`: the only records whose counts can have moved.

    Orders with a version or an event landed in the run, or whose cohort date or an event's own
    date falls in it; all events that ever belonged to them; and the orders of those.
    Without history every record is.
    """
    if not has_history:
        return
    in_run = "between getvariable('start_date') and getvariable('end_date')"
    events = " union ".join(
        f"select order_id from publication.landed_{name}"
        f" where report_date {in_run} or business_date(created_at) {in_run}"
        for name, _ in _EVENTS
    )
    con.execute(
        f"""
        create table publication.moved_orders as
        select order_id
        from publication.landed_orders
        where
            report_date {in_run}
            or business_date(paid_at) {in_run}
            or business_date(fulfilled_at) {in_run}
        union
        {events}
        """
    )
    for name, key in _EVENTS:
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
        for name, key in _EVENTS
    )
    con.execute(
        "create table publication.touched_orders as"
        f" select order_id from publication.moved_orders union {orders}"
    )


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
    """SQL: what counts on an evening, one row per record: component, merchant, cohort date."""
    return f"""
        with
            orders as (
                select
                    order_id,
                    {side}.merchant_id as merchant_id,
                    {side}.paid_on as paid_on,
                    {side}.fulfilled_on as fulfilled_on
                from publication.newest_orders
                where {side}.status = 'active'
            ),

            complaints as (
                select {side}.order_id as order_id
                from publication.newest_complaints
                where
                    {side}.status in ('open', 'resolved')
                    and {side}.created_on <= getvariable('{evening}')
            ),

            reviews as (
                select {side}.order_id as order_id, {side}.rating as rating
                from publication.newest_reviews
                where
                    {side}.status = 'visible'
                    and {side}.created_on <= getvariable('{evening}')
            ),

            counted as (
                select 'orders_paid' as component, merchant_id, paid_on as cohort_date
                from orders
                union all
                select 'orders_fulfilled' as component, merchant_id, fulfilled_on as cohort_date
                from orders
                union all
                select 'complaints' as component, merchant_id, paid_on as cohort_date
                from complaints
                inner join orders using (order_id)
                union all
                select 'review_rated_' || rating, merchant_id, fulfilled_on
                from reviews
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

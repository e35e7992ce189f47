"""Events that wait for their order, listed in the quarantine until it arrives.

They lie in the landing zone like any other event: nothing has to be sent again for them to count,
they join by themselves. The list is for people, so that an order that never comes is noticed.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import duckdb

from redline.landing.door import BEYOND_HORIZON
from redline.landing.partitions import partition, report_dates
from redline.plan import ONE_DAY, Plan
from redline.settings import Settings

REASON = "waiting:order"
FILE = "waiting.parquet"
MARK = "waiting.json"  # of which evening the lists are

# The entities whose records happen to an order, and what the warehouse calls them.
_KINDS = {"complaints": "complaint", "reviews": "review", "refunds": "refund"}

# The many events are held against the orders first; only of the few left over is it asked whether
# they have a newer version, and since when they wait.
_WAITING = """
    create temp table waiting as
    with
        unmatched as (
            select event_kind, event_id, event_key, order_id, valid_from, is_counted
            from intermediate.int_events_versioned as events
            where platform = $platform
                and valid_from > $earliest
                and valid_from <= $as_of
                and {is_candidate}
                and not exists (
                    select 1
                    from {known_orders} as orders
                    where orders.platform = $platform
                        and orders.order_id = events.order_id
                        and orders.valid_from <= $as_of
                )
        ),

        newest as (
            select event_key, max(valid_from) as valid_from
            from intermediate.int_events_versioned
            where platform = $platform
                and valid_from > $earliest
                and valid_from <= $as_of
                and event_key in (select event_key from unmatched)
            group by event_key
        ),

        first as (
            select event_key, order_id, min(valid_from) as since
            from unmatched
            group by event_key, order_id
        )

    select
        unmatched.event_kind,
        unmatched.event_id as row_key,
        unmatched.order_id,
        first.since
    from unmatched
    inner join newest using (event_key, valid_from)
    inner join first using (event_key, order_id)
    where unmatched.is_counted
"""

# From nothing: every event against every order.
_ALL = {
    "is_candidate": "true",
    "known_orders": "intermediate.int_orders_versioned",
}
# On top of yesterday's list: what waited, and what the run brought. Every order that either of
# them names and that is known by now was touched by the run, so a day costs what the day brought.
_ON_TOP = {
    "is_candidate": """event_key in (
        select event_key from waited
        union all
        select event_key
        from intermediate.int_events_versioned
        where platform = $platform and valid_from between $start and $as_of
    )""",
    "known_orders": """(
        select *
        from intermediate.int_orders_versioned
        where (platform, order_id) in (
            select platform, order_id from intermediate.int_orders_touched
        )
    )""",
}


def list_waiting(plan: Plan, settings: Settings) -> dict[str, int]:
    """Write `quarantine/<platform>/<entity>/waiting.parquet` as of the plan's last date.

    One row per event whose newest version stands and names an order that is not known:
    `platform`, `entity`, `row_key`, `reason`, `order_id`, `since` (the first report date on which
    it waited) and `as_of`. The file is replaced whole, and removed when nothing waits. Events older
    than the horizon, and those of orders that were refused as older, wait for nothing.

    Returns:
        How many events wait, per entity that has any.

    Raises:
        duckdb.IOException: the warehouse is missing, or another process holds it.
    """
    quarantine = settings.home.quarantine / plan.platform
    earliest = plan.end - timedelta(days=settings.horizon_days)
    values = {"platform": plan.platform, "earliest": earliest, "as_of": plan.end}
    mark = quarantine / MARK
    with duckdb.connect(str(settings.home.warehouse), read_only=True) as connection:
        if _stands_on_yesterdays(mark, plan, settings):
            _load_waited(connection, quarantine)
            connection.execute(_WAITING.format(**_ON_TOP), {**values, "start": plan.start})
        else:
            connection.execute(_WAITING.format(**_ALL), values)
        connection.execute(
            "delete from waiting where order_id in (select unnest($too_old::varchar[]))",
            {"too_old": _orders_beyond_horizon(quarantine / "orders", earliest)},
        )
        mark.unlink(missing_ok=True)  # until all lists are of one evening
        counts = {
            entity: _write(connection, quarantine / entity / FILE, plan, entity, kind)
            for entity, kind in _KINDS.items()
        }
    _write_mark(mark, plan, settings)
    return {entity: rows for entity, rows in counts.items() if rows}


def _stands_on_yesterdays(mark: Path, plan: Plan, settings: Settings) -> bool:
    """Whether the lists are those of the evening that the run stands on.

    They are not after an attempt that failed later on, nor for a restatement.
    """
    if plan.published_through != plan.start - ONE_DAY or not mark.exists():
        return False
    told = json.loads(mark.read_text())
    return bool(told == _mark(plan.start - ONE_DAY, settings))


def _mark(as_of: date, settings: Settings) -> dict[str, str | int]:
    return {"as_of": as_of.isoformat(), "horizon_days": settings.horizon_days}


def _write_mark(path: Path, plan: Plan, settings: Settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(_mark(plan.end, settings)))
    aside.replace(path)


def _load_waited(connection: duckdb.DuckDBPyConnection, quarantine: Path) -> None:
    """Fill `waited` with the events on the lists as they are."""
    connection.execute("create temp table waited (event_key varchar)")
    for entity, kind in _KINDS.items():
        path = quarantine / entity / FILE
        if path.exists():
            connection.execute(
                "insert into waited select $kind || ':' || row_key from read_parquet($path)",
                {"kind": kind, "path": str(path)},
            )


def _orders_beyond_horizon(folder: Path, earliest: date) -> list[str]:
    """Orders that were refused as too old to count, of the report dates after `earliest`."""
    files = [
        str(path)
        for day in (report_dates(folder) if folder.is_dir() else [])
        if day > earliest
        for path in partition(folder, day).glob("source_date=*.parquet")
    ]
    if not files:
        return []
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select distinct row_key from read_parquet($files, hive_partitioning = false) "
            "where reason = $reason",
            {"files": files, "reason": BEYOND_HORIZON},
        ).fetchall()
    return [row_key for (row_key,) in rows]


def _write(
    connection: duckdb.DuckDBPyConnection, path: Path, plan: Plan, entity: str, kind: str
) -> int:
    """Replace one entity's list; how many rows it has."""
    found = connection.execute(
        "select count(*) from waiting where event_kind = $kind", {"kind": kind}
    ).fetchone()
    rows = int(found[0]) if found else 0
    if rows == 0:
        path.unlink(missing_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    connection.execute(
        """
        copy (
            select
                $platform::varchar as platform, $entity::varchar as entity, row_key,
                $reason::varchar as reason, order_id, since, $as_of::date as as_of
            from waiting
            where event_kind = $kind
            order by row_key
        ) to $path (format parquet, compression zstd)
        """,
        {
            "platform": plan.platform,
            "entity": entity,
            "reason": REASON,
            "as_of": plan.end,
            "kind": kind,
            "path": str(aside),
        },
    )
    aside.replace(path)
    return rows

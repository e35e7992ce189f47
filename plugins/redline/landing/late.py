"""Late and re-sent deliveries of closed dates: only what differs is landed.

A closed date S is extracted again when the source's fingerprint of it is no longer the one that was
recorded, when rows of it wait in a quarantine whose release was asked for, or when the run asks for
it and no fingerprint tells that it is untouched: asking again for a year of untouched files costs
little more than looking at their names. Its rows are compared, by key and content, with the newest
that was landed with `source_date` S in any partition but the first open one: that one's file for S
is made anew each time, so running again before it is published changes nothing.

Orders and their lines are one unit: lines belong to the version of the order that they arrive
with, so when one of them differs the order and its whole set of lines are landed. Whatever of a
unit is not delivered again (rows may be absent from a re-sent file) is taken from what is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from redline import contract
from redline.contract import SQL_TYPES, Entity
from redline.landing.batches import read_chunks
from redline.landing.door import (
    BEYOND_HORIZON,
    FUTURE,
    admit,
    column_list,
    evening,
    make_table,
    refuse_sql,
    version_columns,
)
from redline.landing.engine import literal, quoted
from redline.landing.partitions import (
    LandedFile,
    file_name,
    partition,
    read_manifest,
    report_dates,
)
from redline.landing.pseudonyms import PseudonymKey
from redline.landing.release import released_dates
from redline.landing.scope import Scope
from redline.plan import ONE_DAY, Plan
from redline.settings import Settings
from redline.sources import MISSING, Source

_UNITS = (("orders", "order_items"),)
_ALL = "source_date, source_file, reason, row_key, row"
_TIME_FAULTS = f"({literal(BEYOND_HORIZON)}, {literal(FUTURE)})"

_Known = dict[date, list[tuple[date, LandedFile]]]


@dataclass(frozen=True)
class Late:
    """What closed dates brought.

    Attributes:
        table: the workbench table with the differences, clean and refused ones.
        fingerprints: of the dates that were examined.
        renewed: examined dates whose fingerprint must be recorded, differences or not.
        rows_unchanged: rows that were delivered again as they are known.
        rows_missing: known keys that were not delivered again.
    """

    table: str
    fingerprints: dict[date, str | None]
    renewed: frozenset[date]
    rows_unchanged: int
    rows_missing: int


def find_differences(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    plan: Plan,
    settings: Settings,
    entity: Entity,
    key: PseudonymKey,
    scope: Scope,
) -> Late:
    """Extract the closed dates that need it, and put what differs into a table."""
    names = next((unit for unit in _UNITS if entity.name in unit), (entity.name,))
    members = [contract.entity(name) for name in names]
    known: dict[str, _Known] = {each.name: {} for each in members}
    noticed: set[date] = set()
    untouched = set(scope.asked_again)
    if plan.published_through is not None:
        horizon = scope.first_open - timedelta(days=settings.horizon_days)
        earliest = min((horizon, *scope.asked_again[:1]))
        for each in members:
            folder = settings.home.landing / plan.platform / each.name
            known[each.name] = _landed_since(folder, earliest)
            closed = [
                day
                for day in sorted(known[each.name])
                if horizon <= day < scope.first_open and day <= plan.published_through
            ]
            noticed.update(_changed_dates(source, each, known[each.name], closed, scope))
            untouched &= _untouched_dates(source, each, known[each.name], untouched, scope)
        released = {day for day in released_dates(plan, settings, members) if day >= horizon}
        noticed |= released
        untouched -= released
    examined = sorted(noticed.union(scope.asked_again) - untouched)
    table = f"differences_{entity.name}"
    make_table(con, entity, table)
    if not examined:
        return Late(table, {}, frozenset(), 0, 0)
    # Asked before reading: what changes meanwhile is noticed by the next run.
    fingerprints = {day: source.fingerprint(entity, day) for day in examined}
    recorded = _recorded(known[entity.name], scope)
    renewed = frozenset(
        day for day, now in fingerprints.items() if now is not None and recorded.get(day) != now
    )
    rows_read = 0
    for each in members:
        rows = _extract(con, source, settings, each, key, scope, examined)
        rows_read += rows if each is entity else 0
        files = {day: known[each.name].get(day, []) for day in examined}
        _load_known(con, plan, settings, each, files, scope)
        _compare(con, each)
    if len(members) > 1:
        _select_units(con)
    else:
        _select_rows(con, entity)
    _insert_differences(con, entity, table)
    unchanged, differing = _account(con, entity)
    assert rows_read == unchanged + differing, (
        f"{entity.name}: read {rows_read} rows of closed dates, but {unchanged} are unchanged "
        f"and {differing} differ"
    )
    return Late(table, fingerprints, renewed, unchanged, _count_missing(con, entity))


def _landed_since(folder: Path, earliest: date) -> _Known:
    """Every landed file by its source date, with its report date, oldest report date first."""
    known: _Known = {}
    for day in report_dates(folder):
        if day >= earliest:
            for file in read_manifest(folder, day):
                known.setdefault(file.source_date, []).append((day, file))
    return known


def _recorded(known: _Known, scope: Scope) -> dict[date, str | None]:
    """The newest fingerprint of each date, leaving out the partition that is made anew."""
    return {
        day: file.fingerprint
        for day, files in known.items()
        for report_date, file in files
        if report_date != scope.first_open
    }


def _changed_dates(
    source: Source, entity: Entity, known: _Known, closed: Iterable[date], scope: Scope
) -> Iterable[date]:
    """Closed dates of which the source says something else than when they were landed."""
    recorded = _recorded(known, scope)
    for day in closed:
        now = source.fingerprint(entity, day)
        if now not in (None, MISSING) and _told(day, known, recorded, scope) != {now}:
            yield day


def _untouched_dates(
    source: Source, entity: Entity, known: _Known, asked: Iterable[date], scope: Scope
) -> set[date]:
    """Dates of which the source says what it said when they were landed.

    Not those with rows refused because they lay in the future: by now they may not.
    """
    recorded = _recorded(known, scope)
    return {
        day
        for day in asked
        if recorded.get(day) is not None
        and _told(day, known, recorded, scope) == {source.fingerprint(entity, day)}
        and not any(FUTURE in file.quarantined_by_reason for _, file in known[day])
    }


def _told(
    day: date, known: _Known, recorded: Mapping[date, str | None], scope: Scope
) -> set[str | None]:
    """The recorded fingerprint of a date, and that of what was made under the first open date."""
    told = {f.fingerprint for d, f in known[day] if d == scope.first_open}
    return told | {recorded[day]} if day in recorded else told


def _extract(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    settings: Settings,
    entity: Entity,
    key: PseudonymKey,
    scope: Scope,
    examined: Sequence[date],
) -> int:
    """Fill `sent_<entity>`; the number of rows read, less identical copies.

    What lies in the future or beyond the horizon is judged by the date the rows are landed under.
    """
    admitted = admit(
        con,
        entity,
        (
            chunk
            for first, last in _stretches(examined)
            for chunk in read_chunks(source, entity, first, last)
        ),
        [
            evening(day, scope.first_open, settings.timezone, settings.horizon_days)
            for day in examined
        ],
        key,
        f"sent_{entity.name}",
    )
    return sum(admitted.rows_read.values()) - sum(admitted.rows_collapsed.values())


def _stretches(dates: Sequence[date]) -> list[tuple[date, date]]:
    stretches: list[tuple[date, date]] = []
    for day in dates:
        if stretches and stretches[-1][1] + ONE_DAY == day:
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    return stretches


def _load_known(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    settings: Settings,
    entity: Entity,
    files: Mapping[date, list[tuple[date, LandedFile]]],
    scope: Scope,
) -> None:
    """Fill `known_<entity>` with the newest landed rows and `refused` with what was refused.

    The newest of an order line is that of the newest set which its order arrived with.
    """
    landing = settings.home.landing / plan.platform / entity.name
    quarantine = settings.home.quarantine / plan.platform / entity.name
    columns = column_list(entity)
    typed = ", ".join(f"{quoted(c.name)} {SQL_TYPES[c.type]}" for c in entity.columns)
    known, refused = quoted(f"known_{entity.name}"), quoted(f"refused_{entity.name}")
    con.execute(
        f"CREATE OR REPLACE TABLE versions ({typed}, source_date DATE, source_file VARCHAR, "
        "report_date DATE)"
    )
    con.execute(
        f"CREATE OR REPLACE TABLE {refused} "
        "(source_date DATE, row_key VARCHAR, reason VARCHAR, row VARCHAR)"
    )
    by_report_date: dict[date, list[str]] = {}
    quarantined: list[str] = []
    for day, landed in files.items():
        for report_date, file in landed:
            if report_date == scope.first_open:
                continue
            if file.rows_landed:
                path = partition(landing, report_date) / file.name
                by_report_date.setdefault(report_date, []).append(str(path))
            if file.rows_quarantined:
                quarantined.append(str(partition(quarantine, report_date) / file_name(day)))
    for report_date, paths in by_report_date.items():
        con.execute(
            f"INSERT INTO versions SELECT {columns}, source_date, source_file, $day::DATE "
            "FROM read_parquet($paths, hive_partitioning = false)",
            {"day": report_date, "paths": paths},
        )
    if quarantined:
        con.execute(
            f"INSERT INTO {refused} SELECT DISTINCT source_date, row_key, reason, row "
            "FROM read_parquet($paths, hive_partitioning = false)",
            {"paths": quarantined},
        )
    if entity.is_versioned:
        version = ", ".join(quoted(name) for name in version_columns(entity))
        newest = (
            f"row_number() OVER (PARTITION BY source_date, {version} ORDER BY report_date DESC)"
        )
    else:
        newest = "rank() OVER (PARTITION BY source_date, order_id ORDER BY report_date DESC)"
    con.execute(
        f"CREATE OR REPLACE TABLE {known} AS SELECT {columns}, source_date, source_file "
        f"FROM versions QUALIFY {newest} = 1"
    )
    con.execute("DROP TABLE versions")


def _compare(con: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Fill `same_<entity>` with the ids of sent rows that are known as they are."""
    version = version_columns(entity)
    joined = " AND ".join(f"s.{quoted(n)} = k.{quoted(n)}" for n in ("source_date", *version))
    contents = [name for name in entity.column_names if name not in version]
    equal = " AND ".join(f"s.{quoted(n)} IS NOT DISTINCT FROM k.{quoted(n)}" for n in contents)
    con.execute(
        f"CREATE OR REPLACE TABLE {quoted(f'same_{entity.name}')} AS "
        f"SELECT s.rowid AS id FROM {quoted(f'sent_{entity.name}')} AS s "
        f"JOIN {quoted(f'known_{entity.name}')} AS k ON {joined} "
        f"WHERE {equal} AND (s.reason IS NULL OR s.reason IN {_TIME_FAULTS})"
    )


def _select_rows(con: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Fill `differing_<entity>` with the ids of clean sent rows that differ; nothing is lacking."""
    con.execute(
        f"CREATE OR REPLACE TABLE {quoted(f'differing_{entity.name}')} AS "
        f"SELECT rowid AS id FROM {quoted(f'sent_{entity.name}')} "
        f"WHERE reason IS NULL AND rowid NOT IN (SELECT id FROM {quoted(f'same_{entity.name}')})"
    )
    make_table(con, entity, f"lacking_{entity.name}")


def _select_units(con: duckdb.DuckDBPyConnection) -> None:
    """Fill `differing_...` and `lacking_...` (known rows that complete a unit) by unit.

    An order beyond the horizon takes its lines with it: they are refused unless they are known.
    """
    orders, lines = contract.entity("orders"), contract.entity("order_items")
    beyond = (
        f"SELECT source_date, order_id FROM sent_orders WHERE reason = {literal(BEYOND_HORIZON)}"
    )
    con.execute(
        refuse_sql(
            lines,
            "sent_order_items",
            BEYOND_HORIZON,
            f"t.reason IS NULL AND (t.source_date, t.order_id) IN ({beyond})",
        )
    )
    con.execute(
        f"""
        CREATE OR REPLACE TABLE units AS
        SELECT source_date, order_id FROM sent_orders
        WHERE reason IS NULL AND rowid NOT IN (SELECT id FROM same_orders)
        UNION
        SELECT source_date, order_id FROM sent_order_items
        WHERE reason IS NULL AND rowid NOT IN (SELECT id FROM same_order_items)
        UNION
        -- a line that is gone, of an order whose other lines came again
        SELECT source_date, order_id
        FROM (
            SELECT source_date, order_id, line_no FROM known_order_items
            EXCEPT
            SELECT source_date, order_id, line_no FROM sent_order_items WHERE reason IS NULL
        )
        SEMI JOIN (SELECT source_date, order_id FROM sent_order_items WHERE reason IS NULL)
        USING (source_date, order_id)
        EXCEPT
        {beyond}
        """
    )
    for entity in (orders, lines):
        sent, known = quoted(f"sent_{entity.name}"), quoted(f"known_{entity.name}")
        con.execute(
            f"CREATE OR REPLACE TABLE {quoted(f'differing_{entity.name}')} AS "
            f"SELECT t.rowid AS id FROM {sent} AS t SEMI JOIN units USING (source_date, order_id) "
            "WHERE t.reason IS NULL"
        )
        newest = (
            "QUALIFY row_number() OVER (PARTITION BY source_date, order_id "
            "ORDER BY updated_at DESC) = 1"
        )
        make_table(con, entity, f"lacking_{entity.name}")
        con.execute(
            f"INSERT INTO {quoted(f'lacking_{entity.name}')} "
            f"SELECT {column_list(entity)}, source_date, source_file, NULL, NULL, NULL "
            f"FROM (FROM {known} SEMI JOIN units USING (source_date, order_id) "
            f"ANTI JOIN {sent} AS again USING (source_date, order_id)) "
            f"{newest if entity.is_versioned else ''}"
        )


def _insert_differences(con: duckdb.DuckDBPyConnection, entity: Entity, table: str) -> None:
    differing = f"SELECT id FROM {quoted(f'differing_{entity.name}')}"
    columns = f"{column_list(entity)}, {_ALL}"
    con.execute(
        f"INSERT INTO {quoted(table)} SELECT {columns} FROM {quoted(f'sent_{entity.name}')} "
        f"WHERE rowid IN ({differing}) OR rowid IN ({_newly_refused(entity)}) "
        f"UNION ALL SELECT {columns} FROM {quoted(f'lacking_{entity.name}')}"
    )


def _newly_refused(entity: Entity) -> str:
    """The ids of refused rows that are neither landed nor refused before as they are."""
    return (
        f"SELECT t.rowid FROM {quoted(f'sent_{entity.name}')} AS t "
        f"ANTI JOIN {quoted(f'refused_{entity.name}')} AS r "
        "USING (source_date, row_key, reason, row) "
        "WHERE t.reason IS NOT NULL "
        f"AND t.rowid NOT IN (SELECT id FROM {quoted(f'same_{entity.name}')})"
    )


def _account(con: duckdb.DuckDBPyConnection, entity: Entity) -> tuple[int, int]:
    """How many sent rows are unchanged, and how many differ or are newly refused."""
    name = entity.name
    unchanged, differing = con.execute(
        f"""
        SELECT
            count(*) FILTER (
                CASE WHEN reason IS NULL THEN NOT is_differing ELSE is_same OR is_refused END
            ),
            count(*) FILTER (
                CASE WHEN reason IS NULL THEN is_differing ELSE NOT (is_same OR is_refused) END
            )
        FROM (
            SELECT
                reason,
                rowid IN (SELECT id FROM {quoted(f"differing_{name}")}) AS is_differing,
                rowid IN (SELECT id FROM {quoted(f"same_{name}")}) AS is_same,
                (source_date, row_key, reason, row) IN (
                    SELECT (source_date, row_key, reason, row) FROM {quoted(f"refused_{name}")}
                ) AS is_refused
            FROM {quoted(f"sent_{name}")}
        )
        """
    ).fetchall()[0]
    return unchanged, differing


def _count_missing(con: duckdb.DuckDBPyConnection, entity: Entity) -> int:
    """Known keys that were not sent again; a line that a landed set leaves out is no such key."""
    version = ", ".join(quoted(name) for name in ("source_date", *entity.key))
    name = entity.name
    units = "ANTI JOIN units USING (source_date, order_id)" if name == "order_items" else ""
    return int(
        con.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {version} FROM {quoted(f'known_{name}')}) "
            f"ANTI JOIN {quoted(f'sent_{name}')} AS sent USING ({version}) {units}"
        ).fetchall()[0][0]
    )

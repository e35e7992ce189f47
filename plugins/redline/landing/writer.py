"""Writing the rows of the workbench as Parquet: one file per source date, in a fixed order."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import duckdb

from redline.contract import Entity
from redline.landing.door import column_list, make_table, version_columns
from redline.landing.engine import Statement, literal, quoted, run_side_by_side
from redline.landing.partitions import LandedFile, checksum, file_name, partition
from redline.landing.profile import Profile, profiles
from redline.plan import Plan
from redline.sources import without_password

_PARQUET = "(FORMAT parquet, COMPRESSION zstd)"
_NOTHING = "nothing"


@dataclass(frozen=True)
class Delivery:
    """What one source date brings to one report date.

    Attributes:
        report_date, source_date: where its rows go, and the date they were delivered for.
        table: the workbench table that holds them, clean and refused ones, by `source_date`.
        rows_read: rows before the door; None: as many as the table holds.
        rows_collapsed: identical copies dropped on the way.
        fingerprint: what the source said of the date.
        files: of each source file the rows read and the copies dropped; for a closed date, none.
    """

    report_date: date
    source_date: date
    table: str
    rows_read: int | None
    rows_collapsed: int
    fingerprint: str | None
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)


def write_aside(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    entity: Entity,
    deliveries: Iterable[Delivery],
    landing_aside: Path,
    quarantine_aside: Path,
) -> list[tuple[date, LandedFile]]:
    """Write clean and refused rows aside; the files with their report dates, in order.

    Raises:
        AssertionError: rows were lost or made on the way.
    """
    deliveries = sorted(deliveries, key=lambda each: (each.report_date, each.source_date))
    reasons = {table: _tally(con, table) for table in {each.table for each in deliveries}}
    profiled = {
        table: profiles(con, entity, table)
        for table in {each.table for each in deliveries if each.source_date == each.report_date}
    }
    empty = landing_aside / "empty.parquet"
    make_table(con, entity, _NOTHING)
    con.execute(*_landing_copy(plan, entity, _NOTHING, date.min, empty))

    landed: list[tuple[Delivery, Path]] = []
    statements: list[Statement] = []
    refused_paths: list[tuple[Delivery, int]] = []
    refused_statements: list[Statement] = []
    for each in deliveries:
        counts = reasons[each.table].get(each.source_date, {})
        path = partition(landing_aside, each.report_date) / file_name(each.source_date)
        path.parent.mkdir(exist_ok=True)
        if counts.get(None):
            landed.append((each, path))
            statements.append(_landing_copy(plan, entity, each.table, each.source_date, path))
        else:
            shutil.copyfile(empty, path)
        refused = sum(count for reason, count in counts.items() if reason is not None)
        if refused:
            path = partition(quarantine_aside, each.report_date) / file_name(each.source_date)
            path.parent.mkdir(exist_ok=True)
            refused_paths.append((each, refused))
            refused_statements.append(_quarantine_copy(plan, entity, each, path))
    empty.unlink()
    written = run_side_by_side(con, [*statements, *refused_statements])
    rows_landed = {each: rows for (each, _), rows in zip(landed, written, strict=False)}
    for (each, refused), rows in zip(refused_paths, written[len(landed) :], strict=True):
        assert rows == refused, f"{entity.name} {each.source_date}: {refused} refused, {rows} kept"
    return [
        (
            each.report_date,
            _landed_file(
                plan,
                entity,
                each,
                reasons[each.table].get(each.source_date, {}),
                rows_landed.get(each, 0),
                partition(landing_aside, each.report_date) / file_name(each.source_date),
                profiled.get(each.table, {}).get(each.source_date, {}),
            ),
        )
        for each in deliveries
    ]


def _landed_file(
    plan: Plan,
    entity: Entity,
    each: Delivery,
    counts: dict[str | None, int],
    rows_landed: int,
    path: Path,
    profile: Profile,
) -> LandedFile:
    by_reason = {reason: counts[reason] for reason in sorted(filter(None, counts))}
    refused = sum(by_reason.values())
    accounted = rows_landed + refused + each.rows_collapsed
    rows_read = accounted if each.rows_read is None else each.rows_read
    assert rows_read == accounted, (
        f"{entity.name} {each.source_date}: read {rows_read} rows, but landed {rows_landed}, "
        f"quarantined {refused} and collapsed {each.rows_collapsed}"
    )
    return LandedFile(
        name=path.name,
        source_date=each.source_date,
        source=_without_password(plan.source),
        rows_read=rows_read,
        rows_landed=rows_landed,
        rows_quarantined=refused,
        rows_collapsed=each.rows_collapsed,
        sha256=checksum(path),
        fingerprint=each.fingerprint,
        quarantined_by_reason=by_reason,
        landed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=profile,
        source_files=dict(each.files),
    )


def _tally(con: duckdb.DuckDBPyConnection, table: str) -> dict[date, dict[str | None, int]]:
    tally: dict[date, dict[str | None, int]] = defaultdict(dict)
    sql = f"SELECT source_date, reason, count(*) FROM {quoted(table)} GROUP BY ALL"
    for day, reason, count in con.execute(sql).fetchall():
        tally[day][reason] = count
    return tally


def _landing_copy(
    plan: Plan, entity: Entity, table: str, source_date: date, path: Path
) -> Statement:
    order = ", ".join(quoted(name) for name in version_columns(entity))
    sql = f"""
        COPY (
            SELECT $platform::VARCHAR AS platform, {column_list(entity)}, source_date, source_file
            FROM {quoted(table)}
            WHERE source_date = $source_date::DATE AND reason IS NULL
            ORDER BY {order}
        ) TO $path {_PARQUET}
    """
    return sql, {"platform": plan.platform, "source_date": source_date, "path": str(path)}


def _quarantine_copy(plan: Plan, entity: Entity, each: Delivery, path: Path) -> Statement:
    sql = f"""
        COPY (
            SELECT $platform::VARCHAR AS platform, {literal(entity.name)} AS entity,
                row_key, reason, source_file, source_date, row
            FROM {quoted(each.table)}
            WHERE source_date = $source_date::DATE AND reason IS NOT NULL
            ORDER BY row_key, reason, row, source_file
        ) TO $path {_PARQUET}
    """
    return sql, {"platform": plan.platform, "source_date": each.source_date, "path": str(path)}


def _without_password(address: str) -> str:
    parts = urlsplit(without_password(address))
    return urlunsplit((*parts[:1], parts.netloc.rpartition("@")[2], *parts[2:]))

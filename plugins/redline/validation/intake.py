"""The relations that the intake suite reads, made from the landing zone itself.

Nothing here trusts the door: folders are listed, manifests and Parquet files read afresh.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa

from redline.contract import ENTITIES, SQL_TYPES, Entity
from redline.plan import Plan, days
from redline.settings import Home, Settings
from redline.validation.gate import create, repeated
from redline.validation.usual import make_usual, too_early

_KEPT_ROWS = 2_000_000


@dataclass(frozen=True)
class Partition:
    """The folder of one entity and report date, as found."""

    entity: Entity
    report_date: date
    files: tuple[Path, ...]
    manifest: dict[str, Any] | None
    fault: str | None

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The manifest's files by name."""
        return {str(entry["name"]): entry for entry in (self.manifest or {}).get("files", [])}


@dataclass
class _Columns:
    """Rows of a relation, built column by column."""

    schema: pa.Schema
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def table(self) -> pa.Table:
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.schema)
        arrays = [
            pa.array(values, type=kind.type)
            for values, kind in zip(columns, self.schema, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def make_relations(
    con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings
) -> dict[str, Any]:
    """Make `landing.*` and `intake.*`.

    Returns:
        `rows_read`, `quarantined` per entity over the range, and `notes` on what could not
        be judged yet.
    """
    root = settings.home.landing / plan.platform
    found = {
        entity.name: [_partition(root, entity, day) for day in days(plan.start, plan.end)]
        for entity in ENTITIES
    }
    # An optional entity that the source leaves out altogether has no partitions to miss.
    for entity in ENTITIES:
        if entity.optional and all(
            p.manifest is None and not p.files and p.fault == "missing" for p in found[entity.name]
        ):
            found[entity.name] = []
    partitions = [partition for parts in found.values() for partition in parts]
    con.execute("create schema landing")
    con.execute("create schema intake")
    _make_partitions(con, partitions)
    counted, broken = _make_files(con, partitions)
    strange = _make_columns(con, partitions, broken)
    unsound = broken | strange
    for entity in ENTITIES:
        paths = [path for partition in found[entity.name] for path in partition.files]
        # Without the many empty files of a quiet entity; what is small is read only once.
        filled = [path for path in paths if path not in unsound and counted[path]]
        is_small = sum(counted[path] for path in filled) <= _KEPT_ROWS
        make_rows(con, f"landing.{entity.name}", entity, filled, keep=is_small)
    con.execute("create table landing.repeated as " + " union all ".join(map(_repeated, ENTITIES)))
    _make_source_files(con, partitions, settings.home.quarantine / plan.platform)
    con.execute("set variable scheme = $1", [urlsplit(plan.source).scheme])
    _make_refusals(con, partitions)
    _make_references(con, plan, settings, unsound)
    make_usual(con, root, plan)
    counts = con.execute(
        "select entity, rows_read, rows_refused from intake.refusals order by 1"
    ).fetchall()
    early = too_early(con)
    notes = [f"as usual: too early to say of {', '.join(early)}"] if early else []
    return {
        "rows_read": {entity: read for entity, read, _ in counts},
        "quarantined": {entity: refused for entity, _, refused in counts if refused},
        "notes": notes,
    }


def _partition(root: Path, entity: Entity, day: date) -> Partition:
    folder = root / entity.name / f"report_date={day}"
    files = _parquet_files(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        entries = manifest["files"]
        if not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise ValueError("files without a name")
    except FileNotFoundError:
        return Partition(entity, day, files, None, "missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Partition(entity, day, files, None, f"unreadable: {error}")
    return Partition(entity, day, files, manifest, None)


def _make_partitions(con: duckdb.DuckDBPyConnection, partitions: list[Partition]) -> None:
    rows = _Columns(
        pa.schema(
            {
                "entity": pa.string(),
                "report_date": pa.date32(),
                "has_manifest": pa.bool_(),
                "manifest_fault": pa.string(),
                "own_files": pa.int64(),
            }
        )
    )
    for p in partitions:
        own = sum(path.name == f"source_date={p.report_date}.parquet" for path in p.files)
        rows.rows.append((p.entity.name, p.report_date, p.manifest is not None, p.fault, own))
    create(con, "intake.partitions", rows.table())


def _make_files(
    con: duckdb.DuckDBPyConnection, partitions: list[Partition]
) -> tuple[dict[Path, int], set[Path]]:
    """Make `intake.files`; return the rows of each file, and the files that cannot be read."""
    paths = [path for partition in partitions for path in partition.files]
    counted, faults = _count_rows(con, paths)
    rows = _Columns(
        pa.schema(
            {
                "entity": pa.string(),
                "report_date": pa.date32(),
                "file": pa.string(),
                "source_date": pa.string(),
                "on_disk": pa.bool_(),
                "in_manifest": pa.bool_(),
                "rows_read": pa.int64(),
                "rows_landed": pa.int64(),
                "rows_quarantined": pa.int64(),
                "rows_collapsed": pa.int64(),
                "parquet_rows": pa.int64(),
                "sha256": pa.string(),
                "found_sha256": pa.string(),
                "fault": pa.string(),
            }
        )
    )
    for partition in partitions:
        on_disk = {path.name: path for path in partition.files}
        entries = partition.entries
        for name in sorted(on_disk.keys() | entries.keys()):
            path, entry = on_disk.get(name), entries.get(name, {})
            due = entry.get("sha256")
            rows.rows.append(
                (
                    partition.entity.name,
                    partition.report_date,
                    name,
                    entry.get("source_date"),
                    path is not None,
                    name in entries,
                    entry.get("rows_read"),
                    entry.get("rows_landed"),
                    entry.get("rows_quarantined"),
                    entry.get("rows_collapsed"),
                    None if path is None else counted.get(path),
                    due,
                    _sha256(path) if path is not None and due else None,
                    None if path is None else faults.get(path),
                )
            )
    create(con, "intake.files", rows.table())
    return counted, set(faults)


def _count_rows(
    con: duckdb.DuckDBPyConnection, paths: list[Path]
) -> tuple[dict[Path, int], dict[Path, str]]:
    """Rows per Parquet file from the footers; the files whose footer cannot be read, and why."""
    query = "select file_name, num_rows from parquet_file_metadata($1)"
    try:
        rows = con.execute(query, [[str(path) for path in paths]]).fetchall() if paths else []
        return {Path(name): count for name, count in rows}, {}
    except duckdb.Error:
        counted: dict[Path, int] = {}
        faults: dict[Path, str] = {}
        for path in paths:
            try:
                row = con.execute(query, [[str(path)]]).fetchone()
                counted[path] = row[1] if row else 0
            except duckdb.Error as error:
                faults[path] = str(error).splitlines()[0].replace(str(path), path.name)
        return counted, faults


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_columns(
    con: duckdb.DuckDBPyConnection, partitions: list[Partition], broken: set[Path]
) -> set[Path]:
    """Make `intake.columns`, differences only; return the files that differ."""
    paths = [path for p in partitions for path in p.files if path not in broken]
    due = _Columns(pa.schema({"entity": pa.string(), "name": pa.string(), "due": pa.string()}))
    for entity in ENTITIES:
        due.rows.extend((entity.name, name, kind) for name, kind in landed_types(entity).items())
    of_file = _Columns(
        pa.schema({"path": pa.string(), "entity": pa.string(), "report_date": pa.date32()})
    )
    of_file.rows.extend(
        (str(path), p.entity.name, p.report_date) for p in partitions for path in p.files
    )
    create(con, "intake.due_columns", due.table())
    create(con, "intake.paths", of_file.table())
    con.execute("create table intake.found_columns (path varchar, name varchar, found varchar)")
    if paths:
        con.execute(
            """
            insert into intake.found_columns
            select file_name, name, duckdb_type
            from parquet_schema($1)
            where num_children is null
            """,
            [[str(path) for path in paths]],
        )
    con.execute(
        """
        create table intake.columns as
        with
            due as (
                select paths.path, paths.entity, paths.report_date, name, due
                from intake.paths
                inner join intake.due_columns using (entity)
                where path in (select path from intake.found_columns)
            ),

            found as (
                select path, entity, report_date, name, found
                from intake.found_columns
                inner join intake.paths using (path)
            )

        select
            path, entity, report_date, parse_filename(path) as file, name, found, due
        from due
        full join found using (path, entity, report_date, name)
        where found is distinct from due
        """
    )
    rows = con.execute("select distinct path from intake.columns").fetchall()
    return {Path(path) for (path,) in rows}


def landed_types(entity: Entity) -> dict[str, str]:
    """The columns of an entity's Parquet files and their types, as DuckDB names them."""
    types = {"platform": "VARCHAR"}
    for column in entity.columns:
        types[column.name] = SQL_TYPES[column.type].upper().replace(", ", ",")
    return {**types, "source_date": "DATE", "source_file": "VARCHAR"}


def make_rows(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    entity: Entity,
    paths: list[Path],
    *,
    keep: bool = False,
) -> None:
    """Make a relation of the landed rows in some files, `report_date` from their folders.

    With `keep` the files are read now, once; else the relation is a view.
    """
    if not paths:
        types = {**landed_types(entity), "report_date": "DATE"}
        columns = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in types.items())
        con.execute(f"create view {relation} as select {columns} where false")
        return
    variable = f"files_of_{relation.replace('.', '_')}"
    con.execute(f"set variable {variable} = $1", [[str(path) for path in paths]])
    con.execute(
        f"create {'table' if keep else 'view'} {relation} as"
        f" select * from read_parquet(getvariable('{variable}'),"
        " hive_partitioning = true, hive_types = {'report_date': date})"
    )


def _repeated(entity: Entity) -> str:
    """SQL for the keys of an entity that occur more than once in a delivery, as text."""
    version = ("updated_at",) if entity.is_versioned else ()
    keys = (*entity.key, *version, "report_date", "source_date")
    return f"""
        select
            '{entity.name}' as entity,
            concat_ws(' ', {", ".join((*entity.key, *version))}) as key,
            report_date,
            source_date,
            copies
        from ({repeated(f"landing.{entity.name}", keys)})
    """


def _make_source_files(
    con: duckdb.DuckDBPyConnection, partitions: list[Partition], quarantine: Path
) -> None:
    """Make `intake.source_files`: what became of the rows of each file that a date brought.

    Landed and quarantined rows are counted in the Parquet files themselves.
    """
    read = _Columns(
        pa.schema(
            {
                "entity": pa.string(),
                "report_date": pa.date32(),
                "source_file": pa.string(),
                "rows_read": pa.int64(),
                "rows_collapsed": pa.int64(),
            }
        )
    )
    refused: list[str] = []
    for p in partitions:
        own = f"source_date={p.report_date}.parquet"
        entry = p.entries.get(own, {})
        for file, (rows, collapsed) in (entry.get("source_files") or {}).items():
            read.rows.append((p.entity.name, p.report_date, file, rows, collapsed))
        path = quarantine / p.entity.name / f"report_date={p.report_date}" / own
        if entry.get("rows_quarantined") and path.exists():
            refused.append(str(path))
    create(con, "intake.read_files", read.table())
    landed = " union all ".join(
        f"""
        select '{entity.name}' as entity, report_date, source_file
        from landing.{entity.name} where source_date = report_date
        """
        for entity in ENTITIES
    )
    con.execute("set variable refused_files = $1", [refused])
    quarantined = (
        "select entity, source_date as report_date, source_file "
        "from read_parquet(getvariable('refused_files'), hive_partitioning = false)"
        if refused
        else "select entity, report_date, source_file from intake.read_files where false"
    )
    con.execute(
        f"""
        create table intake.source_files as
        with
            landed as (
                select entity, report_date, source_file, count(*) as rows_landed
                from ({landed})
                group by all
            ),

            quarantined as (
                select entity, report_date, source_file, count(*) as rows_quarantined
                from ({quarantined})
                group by all
            )

        select
            entity,
            report_date,
            source_file,
            rows_read,
            rows_collapsed,
            coalesce(rows_landed, 0) as rows_landed,
            coalesce(rows_quarantined, 0) as rows_quarantined
        from intake.read_files
        left join landed using (entity, report_date, source_file)
        left join quarantined using (entity, report_date, source_file)
        """
    )


def _make_refusals(con: duckdb.DuckDBPyConnection, partitions: list[Partition]) -> None:
    reasons = _Columns(
        pa.schema({"entity": pa.string(), "reason": pa.string(), "refused": pa.int64()})
    )
    for partition in partitions:
        for entry in partition.entries.values():
            for reason, count in (entry.get("quarantined_by_reason") or {}).items():
                reasons.rows.append((partition.entity.name, reason, count))
    create(con, "intake.reasons", reasons.table())
    con.execute(
        """
        create table intake.refusals as
        with
            files as (
                select
                    entity,
                    cast(sum(rows_read) as bigint) as rows_read,
                    cast(sum(rows_quarantined) as bigint) as rows_refused
                from intake.files
                where in_manifest
                group by entity
            ),

            by_reason as (
                select entity, reason, sum(refused) as refused
                from intake.reasons
                group by entity, reason
            ),

            reasons as (
                select
                    entity,
                    string_agg(reason || ' ' || refused, ', ' order by refused desc) as reasons
                from by_reason
                group by entity
            )

        select
            getvariable('scheme') as scheme,
            entity,
            rows_read,
            rows_refused,
            case when rows_read > 0 then rows_refused / rows_read end as refused_share,
            coalesce(reasons, '') as reasons
        from files
        left join reasons using (entity)
        """
    )


def _make_references(
    con: duckdb.DuckDBPyConnection, plan: Plan, settings: Settings, unsound: set[Path]
) -> None:
    """Make `intake.references`: rows of the range whose target is not known by their date.

    What is landed in earlier partitions counts as known, as far back as the horizon: versions of
    older orders are refused at the door.
    """
    since = plan.start - timedelta(days=settings.horizon_days)
    for entity in (e for e in ENTITIES if e.name in ("merchants", "orders")):
        first = since if entity.name == "orders" else None
        files = landed_files(settings.home, plan.platform, entity, first, plan.end)
        files = [path for path in files if path not in unsound]
        make_rows(con, f"landing.{entity.name}_known", entity, files)
    con.execute(
        """
        create table intake.known_merchants as
        select merchant_id, min(report_date) as known_on
        from landing.merchants_known
        group by merchant_id
        """
    )
    con.execute(
        """
        create table intake.known_orders as
        with
            asked as (
                select order_id from landing.complaints
                union
                select order_id from landing.reviews
                union
                select order_id from landing.refunds
            )

        select order_id, min(report_date) as known_on
        from landing.orders_known
        where order_id in (select order_id from asked)
        group by order_id
        """
    )
    parts = [_reference("orders", "order_id", "merchant_id", "intake.known_merchants")]
    for name, key in (
        ("complaints", "complaint_id"),
        ("reviews", "review_id"),
        ("refunds", "refund_id"),
    ):
        parts.append(_reference(name, key, "order_id", "intake.known_orders"))
    parts.append(
        """
        select
            'order_items.order_id of the same delivery' as reference,
            count(*) as "rows",
            count(*) filter (where orders.order_id is null) as unknown,
            min(items.order_id) filter (where orders.order_id is null) as example
        from landing.order_items as items
        left join
            (select distinct order_id, report_date, source_date from landing.orders) as orders
            on orders.order_id = items.order_id
            and orders.report_date = items.report_date
            and orders.source_date = items.source_date
        """
    )
    con.execute(
        f"""
        create table intake.references as
        select *, case when "rows" > 0 then unknown / "rows" end as unknown_share
        from ({" union all ".join(parts)})
        """
    )


def _reference(entity: str, key: str, column: str, known: str) -> str:
    return f"""
        select
            '{entity}.{column}' as reference,
            count(*) as "rows",
            count(*) filter (where known.known_on is null) as unknown,
            min(rows.{key}) filter (where known.known_on is null) as example
        from landing.{entity} as rows
        left join
            {known} as known
            on known.{column} = rows.{column}
            and known.known_on <= rows.report_date
    """


def _dates(root: Path, entity: Entity) -> Iterator[date]:
    folder = root / entity.name
    if folder.is_dir():
        for child in folder.iterdir():
            name, _, text = child.name.partition("=")
            if name == "report_date":
                yield date.fromisoformat(text)


def landed_files(
    home: Home, platform: str, entity: Entity, first: date | None, last: date
) -> list[Path]:
    """Landed files of an entity with report dates from `first` (None: the beginning) to `last`."""
    root = home.landing / platform
    return [
        path
        for day in sorted(_dates(root, entity))
        if day <= last and (first is None or day >= first)
        for path in _parquet_files(root / entity.name / f"report_date={day}")
    ]


def _parquet_files(folder: Path) -> tuple[Path, ...]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return ()
    return tuple(
        folder / name
        for name in names
        if name.startswith("source_date=") and name.endswith(".parquet")
    )

"""A small landing zone made by hand, without the product's door: what the gates are tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from redline.contract import ENTITIES, SQL_TYPES, Entity, entity
from redline.plan import Plan
from redline.settings import Home, Settings

PLATFORM = "made"
FIRST = date(2026, 3, 1)
LAST = date(2026, 3, 4)

Row = dict[str, Any]


def settings_of(root: Path) -> Settings:
    """Settings of a home at `root`."""
    return Settings(Home(root), "Asia/Shanghai", ("douyin_laike",), 180, 7)


def plan_of(
    start: date = FIRST,
    end: date = LAST,
    published: date | None = None,
    source: str = "files:///nowhere",
) -> Plan:
    """A plan for some open dates."""
    return Plan(f"made-{start}-{end}", PLATFORM, source, start, end, published, None, start, end)


def noon(day: date) -> datetime:
    """Midday in Shanghai, as UTC."""
    return datetime(day.year, day.month, day.day, 4)


def value(name: str, day: date, number: int) -> Any:
    """A value that suits a column, for the number-th record of a date."""
    fixed = {
        "status": {"merchants": "active"},
        "currency": "CNY",
        "quantity": 1,
        "rating": 1 + number % 5,
        "line_no": 1,
        "subject_type": "complaint",
        "amount": 10,
        "unit_price": 10,
        "list_price": 10,
    }
    return fixed.get(name, f"{name}-{day:%d}-{number}")


def records(of: Entity, day: date, count: int = 6) -> list[Row]:
    """Sound records of one entity and date, referring to one another within the date."""
    rows = []
    for number in range(count):
        row: Row = {}
        for column in of.columns:
            if column.codes:
                row[column.name] = column.codes[0]
            elif column.type == "timestamp":
                row[column.name] = noon(day)
            elif column.type == "boolean":
                row[column.name] = True
            else:
                row[column.name] = value(column.name, day, number)
        row["merchant_id"] = f"m{number % 2}"
        if of.name == "merchants":
            row["merchant_id"] = f"m{number}"
        rows.append({name: row[name] for name in of.column_names})
    return rows


def land(
    root: Path, of: Entity, day: date, rows: list[Row], source_date: date | None = None
) -> Path:
    """Write a partition's file and its entry in the manifest; return the file."""
    folder = root / "landing" / PLATFORM / of.name / f"report_date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    source_date = source_date or day
    path = folder / f"source_date={source_date}.parquet"
    types = {column.name: SQL_TYPES[column.type] for column in of.columns}
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    with duckdb.connect() as con:
        con.execute(
            f"create table t (platform varchar, {columns}, source_date date, source_file varchar)"
        )
        if rows:
            marks = ", ".join("?" for _ in range(len(types) + 3))
            con.executemany(
                f"insert into t values ({marks})",
                [
                    [
                        row.get("platform", PLATFORM),
                        *(row[name] for name in types),
                        row.get("source_date", source_date),
                        "made.csv",
                    ]
                    for row in rows
                ],
            )
        con.execute(f"copy t to '{path}' (format parquet)")
    enter(path, rows_read=len(rows), rows_landed=len(rows))
    return path


def enter(path: Path, **fields: Any) -> None:
    """Enter a file into its partition's manifest, or change its entry."""
    manifest_path = path.parent / "manifest.json"
    of, day = path.parent.parent.name, path.parent.name.removeprefix("report_date=")
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "platform": PLATFORM,
        "entity": of,
        "report_date": day,
        "run_id": "made",
        "files": [],
    }
    if manifest_path.exists():
        manifest = json.loads(manifest_path.read_text())
    entry: dict[str, Any] = {
        "name": path.name,
        "source_date": path.stem.removeprefix("source_date="),
        "source": "files:///nowhere",
        "rows_read": 0,
        "rows_landed": 0,
        "rows_quarantined": 0,
        "rows_collapsed": 0,
        "quarantined_by_reason": {},
        "fingerprint": None,
        "landed_at": "2026-03-05T00:00:00+00:00",
    }
    kept = [file for file in manifest["files"] if file["name"] != path.name]
    old = [file for file in manifest["files"] if file["name"] == path.name]
    entry = {**entry, **(old[0] if old else {}), **fields}
    entry["sha256"] = fields.get("sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    manifest_path.write_text(json.dumps({**manifest, "files": [*kept, entry]}, default=str))


def file_of(root: Path, name: str, day: date) -> Path:
    """The own file of an entity's partition."""
    folder = root / "landing" / PLATFORM / name / f"report_date={day}"
    return folder / f"source_date={day}.parquet"


def make_landing(
    root: Path,
    first: date = FIRST,
    last: date = LAST,
    changes: Mapping[tuple[str, date], list[Row]] | None = None,
) -> None:
    """Land sound records of all entities from `first` to `last`; `changes` replaces partitions."""
    day = first
    while day <= last:
        for of in ENTITIES:
            rows = (changes or {}).get((of.name, day))
            land(root, of, day, records(of, day) if rows is None else rows)
        day += timedelta(days=1)


__all__ = ["ENTITIES", "enter", "entity", "file_of", "land", "make_landing", "records"]

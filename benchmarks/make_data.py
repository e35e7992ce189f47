"""Make a marketplace's landing zone of any size in seconds.

Everything about order `i` is a pure function of `i`, computed set-based by DuckDB and written
straight as landing partitions (see `redline.landing` for the layout), so no source and no door
stand in the way: the benchmark times what comes after them.

What is in the data, per order: 2.3 versions on average (paid, sometimes shipped, fulfilled), 1.3
lines, 0.4 reviews, 0.03 refunds and 0.01 complaints; some reviews are deleted, some complaints
withdrawn, some events appealed; one order in a hundred is corrected, deleted, sent late, sent
again out of order, or lands as a difference of a closed date. Merchants follow a power law.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from redline.contract import ENTITIES, SCHEMA_VERSION, SQL_TYPES, Entity

PLATFORM = "bench"
FIRST_DATE = date(2026, 1, 1)
TIMEZONE = "Asia/Shanghai"  # 8 hours ahead of UTC all year, as the SQL scripts rely on
PRODUCTS_PER_MERCHANT = 8
PROJECT = Path(__file__).resolve().parents[1]
SEEDS = PROJECT / "dbt_project" / "seeds"
SCRIPT = Path(__file__).with_name("make_data.sql")

Known = dict[str, Any]  # the values of the script's parameters, by name


@dataclass(frozen=True)
class Size:
    """How much to make.

    Attributes:
        orders: paid on the dates of the history, evenly.
        merchants: whose sizes follow a power law.
        days: dates of the history; one more date of the same size is made beside it.
    """

    orders: int
    merchants: int
    days: int

    @property
    def last_date(self) -> date:
        """The history's last report date."""
        return FIRST_DATE + timedelta(days=self.days - 1)

    @property
    def next_date(self) -> date:
        """The report date that comes on top of the history."""
        return FIRST_DATE + timedelta(days=self.days)

    @property
    def orders_per_day(self) -> int:
        """The same for every date."""
        return max(1, self.orders // self.days)


def sections(script: Path) -> dict[str, str]:
    """The parts of an SQL script, each by the name on the line `--@ name` before it."""
    parts = script.read_text().split("\n--@ ")[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}


def make_data(size: Size, history: Path, next_day: Path) -> dict[str, int]:
    """Write the landing zone of `size.days` dates, and that of the one date after them.

    Args:
        size: how much.
        history: becomes a landing folder with the dates of the history.
        next_day: becomes a landing folder with the date on top.

    Returns:
        Landed rows per entity in the history.
    """
    script = sections(SCRIPT)
    counts = {landed.name: 0 for landed in ENTITIES}
    with duckdb.connect() as connection:
        connection.execute("set preserve_insertion_order = false")
        connection.execute(script["macros"])
        known = {
            "orders": size.orders_per_day * (size.days + 1),
            "orders_per_day": size.orders_per_day,
            "merchants": size.merchants,
            "products_per_merchant": PRODUCTS_PER_MERCHANT,
            "first_date": FIRST_DATE,
            "reasons": _seeded("reason_codes", "reason_code"),
            "categories": _seeded("categories", "category_id"),
        }
        for statement in connection.extract_statements(script["truth"]):
            _run(connection, statement.query, known)

        # Statements of one date are too small for all cores, so dates are made side by side.
        def land(day: date) -> dict[str, int]:
            landing = history if day <= size.last_date else next_day
            with connection.cursor() as cursor:
                return _land_date(cursor, script, known, day, landing)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for landed in pool.map(land, _dates(FIRST_DATE, size.last_date)):
                for name, rows in landed.items():
                    counts[name] += rows
        land(size.next_date)
    return counts


def _land_date(
    connection: duckdb.DuckDBPyConnection,
    script: dict[str, str],
    known: Known,
    day: date,
    landing: Path,
) -> dict[str, int]:
    """Write all entities' partitions of one report date; give the rows of each."""
    known = {**known, "day": day}
    _run(connection, script["landed_orders"], known)
    rows = {}
    for landed in ENTITIES:
        query = script.get(landed.name, _nothing(landed))
        rows[landed.name] = _land(connection, landed, query, known, landing)
    return rows


def _nothing(landed: Entity) -> str:
    """A query without rows, for an entity that the script leaves out."""
    columns = [
        f"cast(null as {SQL_TYPES[column.type]}) as {column.name}" for column in landed.columns
    ]
    return f"select $day as source_date, {', '.join(columns)} where false"


def _land(
    connection: duckdb.DuckDBPyConnection,
    landed: Entity,
    query: str,
    known: Known,
    landing: Path,
) -> int:
    """Write one entity's partition of one report date, one file per source date; give its rows."""
    day: date = known["day"]
    folder = landing / PLATFORM / landed.name / f"report_date={day}"
    folder.mkdir(parents=True)
    columns = ", ".join(
        f"{column.name}::{SQL_TYPES[column.type]} as {column.name}" for column in landed.columns
    )
    is_late = landed.name in ("orders", "order_items") and day > FIRST_DATE
    files = []
    for source_date in [day, day - timedelta(days=1)] if is_late else [day]:
        path = folder / f"source_date={source_date}.parquet"
        _run(
            connection,
            f"""
            copy (
                select
                    '{PLATFORM}' as platform,
                    {columns},
                    cast(source_date as date) as source_date,
                    '{landed.name}-{source_date}' as source_file
                from ({query})
                where source_date = date '{source_date}'
            ) to '{path}' (format parquet)
            """,
            known,
        )
        rows = int(connection.fetchall()[0][0])
        files.append((path, source_date, rows))
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "platform": PLATFORM,
        "entity": landed.name,
        "report_date": str(day),
        "run_id": "bench",
        "files": [_file_entry(*file, name=landed.name) for file in files],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return sum(rows for _, _, rows in files)


def _file_entry(path: Path, source_date: date, rows: int, *, name: str) -> dict[str, object]:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": path.name,
        "source_date": str(source_date),
        "source": f"{name}-{source_date}",
        "rows_read": rows,
        "rows_landed": rows,
        "rows_quarantined": 0,
        "rows_collapsed": 0,
        "sha256": checksum,
        "fingerprint": None,
        "quarantined_by_reason": {},
        "landed_at": datetime.now(UTC).isoformat(),
    }


def _run(connection: duckdb.DuckDBPyConnection, statement: str, known: Known) -> None:
    """Execute with those of the known parameters that the statement names."""
    used = {name: known[name] for name in set(re.findall(r"\$(\w+)", statement))}
    connection.execute(statement, used)


def _seeded(name: str, column: str) -> list[str]:
    """The values of a seed of the project, so that reasons and policies apply to the data."""
    with (SEEDS / f"{name}.csv").open(newline="") as file:
        return sorted({row[column] for row in csv.DictReader(file)})


def _dates(start: date, end: date) -> Iterator[date]:
    return (start + timedelta(days=offset) for offset in range((end - start).days + 1))


def main() -> None:
    """Make data into a folder, for a look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--merchants", type=int, default=5_000)
    parser.add_argument("--days", type=int, default=90)
    options = parser.parse_args()
    size = Size(options.orders, options.merchants, options.days)
    counts = make_data(size, options.folder / "landing", options.folder / "next_day")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

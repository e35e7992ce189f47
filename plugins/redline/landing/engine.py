"""The DuckDB that landing works in: in memory, in UTC, spilling inside the home."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

Statement = tuple[str, dict[str, Any]]

# What a backfill holds at a time; the rest of it spills. Intake as a whole stays below 2 GB.
_MEMORY = 900 * 2**20
_MEMORY_SHARE = 0.5  # of a small machine: Airflow needs the rest
_WRITERS = min(4, os.cpu_count() or 1)


@contextmanager
def workbench(spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB; what does not fit spills to `spill`, which is removed afterwards."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = min(_MEMORY, machine * _MEMORY_SHARE)
    con = duckdb.connect(":memory:")
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET temp_directory = $spill", {"spill": str(spill)})
        con.execute("SET memory_limit = $limit", {"limit": f"{memory / 2**20:.0f}MiB"})
        con.execute("SET enable_progress_bar = false")
        yield con
    finally:
        con.close()
        shutil.rmtree(spill, ignore_errors=True)


def run_side_by_side(con: duckdb.DuckDBPyConnection, statements: Sequence[Statement]) -> list[int]:
    """Run statements that do not depend on each other; the row count that each answers, in order.

    Hundreds of small files are written fastest, and each in a fixed order, by one thread a file.
    """
    threads = con.execute("SELECT current_setting('threads')").fetchall()[0][0]

    def run(statement: Statement) -> int:
        sql, values = statement
        with con.cursor() as cursor:
            return int(cursor.execute(sql, values).fetchall()[0][0])

    con.execute("SET threads = 1")
    try:
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(run, statements))
    finally:
        con.execute(f"SET threads = {int(threads)}")


def quoted(identifier: str) -> str:
    """An identifier of our own constants, as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text of our own constants, as SQL."""
    return "'" + text.replace("'", "''") + "'"

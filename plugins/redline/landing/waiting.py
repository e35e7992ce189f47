"""Refused rows that still wait: those whose key no later delivery has brought clean.

Partitions are never edited, so nothing is taken out of the quarantine: a row has left it when a
clean row of its key was landed under a later report date. Only the keys in quarantine are looked
up, no further back than the horizon.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from redline.contract import Entity
from redline.landing.engine import quoted
from redline.landing.partitions import partition, report_dates

# Of the refused rows, by alias.
_COLUMNS = "entity, row_key, reason, source_file, source_date, report_date"


def find_waiting(
    con: duckdb.DuckDBPyConnection,
    landing: Path,
    quarantine: Path,
    entity: Entity,
    earliest: date,
    before: date | None = None,
) -> None:
    """Make the temporary table `waiting` of an entity's refused rows that still wait.

    Columns: entity, row_key, reason, source_file, source_date, report_date; one row per refused
    row. A row without a key waits until the horizon.

    Args:
        landing, quarantine: the entity's folders.
        earliest: report dates before it are not looked at.
        before: neither are report dates from it on.
    """
    con.execute(f"create or replace temp table waiting ({_TYPED})")
    refused = _files(quarantine, earliest, before)
    for day, files in refused:
        con.execute(
            f"insert into waiting select {_COLUMNS.replace('report_date', '$day::date')} "
            "from read_parquet($files, hive_partitioning = false)",
            {"day": day, "files": files},
        )
    if not refused:
        return
    key = " || '/' || ".join(f"{quoted(name)}::varchar" for name in entity.key)
    con.execute("create or replace temp table clean (row_key varchar, report_date date)")
    for day, files in _files(landing, refused[0][0], before):
        con.execute(
            f"insert into clean select distinct {key}, $day::date "
            "from read_parquet($files, hive_partitioning = false) "
            f"where {key} in (select row_key from waiting)",
            {"day": day, "files": files},
        )
    con.execute(
        "delete from waiting where exists (from clean where clean.row_key = waiting.row_key "
        "and clean.report_date > waiting.report_date)"
    )


_TYPED = (
    "entity varchar, row_key varchar, reason varchar, source_file varchar, source_date date, "
    "report_date date"
)


def _files(folder: Path, earliest: date, before: date | None) -> list[tuple[date, list[str]]]:
    """The Parquet files of an entity's report dates, by date."""
    return [
        (day, files)
        for day in report_dates(folder)
        if day >= earliest
        and (before is None or day < before)
        and (files := sorted(map(str, partition(folder, day).glob("source_date=*.parquet"))))
    ]

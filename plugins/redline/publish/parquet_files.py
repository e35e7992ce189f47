"""The published Parquet files: written where something changed, else shared with the run before.

A file is shared as a hard link, so it outlives the run that wrote it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb

from redline.publish.content import ANY_PLATFORM, Share, Table, quoted
from redline.publish.state import PARQUET

CONTENT_FILE = "content.json"
_FORMAT = "format parquet, compression zstd"
# DuckDB keeps one file open per partition; some systems allow a process no more than 256.
_DATES_AT_ONCE = 90


def file_name(share: Share) -> str:
    """The file of a share, from the run's folder on."""
    owner = "all" if share.owner == ANY_PLATFORM else share.owner
    folder = f"{PARQUET}/{share.table.name}"
    if share.day is not None:
        folder += f"/{share.table.partition_column}={share.day}"
    return f"{folder}/{owner}.parquet"


def read_content(folder: Path) -> dict[str, str]:
    """The checksum of what each Parquet file of a published run holds."""
    content: dict[str, str] = json.loads((folder / CONTENT_FILE).read_text())
    return content


def write_content(folder: Path, made: Iterable[Share]) -> None:
    """Write what `read_content` reads."""
    content = {file_name(share): share.checksum for share in made}
    (folder / CONTENT_FILE).write_text(json.dumps(content, indent=0, sort_keys=True) + "\n")


def emptied(base: Path, tables: Iterable[Table], made: Iterable[Share]) -> list[Share]:
    """Shares without rows for the files of the run before that none of `made` would replace.

    A file that a reader names does not come and go with the platform that published last.
    """
    by_name = {table.name: table for table in tables}
    names = {file_name(share) for share in made}
    found = []
    for name in sorted(read_content(base).keys() - names):
        _, table_name, *dated, file = name.split("/")
        table, owner = by_name.get(table_name), file.removesuffix(".parquet")
        if table is not None and table.has_owner and owner != "all":
            day = date.fromisoformat(dated[0].partition("=")[2]) if dated else None
            share = Share(table, owner, day, 0, 0)
            found += [share] if file_name(share) == name else []
    return found


def link_unchanged(folder: Path, base: Path, made: Iterable[Share]) -> list[Share]:
    """Share with the run before every file that would be the same; the shares left are returned."""
    content = read_content(base)
    left = []
    for share in made:
        name = file_name(share)
        if content.get(name) == share.checksum and (base / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(base / name, folder / name)
        else:
            left.append(share)
    return left


def write_files(connection: duckdb.DuckDBPyConnection, folder: Path, left: Iterable[Share]) -> None:
    """Write the files of these shares from the DuckDB file that is being made."""
    groups: dict[tuple[Table, str], list[Share]] = {}
    for share in left:
        (folder / file_name(share)).parent.mkdir(parents=True, exist_ok=True)
        groups.setdefault((share.table, share.owner), []).append(share)
    for group in groups.values():
        for first in range(0, len(group), _DATES_AT_ONCE):
            _write_group(connection, folder, group[first : first + _DATES_AT_ONCE])


def _write_group(connection: duckdb.DuckDBPyConnection, folder: Path, group: list[Share]) -> None:
    """Write shares that differ in their date only: many in one pass, one by itself."""
    if len(group) > 1:
        _write_in_one_pass(connection, folder, group)
    for share in group:
        if not (folder / file_name(share)).exists():
            query, parameters = _select(share.table, share.owner, [share.day])
            parameters["file"] = str(folder / file_name(share))
            connection.execute(f"copy ({query}) to $file ({_FORMAT})", parameters)


def _write_in_one_pass(
    connection: duckdb.DuckDBPyConnection, folder: Path, group: list[Share]
) -> None:
    table, column = group[0].table, group[0].table.partition_column
    query, parameters = _select(table, group[0].owner, [share.day for share in group], whole=True)
    scratch = folder / "scratch"
    parameters["folder"] = str(scratch)
    connection.execute(
        f"copy ({query}) to $folder ({_FORMAT}, partition_by ({column}))", parameters
    )
    for share in group:
        files = list((scratch / f"{column}={share.day}").glob("*.parquet"))
        if len(files) == 1:  # no rows: no file; several: left to be written by itself
            files[0].rename(folder / file_name(share))
    shutil.rmtree(scratch, ignore_errors=True)


def _select(
    table: Table, owner: str, days: list[date | None], *, whole: bool = False
) -> tuple[str, dict[str, object]]:
    """The rows of a share or several; without the date, which the folder tells, unless `whole`."""
    conditions, parameters = ["true"], dict[str, object]()
    if table.has_owner:
        conditions.append("platform = $owner")
        parameters["owner"] = owner
    columns = "*"
    if table.partition_column:
        conditions.append(f"list_contains($days, {table.partition_column})")
        parameters["days"] = days
        columns = "*" if whole else f"* exclude ({table.partition_column})"
    query = f"select {columns} from marts.{quoted(table.name)} where {' and '.join(conditions)}"
    return query, parameters

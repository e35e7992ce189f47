"""`files:///dir`: one file per entity and business date.

Layout: `<dir>/<entity>/<YYYY-MM-DD>.<csv|jsonl|parquet>`, in UTF-8; a file holds the rows that are
new or changed on its date. Values of CSV and JSON Lines arrive as text, those of Parquet typed:
what a single row gets wrong is for landing to refuse. What a file gets wrong is refused here.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from redline.contract import Entity, entity
from redline.errors import RedlineError, SourceError, StorageError, is_lasting, system_code
from redline.plan import days
from redline.sources import MISSING, Address, _damage, told_names

FORMATS = ("csv", "jsonl", "parquet")
ROWS_PER_BATCH = 100_000
LAYOUT = "<dir>/<entity>/<YYYY-MM-DD>.<csv|jsonl|parquet>"

_DATED = re.compile(r"(\d{4}-\d{2}-\d{2})(.*)", re.DOTALL)
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class DatedFile:
    """One entity's delivery for one business date.

    Attributes:
        path: where it lies.
        name: its path below the source's folder, as a person would look for it.
        day: the business date.
        format: one of FORMATS.
    """

    path: Path
    name: str
    day: date
    format: str


@dataclass(frozen=True)
class FilesSource:
    """A folder of dated files; see the module's docstring for the layout.

    Attributes:
        platform: the name under which its records are kept.
        root: the folder, without symbolic links.
        missing: what a date without a file does: `stop`, or `gap`: it is answered with no rows.
    """

    platform: str
    root: Path
    missing: str = "stop"

    def span(self) -> tuple[date, date]:
        """First and last business date of the orders' folder.

        Raises:
            SourceError: there is no orders' folder, or no dated file in it.
        """
        files = self._files(entity("orders"), date.min, date.max)
        if not files:
            raise SourceError("no orders", str(self.root / "orders"), f"lay files out as {LAYOUT}")
        return min(files), max(files)

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the entity's rows of the dates `start` to `end`, contract columns only.

        Raises:
            SourceError: a file of the range is missing, doubled, unreadable or damaged. It may
                come after batches of other files, so what was read must not be kept by then.
            StorageError: the disk or mount that the files are on failed.
        """
        if self._is_left_out(entity):
            return
        files = self._files(entity, start, end)
        self._refuse_gaps(entity, files, start, end)
        # Files with the same format and columns are one query: eight hundred dates in seconds.
        alike: dict[tuple[str, tuple[str, ...]], list[DatedFile]] = defaultdict(list)
        for file in files.values():
            columns = _columns(entity, file)
            _refuse_missing_columns(entity, file, columns)
            # Objects name their keys themselves, each its own.
            alike[_reader(file), () if file.format == "jsonl" else columns].append(file)
        for (reader, columns), group in alike.items():
            try:
                yield from _READERS[reader](entity, columns, group)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                # Without its cause, which quotes the row: raw values do not belong in a log.
                raise _diagnosed(entity, reader, columns, group, error) from None

    def columns(self, entity: Entity, start: date, end: date) -> list[str]:
        """Column names that the files of a range deliver, in order of appearance.

        Of a JSON Lines file only the first object is asked.
        """
        if self._is_left_out(entity):
            return []
        files = self._files(entity, start, end).values()
        return list(dict.fromkeys(name for file in files for name in _columns(entity, file)))

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Size and modification time of the date's file; None or MISSING where there is none."""
        marks = []
        for suffix in FORMATS:
            try:
                status = (self.root / entity.name / f"{day}.{suffix}").stat()
            except OSError:
                continue
            marks.append(f"{suffix}:{status.st_size}:{status.st_mtime_ns}")
        absent = MISSING if self.missing == "gap" and not self._is_left_out(entity) else None
        return " ".join(marks) or absent

    def _is_left_out(self, entity: Entity) -> bool:
        folder = self.root / entity.name
        return entity.optional and not folder.exists() and not folder.is_symlink()

    def _files(self, entity: Entity, start: date, end: date) -> dict[date, DatedFile]:
        """The dated files of a range by date, in order of date."""
        folder = self.root / entity.name
        if not folder.exists() and not folder.is_symlink():
            raise SourceError(
                f"no folder of {entity.name}", str(folder), f"lay files out as {LAYOUT}"
            )
        self._refuse_outside(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(folder, error) from error
        files: dict[date, DatedFile] = {}
        for entry in entries:
            file = _dated(Path(entry.path), f"{entity.name}/{entry.name}", start, end)
            if file is None:
                continue
            if entry.is_symlink():
                self._refuse_outside(file.path)
            if not entry.is_file():
                raise SourceError("not a file", entry.path, "put the date's file in its place")
            if file.day in files:
                raise SourceError(
                    f"two files of {entity.name} for {file.day}",
                    f"{files[file.day].path} and {file.path.name}",
                    "keep the one that is right",
                )
            files[file.day] = file
        return files

    def _refuse_outside(self, path: Path) -> None:
        """A link out of the folder would read what the address did not name."""
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise SourceError(
                "a symbolic link that leads nowhere", str(path), "mend or remove it"
            ) from error
        if not target.is_relative_to(self.root):
            raise SourceError(
                f"a symbolic link out of {self.root}", str(path), "put the file itself there"
            )

    def _refuse_gaps(
        self, entity: Entity, files: dict[date, DatedFile], start: date, end: date
    ) -> None:
        missing = [day for day in days(start, end) if day not in files]
        if not missing or self.missing == "gap":
            return
        more = f" and {len(missing) - 1} more dates up to {missing[-1]}" if len(missing) > 1 else ""
        raise SourceError(
            f"no file of {entity.name} for {missing[0]}{more}",
            str(self.root / entity.name / f"{missing[0]}.{{{','.join(FORMATS)}}}"),
            "deliver it (without rows: a file with its header only), or ask for other dates",
        )


def open_source(address: Address) -> FilesSource:
    """Open the folder at an address.

    Raises:
        SourceError: the folder is missing or not absolute, or an option is unknown.
    """
    options = dict(address.options)
    missing = options.pop("missing", "stop")
    if options or missing not in ("stop", "gap"):
        raise SourceError(
            f"unknown option '{next(iter(options), f'missing={missing}')}'",
            "files://",
            "the options are platform, and missing=stop or missing=gap",
        )
    path = Path(address.path)
    if not path.is_absolute():
        raise SourceError(
            f"'{address.path}' is not an absolute folder",
            "files://",
            "write files:///folder, three slashes",
        )
    if not path.is_dir():
        raise SourceError("no such folder", str(path), f"lay files out as {LAYOUT}")
    return FilesSource(address.platform, path.resolve(), missing)


def literal(path: Path) -> str:
    """The path as DuckDB's readers take it: a bracket in a folder's name is no pattern."""
    return _GLOB.sub(r"[\g<0>]", str(path))


def _dated(path: Path, name: str, start: date, end: date) -> DatedFile | None:
    """The file by its name; None where it is hidden or of a date outside the range.

    A name that is neither is refused: passing over `2024-1-5.csv` would lose a day in silence.
    """
    if path.name.startswith((".", "_")):
        return None
    match = _DATED.fullmatch(path.name)
    try:
        day = date.fromisoformat(match[1]) if match else None
    except ValueError:
        day = None
    if day is not None and not start <= day <= end:
        return None
    suffix = match[2].removeprefix(".") if match else ""
    if day is None or suffix not in FORMATS or match is None or not match[2].startswith("."):
        packed = path.suffix in (".gz", ".bz2", ".zst", ".zip", ".xz")
        raise SourceError(
            f"the name {path.name} is not <YYYY-MM-DD>.<{'|'.join(FORMATS)}>",
            str(path),
            "unpack it" if packed else "rename it, or move it out of the folder",
        )
    return DatedFile(path, name, day, suffix)


# What a file says of its columns ------------------------------------------------------------


def _columns(entity: Entity, file: DatedFile) -> tuple[str, ...]:
    """Column names of a file; for JSON Lines those of its first object, empty if it has none."""
    try:
        return _LISTERS[file.format](entity, file.path)
    except UnicodeDecodeError as error:
        _damage.refuse_other_encodings(file.path)
        raise _unreadable(file.path, error) from error
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file.path, error) from error


def _csv_columns(entity: Entity, path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, strict=True), [])
    except csv.Error:
        _damage.refuse_ragged_rows(path)
        raise
    columns = tuple(name.strip() for name in header)
    if not any(columns):
        raise SourceError(
            "the file is empty where a header is due",
            str(path),
            "deliver it again; a date without rows has the header only",
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        is_known = twice in entity.column_names
        told = f"'{twice}'" if is_known else "an unknown column"
        raise SourceError(
            f"the header names {told} twice",
            str(path),
            "keep one of them" if is_known else "deliver it with its header, each column once",
        )
    if _damage.may_hide_a_field(path):
        try:
            _damage.refuse_ragged_rows(path)
        except UnicodeDecodeError:
            _damage.refuse_other_encodings(path)
    return columns


def _jsonl_columns(entity: Entity, path: Path) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        first = next((line for line in file if not line.isspace()), None)
    if first is None:
        return ()
    try:
        found = json.loads(first)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        _damage.refuse_broken_lines(path)
        return ()
    return tuple(found)


def _parquet_columns(entity: Entity, path: Path) -> tuple[str, ...]:
    try:
        return tuple(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise SourceError(
            "not a whole Parquet file (its footer cannot be read)",
            str(path),
            "the file is truncated or damaged: deliver it again, whole",
        ) from error


_LISTERS = {"csv": _csv_columns, "jsonl": _jsonl_columns, "parquet": _parquet_columns}


def _refuse_missing_columns(entity: Entity, file: DatedFile, columns: Sequence[str]) -> None:
    required = [column.name for column in entity.columns if column.required]
    missing = [name for name in required if name not in columns]
    if missing and file.format == "jsonl":
        # An object may leave out what is null, so a line without a required key is a row fault;
        # a key that no line has is a fault of the file.
        missing = _absent_keys(file.path, missing) if columns else []
    if missing:
        raise SourceError(
            f"{entity.name} without the column{'s'[: len(missing) - 1]} {', '.join(missing)}",
            str(file.path),
            f"expected {', '.join(required)}; found {told_names(columns, entity.column_names)}"
            + (" (fields are separated by commas)" if len(columns) == 1 else ""),
        )


def _absent_keys(path: Path, names: list[str]) -> list[str]:
    absent = list(names)
    _damage.refuse_other_encodings(path)
    _damage.refuse_broken_lines(path)
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line in file:
            if not absent:
                break
            keys = json.loads(line) if not line.isspace() else {}
            absent = [name for name in absent if name not in keys]
    return absent


# Reading --------------------------------------------------------------------------------------


def _reader(file: DatedFile) -> str:
    """The name of what reads a file: its format, but for JSON Lines with a byte order mark."""
    if file.format == "jsonl":
        with file.path.open("rb") as content:
            if content.read(3) == codecs.BOM_UTF8:
                return "marked jsonl"  # DuckDB refuses the mark that Windows tools write
    return file.format


def _query(
    table: str, options: dict[str, object], selected: dict[str, str], files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    """Stream the selected expressions of many files, with their report dates and names."""
    outputs = ", ".join(f'{expression} as "{name}"' for name, expression in selected.items())
    with duckdb.connect() as connection:
        connection.execute("set temp_directory = ''")  # raw values are spilled to no disk
        connection.execute("set timezone = 'UTC'")  # what a zoned Parquet timestamp is cast to
        result = connection.execute(
            f"""
            with delivered as (
                select
                    unnest($paths::varchar[]) as path,
                    unnest($days::date[]) as report_date,
                    unnest($names::varchar[]) as source_file
            )
            select {outputs}{", " if outputs else ""} delivered.report_date, delivered.source_file
            from {table} as file
            join delivered on delivered.path = file.filename
            """,
            {
                "files": [literal(file.path) for file in files],
                "paths": [str(file.path) for file in files],
                "days": [file.day for file in files],
                "names": [file.name for file in files],
                **options,
            },
        )
        yield from result.to_arrow_reader(ROWS_PER_BATCH)


def _read_csv(
    entity: Entity, columns: tuple[str, ...], files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    # Nothing is guessed: a guess of another delimiter or quote would be a silent loss of rows.
    # Columns are named by position, as the header's own words never enter a statement.
    table = """read_csv(
        $files, columns = $columns, auto_detect = false, header = true, delim = ',', quote = '"',
        escape = '"', strict_mode = true, null_padding = false, filename = true,
        hive_partitioning = false
    )"""
    selected = {
        name: f"file.c{position}"
        for position, name in enumerate(columns)
        if name in entity.column_names
    }
    types = {f"c{position}": "varchar" for position in range(len(columns))}
    return _query(table, {"columns": types}, selected, files)


def _read_jsonl(
    entity: Entity, columns: tuple[str, ...], files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    table = """read_json(
        $files, columns = $columns, format = 'newline_delimited', ignore_errors = false,
        filename = true, hive_partitioning = false
    )"""
    types = dict.fromkeys(entity.column_names, "varchar")
    selected = {name: f'file."{name}"' for name in entity.column_names}
    return _query(table, {"columns": types}, selected, files)


def _read_parquet(
    entity: Entity, columns: tuple[str, ...], files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    table = """read_parquet(
        $files, filename = true, hive_partitioning = false, union_by_name = false,
        binary_as_string = true
    )"""
    # One statement per schema: a file that stores an amount as text must not fail its neighbours.
    alike: dict[str, list[DatedFile]] = defaultdict(list)
    schemas: dict[str, pa.Schema] = {}
    for file in files:
        schema = pq.read_schema(file.path).remove_metadata()
        alike[str(schema)].append(file)
        schemas[str(schema)] = schema
    for text, group in alike.items():
        selected = {
            field.name: f'file."{field.name}"'
            # Of any unit and zone, in UTC without a zone.
            + ("::timestamp" if pa.types.is_timestamp(field.type) else "")
            for field in schemas[text]
            if field.name in entity.column_names
        }
        yield from _query(table, {}, selected, group)


def _read_marked_jsonl(
    entity: Entity, columns: tuple[str, ...], files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    for file in files:
        _damage.refuse_other_encodings(file.path)
        _damage.refuse_broken_lines(file.path)
        with file.path.open(encoding="utf-8-sig", newline="\n") as lines:
            rows = [json.loads(line) for line in lines if not line.isspace()]
        fields: dict[str, pa.Array] = {
            name: pa.array([_text(row.get(name)) for row in rows], pa.string())
            for name in entity.column_names
        }
        fields["report_date"] = pa.array([file.day] * len(rows), pa.date32())
        fields["source_file"] = pa.array([file.name] * len(rows), pa.string())
        yield pa.RecordBatch.from_pydict(fields)


def _text(value: object) -> str | None:
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


_READERS = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "marked jsonl": _read_marked_jsonl,
}


# Saying what is wrong ---------------------------------------------------------------------------


def _diagnosed(
    entity: Entity,
    reader: str,
    columns: tuple[str, ...],
    files: Sequence[DatedFile],
    error: Exception,
) -> RedlineError:
    """The fault of the first damaged file: a query over many says only that one of them is."""
    for file in files:
        try:
            for _ in _READERS[reader](entity, columns, [file]):
                pass
        except (duckdb.Error, pa.ArrowException, OSError) as alone:
            try:
                if file.format != "parquet":
                    _damage.refuse_other_encodings(file.path)
                if file.format == "jsonl":
                    _damage.refuse_broken_lines(file.path)
                if file.format == "csv":
                    _damage.refuse_ragged_rows(file.path)
                    _damage.refuse_mixed_line_ends(file.path)
            except SourceError as fault:
                return fault
            except OSError as closed:
                return _unreadable(file.path, closed)
            return _unreadable(file.path, alone)
    return _unreadable(files[0].path.parent, error)


def _unreadable(path: Path, error: Exception) -> SourceError | StorageError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    of_storage = isinstance(error, (OSError, duckdb.IOException)) and system_code(error) is not None
    if of_storage and not is_lasting(error):
        return StorageError(
            f"it cannot be read ({reason})", str(path), "see that its disk or mount is well"
        )
    return SourceError(
        f"it cannot be read ({reason})", str(path), "mend it or deliver it again, whole"
    )

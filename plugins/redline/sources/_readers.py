"""Reading an entity's files: many alike in one statement, those that DuckDB cannot read alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from redline.contract import Entity
from redline.errors import RedlineError, SourceError
from redline.sources import _damage, told_names
from redline.sources._storage import Storage, literal
from redline.sources._text import LONGEST_LINE, DatedFile, encoding_of, lines, records
from redline.sources.mapping import Selection, SourceMapping, select

ROWS_PER_BATCH = 100_000
DROPPED = b"redline.dropped"
FILE = "redline.file"  # the column that tells a row's file: theirs may be named filename
DELIMITERS = (",", ";", "\t", "|")

_UTF8 = ("utf-8", "utf8", "utf_8", "ascii", "us-ascii")
_ROWS_AT_ONCE = 20_000
_TEXT_AT_ONCE = 64 << 20


@dataclass(frozen=True)
class Shape:
    """What files must have in common to be read by one statement.

    Attributes:
        reader: the name of what reads them.
        columns: names of the columns; of JSON Lines those of the first object.
        delimiter, quote, packing: of their text.
        schema: of Parquet, as text: one that stores an amount as text must not fail its neighbours.
    """

    reader: str
    columns: tuple[str, ...]
    delimiter: str = ""
    quote: str = ""
    packing: str = ""
    schema: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is asked of files.

    Attributes:
        entity: whose they are.
        mapping: of their columns.
    """

    entity: Entity
    mapping: SourceMapping

    @property
    def asked(self) -> tuple[str, ...]:
        """Their columns that the contract's are made of."""
        mapped = self.mapping.of(self.entity)
        origins = (mapped.column(name).column for name in self.entity.column_names)
        return tuple(dict.fromkeys(name for name in origins if name is not None))

    @property
    def required(self) -> tuple[str, ...]:
        """Their columns that must be there."""
        mapped = self.mapping.of(self.entity)
        origins = (mapped.column(c.name).column for c in self.entity.columns if c.required)
        return tuple(dict.fromkeys(name for name in origins if name is not None))


def shaped(wanted: Wanted, file: DatedFile) -> tuple[Shape, DatedFile]:
    """What a file says of its shape, and the file with its dialect known.

    Raises:
        SourceError: it is damaged, empty, or lacks a required column.
        OSError, pa.ArrowException: it cannot be read.
    """
    if file.format == "parquet":
        schema = _parquet_schema(file)
        shape = Shape("parquet", tuple(schema.names), schema=str(schema))
    else:
        if file.packing and file.format == "jsonl":
            _damage.refuse_damaged_packing(file)
        encoding = encoding_of(file)
        file = file.written(replace(file.dialect, encoding=encoding))
        try:
            shape, file = (_csv_shape if file.format == "csv" else _jsonl_shape)(wanted, file)
        except UnicodeDecodeError:
            _damage.refuse_other_encodings(file)
            raise
    _refuse_missing_columns(wanted, file, shape.columns)
    return shape, file


def delivered_columns(wanted: Wanted, shape: Shape) -> list[str]:
    """The contract's columns that a shape delivers, then theirs that are dropped."""
    chosen = select(wanted.mapping, wanted.entity, dict.fromkeys(shape.columns, "VARCHAR"), "")
    return [*chosen.expressions, *chosen.dropped]


def rows(wanted: Wanted, shape: Shape, files: Sequence[DatedFile]) -> Iterator[pa.RecordBatch]:
    """Yield the contract's columns of files of one shape."""
    return _READERS[shape.reader](wanted, shape, files)


def diagnosed(
    wanted: Wanted, shape: Shape, files: Sequence[DatedFile], error: Exception
) -> RedlineError:
    """The fault of the first damaged file: a query over many says only that one of them is."""
    for file in files:
        try:
            for _ in rows(wanted, shape, [file]):
                pass
        except RedlineError as fault:
            return fault
        except (duckdb.Error, pa.ArrowException, OSError) as alone:
            try:
                if file.format != "parquet":
                    _damage.refuse_other_encodings(file)
                if file.format == "jsonl":
                    _damage.refuse_broken_lines(file)
                if file.format == "csv":
                    _damage.refuse_ragged_rows(file)
                    _damage.refuse_mixed_line_ends(file)
            except RedlineError as fault:
                return fault
            except (OSError, UnicodeError) as closed:
                return file.storage.fault(closed, file.name)
            return file.storage.fault(alone, file.name)
    storage = files[0].storage
    return storage.fault(error, files[0].name.rpartition("/")[0])


# What a file says of its columns ------------------------------------------------------------


def _csv_shape(wanted: Wanted, file: DatedFile) -> tuple[Shape, DatedFile]:
    # The header is parsed with each delimiter: the one that yields what is required is the one.
    candidates = (file.dialect.delimiter,) if file.dialect.delimiter else DELIMITERS
    found: list[tuple[DatedFile, list[str]]] = []
    fault: SourceError | None = None
    for delimiter in candidates:
        written = file.written(replace(file.dialect, delimiter=delimiter))
        try:
            _, header = next(records(written), (1, []))
        except SourceError as error:
            fault = fault or error
            continue
        found.append((written, header))
        if {*wanted.required} <= {*_stripped(header)}:
            break
    else:
        if fault is not None:
            raise fault
    asked = {*wanted.asked}
    complete = {*wanted.required} <= {*_stripped(found[-1][1])}
    # Of incomplete ones the first that knows the most: a comma, where none knows any.
    file, header = (
        found[-1] if complete else max(found, key=lambda each: len(asked & {*_stripped(each[1])}))
    )
    columns = _stripped(header)
    if not any(columns):
        raise SourceError(
            "the file is empty where a header is due",
            file.place,
            "deliver it again; a date without rows has the header only",
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        told = f"'{twice}'" if twice in asked else "an unknown column"
        raise SourceError(
            f"the header names {told} twice",
            file.place,
            "keep one of them"
            if twice in asked
            else "deliver it with its header, each column once",
        )
    reader = "slow csv"
    if _is_utf8(file):
        signs = _damage.signs_of(file)
        # DuckDB loses rows where a header's name holds a line end.
        is_broken = signs.has_returns or any("\n" in name or "\r" in name for name in header)
        reader = "slow csv" if is_broken else "csv"
        if signs.ends_open and reader == "csv":
            _damage.refuse_ragged_rows(file)
    elif file.packing:
        _damage.refuse_damaged_packing(file)
    dialect = file.dialect
    return Shape(reader, columns, dialect.delimiter or ",", dialect.quote, file.packing), file


def _stripped(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for name in header)


def _jsonl_shape(wanted: Wanted, file: DatedFile) -> tuple[Shape, DatedFile]:
    first = next((line for line in lines(file, "\n") if not line.isspace()), None)
    # DuckDB refuses the byte order mark that Windows tools write, and tells no `id` from `ID`.
    is_marked = file.dialect.encoding == "utf-8-sig"
    alike = len({name.lower() for name in wanted.asked}) < len(wanted.asked)
    reader = "jsonl" if _is_utf8(file) and not is_marked and not alike else "slow jsonl"
    columns: tuple[str, ...] = ()
    if first is not None:
        try:
            found = json.loads(first, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            columns = tuple(found)
        else:
            _damage.refuse_broken_lines(file)
    return Shape(reader, columns, packing=file.packing), file


def _is_utf8(file: DatedFile) -> bool:
    return (file.dialect.encoding or "utf-8").lower() in (*_UTF8, "utf-8-sig")


def _parquet_schema(file: DatedFile) -> pa.Schema:
    with file.storage.open(file.name) as content:
        try:
            return pq.read_schema(content).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise SourceError(
                "not a whole Parquet file (its footer cannot be read)",
                file.place,
                "the file is truncated or damaged: deliver it again, whole",
            ) from error


def _refuse_missing_columns(wanted: Wanted, file: DatedFile, columns: Sequence[str]) -> None:
    required = wanted.required
    missing = [name for name in required if name not in columns]
    if missing and file.format == "jsonl":
        # An object may leave out what is null, so a line without a required key is a row fault;
        # a key that no line has is a fault of the file.
        missing = _absent_keys(file, missing) if columns else []
    if missing:
        mapped = wanted.mapping.of(wanted.entity)
        ours = next(
            c.name for c in wanted.entity.columns if mapped.column(c.name).column == missing[0]
        )
        where = f" (change {wanted.mapping.where(wanted.entity, ours)})"
        # Where a text file comes without its header the names are its first row.
        known = columns if file.format == "parquet" else wanted.asked
        raise SourceError(
            f"{wanted.entity.name} without the column{'s'[: len(missing) - 1]} "
            f"{', '.join(missing)}",
            file.place,
            f"expected {', '.join(required)}; found {told_names(columns, known)}"
            + (where if wanted.mapping.path else "")
            + (" (how are fields separated?)" if len(columns) == 1 else ""),
        )


def _absent_keys(file: DatedFile, names: list[str]) -> list[str]:
    absent = list(names)
    for _, found in _damage.objects(file):
        absent = [name for name in absent if name not in found]
        if not absent:
            break
    return absent


# Reading --------------------------------------------------------------------------------------


def _outputs(chosen: Selection) -> str:
    return "".join(f'{sql} as "{name}", ' for name, sql in chosen.expressions.items())


def _noted(batch: pa.RecordBatch, dropped: Sequence[str]) -> pa.RecordBatch:
    """The batch with the names of what was dropped, for landing to report."""
    if not dropped:
        return batch
    told = json.dumps(list(dropped), ensure_ascii=False).encode()
    return batch.replace_schema_metadata({DROPPED: told})


def _connect(storage: Storage) -> duckdb.DuckDBPyConnection:
    connection = storage.connect()
    connection.execute("set temp_directory = ''")  # raw values are spilled to no disk
    connection.execute("set timezone = 'UTC'")  # what a zoned Parquet timestamp is cast to
    return connection


def _query(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    options: Mapping[str, object],
    chosen: Selection,
    files: Sequence[DatedFile],
) -> Iterator[pa.RecordBatch]:
    """Stream the selected expressions of many files, with their report dates and names."""
    result = connection.execute(
        f"""
        with delivered as (
            select
                unnest($paths::varchar[]) as path,
                unnest($days::date[]) as report_date,
                unnest($names::varchar[]) as source_file
        )
        select {_outputs(chosen)} delivered.report_date, delivered.source_file
        from {table} as file
        join delivered on delivered.path = file."{FILE}"
        """,
        {
            "files": [literal(file.place) for file in files],
            "paths": [file.place for file in files],
            "days": [file.day for file in files],
            "names": [file.name for file in files],
            **options,
        },
    )
    for batch in result.to_arrow_reader(ROWS_PER_BATCH):
        yield _noted(batch, chosen.dropped)


def _chosen_of_text(wanted: Wanted, columns: Sequence[str], where: str) -> Selection:
    """What to select of text columns that are named by position.

    Their own words never enter a statement.
    """
    names = {name: f"file.c{position}" for position, name in enumerate(columns)}
    found = dict.fromkeys(columns, "VARCHAR")
    return select(wanted.mapping, wanted.entity, found, where, names)


def _read_csv(wanted: Wanted, shape: Shape, files: Sequence[DatedFile]) -> Iterator[pa.RecordBatch]:
    # Nothing is guessed: a guess of another delimiter or quote would be a silent loss of rows.
    table = f"""read_csv(
        $files, columns = $columns, auto_detect = false, header = true, delim = $delimiter,
        quote = $quote, escape = $quote, strict_mode = true, null_padding = false,
        filename = '{FILE}', hive_partitioning = false, max_line_size = {LONGEST_LINE},
        buffer_size = {2 * LONGEST_LINE}
    )"""
    options = {
        "columns": {f"c{position}": "varchar" for position in range(len(shape.columns))},
        "delimiter": shape.delimiter,
        "quote": shape.quote,
    }
    chosen = _chosen_of_text(wanted, shape.columns, files[0].place)
    with _connect(files[0].storage) as connection:
        yield from _query(connection, table, options, chosen, files)


def _read_jsonl(
    wanted: Wanted, shape: Shape, files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    table = f"""read_json(
        $files, columns = $columns, format = 'newline_delimited', ignore_errors = false,
        filename = '{FILE}', hive_partitioning = false, maximum_object_size = {LONGEST_LINE}
    )"""
    chosen = _chosen_of_objects(wanted, shape, files[0].place, as_keys=True)
    options = {"columns": dict.fromkeys(wanted.asked, "varchar")}
    with _connect(files[0].storage) as connection:
        yield from _query(connection, table, options, chosen, files)


def _chosen_of_objects(wanted: Wanted, shape: Shape, where: str, *, as_keys: bool) -> Selection:
    """What to select of objects, of which each may have other keys than the first."""
    asked = wanted.asked
    if as_keys:
        found = dict.fromkeys(asked, "VARCHAR")
        chosen = select(wanted.mapping, wanted.entity, found, where)
    else:
        chosen = _chosen_of_text(wanted, asked, where)
    return replace(chosen, dropped=tuple(name for name in shape.columns if name not in asked))


def _read_parquet(
    wanted: Wanted, shape: Shape, files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    table = f"""read_parquet(
        $files, filename = '{FILE}', hive_partitioning = false, union_by_name = false,
        binary_as_string = true
    )"""
    with _connect(files[0].storage) as connection:
        described = connection.execute(
            f"describe select * from {table}", {"files": [literal(files[0].place)]}
        ).fetchall()
        found = {name: kind for name, kind, *_ in described if name != FILE}
        chosen = select(wanted.mapping, wanted.entity, found, files[0].place)
        yield from _query(connection, table, {}, chosen, files)


def _read_csv_slowly(
    wanted: Wanted, shape: Shape, files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    """What is not UTF-8, or ends its lines oddly: decoded line by line, never on a disk."""
    width = len(shape.columns)
    for file in files:
        chosen = _chosen_of_text(wanted, shape.columns, file.place)

        def found(file: DatedFile = file) -> Iterator[Sequence[str | None]]:
            content = records(file)
            next(content)
            for begin, row in content:
                _damage.refuse_ragged_row(file, begin, row, width)
                if row:
                    yield [value or None for value in row]

        yield from _selected(chosen, file, width, found)


def _read_jsonl_slowly(
    wanted: Wanted, shape: Shape, files: Sequence[DatedFile]
) -> Iterator[pa.RecordBatch]:
    asked = wanted.asked
    for file in files:
        chosen = _chosen_of_objects(wanted, shape, file.place, as_keys=False)

        def found(file: DatedFile = file) -> Iterator[Sequence[str | None]]:
            for line, row in _damage.objects(file):
                yield [_text(row.get(name), name, line) for name in asked]

        yield from _selected(chosen, file, len(asked), found)


def _selected(
    chosen: Selection,
    file: DatedFile,
    width: int,
    found: Callable[[], Iterator[Sequence[str | None]]],
) -> Iterator[pa.RecordBatch]:
    """Select of rows of text what DuckDB would select of a file."""
    sql = f"select {_outputs(chosen)} $day::date as report_date, $name as source_file from file"
    schema = pa.schema([(f"c{position}", pa.string()) for position in range(width)])
    try:
        with _connect(file.storage) as connection:
            for held in _batched(found()):
                columns = [pa.array(values, pa.string()) for values in zip(*held, strict=True)]
                connection.register("file", pa.RecordBatch.from_arrays(columns, schema=schema))
                result = connection.execute(sql, {"day": file.day, "name": file.name})
                for batch in result.to_arrow_reader(ROWS_PER_BATCH):
                    yield _noted(batch, chosen.dropped)
                connection.unregister("file")
    except UnicodeDecodeError as error:
        _damage.refuse_other_encodings(file)
        raise file.storage.fault(error, file.name) from None


def _batched(found: Iterator[Sequence[str | None]]) -> Iterator[list[Sequence[str | None]]]:
    held: list[Sequence[str | None]] = []
    size = 0
    for row in found:
        held.append(row)
        size += sum(len(value) for value in row if value)
        if len(held) >= _ROWS_AT_ONCE or size >= _TEXT_AT_ONCE:
            yield held
            held, size = [], 0
    if held:
        yield held


def _text(value: Any, name: str, line: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):  # with its numbers as numbers
        value = json.loads(line)[name]
    return json.dumps(value, ensure_ascii=False)


_READERS: Mapping[str, Callable[[Wanted, Shape, Sequence[DatedFile]], Iterator[pa.RecordBatch]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "slow csv": _read_csv_slowly,
    "slow jsonl": _read_jsonl_slowly,
}

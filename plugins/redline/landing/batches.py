"""What a source yields, checked batch by batch and brought into shapes that DuckDB reads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from redline.contract import Entity
from redline.errors import RedlineError, SourceError, StorageError, is_lasting
from redline.sources import Source, told_names

_CHUNK_ROWS = 600_000  # batches enough for all cores, few enough to hold twice in memory
_BESIDE = ("report_date", "source_file")


def read_chunks(source: Source, entity: Entity, start: date, end: date) -> Iterator[pa.Table]:
    """Yield the entity's records for `start` to `end`, as tables of one schema each.

    Columns are those of the contract that were delivered, `report_date` (date32) and `source_file`.

    Raises:
        SourceError: a required column is missing, a row is for a date that was not asked for, or
            the source cannot be read.
        StorageError: the disk or mount that the source is on failed.
    """
    yield from _ahead(_chunks(source, entity, start, end))


def _ahead(chunks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Read the next chunk while the one before is at the door."""
    with ThreadPoolExecutor(1, "read") as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _chunks(source: Source, entity: Entity, start: date, end: date) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in _batches(source, entity, start, end):
        if held and (rows >= _CHUNK_ROWS or held[0].schema != batch.schema):
            yield pa.Table.from_batches(held)
            held, rows = [], 0
        held.append(batch)
        rows += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)


def _batches(source: Source, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
    where = f"{entity.name} {start} to {end}"
    try:
        for batch in source.read(entity, start, end):
            _check_columns(batch, entity, where)
            if batch.num_rows == 0:
                continue
            checked = _in_plain_types(batch, entity)
            _check_dates(checked, entity, start, end)
            yield checked
    except RedlineError:
        raise
    except (pa.ArrowException, OSError, duckdb.IOException, ValueError, TypeError) as error:
        if isinstance(error, (OSError, duckdb.IOException)) and not is_lasting(error):
            raise StorageError(
                f"cannot read what the source delivers: {error}",
                where,
                "see that the source's disk or mount is well",
            ) from error
        raise SourceError(
            f"cannot read what the source delivers: {error}",
            where,
            "check the files of these dates: whole, in UTF-8, one record a row",
        ) from error


def _check_columns(batch: pa.RecordBatch, entity: Entity, where: str) -> None:
    names = batch.schema.names
    if not names and batch.num_rows == 0:
        return
    required = [column.name for column in entity.columns if column.required]
    missing = [name for name in (*required, *_BESIDE) if name not in names]
    known = {*entity.column_names, *_BESIDE}
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not missing and not repeated:
        return
    if batch.num_rows and "source_file" in names and "source_file" not in repeated:
        where = f"{entity.name} in {batch.column('source_file')[0].as_py()}"
    what = (
        f"column {', '.join(missing)} is missing"
        if missing
        else f"repeated: {told_names(repeated, known)}"
    )
    raise SourceError(
        f"wrong header: {what}; found {told_names(names, known)}",
        where,
        f"deliver at least {', '.join(required)}",
    )


def _in_plain_types(batch: pa.RecordBatch, entity: Entity) -> pa.RecordBatch:
    """Drop what the contract does not know; bring rare Arrow types into ones that DuckDB reads."""
    names = [name for name in batch.schema.names if name in {*entity.column_names, *_BESIDE}]
    columns = [
        batch.column(name).cast(pa.date32())
        if name == "report_date"
        else _plain(batch.column(name))
        for name in names
    ]
    kept = [
        i
        for i, column in enumerate(columns)
        if column.type != pa.null() or names[i] == "source_file"
    ]
    return pa.RecordBatch.from_arrays(
        [columns[i] for i in kept], schema=pa.schema([(names[i], columns[i].type) for i in kept])
    )


def _plain(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        array, kind = array.storage, kind.storage_type
    if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants(array)
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_decimal256(kind)
    ):
        return array.cast(pa.string())
    if pa.types.is_float16(kind):
        return array.cast(pa.float32())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        array.validate(full=True)  # text that is not UTF-8 would crash far from its file
    return array


def _instants(array: pa.Array) -> pa.Array:
    """Timestamps and dates as microseconds in UTC, what overflows as far out as it goes.

    DuckDB raises an error where a conversion overflows, although it is asked to try only.
    """
    kind = array.type
    if pa.types.is_date32(kind):
        array, unit = array.cast(pa.int32()), "day"
    elif pa.types.is_date64(kind):
        unit = "ms"
    else:
        unit = kind.unit
    numbers = array.cast(pa.int64())
    if unit == "ns":
        numbers = pc.divide(numbers, 1000)
    elif unit != "us":
        scale = {"day": 86_400_000_000, "s": 1_000_000, "ms": 1_000}[unit]
        farthest = pa.scalar(2**62 // scale, pa.int64())
        numbers = pc.min_element_wise(numbers, farthest, skip_nulls=False)
        numbers = pc.max_element_wise(numbers, pc.negate(farthest), skip_nulls=False)
        numbers = pc.multiply(numbers, pa.scalar(scale, pa.int64()))
    return numbers.cast(pa.timestamp("us"))


def _check_dates(batch: pa.RecordBatch, entity: Entity, start: date, end: date) -> None:
    found = pc.min_max(batch.column("report_date")).as_py()
    if batch.column("report_date").null_count or found["min"] < start or found["max"] > end:
        file = batch.column("source_file")[0].as_py()
        raise SourceError(
            f"rows for report dates {found['min']} to {found['max']} (or none), asked for "
            f"{start} to {end}",
            f"{entity.name} in {file}",
            "mend the source: each row must carry the date that it was delivered for",
        )

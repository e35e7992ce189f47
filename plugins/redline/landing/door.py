"""The door: casts, faults, pseudonyms and duplicates, generated from the contract.

Rows go from Arrow into one table by one projection: what is personal is hidden in its innermost
step, so nothing raw is ever kept. A row gets the first fault that it has, in the order of the
contract's columns. Tables made here have the contract's columns, typed, and

    source_date   the business date that the row was delivered for
    source_file   what a person would open to see it
    reason        `<fault>:<column>`, null for a clean row
    row_key       the key as text, of a refused row
    row           the whole row as JSON text, of a refused row
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from redline.contract import SQL_TYPES, Column, Entity
from redline.landing.engine import literal, quoted
from redline.landing.pseudonyms import PseudonymKey, pseudonym_sql, scrub_sql

BEYOND_HORIZON = "beyond_horizon"
CONFLICT = "conflicting_duplicate"
FUTURE = "future:updated_at"

_NOT_A = {"timestamp": "timestamp", "money": "number", "integer": "number", "boolean": "boolean"}

# Years 1 and 9999 stand for "unknown" in some systems, and dates far out break other readers.
_EARLIEST, _LATEST = "TIMESTAMP '1900-01-01'", "TIMESTAMP '2200-01-01'"


@dataclass(frozen=True)
class Admitted:
    """What came through the door into one table.

    Attributes:
        table: its name in the workbench.
        rows_read: rows delivered for each date by each source file, counted before the door.
        rows_collapsed: identical copies that were dropped, likewise.
    """

    table: str
    rows_read: dict[tuple[date, str], int]
    rows_collapsed: dict[tuple[date, str], int]


@dataclass(frozen=True)
class Evening:
    """When a date's knowledge ends, in UTC.

    Attributes:
        source_date: the business date that rows were delivered for.
        ends_at: the first instant that is in the future.
        horizon_at: cohorts older than this instant are beyond the horizon.
    """

    source_date: date
    ends_at: datetime
    horizon_at: datetime


def evening(source_date: date, report_date: date, timezone: str, horizon_days: int) -> Evening:
    """What a row delivered for `source_date` may know when it is landed under `report_date`."""
    return Evening(
        source_date,
        _begin_of(report_date + timedelta(days=1), timezone),
        _begin_of(report_date - timedelta(days=horizon_days), timezone),
    )


def admit(
    con: duckdb.DuckDBPyConnection,
    entity: Entity,
    chunks: Iterable[pa.Table],
    evenings: Iterable[Evening],
    key: PseudonymKey,
    table: str,
) -> Admitted:
    """Make `table` from what a source delivered, then settle duplicates within it."""
    make_table(con, entity, table)
    known = _evenings_table(evenings)
    pads: dict[str, Any] = {"inner": key.inner, "outer": key.outer}
    rows_read: Counter[tuple[date, str]] = Counter()
    for chunk in chunks:
        counted = chunk.group_by(["report_date", "source_file"]).aggregate([([], "count_all")])
        for day, file, count in zip(*(column.to_pylist() for column in counted), strict=True):
            rows_read[day, file or ""] += count
        con.register("delivered", _with_evenings(chunk, known))
        insert = _insert_sql(entity, chunk.schema, table)
        # DuckDB refuses parameters that a statement does not use.
        con.execute(insert, pads if "$inner" in insert else None)
        con.unregister("delivered")
    return Admitted(table, dict(rows_read), _settle_duplicates(con, entity, table))


def make_table(con: duckdb.DuckDBPyConnection, entity: Entity, table: str) -> None:
    """Make an empty table of the shape that this module's docstring tells."""
    columns = [f"{quoted(c.name)} {SQL_TYPES[c.type]}" for c in entity.columns]
    con.execute(
        f"CREATE OR REPLACE TABLE {quoted(table)} ({', '.join(columns)}, source_date DATE, "
        "source_file VARCHAR, reason VARCHAR, row_key VARCHAR, row VARCHAR)"
    )


def column_list(entity: Entity, prefix: str = "") -> str:
    """The contract's columns, as SQL."""
    return ", ".join(prefix + quoted(name) for name in entity.column_names)


def version_columns(entity: Entity) -> tuple[str, ...]:
    """What tells a record's versions of one date apart: its key, and `updated_at` if it has one."""
    return (*entity.key, "updated_at") if entity.is_versioned else entity.key


def refuse_sql(entity: Entity, table: str, reason: str, condition: str) -> str:
    """Refuse typed rows of `table` (alias `t`) for a reason found after the door."""
    return (
        f"UPDATE {quoted(table)} AS t SET reason = {literal(reason)}, "
        f"row_key = {_key_sql(entity, 't.')}, row = {_json_sql(entity, 't.')} WHERE {condition}"
    )


def _begin_of(day: date, timezone: str) -> datetime:
    local = datetime.combine(day, time(), ZoneInfo(timezone))
    return local.astimezone(UTC).replace(tzinfo=None)


def _evenings_table(evenings: Iterable[Evening]) -> pa.Table:
    rows = [(e.source_date, e.ends_at, e.horizon_at) for e in evenings]
    instant = pa.timestamp("us")
    return pa.table(
        {
            "source_date": pa.array([row[0] for row in rows], pa.date32()),
            "ends_at": pa.array([row[1] for row in rows], instant),
            "horizon_at": pa.array([row[2] for row in rows], instant),
        }
    )


def _with_evenings(chunk: pa.Table, evenings: pa.Table) -> pa.Table:
    """Set each row's `ends_at` and `horizon_at` beside it.

    Not a join in SQL: DuckDB may take the wide delivery, of unknown size, for the smaller side.
    """
    at = pc.index_in(chunk.column("report_date"), evenings.column("source_date").combine_chunks())
    for name in ("ends_at", "horizon_at"):
        chunk = chunk.append_column(name, evenings.column(name).take(at))
    return chunk


def _insert_sql(entity: Entity, schema: pa.Schema, table: str) -> str:
    types = {field.name: field.type for field in schema}
    raw = [f"{_raw_sql(c, types.get(c.name))} AS {_raw(c)}" for c in entity.columns]
    parsed = [f"{_parsed_sql(c, types.get(c.name))} AS {quoted(c.name)}" for c in entity.columns]
    file = "coalesce(source_file::VARCHAR, '')" if "source_file" in types else "''"
    return f"""
        INSERT INTO {quoted(table)}
        SELECT
            {column_list(entity)}, source_date, source_file, reason,
            CASE WHEN reason IS NOT NULL THEN {_key_sql(entity, '"raw.', '"')} END,
            CASE WHEN reason IS NOT NULL THEN {_refused_sql(entity, types)} END
        FROM (
            SELECT *, {_reason_sql(entity)} AS reason
            FROM (
                SELECT *, {", ".join(parsed)}
                FROM (
                    SELECT
                        {", ".join(raw)},
                        report_date AS source_date, {file} AS source_file, ends_at, horizon_at
                    FROM delivered
                )
            )
        )
    """


def _raw(column: Column) -> str:
    return quoted(f"raw.{column.name}")


def _is_native(column: Column, kind: pa.DataType | None) -> bool:
    """Whether Arrow delivers the column in a type that needs no parsing of text."""
    if kind is None or column.personal:
        return False
    if column.type == "timestamp":
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
    if column.type in ("money", "integer"):
        return bool(
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        )
    return bool(column.type == "boolean" and pa.types.is_boolean(kind))


def _raw_sql(column: Column, kind: pa.DataType | None) -> str:
    """The delivered value with blank text as null and nothing personal in it."""
    if kind is None:
        return "NULL::VARCHAR"
    name = quoted(column.name)
    if _is_native(column, kind):
        return name
    text = f"{name}::VARCHAR"
    # Only text that begins with a space can be blank; comparing is far cheaper than trimming.
    filled = (
        f"CASE WHEN {text} < '!' OR {text} >= chr(160) AND {text} < chr(161) "
        f"OR {text} >= chr(12288) AND {text} < chr(12289) "
        f"THEN CASE WHEN trim({text}, concat(' ', chr(9), chr(10), chr(11), chr(12), chr(13), "
        f"chr(160), chr(12288))) = '' THEN NULL ELSE {text} END ELSE {text} END"
    )
    if column.personal:
        return pseudonym_sql(f"({filled})")
    return scrub_sql(f"({filled})") if column.free_text else filled


def _parsed_sql(column: Column, kind: pa.DataType | None) -> str:
    """The value in the contract's type, null where it has no meaning in it."""
    raw = _raw(column)
    sql_type = SQL_TYPES[column.type]
    if kind is None or column.type == "text":
        return f"{raw}::{sql_type}"
    if column.type == "timestamp":
        if _is_native(column, kind):
            instant = f"TRY_CAST({raw} AS TIMESTAMP)"
        else:
            # Casting text to TIMESTAMP would ignore an offset; with a zone it is an instant.
            zoned = (
                f"coalesce(TRY_CAST({raw} AS TIMESTAMPTZ), TRY_CAST(trim({raw}) AS TIMESTAMPTZ))"
            )
            instant = (
                f"CASE WHEN isfinite({zoned}) THEN make_timestamp(epoch_us({zoned})) ELSE NULL END"
            )
        return f"CASE WHEN {instant} >= {_EARLIEST} AND {instant} < {_LATEST} THEN {instant} END"
    if column.type == "integer" and not (_is_native(column, kind) and pa.types.is_integer(kind)):
        number = f"TRY_CAST({raw} AS DOUBLE)"
        return f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({number} AS {sql_type}) END"
    return f"TRY_CAST({raw} AS {sql_type})"


def _reason_sql(entity: Entity) -> str:
    cases: list[tuple[str, str]] = []
    for c in entity.columns:
        raw, value = _raw(c), quoted(c.name)
        if c.required:
            cases.append((f"{raw} IS NULL", f"missing:{c.name}"))
        if c.type in _NOT_A:
            cases.append(
                (f"{value} IS NULL AND {raw} IS NOT NULL", f"not_a_{_NOT_A[c.type]}:{c.name}")
            )
        if c.at_least is not None:
            cases.append((f"{value} < {c.at_least}", f"below_minimum:{c.name}"))
        if c.at_most is not None:
            cases.append((f"{value} > {c.at_most}", f"above_maximum:{c.name}"))
        if c.codes:
            codes = ", ".join(literal(code) for code in c.codes)
            cases.append((f"{value} NOT IN ({codes})", f"unknown_code:{c.name}"))
    if entity.is_versioned:
        cases.append(("updated_at >= ends_at", FUTURE))
    if entity.name == "appeals":
        decided = "status IN ('upheld', 'rejected') AND decided_at IS NULL"
        cases.append((decided, "missing:decided_at"))
    if entity.name == "orders":
        cases.append(("greatest(paid_at, fulfilled_at) < horizon_at", BEYOND_HORIZON))
    whens = " ".join(f"WHEN {test} THEN {literal(reason)}" for test, reason in cases)
    return f"CASE {whens} END"


def _key_sql(entity: Entity, before: str, after: str = "") -> str:
    names = [f"{before}{name if after else quoted(name)}{after}" for name in entity.key]
    return " || '/' || ".join(f"coalesce({name}::VARCHAR, '')" for name in names)


def _refused_sql(entity: Entity, types: dict[str, pa.DataType]) -> str:
    """A refused row as JSON text. Its values may stand in the wrong columns: all text is scrubbed.

    Not names of records: digits are what they are made of, and they find the row again.
    """
    fields = []
    for column in entity.columns:
        text = f"{_raw(column)}::VARCHAR"
        is_name = column.name in entity.key or column.name.endswith("_id")
        if not (column.personal or column.free_text or is_name):
            text = text if _is_native(column, types.get(column.name)) else scrub_sql(text)
        fields.append(f"{literal(column.name)}: {text}")
    return f"to_json({{{', '.join(fields)}}})::VARCHAR"


def _json_sql(entity: Entity, before: str, after: str = "") -> str:
    fields = [
        f"{literal(name)}: {before}{name if after else quoted(name)}{after}::VARCHAR"
        for name in entity.column_names
    ]
    return f"to_json({{{', '.join(fields)}}})::VARCHAR"


def _settle_duplicates(
    con: duckdb.DuckDBPyConnection, entity: Entity, table: str
) -> dict[tuple[date, str], int]:
    """Refuse contradicting versions, keep one of identical ones; how many of which files go.

    Only the few keys that repeat are compared by content.
    """
    version = ", ".join(quoted(name) for name in ("source_date", *version_columns(entity)))
    con.execute(
        f"CREATE OR REPLACE TABLE repeated AS SELECT {version} FROM {quoted(table)} "
        f"WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1"
    )
    if not con.execute("SELECT count(*) FROM repeated").fetchall()[0][0]:
        return {}
    con.execute(
        f"""
        CREATE OR REPLACE TABLE copies AS
        SELECT
            id, source_date, source_file,
            min(content) OVER w <> max(content) OVER w AS is_conflict,
            row_number() OVER (w ORDER BY source_file, id) AS copy_no
        FROM (
            SELECT t.rowid AS id, {version}, t.source_file, {_json_sql(entity, "t.")} AS content
            FROM {quoted(table)} AS t SEMI JOIN repeated USING ({version})
            WHERE t.reason IS NULL
        )
        WINDOW w AS (PARTITION BY {version})
        """
    )
    surplus = "FROM copies WHERE NOT is_conflict AND copy_no > 1"
    con.execute(f"DELETE FROM {quoted(table)} WHERE rowid IN (SELECT id {surplus})")
    conflict = "t.rowid IN (SELECT id FROM copies WHERE is_conflict)"
    con.execute(refuse_sql(entity, table, CONFLICT, conflict))
    dropped = con.execute(
        f"SELECT source_date, source_file, count(*) {surplus} GROUP BY ALL"
    ).fetchall()
    return {(day, file): count for day, file, count in dropped}

"""The published DuckDB file: which rows go in, from where, and what they add up to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from redline.errors import BusyError, RedlineError
from redline.plan import Plan, days
from redline.publish.state import PublishedState

LEDGER = "fct_cohort_ledger"
DELIVERIES = "fct_alert_deliveries"
PUBLISHED_RUN = "published_run"

# Tables whose closed dates stay as they are, with the date that partitions their Parquet files.
PARTITION_COLUMNS = {LEDGER: "report_date", "fct_policy_evaluations": "as_of_date"}
# Neither is part of a run's content: they tell when it was made and what was sent since.
WITHOUT_CHECKSUM = (PUBLISHED_RUN, DELIVERIES)
# Settings, not data: the active packs are the same whichever platform runs.
_TAKEN_WHOLE = ("dim_policies",)
_EVENING_COLUMNS = ("report_date", "as_of_date")
ANY_PLATFORM = "*"

_DELIVERIES_DDL = f"""
    create table if not exists marts.{DELIVERIES} (
        alert_id varchar, channel varchar, status varchar, attempts integer, delivered_at timestamp,
        purpose varchar, form varchar, audience varchar, message_id varchar, noted_at timestamp,
        response varchar
    )
"""
_PUBLISHED_RUN_DDL = f"""
    create table marts.{PUBLISHED_RUN} (
        run_id varchar, platform varchar, start_date date, as_of_date date, restated_from date,
        published_at timestamp, row_counts json, checksums json, freshness json, gaps json,
        versions json
    )
"""


@dataclass(frozen=True)
class Table:
    """A table of the schema `marts`.

    Attributes:
        name: as in the warehouse and as published.
        columns: (name, type), by name.
        has_owner: its rows belong to platforms; otherwise to the run as a whole.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    has_owner: bool

    @property
    def partition_column(self) -> str | None:
        """The date by which its Parquet files are cut, or None."""
        return PARTITION_COLUMNS.get(self.name)

    def has(self, column: str) -> bool:
        """Whether it has a column of that name."""
        return any(name == column for name, _ in self.columns)


@dataclass(frozen=True)
class Share:
    """The rows of one table, one owner and (where the table is cut by date) one date.

    Attributes:
        table: its table.
        owner: a platform, or `*` for rows that belong to all.
        day: the date that cuts it, else None.
        rows: how many.
        digest: sum of the rows' 64-bit hashes, so it depends on no order and can be added up.
    """

    table: Table
    owner: str
    day: date | None
    rows: int
    digest: int

    @property
    def checksum(self) -> str:
        """Of columns, types, values and multiplicities; any change of a cell changes it."""
        return _checksum(self.table, self.rows, self.digest)


def quoted(identifier: str) -> str:
    """An SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def open_new(path: Path, warehouse: Path, base: Path | None) -> duckdb.DuckDBPyConnection:
    """Create the file and attach, read-only, the warehouse and the run before.

    Raises:
        RedlineError: there is no warehouse.
        BusyError: another process is writing the warehouse.
    """
    if not warehouse.is_file():
        raise RedlineError("there is no warehouse", str(warehouse), "run the transform first")
    connection = duckdb.connect(str(path))
    try:
        _attach(connection, warehouse, "warehouse")
        if base is not None:
            _attach(connection, base, "base")
    except duckdb.IOException as error:
        connection.close()
        if "lock" in str(error):
            raise BusyError("the warehouse is in use", str(warehouse), "let it finish") from error
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, alias: str) -> None:
    # ATTACH takes no parameters, so the path has to be quoted.
    literal = "'" + str(path).replace("'", "''") + "'"
    connection.execute(f"attach {literal} as {alias} (read_only)")


def tables(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, Table]:
    """The tables and views of a database's schema `marts`, by name."""
    rows = connection.execute(
        """
        select table_name, column_name, data_type
        from duckdb_columns()
        where database_name = $database and schema_name = 'marts'
            and not contains(table_name, '__dbt_')  -- left by a killed transform
        order by all
        """,
        {"database": database},
    ).fetchall()
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        columns.setdefault(table, []).append((column, kind))
    return {
        name: Table(
            name,
            tuple(its),
            has_owner="platform" in dict(its) and name not in (*_TAKEN_WHOLE, *WITHOUT_CHECKSUM),
        )
        for name, its in columns.items()
    }


def fill(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    base: PublishedState | None,
    deliveries: pa.Table,
) -> dict[str, Table]:
    """Create all tables but `published_run`: own rows from the warehouse, others' from base.

    Args:
        deliveries: of alerts, that the outbox tells; of those before, base tells the end.

    Raises:
        RedlineError: the warehouse has no marts.
    """
    from_base = tables(connection, "base") if base is not None else {}
    others = base is not None and any(name != plan.platform for name in base.as_of)
    connection.execute("create schema marts")
    for table in tables(connection, "warehouse").values():
        if table.name == PUBLISHED_RUN:
            continue
        name, parameters = quoted(table.name), {}
        query = f"select * from warehouse.marts.{name}"
        if table.has_owner:
            parameters["platform"] = plan.platform
            query += f" where platform in ($platform, '{ANY_PLATFORM}')"
            if others and table.name in from_base and from_base[table.name].has_owner:
                query += f"""
                    union all by name
                    select * from base.marts.{name}
                    where platform not in ($platform, '{ANY_PLATFORM}')
                """
        connection.execute(f"create table marts.{name} as {query}", parameters)
    connection.execute(_DELIVERIES_DDL)
    connection.register("deliveries_now", deliveries)
    connection.execute(f"insert into marts.{DELIVERIES} by name select * from deliveries_now")
    if DELIVERIES in from_base and from_base[DELIVERIES].has("purpose"):
        connection.execute(
            f"""
            insert into marts.{DELIVERIES} by name
            select * from base.marts.{DELIVERIES} as before
            where not exists (
                select 1 from deliveries_now as now
                where now.alert_id = before.alert_id and now.channel = before.channel
                    and now.purpose = before.purpose
            )
            """
        )
    connection.unregister("deliveries_now")
    return tables(connection, "redline")


def check_platforms(connection: duckdb.DuckDBPyConnection, made: Iterable[Table]) -> None:
    """Raise RedlineError where the warehouse has rows that belong to no platform."""
    for table in made:
        if table.has_owner:
            query = (
                f"select 1 from warehouse.marts.{quoted(table.name)} where platform is null limit 1"
            )
            if connection.execute(query).fetchone():
                raise RedlineError(
                    "a row without platform",
                    f"marts.{table.name}",
                    "correct the model; none published",
                )


def check_evenings(
    connection: duckdb.DuckDBPyConnection, made: Iterable[Table], plan: Plan
) -> None:
    """Raise RedlineError where a mart knows more than the run's last evening."""
    for table in made:
        for column in _EVENING_COLUMNS:
            if not (table.has_owner and table.has(column)):
                continue
            query = (
                f"select max({column}) from marts.{quoted(table.name)} where platform = $platform"
            )
            found = connection.execute(query, {"platform": plan.platform}).fetchone()
            latest = found[0] if found else None
            if latest is not None and latest > plan.end:
                raise RedlineError(
                    f"{column} {latest} lies after the run's last evening {plan.end}",
                    f"marts.{table.name} of {plan.platform}",
                    f"run through {latest}, or rebuild the warehouse as of {plan.end}",
                )


def shares(connection: duckdb.DuckDBPyConnection, table: Table, plan: Plan) -> list[Share]:
    """What a table holds, per owner and partition date; the plan's own are there even if empty."""
    owner = "platform" if table.has_owner else f"'{ANY_PLATFORM}'"
    day = table.partition_column or "null::date"
    rows = connection.execute(
        f"""
        select {owner}, {day}, count(*), coalesce(sum(hash({_as_texts(table)})), 0)
        from marts.{quoted(table.name)}
        group by 1, 2
        """
    ).fetchall()
    found = {(row[0], row[1]): Share(table, *row) for row in rows}
    expected: list[date | None] = [None]
    if table.partition_column:
        expected = [*days(plan.start, plan.end)]
    mine = plan.platform if table.has_owner else ANY_PLATFORM
    for day_or_none in expected:
        found.setdefault((mine, day_or_none), Share(table, mine, day_or_none, 0, 0))
    return sorted(found.values(), key=lambda share: (share.owner, share.day or date.min))


def _as_texts(table: Table) -> str:
    # The text of a timestamp with a zone would depend on the session's zone.
    return ", ".join(
        f"epoch_us({quoted(name)})::varchar"
        if kind == "TIMESTAMP WITH TIME ZONE"
        else f"{quoted(name)}::varchar"
        for name, kind in table.columns
    )


def _checksum(table: Table, rows: int, digest: int) -> str:
    text = json.dumps([table.columns, rows, digest])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def totals(made: Iterable[Share], platform: str) -> tuple[dict[str, int], dict[str, str]]:
    """Row counts and checksums per table, over a platform's rows and those that belong to all."""
    sums: dict[Table, tuple[int, int]] = {}
    for share in made:
        if share.owner in (platform, ANY_PLATFORM):
            rows, digest = sums.get(share.table, (0, 0))
            sums[share.table] = rows + share.rows, digest + share.digest
    counts = {table.name: rows for table, (rows, _) in sums.items()}
    return counts, {table.name: _checksum(table, *sum_) for table, sum_ in sums.items()}


def check_closed_dates(
    connection: duckdb.DuckDBPyConnection, platform: str, changed: list[date]
) -> None:
    """Refuse a ledger that rewrites closed dates; new components and columns may come in.

    Raises:
        RedlineError: naming the first such date.
    """
    columns = ", ".join(quoted(name) for name, _ in tables(connection, "base")[LEDGER].columns)
    closed = f"""
        select {columns} from base.marts.{LEDGER}
        where platform = $platform and list_contains($changed, report_date)
    """
    proposed = f"""
        select {columns} from marts.{LEDGER}
        where platform = $platform and list_contains($changed, report_date)
            and component in (
                select distinct component from base.marts.{LEDGER} where platform = $platform
            )
    """
    found = connection.execute(
        f"""
        select min(report_date) from (
            (({closed}) except all ({proposed})) union all (({proposed}) except all ({closed}))
        )
        """,
        {"platform": platform, "changed": changed},
    ).fetchone()
    if found and found[0] is not None:
        raise RedlineError(
            f"the warehouse has other entries for report date {found[0]}, which is closed",
            f"marts.{LEDGER} of {platform}",
            f"find out what changed them, or rewrite them openly with restate FROM={found[0]}",
        )


def add_published_run(
    connection: duckdb.DuckDBPyConnection, state: PublishedState, *, has_base: bool
) -> None:
    """Add the history of runs, this one last."""
    connection.execute(_PUBLISHED_RUN_DDL)
    if has_base:
        connection.execute(
            f"insert into marts.{PUBLISHED_RUN} by name select * from base.marts.{PUBLISHED_RUN}"
        )
    texts = [
        json.dumps(value, sort_keys=True)
        for value in (
            state.row_counts,
            state.checksums,
            state.freshness.get(state.platform, {}),
            state.gaps.get(state.platform, []),
            state.versions,
        )
    ]
    connection.execute(
        f"insert into marts.{PUBLISHED_RUN} values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            state.run_id,
            state.platform,
            state.start,
            state.as_of[state.platform],
            state.restated_from,
            state.published_at,
            *texts,
        ],
    )

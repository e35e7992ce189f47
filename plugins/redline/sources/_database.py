"""Databases: what changed on a business date, by `updated_at`, in one consistent snapshot.

A record is of the business date of its `updated_at`. A table holds current rows only, so a row that
changes again moves on to a later date; what Redline landed of the date before stays. Lines of an
order have no time of their own and go with their order. Rows whose `updated_at` is null, zero or
infinite are of no date: they come with the last date that is read, for the door to refuse.

All queries are written here and executed by the database itself; DuckDB's scanner brings the rows
in its own types, and nothing is written to disk. All that is read between the begin and the end of
a snapshot is asked on one connection, within one read-only transaction that sees one moment.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from redline.contract import Entity, entity
from redline.errors import RedlineError, SourceError, StorageError
from redline.extensions import Extension, load_extension
from redline.plan import ONE_DAY
from redline.settings import read_settings
from redline.sources import DROPPED, Address
from redline.sources.mapping import (
    NO_MAPPING,
    MappedColumn,
    SourceMapping,
    expression,
    read_mapping,
    select,
)

OPTIONS = ("mapping", "overlap_days")
MAPPED = ("table", "select")
ROWS_PER_BATCH = 100_000

_MOVES = "updated_at"
_AT = "redline updated_at"  # of a line's order, beside the line's own columns

# What a person must mend; anything else that a server says may pass.
_LASTING = re.compile(
    r"authentication|password|does not exist|doesn't exist|permission denied|access denied|"
    r"unknown (database|column|table)|syntax|must appear|ambiguous|no such|denied|"
    r"role |out of range|division by zero",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"refused|timed? ?out|timeout|closed the connection|terminat|starting up|shutting down|"
    r"too many (connections|clients)|gone away|lost connection|could not (connect|translate)|"
    r"unable to connect|can't connect|recovery|canceling|reset by peer|broken pipe|deadlock|"
    r"interrupt|unknown server host|retry transaction",
    re.IGNORECASE,
)


# Messages whose quotations are names or the mapping's own SQL; others may quote a row.
_NAMES = re.compile(
    r"exist|denied|syntax error|error in your sql|unknown (column|database|table)|must appear|"
    r"ambiguous|authentication|duplicate column|connect|server host",
    re.IGNORECASE,
)
_SLOW = re.compile(
    r"statement timeout|max_statement_time|maximum statement execution", re.IGNORECASE
)


@dataclass(frozen=True)
class Engine:
    """What tells one kind of database from another.

    Attributes:
        name: of DuckDB's secret and attachment types, and of its `<name>_query` function.
        told: its name for a person.
        extension: DuckDB's scanner.
        port: where it listens by default.
        quote: what an identifier stands between.
        instant: an instant (UTC, naive) as a literal for a column with a time zone.
        finite: a condition on a column, of which a time that is none is no part.
        exact: an expression for a fraction that loses nothing on its way.
        seconds: an expression for seconds since 1970 of a column, to be summed.
        schema: an expression for the schema that tables without one are in.
        attach: what the server is told at once.
        moment: statements that begin a transaction of one moment, where DuckDB's own is none.
        asks: an option of the `_query` function: stay within the transaction.
        at_once: rows to ask for in one query, where an answer is held in memory as a whole.
        tls: options of an address that are handed on to the server's own client.
        settings: what a connection is told first, given the mapping's time zone.
        text: an expression for a column that arrives as bytes, where that may be text.
    """

    name: Literal["postgres", "mysql"]
    told: str
    extension: Extension
    port: int
    quote: str
    instant: Callable[[datetime], str]
    finite: Callable[[str], str]
    exact: Callable[[str], str]
    seconds: Callable[[str], str]
    schema: str
    attach: str = ""
    moment: tuple[str, ...] = ()
    asks: str = ""
    at_once: int | None = None
    tls: tuple[str, ...] = ()
    settings: Callable[[str], tuple[str, ...]] = lambda timezone: ()
    text: Callable[[str], str] | None = None

    def quoted(self, *names: str) -> str:
        """An identifier, of several parts."""
        return ".".join(
            self.quote + name.replace(self.quote, self.quote * 2) + self.quote for name in names
        )


@dataclass(frozen=True)
class Login:
    """Where a database listens, and who we are there."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @property
    def place(self) -> str:
        """What a person calls it."""
        return f"{self.host}:{self.port}/{self.database}"


@dataclass
class DatabaseSource:
    """Tables or views of a database; see the module's docstring.

    Attributes:
        platform: the name under which its records are kept.
        engine: what kind of database.
        login: where it listens.
        mapping: of tables and columns.
        timezone: of business dates, an IANA name.
        overlap_days: closed dates before today that are looked at again for late commits.
        tls: how the connection is to be secured, in the words of the server's own client.
    """

    platform: str
    engine: Engine
    login: Login
    mapping: SourceMapping
    timezone: str
    overlap_days: int
    tls: str = ""
    _held: duckdb.DuckDBPyConnection | None = None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one transaction: all that is read meanwhile is of one moment.

        Raises:
            SourceError: the database refuses us.
            StorageError: it cannot be reached.
        """
        with self._connected() as connection:
            self._held = connection
            try:
                yield
            finally:
                self._held = None

    def span(self) -> tuple[date, date] | None:
        """From the oldest change of an order to yesterday.

        Raises:
            SourceError: there is no table of orders, or no order in it.
            StorageError: the database cannot be reached.
        """
        with self._reading(entity("orders")) as connection:
            orders = self._relation(connection, entity("orders"))
            at = f"t.{self.engine.quoted(orders.moves.column or '')}"
            oldest = f"select min({at}) as {self.engine.quoted(_AT)} from {orders.sql} as t"
            if orders.is_time:
                oldest += f" where {self.engine.finite(at)}"
            row = connection.execute(
                f"select {self._instant(orders)} from {self._query(oldest)}"
            ).fetchone()
        if row is None or row[0] is None:
            raise SourceError("no orders", orders.place, "see that the mapping names their table")
        first = row[0].replace(tzinfo=UTC).astimezone(ZoneInfo(self.timezone)).date()
        return first, max(first, self._today() - ONE_DAY)

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the rows that changed on the dates `start` to `end`, both included.

        Raises:
            SourceError: a table or column is missing or of another type, or the database refuses.
            StorageError: the database cannot be reached, or was lost.
        """
        with self._reading(entity) as connection:
            if self._is_left_out(connection, entity):
                return
            relation = self._relation(connection, entity)
            chosen = select(self.mapping, entity, relation.found, relation.place)
            taken = dict.fromkeys(
                column
                for name in entity.column_names
                if (column := self.mapping.of(entity).column(name).column) in relation.found
            )
            outputs = [self._output(relation, name) for name in taken if name is not None]
            changed, of = self._changed(connection, relation)
            outputs.append(f"{changed.at} as {self.engine.quoted(_AT)}")
            day = f"(({self._instant(of)} at time zone 'UTC') at time zone $zone)::date"
            told = {DROPPED: json.dumps(chosen.dropped).encode()}
            for first, last in self._stretches(connection, of, start, end):
                asked = self._within(changed, first, last)
                if last == end:
                    asked += f" or {self._dateless(changed)}"
                query = f"select {', '.join(outputs)} {changed.tables} where {asked}"
                reader = connection.execute(
                    f"""
                    select
                        {", ".join(f"{sql} as {name}" for name, sql in chosen.expressions.items())},
                        case when {day} < $last::date then greatest({day}, $first::date)
                            else $last::date end as report_date,
                        $place::varchar as source_file
                    from {self._query(query)}
                    """,
                    {"zone": self.timezone, "first": first, "last": last, "place": relation.place},
                ).to_arrow_reader(ROWS_PER_BATCH)
                for batch in reader:
                    yield batch.replace_schema_metadata(told)

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Number, newest and sum of the changes of a recent date; None for an older one."""
        if day < self._today() - (1 + self.overlap_days) * ONE_DAY:
            return None
        with self._reading(entity) as connection:
            if self._is_left_out(connection, entity):
                return None
            changed, of = self._changed(connection, self._relation(connection, entity))
            total = self.engine.seconds(changed.at) if of.is_time else changed.at
            row = connection.execute(
                "select told from "
                + self._query(
                    f"select concat_ws(' ', count(*), max({changed.at}), sum({total})) as told "
                    f"{changed.tables} where {self._within(changed, day, day)}"
                )
            ).fetchone()
        return str(row[0]) if row else None

    # --- what stands where --------------------------------------------------------------------

    def _relation(self, connection: duckdb.DuckDBPyConnection, wanted: Entity) -> Relation:
        """Where an entity's rows stand, with the columns that are found there."""
        options = self.mapping.of(wanted).options
        if "table" in options and "select" in options:
            raise SourceError(
                f"{wanted.name} names a table and a select",
                self.mapping.where(wanted, "select"),
                "keep one of them",
            )
        text = str(options.get("select") or options.get("table") or wanted.name)
        if "select" in options:
            sql, place = f"({text.rstrip().rstrip(';')}\n)", f"the select of {wanted.name}"
        else:
            sql, place = self.engine.quoted(*text.split(".")), text
        described = connection.execute(
            f"describe select * from {self._query(f'select t.* from {sql} as t where 1 = 0')}"
        ).fetchall()
        found = {
            name: "VARCHAR" if kind == "BLOB" and self.engine.text else kind
            for name, kind, *_ in described
        }
        as_bytes = frozenset(name for name, kind, *_ in described if kind == "BLOB")
        moves = self.mapping.of(wanted).column(_MOVES)
        relation = Relation(wanted, sql, place, found, moves, as_bytes)
        if wanted.is_versioned:
            self._refuse_timeless(relation)
        return relation

    def _refuse_timeless(self, relation: Relation) -> None:
        """Changes are found by a time or a number of seconds; text has no order to rely on."""
        select(self.mapping, relation.entity, relation.found, relation.place)
        if not relation.is_time and relation.moves.epoch is None:
            raise SourceError(
                f"{relation.entity.name}.{_MOVES} expects a timestamp; found "
                f"{relation.kind or 'nothing'} in '{relation.moves.column}'",
                relation.place,
                f"change {self.mapping.where(relation.entity, _MOVES)}",
            )

    def _changed(
        self, connection: duckdb.DuckDBPyConnection, relation: Relation
    ) -> tuple[Changed, Relation]:
        """By which column rows change, and of which relation that is: of lines, their orders'."""
        if relation.entity.is_versioned:
            at = f"t.{self.engine.quoted(relation.moves.column or '')}"
            return Changed(f"from {relation.sql} as t", at, relation), relation
        orders = self._relation(connection, entity("orders"))
        ours, theirs = (
            self.engine.quoted(self.mapping.of(each.entity).column("order_id").column or "")
            for each in (relation, orders)
        )
        at = f"o.{self.engine.quoted(orders.moves.column or '')}"
        tables = f"from {relation.sql} as t join {orders.sql} as o on o.{theirs} = t.{ours}"
        return Changed(tables, at, orders), orders

    def _output(self, relation: Relation, name: str) -> str:
        """A column as it leaves the database; a fraction as text, as far as the engine asks."""
        quoted = self.engine.quoted(name)
        if self.engine.text and name in relation.as_bytes:
            return f"{self.engine.text(f't.{quoted}')} as {quoted}"
        if relation.found[name].startswith(("DECIMAL", "DOUBLE", "FLOAT")):
            return f"{self.engine.exact(f't.{quoted}')} as {quoted}"
        return f"t.{quoted}"

    def _stretches(
        self, connection: duckdb.DuckDBPyConnection, of: Relation, start: date, end: date
    ) -> Iterator[tuple[date, date]]:
        """Dates to ask for in one query each: all at once, where rows come in a stream."""
        first, rows = start, 0
        if self.engine.at_once is not None and start < end:
            for n, coming in self._changes(connection, of, start, end):
                day = min(start + n * ONE_DAY, end)
                if first < day and rows + coming > self.engine.at_once:
                    yield first, day - ONE_DAY
                    first, rows = day, 0
                rows += coming
        yield first, end

    def _changes(
        self, connection: duckdb.DuckDBPyConnection, of: Relation, start: date, end: date
    ) -> list[tuple[int, int]]:
        """How many rows changed in the n-th 24 hours of some dates, of those in which any did."""
        changed, _ = self._changed(connection, of)
        begin = int(datetime.combine(start, time(), ZoneInfo(self.timezone)).timestamp())
        seconds = self.engine.seconds(changed.at) if of.is_time else changed.at
        unit = 1000 if of.moves.epoch == "milliseconds" else 1
        return connection.execute(
            "select n::integer, coming from "
            + self._query(
                f"select floor(({seconds} / {unit} - {begin}) / 86400) as n, count(*) as coming "
                f"{changed.tables} where {self._within(changed, start, end)} group by 1 order by 1"
            )
        ).fetchall()

    def _within(self, changed: Changed, start: date, end: date) -> str:
        """A condition that an index on the column serves."""
        first, after = (self._bound(changed.of, day) for day in (start, end + ONE_DAY))
        return f"({changed.at} >= {first} and {changed.at} < {after})"

    def _bound(self, relation: Relation, day: date) -> str:
        """The beginning of a business date, as a literal of the column's kind."""
        begin = datetime.combine(day, time(), ZoneInfo(self.timezone))
        instant = begin.astimezone(UTC).replace(tzinfo=None)
        if relation.moves.epoch is not None:
            unit = 1000 if relation.moves.epoch == "milliseconds" else 1
            return str(int(begin.timestamp()) * unit)
        if relation.is_zoned:
            return self.engine.instant(instant)
        local = begin.astimezone(ZoneInfo(self.mapping.timezone)).replace(tzinfo=None)
        return f"timestamp '{local}'"

    def _dateless(self, changed: Changed) -> str:
        never = f"{changed.at} is null"
        return f"{never} or not {self.engine.finite(changed.at)}" if changed.of.is_time else never

    def _instant(self, relation: Relation) -> str:
        """The time of a change in UTC, as DuckDB's SQL over the query's last column."""
        column = next(each for each in relation.entity.columns if each.name == _MOVES)
        origin = MappedColumn(_MOVES, _AT, epoch=relation.moves.epoch)
        found = expression(column, origin, f'"{_AT}"', relation.kind or "", self.mapping.timezone)
        return f"try_cast({found} as timestamp)"

    def _is_left_out(self, connection: duckdb.DuckDBPyConnection, wanted: Entity) -> bool:
        """Whether an optional entity is not there: neither mapped nor under its own name."""
        if not wanted.optional or wanted.name in self.mapping.entities:
            return False
        if self.mapping.path is not None:
            return True
        row = connection.execute(
            "select n from "
            + self._query(
                "select count(*) as n from information_schema.tables "
                f"where table_name = '{wanted.name}' and table_schema = {self.engine.schema}"
            )
        ).fetchone()
        return row is None or not row[0]

    # --- the connection -----------------------------------------------------------------------

    def _query(self, sql: str) -> str:
        """What a query of the database's own yields, as a table of DuckDB's."""
        return f"{self.engine.name}_query('market', {_literal(sql)}{self.engine.asks})"

    @contextlib.contextmanager
    def _reading(self, wanted: Entity) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection that is held, else one for now; faults are told in our words."""
        try:
            if self._held is not None:
                yield self._held
            else:
                with self._connected() as connection:
                    yield connection
        except RedlineError:
            raise
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # A transaction in which a statement failed answers nothing more.
            self._held = None
            raise self._fault(error, self._told_place(wanted)) from None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection within a read-only transaction."""
        login = self.login
        secret = {
            "host": login.host,
            "port": str(login.port),
            "database": login.database,
            "user": login.user,
            "password": login.password,
        }
        given = ", ".join(f"{name} {_literal(value)}" for name, value in secret.items() if value)
        # Where the server is told of its own transaction, it is the server that refuses writes.
        read_only = "" if self.engine.moment else ", read_only"
        with duckdb.connect() as connection:
            load_extension(connection, self.engine.extension)
            try:
                # Raw values are spilled to no disk.
                for statement in (
                    "set temp_directory = ''",
                    *self.engine.settings(self.mapping.timezone),
                ):
                    connection.execute(statement)
                connection.execute("set timezone = 'UTC'")
                connection.execute(f"create secret market (type {self.engine.name}, {given})")
                connection.execute(
                    f"attach {_literal(f'{self.engine.attach} {self.tls}'.strip())} as market "
                    f"(type {self.engine.name}, secret market{read_only})"
                )
                connection.execute("begin transaction")
                for statement in self.engine.moment:
                    connection.execute(f"call {self.engine.name}_execute('market', '{statement}')")
            except duckdb.Error as error:
                raise self._fault(error, self._told_place(None)) from None
            try:
                yield connection
            finally:
                # Of a connection that was lost DuckDB would do it while closing, and abort.
                with contextlib.suppress(duckdb.Error):
                    connection.execute("rollback")

    def _told_place(self, wanted: Entity | None) -> str:
        place = f"{self.engine.told} {self.login.place}"
        if wanted is None:
            return place
        options = self.mapping.of(wanted).options
        if "select" in options or "table" in options:
            option = "select" if "select" in options else "table"
            return f"{wanted.name} in {place}, {self.mapping.where(wanted, option)}"
        return f"{wanted.name} in {place}"

    def _fault(self, error: Exception, place: str) -> SourceError | StorageError:
        said = _said(error, self.login.password)
        if _SLOW.search(said):
            return StorageError(
                f"the database takes longer than it allows: {said}",
                place,
                "index updated_at, raise the user's statement timeout, or ask for fewer dates",
            )
        if _PASSING.search(said) and not _LASTING.search(said):
            return StorageError(
                f"the database cannot be reached: {said}",
                place,
                "see that it is up; then run again",
            )
        return SourceError(
            f"the database refuses: {said}", place, "mend the address, the rights or the mapping"
        )

    def _today(self) -> date:
        return datetime.now(ZoneInfo(self.timezone)).date()


@dataclass(frozen=True)
class Relation:
    """Where an entity's rows stand.

    Attributes:
        entity: whose.
        sql: what stands in the database's FROM.
        place: what a person calls it.
        found: its columns and their DuckDB types.
        moves: its column of changes.
        as_bytes: columns that arrive as bytes.
    """

    entity: Entity
    sql: str
    place: str
    found: Mapping[str, str]
    moves: MappedColumn
    as_bytes: frozenset[str] = frozenset()

    @property
    def kind(self) -> str | None:
        """The type of the column of changes."""
        return self.found.get(self.moves.column or "")

    @property
    def is_time(self) -> bool:
        """Whether changes are told by a time, with or without a zone."""
        return (self.kind or "").startswith(("TIMESTAMP", "DATE"))

    @property
    def is_zoned(self) -> bool:
        """Whether that time is an instant."""
        return self.kind == "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class Changed:
    """By what rows are found to have changed.

    Attributes:
        tables: the FROM of the database's query, the rows themselves as `t`.
        at: the column.
        of: the relation that it is of.
    """

    tables: str
    at: str
    of: Relation


def open_database(address: Address, engine: Engine) -> DatabaseSource:
    """A source of a database; nothing is asked of it yet.

    Raises:
        SourceError: the address names no host or database, or has an unknown option; a mapping that
            means nothing.
    """
    parts = urlsplit(address.text)
    where = f"{address.scheme}://"
    known = (*OPTIONS, *engine.tls)
    unknown = next((name for name in address.options if name not in known), None)
    if unknown is not None:
        raise SourceError(
            f"unknown option '{unknown}'", where, f"known are platform, {', '.join(known)}"
        )
    tls = {name: value for name, value in address.options.items() if name in engine.tls}
    for name, value in tls.items():
        if not re.fullmatch(r"[\w./-]+", value):
            raise SourceError(f"{name} '{value}' is no word or path", where, "write one of its own")
    database = unquote(parts.path.strip("/"))
    try:
        port = parts.port or engine.port
    except ValueError:
        port = 0
    if not parts.hostname or not database or "/" in database or not port:
        raise SourceError(
            "no host, port or database",
            where,
            f"write {where}user:password@host:{engine.port}/database?mapping=/dir/mapping.yml",
        )
    overlap = address.options.get("overlap_days", "2")
    if not overlap.isdecimal():
        raise SourceError(f"'{overlap}' is not a count", f"{where} overlap_days", "write 2")
    path = address.options.get("mapping")
    return DatabaseSource(
        platform=address.platform,
        engine=engine,
        login=Login(
            parts.hostname,
            port,
            database,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        ),
        mapping=read_mapping(path, MAPPED) if path else NO_MAPPING,
        timezone=read_settings().timezone,
        overlap_days=int(overlap),
        tls=" ".join(f"{name}={value}" for name, value in tls.items()),
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _said(error: Exception, password: str) -> str:
    """What the server said, in one line, without our password or a row's values."""
    text = " ".join(str(error).split())
    found = re.search(r"(FATAL|ERROR): *(.*?)( (LINE|DETAIL|HINT|CONTEXT) ?\d*:.*)?$", text)
    text = found[2] if found else text
    # Where we wanted to connect to stands beside it already.
    text = re.sub(r"^IO Error: (Unable|Failed) to connect to .*?\"[^\"]*\": ", "", text)
    if not _NAMES.search(text):
        text = re.sub(r"\"[^\"]*\"|'[^']*'", "...", text)
    return (text.replace(password, "***") if password else text)[:300]

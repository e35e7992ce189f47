"""Where the state of alerts is kept: SQLite below the home, or PostgreSQL (`REDLINE_OUTBOX`).

Three tables: messages to channels, which alerts they tell, and what people said of alerts. Times
are seconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from redline.errors import SettingError, StorageError
from redline.settings import Settings

_METADATA = sa.MetaData()
# Seconds for which a thread waits for a connection: hundreds of channels share a few of them.
_PATIENCE = 600.0
_CREATING, _WRITING = 5_331_006, 5_331_007  # PostgreSQL's advisory locks

MESSAGES = sa.Table(
    "redline_messages",
    _METADATA,
    sa.Column("message_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("evening", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("notice", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Double, nullable=False),
    sa.Column("claimed_at", sa.Double),
    sa.Column("sent_at", sa.Double),
    sa.Column("response", sa.Text),
)
TOLD = sa.Table(
    "redline_told",
    _METADATA,
    sa.Column("alert_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("purpose", sa.Text, primary_key=True),
    sa.Column("message_id", sa.Text, nullable=False, index=True),
    sa.Column("record_id", sa.Text, nullable=False, index=True),
    sa.Column("transition", sa.Text, nullable=False),
    sa.Column("alert", sa.Text, nullable=False),
    sa.Column("noted_at", sa.Double, nullable=False),
)
MARKS = sa.Table(
    "redline_marks",
    _METADATA,
    sa.Column("mark_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("record_id", sa.Text, nullable=False),
    sa.Column("record_type", sa.Text, nullable=False),
    sa.Column("alert_id", sa.Text, nullable=False),
    sa.Column("until", sa.Text),
    sa.Column("said_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("said_at", sa.Double, nullable=False),
)

# Literals, not parameters: both engines then see that the partial index answers the question.
IS_LIVE = MESSAGES.c.state.in_([sa.literal_column("'pending'"), sa.literal_column("'claimed'")])
sa.Index(
    "redline_messages_live",
    MESSAGES.c.channel,
    MESSAGES.c.evening,
    MESSAGES.c.place,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)
sa.Index("redline_messages_sent", MESSAGES.c.sent_at)


class Store:
    """The database. Safe to share between threads and processes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction, committed where the block ends well.

        Args:
            alone: no other such transaction runs meanwhile, in whatever process.

        Raises:
            StorageError: the database cannot be used.
        """
        try:
            with self._engine.begin() as connection:
                if alone and self._is_postgres:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITING)))
                elif alone:
                    # Any write takes SQLite's one lock; taken after a read it could not be had.
                    connection.execute(sa.delete(MESSAGES).where(sa.false()))
                yield connection
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            raise _unusable(self._engine, error) from None

    def insert_new(
        self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Insert the rows whose key is not there yet; the keys of those."""
        insert = postgresql.insert if self._is_postgres else sqlite.insert
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(rows), _CHUNK):
            chunk = insert(table).values(rows[start : start + _CHUNK]).on_conflict_do_nothing()
            found += map(tuple, connection.execute(chunk.returning(*table.primary_key)))
        return found

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def _is_postgres(self) -> bool:
        return self._engine.dialect.name == "postgresql"


_CHUNK = 500  # rows of one statement: SQLite takes no more than some thousands of values


def open_store(settings: Settings) -> Store:
    """Open the database that the settings name, and make its tables where there are none.

    Raises:
        SettingError: REDLINE_OUTBOX is no address of PostgreSQL.
        StorageError: it cannot be reached or written.
    """
    engine = _engine(settings)
    try:
        if _missing(engine):
            with engine.begin() as connection:
                _make_tables(connection)
    except sa.exc.DBAPIError as error:
        raise _unusable(engine, error) from None
    return Store(engine)


def _make_tables(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATING)))
        # To make an index that is there would lock its table against those who write already.
        missing = _missing(connection)
    else:
        missing = [*_METADATA.sorted_tables]
    for table in missing:
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _missing(database: sa.Engine | sa.Connection) -> list[sa.Table]:
    there = {*sa.inspect(database).get_table_names()}
    return [table for table in _METADATA.sorted_tables if table.name not in there]


def _engine(settings: Settings) -> sa.Engine:
    if settings.outbox is None:
        settings.home.root.mkdir(parents=True, exist_ok=True)
        path = settings.home.root / "outbox.sqlite"
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": 60},
            pool_timeout=_PATIENCE,
            hide_parameters=True,
        )
        sa.event.listen(engine, "connect", _set_up_sqlite)
        return engine
    try:
        url = sa.make_url(settings.outbox)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        raise SettingError(
            "the outbox is no address of PostgreSQL",
            "REDLINE_OUTBOX",
            "set postgresql://user:password@host:5432/database, or nothing for a file in the home",
        )
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg2"),
        pool_pre_ping=True,
        pool_timeout=_PATIENCE,
        hide_parameters=True,
    )


def _set_up_sqlite(connection: Any, _: object) -> None:
    # Readers and the one writer do not wait for each other; what is committed survives a power cut.
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")


def _unusable(engine: sa.Engine, error: sa.exc.SQLAlchemyError) -> StorageError:
    # Not the driver's own words: they may hold values of rows.
    return StorageError(
        f"the outbox cannot be used: {type(getattr(error, 'orig', error)).__name__}",
        engine.url.render_as_string(hide_password=True),
        "see that it is there and may be written; nothing is lost",
    )

"""The outbox: what is to be delivered, to which channel, and how far each delivery is.

One row per alert and channel, in SQLite below the home or in PostgreSQL. A delivery is claimed in
one transaction before it is sent and confirmed in another after. A process that dies between them
leaves its claim, which falls due again when its lease ends: that one message may repeat, with the
same idempotency key. Times are seconds since 1970 UTC.

States: pending, claimed, sent; failed (given up, or refused for good) and held (kept back) wait for
a person. Only pending and claimed deliveries make later ones of the same merchant wait.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from redline.errors import SettingError, StorageError
from redline.settings import Settings

State = Literal["pending", "claimed", "sent", "failed", "held"]

LEASE = 300.0  # longer than any sender takes
ATTEMPTS = 12
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 900.0
_LONGEST_RETRY_AFTER = 86_400.0
_RESPONSE = 300  # characters
_CHUNK = 500
_CREATING = 5_331_006  # PostgreSQL's advisory lock while the table is made

_METADATA = sa.MetaData()
_OUTBOX = sa.Table(
    "redline_outbox",
    _METADATA,
    sa.Column("alert_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, nullable=False),
    sa.Column("evening", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("alert", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Double, nullable=False),
    sa.Column("claimed_at", sa.Double),
    sa.Column("sent_at", sa.Double),
    sa.Column("response", sa.Text),
)
_C = _OUTBOX.c

# Literals, not parameters: both engines then see that the partial index answers the question.
_IS_LIVE = _C.state.in_([sa.literal_column("'pending'"), sa.literal_column("'claimed'")])
sa.Index(
    "redline_outbox_live",
    _C.channel,
    _C.merchant,
    _C.evening,
    _C.alert_id,
    sqlite_where=_IS_LIVE,
    postgresql_where=_IS_LIVE,
)


@dataclass(frozen=True)
class Delivery:
    """One alert on its way to one channel.

    Attributes:
        key: the idempotency key; the same in every attempt.
        alert: the alert as its file tells it.
        merchant: whose alerts are kept in their order, within the platform.
        attempts: claims so far.
        response: what the receiver said last, without secrets.
    """

    alert_id: str
    channel: str
    merchant: str
    evening: str
    key: str
    alert: Mapping[str, Any]
    state: State
    attempts: int
    next_try_at: float
    claimed_at: float | None
    sent_at: float | None
    response: str | None


class Outbox:
    """The store of deliveries. Safe to share between threads and processes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self, alerts: Sequence[Mapping[str, Any]], channels: Sequence[str], held: str | None = None
    ) -> int:
        """Note deliveries of alerts to channels; those that are there already stay as they are.

        Args:
            held: why they are kept back; None: they are to be sent.

        Returns:
            How many are new.
        """
        now = time.time()
        rows = [
            {
                "alert_id": alert["alert_id"],
                "channel": channel,
                "merchant": _merchant(alert),
                "evening": alert["as_of_date"],
                "key": idempotency_key(alert["alert_id"], channel),
                "alert": json.dumps(alert, sort_keys=True, ensure_ascii=False),
                "state": "pending" if held is None else "held",
                "attempts": 0,
                "next_try_at": now,
                "response": held,
            }
            for alert in alerts
            for channel in channels
        ]
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        added = 0
        with self._transaction() as connection:
            for start in range(0, len(rows), _CHUNK):
                chunk = insert(_OUTBOX).values(rows[start : start + _CHUNK])
                added += connection.execute(chunk.on_conflict_do_nothing()).rowcount
        return added

    def due(self, channel: str, limit: int = 100) -> list[Delivery]:
        """Deliveries that may be claimed now, oldest first: of each merchant its first one only."""
        first = _firsts(channel)
        return self._read(
            sa.select(_OUTBOX)
            .join(first, sa.and_(_C.alert_id == first.c.alert_id, _C.channel == channel))
            .where(first.c.place == 1, first.c.next_try_at <= time.time())
            .order_by(_C.evening, _C.alert_id)
            .limit(limit)
        )

    def next_due_at(self, channel: str) -> float | None:
        """When the next delivery of a channel falls due; None where none is open."""
        first = _firsts(channel)
        wanted = sa.select(sa.func.min(first.c.next_try_at)).where(first.c.place == 1)
        with self._transaction() as connection:
            found: float | None = connection.execute(wanted).scalar()
        return found

    def claim(self, delivery: Delivery, lease: float = LEASE) -> Delivery | None:
        """Claim a due delivery; None where another process was faster.

        Args:
            lease: seconds after which the claim counts as that of a dead process.
        """
        now = time.time()
        taken = {
            "state": "claimed",
            "attempts": delivery.attempts + 1,
            "claimed_at": now,
            "next_try_at": now + lease,
        }
        # Every claim counts one attempt, so the count tells whether it is still as it was read.
        if not self._change(delivery, delivery.attempts, taken):
            return None
        return Delivery(**{**vars(delivery), **taken})

    def confirm(self, delivery: Delivery, response: str) -> None:
        """Note that a claimed delivery was sent, whoever may have claimed it since."""
        sent = {"state": "sent", "sent_at": time.time(), "response": response[:_RESPONSE]}
        self._change(delivery, None, sent)

    def postpone(self, delivery: Delivery, response: str, retry_after: float | None = None) -> bool:
        """Note that an attempt failed; it is tried again later, or given up after ATTEMPTS.

        Args:
            retry_after: seconds that the receiver asked for, else exponential backoff with jitter.

        Returns:
            Whether it is tried again.
        """
        if delivery.attempts >= ATTEMPTS:
            self.give_up(delivery, f"given up after {delivery.attempts}: {response}")
            return False
        if retry_after is None:
            wait = min(_FIRST_WAIT * 2 ** (delivery.attempts - 1), _LONGEST_WAIT)
            wait *= random.uniform(0.5, 1)  # noqa: S311
        else:
            wait = min(retry_after, _LONGEST_RETRY_AFTER)
        later = {"state": "pending", "next_try_at": time.time() + wait}
        self._change(delivery, delivery.attempts, {**later, "response": response[:_RESPONSE]})
        return True

    def give_up(self, delivery: Delivery, response: str) -> None:
        """Note that a claimed delivery failed for good."""
        failed = {"state": "failed", "response": response[:_RESPONSE]}
        self._change(delivery, delivery.attempts, failed)

    def release(self, wanted: str) -> int:
        """Make failed or held deliveries pending again, from their first attempt.

        Args:
            wanted: `failed` or `held`, or an alert's id or the beginning of it.
        """
        of_state = wanted in ("failed", "held")
        which = _C.state == wanted if of_state else _C.alert_id.startswith(wanted, autoescape=True)
        with self._transaction() as connection:
            return connection.execute(
                sa.update(_OUTBOX)
                .where(_C.state.in_(["failed", "held"]), which)
                .values(state="pending", attempts=0, next_try_at=time.time())
            ).rowcount

    def deliveries(
        self, states: Collection[State] = ("pending", "claimed", "failed", "held")
    ) -> list[Delivery]:
        """All deliveries in those states, oldest first."""
        return self._read(
            sa.select(_OUTBOX)
            .where(_C.state.in_(list(states)))
            .order_by(_C.evening, _C.alert_id, _C.channel)
        )

    def counts(self) -> dict[tuple[str, State], int]:
        """How many deliveries there are by channel and state."""
        wanted = sa.select(_C.channel, _C.state, sa.func.count()).group_by(_C.channel, _C.state)
        with self._transaction() as connection:
            rows: list[Any] = list(connection.execute(wanted))
        return {(channel, state): n for channel, state, n in rows}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _change(self, delivery: Delivery, attempts: int | None, values: dict[str, Any]) -> bool:
        statement = sa.update(_OUTBOX).where(
            _C.alert_id == delivery.alert_id, _C.channel == delivery.channel, _IS_LIVE
        )
        if attempts is not None:
            statement = statement.where(_C.attempts == attempts)
        with self._transaction() as connection:
            return connection.execute(statement.values(**values)).rowcount == 1

    def _read(self, wanted: sa.Select[Any]) -> list[Delivery]:
        with self._transaction() as connection:
            rows = [dict(row) for row in connection.execute(wanted).mappings()]
        return [Delivery(**{**row, "alert": json.loads(row["alert"])}) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise _unusable(self._engine, error) from None


def open_outbox(settings: Settings) -> Outbox:
    """Open the outbox that the settings name, and make its table where there is none.

    Raises:
        SettingError: REDLINE_OUTBOX is no address of PostgreSQL.
        StorageError: it cannot be reached or written.
    """
    engine = _engine(settings)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATING)))
            connection.execute(sa.schema.CreateTable(_OUTBOX, if_not_exists=True))
            for index in _OUTBOX.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
    except sa.exc.DBAPIError as error:
        raise _unusable(engine, error) from None
    return Outbox(engine)


def idempotency_key(alert_id: str, channel: str) -> str:
    """The key of a delivery, by which a receiver knows a repetition."""
    return hashlib.sha256(f"{alert_id}\n{channel}".encode()).hexdigest()[:32]


def _firsts(channel: str) -> sa.Subquery:
    """Open deliveries of a channel by their place among their merchant's; one pass on the index."""
    place = sa.func.row_number().over(partition_by=_C.merchant, order_by=[_C.evening, _C.alert_id])
    wanted = sa.select(_C.alert_id, _C.next_try_at, place.label("place"))
    return wanted.where(_C.channel == channel, _IS_LIVE).subquery()


def _merchant(alert: Mapping[str, Any]) -> str:
    """Whose alerts keep their order: the merchant's, else those of the category."""
    who = alert.get("merchant_id") or f"{alert['entity_type']} {alert['entity_id']}"
    return f"{alert['platform']} {who}"


def _engine(settings: Settings) -> sa.Engine:
    if settings.outbox is None:
        settings.home.root.mkdir(parents=True, exist_ok=True)
        path = settings.home.root / "outbox.sqlite"
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": 60},
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
        url.set(drivername="postgresql+psycopg2"), pool_pre_ping=True, hide_parameters=True
    )


def _set_up_sqlite(connection: Any, _: object) -> None:
    # Readers and the one writer do not wait for each other; what is committed survives a power cut.
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")


def _unusable(engine: sa.Engine, error: sa.exc.DBAPIError) -> StorageError:
    # Not the driver's own words: they may hold values of rows.
    return StorageError(
        f"the outbox cannot be used: {type(error.orig).__name__}",
        engine.url.render_as_string(hide_password=True),
        "see that it is there and may be written; nothing is lost",
    )

"""The outbox: what is to be delivered, to which channel, and how far each message is.

A message tells one alert, or many as a digest, a reminder of one, or a notice about the pipeline.
An alert goes to a channel once for each purpose, whichever message tells it. A message is claimed
in one transaction before it is sent and confirmed in another after. A process that dies between
them leaves its claim, which falls due again when its lease ends: that one message may repeat, with
the same idempotency key.

States: pending, claimed, sent; failed (given up, or refused for good) and held (kept back) wait for
a person. Only pending and claimed messages make later ones wait: those of the same merchant, and
the digests that tell many merchants. Notices wait for nobody but each other.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa

from redline.alerts.letter import Alert, Audience, Form, Letter
from redline.alerts.store import IS_LIVE, MESSAGES, TOLD, Store, open_store
from redline.settings import Settings

State = Literal["pending", "claimed", "sent", "failed", "held"]
Purpose = Literal["alert", "reminder"]

LEASE = 300.0  # longer than any sender takes
ATTEMPTS = 12
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 900.0
_LONGEST_RETRY_AFTER = 86_400.0
_RESPONSE = 300  # characters
_CHUNK = 500

# Why what a person is being asked about is held; only the answer, or its own alert's id, frees it.
WAITING = "held: a storm, and nobody has answered yet"

# Lanes of messages that are no single merchant's.
_MANY, _OPERATIONS = "*", "operations"
_M = MESSAGES.c


@dataclass(frozen=True)
class Entry:
    """An alert for a channel.

    Attributes:
        form: of the message that is to tell it.
        not_before: when a digest may be sent; until then it takes in what else comes.
        held: why it is kept back; None: it is to be sent.
        hours: of a reminder, for how long nobody has acknowledged.
    """

    alert: Alert
    channel: str
    form: Form = "alert"
    audience: Audience = "operator"
    not_before: float = 0.0
    held: str | None = None
    hours: int | None = None

    @property
    def purpose(self) -> Purpose:
        """For what the alert goes to the channel."""
        return "reminder" if self.form == "reminder" else "alert"


@dataclass(frozen=True)
class Delivery:
    """One message on its way to one channel.

    Attributes:
        message_id: its idempotency key; the same in every attempt.
        lane: whose messages are kept in their order: a merchant's, or those of many.
        alerts: that it tells; empty until it is claimed or listed.
        notice: of a notice what it says, of a reminder its hours.
        attempts: claims so far.
        response: what the receiver said last, without secrets.
    """

    message_id: str
    channel: str
    form: Form
    audience: Audience
    lane: str
    evening: str
    place: str
    notice: Mapping[str, Any] | None
    state: State
    attempts: int
    next_try_at: float
    claimed_at: float | None
    sent_at: float | None
    response: str | None
    alerts: tuple[Alert, ...] = field(default=())

    @property
    def letter(self) -> Letter:
        """What it tells."""
        return Letter(self.form, self.audience, self.alerts, self.notice)


@dataclass(frozen=True)
class Told:
    """An alert that was sent to a channel.

    Attributes:
        noted_at, sent_at: when it came into the outbox and when it left.
    """

    alert: Alert
    channel: str
    noted_at: float
    sent_at: float


class Outbox:
    """The store of messages. Safe to share between threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """The database."""
        return self._store

    def add(self, entries: Sequence[Entry]) -> int:
        """Note alerts for channels; those that are there already stay as they are.

        A digest takes in what comes until it is claimed, and what comes later begins another.

        Returns:
            How many are new.
        """
        now = time.time()
        with self._store.transaction(alone=True) as connection:
            messages: dict[tuple[Any, ...], dict[str, Any]] = {}
            rows: dict[tuple[str, str, str], dict[str, Any]] = {}
            for entry in entries:
                group = _group(entry)
                if group not in messages:
                    messages[group] = self._message(connection, entry, now)
                row = _told(entry, messages[group]["message_id"], now)
                rows.setdefault((row["alert_id"], row["channel"], row["purpose"]), row)
            added = self._store.insert_new(connection, TOLD, [*rows.values()])
            used = {rows[key]["message_id"] for key in added}
            made = [each for each in messages.values() if each["message_id"] in used]
            self._store.insert_new(connection, MESSAGES, made)
        return len(added)

    def add_notice(
        self, notice_id: str, channels: Sequence[str], evening: str, notice: Mapping[str, Any]
    ) -> int:
        """Note a notice about the pipeline for channels, once; how many are new.

        Args:
            notice_id: a hash of what it means; the same notice is told once.
            evening: the date it is about, ISO.
        """
        now = time.time()
        made = [
            {
                "message_id": _key("notice", notice_id, channel),
                "channel": channel,
                "form": "notice",
                "audience": "operator",
                "lane": _OPERATIONS,
                "evening": evening,
                "place": f"n {now:.6f} {notice_id}",
                "notice": json.dumps(notice, sort_keys=True, ensure_ascii=False),
                "state": "pending",
                "attempts": 0,
                "next_try_at": now,
                "response": None,
            }
            for channel in channels
        ]
        with self._store.transaction() as connection:
            return len(self._store.insert_new(connection, MESSAGES, made))

    def due(self, channel: str, limit: int = 100) -> list[Delivery]:
        """Messages that may be claimed now, oldest first: of each lane its first one only."""
        first = _firsts(channel)
        return self._read(
            sa.select(MESSAGES)
            .join(first, _M.message_id == first.c.message_id)
            .where(_is_free(first), first.c.next_try_at <= time.time())
            .order_by(_M.evening, _M.place)
            .limit(limit)
        )

    def next_due_at(self, channel: str) -> float | None:
        """When the next message of a channel falls due; None where none is open."""
        first = _firsts(channel)
        wanted = sa.select(sa.func.min(first.c.next_try_at)).where(_is_free(first))
        with self._store.transaction() as connection:
            found: float | None = connection.execute(wanted).scalar()
        return found

    def claim(self, delivery: Delivery, lease: float = LEASE) -> Delivery | None:
        """Claim a due message, with its alerts; None where another process was faster.

        Args:
            lease: seconds after which the claim counts as that of a dead process.
        """
        now = time.time()
        taken: dict[str, Any] = {
            "state": "claimed",
            "attempts": delivery.attempts + 1,
            "claimed_at": now,
            "next_try_at": now + lease,
        }
        # Every claim counts one attempt, so the count tells whether it is still as it was read.
        if not self._change(delivery, delivery.attempts, taken):
            return None
        (claimed,) = self._with_alerts([replace(delivery, **taken)])
        return claimed

    def confirm(self, delivery: Delivery, response: str) -> None:
        """Note that a claimed message was sent, whoever may have claimed it since."""
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
        """Note that a claimed message failed for good."""
        failed = {"state": "failed", "response": response[:_RESPONSE]}
        self._change(delivery, delivery.attempts, failed)

    def release(self, wanted: str) -> int:
        """Make failed or held messages pending again, from their first attempt.

        Args:
            wanted: `failed` or `held`, or an alert's id or the beginning of it.
        """
        is_asked = sa.func.coalesce(_M.response, "") == WAITING
        which = (
            sa.and_(_M.state == wanted, sa.not_(is_asked))
            if wanted in ("failed", "held")
            else _tells(wanted)
        )
        return self._send_again(sa.and_(_M.state.in_(["failed", "held"]), which))

    def replay(self, alert_id: str) -> int:
        """Make all messages that tell an alert pending again, those that were sent too.

        They keep their keys, by which a receiver that had them may know them.

        Args:
            alert_id: or the beginning of it.
        """
        return self._send_again(sa.and_(_M.state.in_(["sent", "failed", "held"]), _tells(alert_id)))

    def deliveries(
        self, states: Collection[State] = ("pending", "claimed", "failed", "held")
    ) -> list[Delivery]:
        """All messages in those states with their alerts, oldest first."""
        found = self._read(
            sa.select(MESSAGES)
            .where(_M.state.in_(list(states)))
            .order_by(_M.evening, _M.place, _M.channel)
        )
        return self._with_alerts(found)

    def counts(self) -> dict[tuple[str, State], int]:
        """How many messages there are by channel and state."""
        wanted = sa.select(_M.channel, _M.state, sa.func.count()).group_by(_M.channel, _M.state)
        with self._store.transaction() as connection:
            rows: list[Any] = list(connection.execute(wanted))
        return {(channel, state): n for channel, state, n in rows}

    def open_channels(self) -> set[str]:
        """The channels that have a message to be sent, now or later."""
        with self._store.transaction() as connection:
            return {*connection.execute(sa.select(_M.channel).where(IS_LIVE).distinct()).scalars()}

    def waiting(self, channel: str) -> int:
        """How many messages of a channel should have been sent by now.

        A digest whose time has not come is not among them.
        """
        late = sa.or_(_M.attempts > 0, _M.next_try_at <= time.time())
        wanted = sa.select(sa.func.count()).where(_M.channel == channel, IS_LIVE, late)
        with self._store.transaction() as connection:
            return int(connection.execute(wanted).scalar() or 0)

    def unreminded(self, since: float) -> list[Told]:
        """Alerts of records that opened or rose, sent since then, that nobody was reminded of.

        Without those whose record has resolved.
        """
        reminder, resolved = TOLD.alias(), TOLD.alias()
        is_over = sa.exists().where(
            resolved.c.record_id == TOLD.c.record_id,
            resolved.c.transition == "resolved",
        )
        is_reminded = sa.exists().where(
            reminder.c.alert_id == TOLD.c.alert_id, reminder.c.purpose == "reminder"
        )
        wanted = (
            sa.select(TOLD.c.alert, _M.channel, TOLD.c.noted_at, _M.sent_at)
            .join(MESSAGES, _M.message_id == TOLD.c.message_id)
            .where(
                _M.state == "sent",
                _M.sent_at >= since,
                TOLD.c.purpose == "alert",
                TOLD.c.transition != "resolved",
                ~is_over,
                ~is_reminded,
            )
            .order_by(_M.evening, TOLD.c.alert_id, _M.sent_at, _M.channel)
        )
        with self._store.transaction() as connection:
            rows: list[Any] = list(connection.execute(wanted))
        return [Told(json.loads(alert), *more) for alert, *more in rows]

    def find(self, alert_id: str) -> Alert | None:
        """An alert that is in the outbox, by its id or the beginning of it."""
        named = TOLD.c.alert_id.startswith(alert_id, autoescape=True)
        wanted = sa.select(TOLD.c.alert).where(named).order_by(TOLD.c.alert_id).limit(1)
        with self._store.transaction() as connection:
            found = connection.execute(wanted).scalar()
        return None if found is None else json.loads(found)

    def close(self) -> None:
        """Close all connections."""
        self._store.close()

    def _message(self, connection: sa.Connection, entry: Entry, now: float) -> dict[str, Any]:
        """The message that is to tell an entry: a digest that is still open, or a new one."""
        made = {
            "channel": entry.channel,
            "form": entry.form,
            "audience": entry.audience,
            "lane": _lane(entry),
            "evening": entry.alert["as_of_date"],
            "notice": None if entry.hours is None else json.dumps({"hours": entry.hours}),
            "state": "pending" if entry.held is None else "held",
            "attempts": 0,
            "next_try_at": max(now, entry.not_before),
            "response": entry.held,
        }
        alert_id = entry.alert["alert_id"]
        if entry.form != "digest":
            key = idempotency_key(alert_id, entry.channel, entry.purpose)
            return {**made, "message_id": key, "place": f"a {alert_id} {entry.purpose}"}
        alike = [
            _M[name] == made[name] for name in ("channel", "form", "audience", "lane", "evening")
        ]
        # Locked, so that nobody claims it before what it takes in is there.
        still_open = connection.execute(
            sa.select(_M.message_id, _M.place)
            .where(*alike, _M.state == "pending", _M.attempts == 0)
            .order_by(_M.place)
            .limit(1)
            .with_for_update()
        ).first()
        if still_open is not None and entry.held is None:
            return {**made, "message_id": still_open[0], "place": still_open[1]}
        made_before = connection.execute(
            sa.select(sa.func.count()).select_from(MESSAGES).where(*alike)
        ).scalar()
        number = f"{int(made_before or 0):06d}"
        key = _key("digest", *(str(made[name]) for name in _DIGEST), number)
        # After the evening's single alerts, which tell what is severe.
        return {**made, "message_id": key, "place": f"z {number}"}

    def _send_again(self, which: sa.ColumnElement[bool]) -> int:
        with self._store.transaction(alone=True) as connection:
            return connection.execute(
                sa.update(MESSAGES)
                .where(which)
                .values(state="pending", attempts=0, next_try_at=time.time())
            ).rowcount

    def _change(self, delivery: Delivery, attempts: int | None, values: dict[str, Any]) -> bool:
        statement = sa.update(MESSAGES).where(_M.message_id == delivery.message_id, IS_LIVE)
        if attempts is not None:
            statement = statement.where(_M.attempts == attempts)
        with self._store.transaction() as connection:
            return connection.execute(statement.values(**values)).rowcount == 1

    def _read(self, wanted: sa.Select[Any]) -> list[Delivery]:
        with self._store.transaction() as connection:
            rows = [dict(row) for row in connection.execute(wanted).mappings()]
        return [
            Delivery(**{**row, "notice": json.loads(row["notice"]) if row["notice"] else None})
            for row in rows
        ]

    def _with_alerts(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        alerts: defaultdict[str, list[Alert]] = defaultdict(list)
        ids = [each.message_id for each in deliveries if each.form != "notice"]
        with self._store.transaction() as connection:
            for start in range(0, len(ids), _CHUNK):
                wanted = (
                    sa.select(TOLD.c.message_id, TOLD.c.alert)
                    .where(TOLD.c.message_id.in_(ids[start : start + _CHUNK]))
                    .order_by(TOLD.c.alert_id)
                )
                rows: list[Any] = list(connection.execute(wanted))
                for message_id, alert in rows:
                    alerts[message_id].append(json.loads(alert))
        return [replace(each, alerts=tuple(alerts[each.message_id])) for each in deliveries]


def open_outbox(settings: Settings) -> Outbox:
    """Open the outbox that the settings name.

    Raises:
        SettingError: REDLINE_OUTBOX is no address of PostgreSQL.
        StorageError: it cannot be reached or written.
    """
    return Outbox(open_store(settings))


def idempotency_key(alert_id: str, channel: str, purpose: Purpose = "alert") -> str:
    """The key of the message of one alert, by which a receiver knows a repetition."""
    return _key(purpose, alert_id, channel)


def _key(*meaning: str) -> str:
    return hashlib.sha256("\n".join(meaning).encode()).hexdigest()[:32]


_DIGEST = ("channel", "audience", "lane", "evening")


def _group(entry: Entry) -> tuple[Any, ...]:
    """Entries that one message tells."""
    if entry.form != "digest":
        return (entry.channel, entry.purpose, entry.alert["alert_id"])
    return (entry.channel, entry.audience, _lane(entry), entry.alert["as_of_date"], entry.held)


def _told(entry: Entry, message_id: str, now: float) -> dict[str, Any]:
    alert = entry.alert
    return {
        "alert_id": alert["alert_id"],
        "channel": entry.channel,
        "purpose": entry.purpose,
        "message_id": message_id,
        "record_id": alert["record_id"],
        "transition": alert["transition"],
        "alert": json.dumps(alert, sort_keys=True, ensure_ascii=False),
        "noted_at": now,
    }


def _lane(entry: Entry) -> str:
    """Whose messages keep their order: the merchant's, else those of the category; or of many."""
    if entry.form == "digest" and entry.audience == "operator":
        return _MANY
    alert = entry.alert
    who = alert.get("merchant_id") or f"{alert['entity_type']} {alert['entity_id']}"
    return f"{alert['platform']} {who}"


def _tells(alert_id: str) -> sa.ColumnElement[bool]:
    """Whether a message tells an alert whose id begins so."""
    named = TOLD.c.alert_id.startswith(alert_id, autoescape=True)
    return _M.message_id.in_(sa.select(TOLD.c.message_id).where(named))


def _firsts(channel: str) -> sa.Subquery:
    """Open messages of a channel, and what stands before each; one pass on the index."""
    in_order = [_M.evening, _M.place]
    before: dict[str, Any] = {"order_by": in_order, "rows": (None, -1)}
    is_many = sa.case((_M.lane == _MANY, 1), else_=0)
    is_one = sa.case((_M.lane.in_([_MANY, _OPERATIONS]), 0), else_=1)
    return (
        sa.select(
            _M.message_id,
            _M.lane,
            _M.next_try_at,
            sa.func.row_number().over(partition_by=_M.lane, order_by=in_order).label("place"),
            sa.func.coalesce(sa.func.sum(is_many).over(**before), 0).label("many_before"),
            sa.func.coalesce(sa.func.sum(is_one).over(**before), 0).label("ones_before"),
        )
        .where(_M.channel == channel, IS_LIVE)
        .subquery()
    )


def _is_free(first: sa.Subquery) -> sa.ColumnElement[bool]:
    """Whether nothing that must arrive before a message is still open."""
    return sa.and_(
        first.c.place == 1,
        sa.case(
            (first.c.lane == _OPERATIONS, True),
            (first.c.lane == _MANY, first.c.ones_before == 0),
            else_=first.c.many_before == 0,
        ),
    )

"""What people say of alerts: acknowledged, or snoozed until a date, with who said it and why.

An acknowledgement is of one record at the level it had: nobody is reminded of it, and a warning
that was acknowledged and rises to a violation asks again. A snooze keeps back what an entity's
metric and risk point have to tell until its end, but for anything worse than what was snoozed: a
snoozed warning never hides a violation. Marks are never changed; the snooze said last holds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from redline.alerts.letter import Alert
from redline.alerts.outbox import open_outbox
from redline.alerts.store import MARKS, Store
from redline.errors import SettingError
from redline.settings import Settings

_CHUNK = 500
_LONGEST = 500  # characters of a reason


@dataclass(frozen=True)
class Mark:
    """What a person said of an alert.

    Attributes:
        alert: that it was said of.
        until: the last date of a snooze; None of an acknowledgement.
    """

    alert: Alert
    until: date | None
    said_by: str
    reason: str


def say(
    settings: Settings, alert_id: str, said_by: str, reason: str, until: date | None = None
) -> str:
    """Acknowledge an alert, or snooze what it is about until a date; what was done, in a sentence.

    Args:
        alert_id: of an alert that was told to someone, or the beginning of it.
        until: the last date of a snooze, in the time zone of the warehouse.

    Raises:
        SettingError: there is no such alert, no reason, or a snooze ends before it begins.
        StorageError: the outbox cannot be used.
    """
    outbox = open_outbox(settings)
    try:
        alert = outbox.find(alert_id)
        if alert is None:
            raise SettingError("the outbox has no such alert", alert_id, "see `make alerts`")
        today = datetime.now(UTC).astimezone(ZoneInfo(settings.timezone)).date()
        is_new = save(outbox.store, Mark(alert, until, said_by, reason.strip()), today)
    finally:
        outbox.close()
    done = "acknowledged" if until is None else f"snoozed until {until}"
    again = "" if is_new else ", as was said before"
    return f"alert {alert['alert_id']} of record {alert['record_id']}: {done} by {said_by}{again}"


def save(store: Store, mark: Mark, today: date) -> bool:
    """Keep a mark; False where the same was said already.

    Args:
        today: in the time zone of the warehouse.

    Raises:
        SettingError: there is no reason, or a snooze ends before it begins.
    """
    if not mark.reason or len(mark.reason) > _LONGEST:
        raise SettingError(
            f"the reason is missing or longer than {_LONGEST} characters", "reason", "say why"
        )
    if mark.until is not None and mark.until < today:
        raise SettingError("a snooze ends today or later", str(mark.until), "name such a date")
    kind = "acknowledged" if mark.until is None else "snoozed"
    meaning = (kind, mark.alert["alert_id"], str(mark.until), mark.said_by, mark.reason)
    row = {
        "mark_id": hashlib.sha256("\n".join(meaning).encode()).hexdigest()[:32],
        "kind": kind,
        "subject": _subject(mark.alert),
        "record_id": mark.alert["record_id"],
        "record_type": mark.alert["record_type"],
        "alert_id": mark.alert["alert_id"],
        "until": None if mark.until is None else str(mark.until),
        "said_by": mark.said_by,
        "reason": mark.reason,
        "said_at": time.time(),
    }
    with store.transaction() as connection:
        return bool(store.insert_new(connection, MARKS, [row]))


def snoozed(store: Store, alerts: Collection[Alert], today: date) -> Mapping[str, str]:
    """Why alerts are kept back today, by the id of those that are."""
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    subjects = sorted({_subject(alert) for alert in alerts})
    with store.transaction() as connection:
        for start in range(0, len(subjects), _CHUNK):
            wanted = (
                sa.select(MARKS)
                .where(
                    MARKS.c.kind == "snoozed",
                    MARKS.c.subject.in_(subjects[start : start + _CHUNK]),
                )
                .order_by(MARKS.c.said_at)
            )
            for row in connection.execute(wanted).mappings():
                told = f"snoozed until {row['until']} by {row['said_by']}: {row['reason']}"
                newest[row["subject"], row["record_type"]] = (row["until"], told)
    found = {}
    for alert in alerts:
        for level in ("violation", alert["record_type"]):  # a snoozed violation covers its warnings
            until, told = newest.get((_subject(alert), level), ("", ""))
            if until >= str(today):
                found[alert["alert_id"]] = told
    return found


def acknowledged(store: Store, since: float) -> Mapping[str, float]:
    """When records were last acknowledged or snoozed, by record; of marks since then."""
    wanted = (
        sa.select(MARKS.c.record_id, sa.func.max(MARKS.c.said_at))
        .where(MARKS.c.said_at >= since)
        .group_by(MARKS.c.record_id)
    )
    with store.transaction() as connection:
        rows: list[Any] = list(connection.execute(wanted))
    return dict(rows)


def _subject(alert: Alert) -> str:
    """What a snooze is of: an entity's metric and risk point, whichever record tells it."""
    names = ("platform", "entity_type", "entity_id", "metric", "risk_point")
    return "\n".join(str(alert[name]) for name in names)

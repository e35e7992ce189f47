"""The storm guard: weighs the alerts that are about to go out, and keeps a storm back.

A storm is held in the outbox before anybody is asked, so that whatever happens then (a kill, a
cleared task, another command) nothing of it goes out without an answer. Held with `WAITING` it
still waits for one; any other reason is an answer, and is never asked about again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import sqlalchemy as sa

from redline.alerts.delivery import FRESH_DAYS, enqueue, go_on
from redline.alerts.files import first_runs, read_alerts
from redline.alerts.letter import Alert
from redline.alerts.marks import snoozed
from redline.alerts.outbox import WAITING, Outbox, open_outbox
from redline.alerts.routing import routes_of
from redline.alerts.rules import Rules, read_rules
from redline.alerts.store import MESSAGES, TOLD
from redline.alerts.storm import HISTORY, Evening, table, weigh
from redline.plan import days
from redline.publish.state import DATABASE, current_run
from redline.settings import Settings

_HELD = "held: a storm"
_CHUNK = 500
_M = MESSAGES.c


@dataclass(frozen=True)
class Found:
    """A storm that is held.

    Attributes:
        line: why, in one line.
        table: what a person needs to decide, as Markdown.
        hours: how long an answer is waited for.
        is_asked: whether a person is to be asked; if not, it stays held.
    """

    line: str
    table: str
    hours: float
    is_asked: bool


@dataclass(frozen=True)
class Settled:
    """What became of a storm.

    Attributes:
        messages: that it comes to.
        is_answered: whether a person has answered.
        sent: whether they said yes.
        line: the same in one line.
    """

    messages: int
    is_answered: bool
    sent: bool
    line: str


def look(settings: Settings, files: Collection[Path] = (), *, asks: bool) -> Found | None:
    """Hold what alert files tell, if it is a storm; None: it may go out.

    Args:
        files: that were written now; those of the last evenings are looked at too.
        asks: whether there is somebody to ask, a scheduler that can wait for the answer.

    Raises:
        SettingError: the file of alerts means nothing.
        StorageError: the outbox cannot be used.
    """
    if settings.alerts is None:
        return None
    rules = read_rules(settings.alerts)
    outbox = open_outbox(settings)
    try:
        paths = _fresh(settings, files)
        evenings = _about_to_go(settings, outbox, rules, paths)
        storm = weigh(evenings, rules.storm)
        if storm is None:
            return None
        # Of a backfill nobody waits for an answer.
        asks = asks and not all(each.is_backfill for each in evenings)
        nobody = "in a backfill" if all(each.is_backfill for each in evenings) else "by this run"
        held = WAITING if asks else f"{_HELD}, and nobody is asked {nobody}: {storm.line}"
        enqueue(settings, outbox, rules, paths, held)
        if not asks:  # what an earlier question left open
            _answer(outbox, held)
        return Found(storm.line, table(storm), rules.storm.answer_hours, asks)
    finally:
        outbox.close()


def settle(settings: Settings, answer: Mapping[str, Any] | None) -> Settled:
    """Do what a person answered: send the storm, or hold it for good. Again, it changes nothing.

    Args:
        answer: of Airflow's approval: `chosen_options`, `params_input`, `responded_by_user`.
            Without a user nobody answered in time; None: the question itself failed.

    Raises:
        SettingError, StorageError, RedlineError: as `deliver`.
    """
    if settings.alerts is None:
        return Settled(0, False, False, "no channels are set")
    user = (answer or {}).get("responded_by_user")
    name = str(user["name"]) if user else ""
    approved = bool(user) and (answer or {})["chosen_options"] == ["Approve"]
    said = str(((answer or {}).get("params_input") or {}).get("reason") or "").strip()
    if approved:
        reason = None
    elif user:
        reason = f"{_HELD}, rejected by {name}: {' '.join(said.split()) or 'no reason given'}"
    else:
        zone = ZoneInfo(settings.timezone)
        reason = f"{_HELD}, and nobody had answered by {datetime.now(zone):%Y-%m-%d %H:%M}"
    outbox = open_outbox(settings)
    try:
        messages = _answer(outbox, reason)
    finally:
        outbox.close()
    if approved:
        go_on(settings)
    told = f"approved by {name}" if approved else reason or ""
    return Settled(messages, bool(user), approved, f"{messages} messages: {told}")


def _fresh(settings: Settings, files: Collection[Path]) -> set[Path]:
    """The files whose alerts a delivery would send."""
    today = datetime.now(UTC).astimezone(ZoneInfo(settings.timezone)).date()
    first = today - timedelta(FRESH_DAYS)
    found = {*files, *settings.home.alerts.glob("????-??-??.jsonl")}
    return {path for path in found if date.fromisoformat(path.stem) >= first}


def _about_to_go(
    settings: Settings, outbox: Outbox, rules: Rules, paths: Collection[Path]
) -> list[Evening]:
    """Evenings with alerts that a delivery would send, and that nobody has decided on."""
    today = datetime.now(UTC).astimezone(ZoneInfo(settings.timezone)).date()
    firsts = first_runs(settings.home)
    found: dict[tuple[str, str], list[Alert]] = {}
    for path in sorted(paths):
        alerts = read_alerts(settings.home, path)
        quiet = snoozed(outbox.store, alerts, today)
        decided = _decided(outbox, [alert["alert_id"] for alert in alerts])
        for alert in alerts:
            if (
                alert["run_id"] not in firsts
                and alert["alert_id"] not in quiet
                and alert["alert_id"] not in decided
                and routes_of(rules, alert)
            ):
                found.setdefault((alert["platform"], path.stem), []).append(alert)
    return [_evening(settings, *key, alerts) for key, alerts in sorted(found.items())]


def _decided(outbox: Outbox, alert_ids: list[str]) -> set[str]:
    """Those of alerts that are in the outbox, but for those that wait for an answer."""
    found: set[str] = set()
    with outbox.store.transaction() as connection:
        for start in range(0, len(alert_ids), _CHUNK):
            wanted = (
                sa.select(TOLD.c.alert_id)
                .join(MESSAGES, _M.message_id == TOLD.c.message_id)
                .where(
                    TOLD.c.alert_id.in_(alert_ids[start : start + _CHUNK]),
                    TOLD.c.purpose == "alert",
                    sa.not_(_is_waiting()),
                )
            )
            found.update(str(alert_id) for (alert_id,) in connection.execute(wanted))
    return found


def _answer(outbox: Outbox, reason: str | None) -> int:
    """Send what waits for an answer, or hold it for a reason; how many messages."""
    change: dict[str, Any] = {"response": reason and reason[:300]}
    if reason is None:
        # Not sooner than a digest's time; a message that is due keeps its place.
        change |= {"state": "pending", "attempts": 0}
    with outbox.store.transaction(alone=True) as connection:
        return connection.execute(
            sa.update(MESSAGES).where(_is_waiting()).values(**change)
        ).rowcount


def _is_waiting() -> sa.ColumnElement[bool]:
    return sa.and_(_M.state == "held", sa.func.coalesce(_M.response, "") == WAITING)


def _evening(settings: Settings, platform: str, evening: str, alerts: list[Alert]) -> Evening:
    """An evening beside those published before it."""
    nothing = Evening(platform, evening, tuple(alerts), {}, 0)
    home, day = settings.home, date.fromisoformat(evening)
    if current_run(home) is None:
        return nothing
    with duckdb.connect(str(home.published / DATABASE), read_only=True) as connection:
        runs = connection.execute(
            """
            select start_date, as_of_date from marts.published_run
            where platform = ? and restated_from is null
            """,
            [platform],
        ).fetchall()
        before = sorted({each for run in runs for each in days(*run) if each < day})[-HISTORY:]
        spans = [end - start for start, end in runs if start <= day <= end]
        return Evening(
            platform=platform,
            evening=evening,
            alerts=tuple(alerts),
            past=_past(connection, platform, before),
            merchants=_merchants(connection, platform, day),
            volumes=_volumes(connection, platform, day, before),
            is_backfill=any(span >= timedelta(FRESH_DAYS) for span in spans),
        )


def _past(
    connection: duckdb.DuckDBPyConnection, platform: str, before: list[date]
) -> dict[str, list[int]]:
    """Numbers of alerts by metric, one for each evening; evenings without any count as none."""
    if not before:
        return {}
    rows = connection.execute(
        """
        select metric, as_of_date, count(*) from marts.fct_alerts
        where platform = ? and as_of_date between ? and ?
        group by metric, as_of_date
        """,
        [platform, before[0], before[-1]],
    ).fetchall()
    counts = {(metric, day): count for metric, day, count in rows}
    # Without an alert in four weeks there is a history all the same.
    metrics = sorted({metric for metric, _ in counts}) or ["any"]
    return {metric: [counts.get((metric, day), 0) for day in before] for metric in metrics}


def _merchants(connection: duckdb.DuckDBPyConnection, platform: str, day: date) -> int:
    """Merchants that were evaluated on an evening."""
    row = connection.execute(
        """
        select count(distinct entity_id) from marts.fct_policy_evaluations
        where platform = ? and as_of_date = ? and entity_type = 'merchant'
            and status <> 'not_applicable'
        """,
        [platform, day],
    ).fetchone()
    return int(row[0]) if row else 0


def _volumes(
    connection: duckdb.DuckDBPyConnection, platform: str, day: date, before: list[date]
) -> tuple[tuple[str, int, float], ...]:
    """What an evening brought of each component, and the median of those before it."""
    if not before:
        return ()
    rows = connection.execute(
        """
        select component, report_date, sum(quantity)::bigint from marts.fct_cohort_ledger
        where platform = ? and report_date between ? and ? and quantity > 0
            and not ends_with(component, '_adjusted')
        group by component, report_date
        """,
        [platform, before[0], day],
    ).fetchall()
    sums = {(component, when): total for component, when, total in rows}
    return tuple(
        (
            component,
            sums.get((component, day), 0),
            float(median(sums.get((component, when), 0) for when in before)),
        )
        for component in sorted({component for component, _ in sums})
    )

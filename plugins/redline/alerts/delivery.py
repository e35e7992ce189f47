"""Delivery: from the alert files through the outbox to the channels, one thread for each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from redline.alerts import channels as alert_channels
from redline.alerts.channels import Channel, Outcome
from redline.alerts.escalation import remind
from redline.alerts.files import first_runs, read_alerts
from redline.alerts.letter import Alert, Letter
from redline.alerts.marks import snoozed
from redline.alerts.outbox import LEASE, Delivery, Outbox, open_outbox
from redline.alerts.routing import addressed
from redline.alerts.rules import Rules, read_rules
from redline.errors import RedlineError, StorageError
from redline.settings import Settings

# Older evenings than these are history: their alerts are held until someone releases them.
FRESH_DAYS = 3
# How long a task waits for receivers; what is left is tried again by the next one.
PATIENCE = 300.0

Send = Callable[[Channel, Letter, str, str | None], Outcome]
_Post = Callable[[Channel, Letter, str], Outcome]
log = logging.getLogger("redline")


@dataclass(frozen=True)
class Delivered:
    """What became of messages.

    Attributes:
        sent, failed: in this call; failed ones are not tried again by themselves.
        held: alerts, for all their channels, that are new and kept back.
        waiting: still to be sent when this call ended.
    """

    sent: int
    failed: int
    held: int
    waiting: int


def deliver(settings: Settings, files: Collection[Path] = (), held: str | None = None) -> Delivered:
    """Send what alert files tell to those who are to get it, each alert once.

    Files of the last evenings are taken too, in case a process died before it could. Alerts of
    older evenings, of a platform's first publication and those that are snoozed are held.

    Args:
        files: that were written now. Without a file of alerts nothing else happens.
        held: why all that `files` tell is held back.

    Raises:
        SettingError: the file of alerts means nothing, or one of its variables is not set.
        StorageError: the outbox cannot be used; or a receiver did not take something in time.
        RedlineError: a receiver refused something for good; all else was sent.
    """
    if settings.alerts is None:
        return Delivered(0, 0, 0, 0)
    rules = read_rules(settings.alerts)
    for channel in rules.channels:
        alert_channels.check(channel)
    outbox = open_outbox(settings)
    try:
        kept = enqueue(settings, outbox, rules, files, held)
        return _sent(drain(outbox, rules, patience=PATIENCE), kept)
    finally:
        outbox.close()


def go_on(settings: Settings) -> Delivered:
    """Send what has fallen due since: digests at their time, reminders, what is tried again.

    Takes no files, so it sends nothing that the task `deliver` has not let through. What a receiver
    does not take now is left for the next time.

    Raises:
        SettingError: the file of alerts means nothing, or one of its variables is not set.
        StorageError: the outbox cannot be used.
        RedlineError: a receiver refused something for good, or it was given up; all else was sent.
    """
    if settings.alerts is None:
        return Delivered(0, 0, 0, 0)
    rules = read_rules(settings.alerts)
    for channel in rules.channels:
        alert_channels.check(channel)
    outbox = open_outbox(settings)
    try:
        remind(outbox, rules)
        done = drain(outbox, rules, patience=PATIENCE)
        _sent(replace(done, waiting=0), 0)
        return done
    finally:
        outbox.close()


def _sent(done: Delivered, held: int) -> Delivered:
    """What was sent, where nothing is left that a person should know of."""
    if done.waiting:
        raise StorageError(
            f"{done.waiting} messages of alerts wait for their receivers",
            "outbox",
            "they are tried again; `make alerts` tells what the receivers said",
        )
    if done.failed:
        raise RedlineError(
            f"{done.failed} messages of alerts were refused; {done.sent} were sent",
            "outbox",
            "see `make alerts`, mend the channel, then `make alerts RETRY=failed`",
        )
    return replace(done, held=held)


def enqueue(
    settings: Settings,
    outbox: Outbox,
    rules: Rules,
    files: Collection[Path],
    held: str | None = None,
) -> int:
    """Note the alerts of files for those who get them; how many new ones are held.

    Those of the last evenings are noted whether or not their file is among `files`.
    """
    now = datetime.now(UTC).astimezone(ZoneInfo(settings.timezone))
    fresh = now.date() - timedelta(FRESH_DAYS)
    recent = {
        path for path in settings.home.alerts.glob("????-??-??.jsonl") if _evening(path) >= fresh
    }
    firsts = first_runs(settings.home)
    kept = 0
    for path in sorted({*files, *recent}, key=_evening):
        alerts = read_alerts(settings.home, path)
        quiet = snoozed(outbox.store, alerts, now.date())
        reasons: dict[str | None, list[Alert]] = {}
        for alert in alerts:
            if _evening(path) < fresh:
                reason: str | None = "held: the evening is long past"
            elif alert["run_id"] in firsts:
                reason = "held: the first publication of its platform"
            elif path in files and held is not None:
                reason = held
            else:
                reason = quiet.get(alert["alert_id"])
            reasons.setdefault(reason, []).append(alert)
        for reason, several in reasons.items():
            added = outbox.add(
                [entry for alert in several for entry in addressed(rules, alert, now, reason)]
            )
            kept += added if reason is not None else 0
    return kept


def drain(
    outbox: Outbox,
    rules: Rules,
    *,
    patience: float,
    lease: float = LEASE,
    send: Send = alert_channels.send,
) -> Delivered:
    """Send what is open, waiting for retries that fall due within `patience` seconds.

    A channel that fails or hangs delays no other. An error of the outbox ends all of them.
    """
    deadline, stop = time.monotonic() + patience, threading.Event()
    is_open = outbox.open_channels()
    listed = [channel for channel in rules.channels if channel.name in is_open]

    def post(channel: Channel, letter: Letter, key: str) -> Outcome:
        return send(channel, letter, key, rules.page)

    def work(channel: Channel) -> Delivered:
        try:
            return _drain_channel(outbox, channel, deadline, lease, post, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max(len(listed), 1), thread_name_prefix="deliver") as pool:
        futures = [pool.submit(work, channel) for channel in listed]
    done = [future.result() for future in futures]
    return Delivered(
        sum(each.sent for each in done),
        sum(each.failed for each in done),
        0,
        sum(each.waiting for each in done),
    )


def _drain_channel(
    outbox: Outbox,
    channel: Channel,
    deadline: float,
    lease: float,
    post: _Post,
    stop: threading.Event,
) -> Delivered:
    sent = failed = 0
    quiet_until = 0.0  # a receiver that asks for quiet means all messages, not one
    while not stop.is_set():
        due = outbox.due(channel.name) if time.monotonic() >= quiet_until else []
        for delivery in due:
            if stop.is_set() or time.monotonic() >= deadline:
                break
            outcome = _attempt(outbox, channel, delivery, lease, post)
            sent += outcome is not None and outcome.verdict == "sent"
            failed += outcome is not None and outcome.verdict == "refused"
            if outcome is not None and outcome.retry_after:
                quiet_until = time.monotonic() + outcome.retry_after
                break
        if due and time.monotonic() < deadline:
            continue
        next_due = outbox.next_due_at(channel.name)
        if next_due is None:
            break
        wait = max(next_due - time.time(), quiet_until - time.monotonic(), 0.01)
        if time.monotonic() + wait >= deadline:
            break
        stop.wait(wait)
    return Delivered(sent, failed, 0, outbox.waiting(channel.name))


def _attempt(
    outbox: Outbox, channel: Channel, delivery: Delivery, lease: float, post: _Post
) -> Outcome | None:
    """One attempt; None where another process has the delivery."""
    claimed = outbox.claim(delivery, lease)
    if claimed is None:
        return None
    try:
        outcome = post(channel, claimed.letter, claimed.message_id)
    except Exception as error:  # noqa: BLE001 - one message that cannot be made stops no other
        # Not its words: they may hold an address.
        outcome = Outcome("later", f"it could not be sent: {type(error).__name__}")
    if outcome.verdict == "sent":
        outbox.confirm(claimed, outcome.response)
    elif outcome.verdict == "refused":
        outbox.give_up(claimed, outcome.response)
    elif not outbox.postpone(claimed, outcome.response, outcome.retry_after):
        outcome = replace(outcome, verdict="refused")  # given up
    if outcome.verdict != "sent":
        log.warning(
            "%s %s to %s, attempt %d: %s",
            claimed.form,
            claimed.message_id,
            channel.name,
            claimed.attempts,
            outcome.response,
        )
    return outcome


def _evening(path: Path) -> date:
    return date.fromisoformat(path.stem)


def send_notices(outbox: Outbox, rules: Rules, names: Collection[str], seconds: float) -> None:
    """Send the notices about the pipeline that are due to channels, and nothing else.

    Returns after `seconds` at the latest; what is still on its way then is sent again by whoever
    comes next, with the same key.
    """

    def post(channel: Channel, letter: Letter, key: str) -> Outcome:
        return alert_channels.send(channel, letter, key, rules.page)

    def work(channel: Channel) -> None:
        try:
            # Of notices one at a time is due; it may stand behind many alerts.
            while due := [
                each for each in outbox.due(channel.name, 10**6) if each.form == "notice"
            ]:
                _attempt(outbox, channel, due[0], LEASE, post)
        except RedlineError as error:
            log.warning("notices to %s: %s", channel.name, error)

    threads = [
        threading.Thread(target=work, args=(channel,), daemon=True)
        for channel in rules.channels
        if channel.name in names
    ]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))

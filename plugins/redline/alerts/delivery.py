"""Delivery: from the alert files through the outbox to the channels, one thread for each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from redline.alerts import channels as alert_channels
from redline.alerts.channels import Channel, Outcome, read_channels
from redline.alerts.files import first_runs, read_alerts
from redline.alerts.outbox import LEASE, Delivery, Outbox, open_outbox
from redline.errors import RedlineError, StorageError
from redline.settings import Settings

# Older evenings than these are history: their alerts are held until someone releases them.
FRESH_DAYS = 3
# How long a task waits for receivers; what is left is tried again by the next one.
PATIENCE = 300.0

Send = Callable[[Channel, Mapping[str, Any], str], Outcome]
log = logging.getLogger("redline")


@dataclass(frozen=True)
class Delivered:
    """What became of deliveries.

    Attributes:
        sent, failed: in this call; failed ones are not tried again by themselves.
        held: new ones that are kept back.
        waiting: still to be sent when this call ended.
    """

    sent: int
    failed: int
    held: int
    waiting: int


def deliver(settings: Settings, files: Collection[Path] = ()) -> Delivered:
    """Send what alert files tell to all channels, each alert once.

    Files of the last evenings are taken too, in case a process died before it could. Alerts of
    older evenings, and of a platform's first publication, are held.

    Args:
        files: that were written now. Without a file of channels nothing else happens.

    Raises:
        SettingError: the file of channels means nothing, or one of its variables is not set.
        StorageError: the outbox cannot be used; or a receiver did not take something in time.
        RedlineError: a receiver refused something for good; all else was sent.
    """
    if settings.alerts is None:
        return Delivered(0, 0, 0, 0)
    listed = read_channels(settings.alerts)
    for channel in listed:
        alert_channels.check(channel)
    outbox = open_outbox(settings)
    try:
        held = enqueue(settings, outbox, [channel.name for channel in listed], files)
        done = drain(outbox, listed, patience=PATIENCE)
    finally:
        outbox.close()
    if done.waiting:
        raise StorageError(
            f"{done.waiting} deliveries of alerts wait for their receivers",
            "outbox",
            "they are tried again; `make alerts` tells what the receivers said",
        )
    if done.failed:
        raise RedlineError(
            f"{done.failed} deliveries of alerts were refused; {done.sent} were sent",
            "outbox",
            "see `make alerts`, mend the channel, then `make alerts RETRY=failed`",
        )
    return Delivered(done.sent, done.failed, held, done.waiting)


def enqueue(
    settings: Settings, outbox: Outbox, names: Sequence[str], files: Collection[Path]
) -> int:
    """Note the alerts of files for channels; how many new ones are held.

    Those of the last evenings are noted whether or not their file is among `files`.
    """
    today = datetime.now(UTC).astimezone(ZoneInfo(settings.timezone)).date()
    fresh = today - timedelta(FRESH_DAYS)
    recent = {
        path for path in settings.home.alerts.glob("????-??-??.jsonl") if _evening(path) >= fresh
    }
    firsts = first_runs(settings.home)
    held = 0
    for path in sorted({*files, *recent}, key=_evening):
        alerts = read_alerts(settings.home, path)
        first = [alert for alert in alerts if alert["run_id"] in firsts]
        if _evening(path) < fresh:
            held += outbox.add(alerts, names, "held: the evening is long past")
            continue
        held += outbox.add(first, names, "held: the first publication of its platform")
        outbox.add([alert for alert in alerts if alert["run_id"] not in firsts], names)
    return held


def drain(
    outbox: Outbox,
    listed: Sequence[Channel],
    *,
    patience: float,
    lease: float = LEASE,
    send: Send = alert_channels.send,
) -> Delivered:
    """Send what is open, waiting for retries that fall due within `patience` seconds.

    A channel that fails or hangs delays no other. An error of the outbox ends all of them.
    """
    deadline, stop = time.monotonic() + patience, threading.Event()

    def work(channel: Channel) -> Delivered:
        try:
            return _drain_channel(outbox, channel, deadline, lease, send, stop)
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
    send: Send,
    stop: threading.Event,
) -> Delivered:
    sent = failed = 0
    quiet_until = 0.0  # a receiver that asks for quiet means all messages, not one
    while not stop.is_set():
        due = outbox.due(channel.name) if time.monotonic() >= quiet_until else []
        for delivery in due:
            if stop.is_set() or time.monotonic() >= deadline:
                break
            outcome = _attempt(outbox, channel, delivery, lease, send)
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
    waiting = sum(
        n
        for (name, state), n in outbox.counts().items()
        if name == channel.name and state in ("pending", "claimed")
    )
    return Delivered(sent, failed, 0, waiting)


def _attempt(
    outbox: Outbox, channel: Channel, delivery: Delivery, lease: float, send: Send
) -> Outcome | None:
    """One attempt; None where another process has the delivery."""
    claimed = outbox.claim(delivery, lease)
    if claimed is None:
        return None
    try:
        outcome = send(channel, claimed.alert, claimed.key)
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
            "alert %s to %s, attempt %d: %s",
            claimed.alert_id,
            channel.name,
            claimed.attempts,
            outcome.response,
        )
    return outcome


def _evening(path: Path) -> date:
    return date.fromisoformat(path.stem)

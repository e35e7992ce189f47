"""`make alerts`: list messages that wait, preview or acknowledge an alert, try some again."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from redline.alerts import channels
from redline.alerts.delivery import go_on
from redline.alerts.files import read_alerts
from redline.alerts.letter import Letter
from redline.alerts.marks import say
from redline.alerts.outbox import Delivery, open_outbox
from redline.alerts.routing import routes_of
from redline.alerts.rules import read_rules
from redline.errors import RedlineError, SettingError
from redline.settings import Settings, read_settings

_WIDTH = 120  # of a file or a pipe, which have none
_SHORT = 12  # characters of an id
_LISTED = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked; the exit code is 1 where that failed."""
    parser = argparse.ArgumentParser(prog="python -m redline.alerts", description=__doc__)
    parser.add_argument("--preview", default="", help="an alert's id, or the beginning of it")
    parser.add_argument("--retry", default="", help="an alert's id, `failed` or `held`")
    parser.add_argument("--replay", default="", help="an alert's id, also of one that was sent")
    parser.add_argument("--acknowledge", default="", help="an alert's id, or the beginning of it")
    parser.add_argument("--snooze", default="", help="an alert's id, or the beginning of it")
    parser.add_argument("--until", default="", help="the last date of the snooze")
    parser.add_argument("--reason", default="", help="why it is acknowledged or snoozed")
    parser.add_argument("--by", default="", help="who says so; else who runs this")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    try:
        settings = read_settings()
        if given.preview.strip():
            _preview(settings, given.preview.strip(), console)
        elif given.retry.strip():
            _send_again(settings, f"RETRY={given.retry.strip()}", console)
        elif given.replay.strip():
            _send_again(settings, f"REPLAY={given.replay.strip()}", console)
        elif wanted := given.acknowledge.strip() or given.snooze.strip():
            said = say(
                settings,
                wanted,
                given.by.strip() or getpass.getuser(),
                given.reason,
                _date(given.until) if given.snooze.strip() else None,
            )
            console.print(Text(said))
        else:
            _list(settings, console)
    except RedlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _list(settings: Settings, console: Console) -> None:
    outbox = open_outbox(settings)
    waiting, counts = outbox.deliveries(), outbox.counts()
    outbox.close()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("evening", "tells", "channel", "state", "tries", "next try", "response"):
        table.add_column(heading)
    for each in waiting[:_LISTED]:
        open_ = each.state in ("pending", "claimed")
        table.add_row(
            each.evening,
            _told(each),
            each.channel,
            each.state,
            str(each.attempts),
            _clock(each, settings) if open_ else "",
            Text(each.response or ""),
        )
    if waiting:
        console.print(table)
    if len(waiting) > _LISTED:
        console.print(f"and {len(waiting) - _LISTED} more")
    for channel in sorted({channel for channel, _ in counts}):
        told = ", ".join(f"{n} {state}" for (name, state), n in counts.items() if name == channel)
        console.print(f"{channel}: {told}")
    if not counts:
        console.print("The outbox is empty.")


def _told(delivery: Delivery) -> str:
    """An alert's id, or what a message that tells no single alert is."""
    if delivery.form == "notice":
        return "notice"
    if delivery.form == "digest":
        return f"digest of {len(delivery.alerts)}"
    alert_id = str(delivery.alerts[0]["alert_id"])[:_SHORT]
    return f"{alert_id} again" if delivery.form == "reminder" else alert_id


def _preview(settings: Settings, wanted: str, console: Console) -> None:
    alert = _find(settings, wanted)
    if settings.alerts is None:
        console.print(Text(alert["text"]))
        return
    rules = read_rules(settings.alerts)
    routes = routes_of(rules, alert)
    for channel in rules.channels:
        if channel.name not in routes:
            continue
        letter = Letter("alert", routes[channel.name].audience, (alert,))
        console.print(f"[bold]{channel.name}[/] ({channel.kind})")
        console.print(Text(channels.preview(channel, letter, rules.page)))
    if not routes:
        console.print("No route leads this alert anywhere.")


def _send_again(settings: Settings, asked: str, console: Console) -> None:
    if settings.alerts is None:
        raise SettingError("no channels are set", "REDLINE_ALERTS", "name a file of alerts")
    read_rules(settings.alerts)
    how, _, wanted = asked.partition("=")
    outbox = open_outbox(settings)
    released = outbox.replay(wanted) if how == "REPLAY" else outbox.release(wanted)
    outbox.close()
    if not released:
        kind = "message tells that alert" if how == "REPLAY" else "failed or held message is meant"
        raise SettingError(f"no {kind}", asked, "see `make alerts`")
    # No files: what the storm guard has not let through is not sent on the side.
    done = go_on(settings)
    console.print(f"{released} tried again, {done.sent} sent")


def _find(settings: Settings, wanted: str) -> dict[str, Any]:
    """An alert of the newest file that has one whose id begins so."""
    for path in sorted(settings.home.alerts.glob("????-??-??.jsonl"), reverse=True):
        for alert in read_alerts(settings.home, path):
            if alert["alert_id"].startswith(wanted):
                return alert
    raise SettingError("no alert has that id", f"PREVIEW={wanted}", "see the files in alerts/")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise SettingError("a snooze needs its end", f"UNTIL={text}", "write YYYY-MM-DD") from None


def _clock(delivery: Delivery, settings: Settings) -> str:
    moment = datetime.fromtimestamp(delivery.next_try_at, ZoneInfo(settings.timezone))
    return f"{moment:%m-%d %H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())

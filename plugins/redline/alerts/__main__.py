"""`make alerts`: list the deliveries that wait for a person, preview an alert, try some again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from redline.alerts import channels
from redline.alerts.delivery import deliver
from redline.alerts.files import read_alerts
from redline.alerts.outbox import Delivery, open_outbox
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
    given = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    try:
        settings = read_settings()
        if given.preview.strip():
            _preview(settings, given.preview.strip(), console)
        elif given.retry.strip():
            _retry(settings, given.retry.strip(), console)
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
    for heading in ("evening", "alert", "channel", "state", "tries", "next try", "response"):
        table.add_column(heading)
    for each in waiting[:_LISTED]:
        open_ = each.state in ("pending", "claimed")
        table.add_row(
            each.evening,
            each.alert_id[:_SHORT],
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


def _preview(settings: Settings, wanted: str, console: Console) -> None:
    alert = _find(settings, wanted)
    if settings.alerts is None:
        console.print(Text(alert["text"]))
        return
    for channel in channels.read_channels(settings.alerts):
        console.print(f"[bold]{channel.name}[/] ({channel.kind})")
        console.print(Text(channels.preview(channel, alert)))


def _retry(settings: Settings, wanted: str, console: Console) -> None:
    if settings.alerts is None:
        raise SettingError("no channels are set", "REDLINE_ALERTS", "name a file of channels")
    channels.read_channels(settings.alerts)
    outbox = open_outbox(settings)
    released = outbox.release(wanted)
    outbox.close()
    if not released:
        raise SettingError(
            "no failed or held delivery is meant", f"RETRY={wanted}", "see `make alerts`"
        )
    done = deliver(settings)
    console.print(f"{released} tried again, {done.sent} sent")


def _find(settings: Settings, wanted: str) -> dict[str, Any]:
    """An alert of the newest file that has one whose id begins so."""
    for path in sorted(settings.home.alerts.glob("????-??-??.jsonl"), reverse=True):
        for alert in read_alerts(settings.home, path):
            if alert["alert_id"].startswith(wanted):
                return alert
    raise SettingError("no alert has that id", f"PREVIEW={wanted}", "see the files in alerts/")


def _clock(delivery: Delivery, settings: Settings) -> str:
    moment = datetime.fromtimestamp(delivery.next_try_at, ZoneInfo(settings.timezone))
    return f"{moment:%m-%d %H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())

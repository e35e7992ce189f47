"""Delivery: an evening of many alerts to many recipients, by e-mail to a real server on loopback.

The product's side is `redline.alerts.deliver`: routes, outbox, words, one mail for each alert or
one digest for each recipient. The other side sends mails of the same words with `smtplib` from as
many threads, keeps no note of any and tries none again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from redline.settings import Home, Settings
from tests.plugins.redline.alerts.receivers import made_alert, smtp_receiver

ALERTS, RECIPIENTS = 10_000, 500
TIMEZONE = "Asia/Shanghai"
FORMS = ("at_once", "digest")

Measure = Callable[..., Any]


def make_evening(folder: str, port: str, alerts: str, recipients: str) -> dict[str, Any]:
    """Write the alert file of an evening and, per form, the file of who gets which of them."""
    home = Home(Path(folder))
    home.alerts.mkdir(parents=True)
    day = datetime.now(UTC).date()
    with (home.alerts / f"{day}.jsonl").open("w", encoding="utf-8") as file:
        for number in range(int(alerts)):
            merchant = number % int(recipients)
            made = {**made_alert(number, merchant), "as_of_date": str(day)}
            made |= {"history": [[str(day), 0.01 + n % 7 / 500] for n in range(30)], "why": []}
            file.write(json.dumps(made) + "\n")
    server = f"kind: email, host: 127.0.0.1, port: {port}, security: none, from: r@example.com"
    channels = [f"  c{n}: {{{server}, to: c{n}@example.com}}" for n in range(int(recipients))]
    for form in FORMS:
        routes = [
            f"  - {{to: c{n}, when: {{merchant: m{n}}}, send: {form}}}"
            for n in range(int(recipients))
        ]
        lines = ["channels:", *channels, "routes:", *routes]
        (home.root / f"{form}.yml").write_text("\n".join(lines) + "\n")
    return {"alerts": int(alerts)}


def deliver(folder: str, form: str) -> dict[str, Any]:
    """Deliver the evening, as the DAG's task does."""
    from redline.alerts import deliver

    home = Home(Path(folder))
    # Each form has an outbox of its own.
    for name in ("", "-wal", "-shm"):
        (home.root / f"outbox.sqlite{name}").unlink(missing_ok=True)
    rules = home.root / f"{form}.yml"
    settings = Settings(home, TIMEZONE, (), 180, 7, alerts=rules)
    return {"messages": deliver(settings).sent}


def send_bare(folder: str, threads: str) -> dict[str, Any]:
    """Send the evening's alerts, a mail each, and note nothing."""
    from redline.alerts.channels import mail
    from redline.alerts.message import message
    from redline.alerts.rules import read_rules

    home = Home(Path(folder))
    channels = {each.name: each for each in read_rules(home.root / "at_once.yml").channels}
    (path,) = home.alerts.glob("*.jsonl")
    alerts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def send(alert: dict[str, Any]) -> bool:
        given = dict(channels[f"c{alert['merchant_id'][1:]}"].options)
        sender = given.pop("from")
        said = message(alert, "en")
        return mail.send(said, alert["alert_id"], sender=sender, **given).verdict == "sent"

    with ThreadPoolExecutor(int(threads)) as pool:
        return {"messages": sum(pool.map(send, alerts))}


# What `benchmarks.stage` performs, each in a process of its own; arguments are text.
STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "alerts_make": make_evening,
    "alerts_deliver": deliver,
    "alerts_bare": send_bare,
}


def measure_all(
    measure: Measure, folder: Path, alerts: int = ALERTS, recipients: int = RECIPIENTS
) -> dict[str, Any]:
    """Measure both forms, and the bare sending.

    Args:
        measure: performs a stage in a process of its own.
        folder: where to make the evening.
    """
    with smtp_receiver() as server:
        measure("alerts_make", folder, server.server_address[1], alerts, recipients)
        results = {
            "alerts": alerts,
            "recipients": recipients,
            "bare": measure("alerts_bare", folder, os.cpu_count() or 1),
            **{form: measure("alerts_deliver", folder, form) for form in FORMS},
        }
        received = len(server.recipients)
    expected = 2 * alerts + recipients
    assert received == expected, f"{received:,} mails came, not {expected:,}"
    return results


TITLES = {
    "bare": "smtplib alone, a mail for each alert",
    "at_once": "delivery, a mail for each alert",
    "digest": "delivery, a digest for each recipient",
}


def show(console: Console, results: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        "by", "mails", "alerts a second", "seconds", "CPU seconds", "peak memory", "x bare"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name, title in TITLES.items():
        one = results[name]
        table.add_row(
            title,
            f"{one.returned['messages']:,}",
            f"{results['alerts'] / one.seconds:,.0f}",
            f"{one.seconds:.1f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.peak_bytes / 1e9:.2f} GB",
            f"{one.seconds / results['bare'].seconds:.2f}",
        )
    console.print(f"\n{results['alerts']:,} alerts to {results['recipients']:,} recipients")
    console.print(table)

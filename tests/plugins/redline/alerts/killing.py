"""Kills the delivery of alerts at random moments, over and over, and looks at what arrived.

`python -m tests.plugins.redline.alerts.killing KILLS ALERTS [ADDRESS]` (of PostgreSQL; else SQLite)
prints one line of JSON: how many runs were killed, how many of them with a message in flight, what
was lost, what came too often or with another key, and what came out of order.

This process has no threads and no connection: it forks children that do.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from redline.alerts.delivery import drain
from redline.alerts.outbox import Entry, idempotency_key, open_outbox
from redline.alerts.rules import read_rules
from redline.settings import Settings
from tests.plugins.redline.alerts.receivers import OK, Answer, HttpReceiver, Request, made_alert
from tests.plugins.redline.publish import made_home

CHANNELS = ("one", "two")
MERCHANTS = 25
LEASE = 0.05  # a child that was killed is dead: nobody need wait for it
SECONDS_OF_RECEIVER = 0.002  # so that many kills fall between sending and confirming


@dataclass(frozen=True)
class Killed:
    """What came of it.

    Attributes:
        killed, in_flight: runs that were killed, and messages they had claimed then.
        lost: deliveries that never arrived.
        repeated: messages that came more than once.
        unexplained: those of them that came more often than they were in flight at a kill.
        wrong_keys: messages with another key than the delivery's.
        out_of_order: alerts that came after a later one of their merchant.
    """

    killed: int
    in_flight: int
    lost: int
    repeated: int
    unexplained: int
    wrong_keys: int
    out_of_order: int


def main(folder: Path, kills: int, alerts: int, address: str | None = None) -> Killed:
    """Deliver the alerts to two channels, killing the one who does it that many times."""
    chance = random.Random(kills)
    received = folder / "received"
    received.touch()
    receiver, base = _receive(received)
    os.environ |= {"A_URL": base, "A_SECRET": "a secret of tests"}
    settings = Settings(
        **{**vars(made_home.settings_of(folder / "home")), "outbox": address},
    )
    file = folder / "alerts.yml"
    file.write_text(
        "channels:\n"
        + "".join(
            f"  {name}: {{kind: webhook, url: '${{A_URL}}', secret: '${{A_SECRET}}',"
            " allow_private: true}\n"
            for name in CHANNELS
        )
    )
    made = [made_alert(number, number % MERCHANTS) for number in range(alerts)]
    _wait(_fork(lambda: _add(settings, made)))
    in_flight: Counter[str] = Counter()
    killed = 0
    try:
        while killed < kills:
            # Three quarters of its share on average: the last, undisturbed run has some left.
            child = _fork(lambda: _drain(settings, file))
            goal = _lines(received) + chance.randint(0, 3 * len(CHANNELS) * alerts // kills // 2)
            _until(lambda goal=goal: _lines(received) >= goal, child)
            time.sleep(chance.uniform(0, 2 * SECONDS_OF_RECEIVER))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                break  # all was sent
            killed += 1
            in_flight.update(_claimed(settings, folder))
        _wait(_fork(lambda: _drain(settings, file)))
    finally:
        os.kill(receiver, signal.SIGKILL)
        os.waitpid(receiver, 0)
    return _judge(received, made, killed, in_flight)


def _judge(
    received: Path, made: list[dict[str, Any]], killed: int, in_flight: Counter[str]
) -> Killed:
    came = [json.loads(line) for line in received.read_text().splitlines()]
    counts = Counter(each["key"] for each in came)
    wanted = {
        idempotency_key(alert["alert_id"], channel): (channel, alert)
        for alert in made
        for channel in CHANNELS
    }
    firsts: dict[tuple[str, str], list[str]] = {}
    for key in dict.fromkeys(each["key"] for each in came):
        if key in wanted:
            channel, alert = wanted[key]
            firsts.setdefault((channel, alert["merchant_id"]), []).append(alert["alert_id"])
    return Killed(
        killed=killed,
        in_flight=in_flight.total(),
        lost=len(wanted.keys() - counts.keys()),
        repeated=sum(count > 1 for count in counts.values()),
        unexplained=sum(count - 1 > in_flight[key] for key, count in counts.items()),
        wrong_keys=sum(
            each["key"] not in wanted or wanted[each["key"]][1]["alert_id"] != each["alert"]
            for each in came
        ),
        out_of_order=sum(a > b for ids in firsts.values() for a, b in pairwise(ids)),
    )


def _receive(received: Path) -> tuple[int, str]:
    """A receiver in a child: it writes down what it is sent before it answers."""
    descriptor = os.open(received, os.O_WRONLY | os.O_APPEND)

    def note(request: Request) -> Answer:
        told = {"key": request.headers["Idempotency-Key"], "alert": request.json["alert_id"]}
        os.write(descriptor, json.dumps(told).encode() + b"\n")
        time.sleep(SECONDS_OF_RECEIVER)
        return OK

    server = HttpReceiver(note)
    child = _fork(lambda: server.serve_forever())
    server.server_close()
    return child, server.base


def _add(settings: Settings, made: list[dict[str, Any]]) -> None:
    open_outbox(settings).add([Entry(alert, name) for alert in made for name in CHANNELS])


def _drain(settings: Settings, file: Path) -> None:
    done = drain(open_outbox(settings), read_rules(file), patience=120, lease=LEASE)
    assert done.waiting == 0, done


def _claimed(settings: Settings, folder: Path) -> list[str]:
    """The keys of what was in flight; asked in a child, so that this process stays bare."""
    file = folder / "claimed"

    def ask() -> None:
        found = open_outbox(settings).deliveries(("claimed",))
        file.write_text(json.dumps([each.message_id for each in found]))

    _wait(_fork(ask))
    keys: list[str] = json.loads(file.read_text())
    return keys


def _fork(work: Any) -> int:
    child = os.fork()
    if child == 0:
        _run(work)
    return child


def _run(work: Any) -> NoReturn:
    try:
        work()
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def _wait(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child failed: {status}"


def _until(reached: Any, child: int) -> None:
    while not reached():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.001)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        kills, alerts, *address = sys.argv[1:]
        print(json.dumps(vars(main(Path(made), int(kills), int(alerts), *address))))

"""Delivery killed at random moments: nothing is lost, and only what was in flight repeats.

`make soak-alerts` does it 200 times to 1,000 alerts.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from redline.settings import PROJECT, Settings

pytestmark = pytest.mark.xdist_group("outbox")


def test_after_a_kill_at_any_moment_all_arrives_and_only_what_was_in_flight_repeats(
    stored: Settings,
) -> None:
    address, kills = ([stored.outbox], 10) if stored.outbox else ([], 20)
    done = subprocess.run(
        [sys.executable, "-m", "tests.plugins.redline.alerts.killing", str(kills), "60", *address],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] == kills
    assert found["in_flight"] > kills / 4  # the kills did hit the sending
    wrong = ("lost", "unexplained", "wrong_keys", "out_of_order")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)

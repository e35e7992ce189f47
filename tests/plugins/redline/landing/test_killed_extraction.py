"""Extraction killed at random moments: a plain re-run makes what an undisturbed run makes.

`make soak` does it to all entities, and more often.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from redline.settings import PROJECT

KILLS = 15


@pytest.mark.timeout(600)
def test_after_a_kill_at_any_moment_a_plain_run_lands_what_an_undisturbed_one_lands() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.plugins.redline.landing.killing",
            str(KILLS),
            "orders",
            "order_items",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differing"] == []
    assert found["killed"] == KILLS
    assert found["files"] > 20
    assert found["halfway"] > KILLS / 4  # the kills did hit the writing

"""The benchmark runs, and finds the product's ledger and rates to be the limit's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redline.settings import PROJECT


def bench(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)]),
        "ORDERS": "",
        "MERCHANTS": "",
        "DAYS": "",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_product_makes_the_same_ledger_and_rates_as_the_script_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    finished = bench(
        "--stages=transform",
        "--incidents=0",
        "--alerts=60",
        f"--scratch={tmp_path}",
        f"--json={path}",
        ORDERS="4_000",
        MERCHANTS="30",
        DAYS="15",
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = json.loads(path.read_text())
    assert results["size"] == {"orders": 4_000, "merchants": 30, "days": 15}
    for run in ("history", "day"):
        compared = results[run]["compared"]
        assert (compared["ledger"], compared["rates"]) == (0, 0)
        assert compared["ledger_rows"] > 4_000
        assert compared["rates_rows"] > 500
        assert results[run]["product"]["transform"]["peak_bytes"] > 10_000_000
    for form in ("parquet", "csv"):
        landed = results["intake"][form]["land"]
        assert landed["returned"]["rows_landed"] == 4_000 and landed["peak_bytes"] > 10_000_000
    for form, messages in {"at_once": 60, "digest": 60}.items():
        assert results["alerts"][form]["returned"]["messages"] == messages
    assert results["day"]["compared"]["ledger_rows"] > results["history"]["compared"]["ledger_rows"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "arguments", [["--orders", "many"], ["--days", "0"], ["--stages", "publish"]]
)
def test_an_argument_that_means_nothing_is_refused(arguments: list[str]) -> None:
    finished = bench(*arguments)

    assert finished.returncode == 2
    assert arguments[1] in finished.stderr.splitlines()[-1]

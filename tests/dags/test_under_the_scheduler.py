"""The DAGs under the real scheduler, triggered over the REST API as another system would do it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from redline.settings import PROJECT

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(900)]

SOURCE = "simulator://?merchants=6&days=12&seed=3"


@dataclass
class Api:
    """A running Airflow, spoken to over REST."""

    address: str
    token: str = ""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  our own server on loopback
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            result: dict[str, Any] = json.load(answer)
        return result

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        return runs

    def trigger(self, dag_id: str, conf: dict[str, str]) -> str:
        body = {"logical_date": None, "conf": conf}
        return str(self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def wait_for_end(self, dag_id: str, run_id: str) -> str:
        def ended() -> str | None:
            run = next(run for run in self.runs(dag_id) if run["dag_run_id"] == run_id)
            return run["state"] if run["state"] in ("success", "failed") else None

        return wait(ended, 600)


def wait(question: Callable[[], Any], seconds: float) -> Any:
    """The first true answer to a question asked again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if answer := question():
                return answer
        except OSError:
            pass
        time.sleep(1)
    raise AssertionError(f"no answer within {seconds} s")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "home"


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[Api]:
    """`make serve`, as its recipe starts it, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "REDLINE"))}
    server = subprocess.Popen(
        [sys.executable, "-m", "redline.serve", "--source", SOURCE],
        env={
            **inherited,
            "PYTHONPATH": str(PROJECT / "plugins"),
            "REDLINE_HOME": str(home),
            "REDLINE_PORT": str(port),
        },
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        said: dict[str, str] = {}
        while "Source" not in said:
            line = server.stdout.readline()
            assert line, f"make serve ended: {said}"
            name, _, value = line.partition(" ")
            said[name] = value.strip()
        found = Api(said["Airflow"])
        user, _, password = said["Login"].partition(" / ")
        answer = found.call("POST", "/auth/token", {"username": user, "password": password})
        found.token = answer["access_token"]
        wait(lambda: {"merchant_risk_daily", "merchant_risk_alerts"} <= dag_ids(found), 60)
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(45)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def dag_ids(api: Api) -> set[str]:
    return {
        dag["dag_id"] for dag in api.call("GET", "/api/v2/dags")["dags"] if not dag["is_paused"]
    }


def span() -> tuple[date, date]:
    from redline.planning import open_known_source

    found = open_known_source(SOURCE).span()
    assert found is not None
    return found


def test_a_range_triggered_over_rest_is_published_and_its_alerts_written(
    api: Api, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import duckdb

    monkeypatch.setenv("REDLINE_HOME", str(tmp_path))
    first, last = span()
    run_id = api.trigger(
        "merchant_risk_daily", {"start_date": str(first), "end_date": str(last - timedelta(1))}
    )
    assert api.wait_for_end("merchant_risk_daily", run_id) == "success"

    with duckdb.connect(str(home / "published" / "redline.duckdb"), read_only=True) as connection:
        as_of = connection.execute("select max(as_of_date) from marts.published_run").fetchone()
    assert as_of == (last - timedelta(1),)
    assert any((home / "published" / "parquet" / "fct_cohort_ledger").rglob("*.parquet"))

    woken = wait(lambda: api.runs("merchant_risk_alerts"), 60)
    assert woken[0]["run_type"] == "asset_triggered"
    assert api.wait_for_end("merchant_risk_alerts", woken[0]["dag_run_id"]) == "success"
    assert (home / "alerts" / f"{last - timedelta(1)}.jsonl").exists()


def test_a_refused_run_fails_at_its_first_task_and_publishes_nothing(api: Api, home: Path) -> None:
    before = (home / "published" / "current").readlink()
    run_id = api.trigger(
        "merchant_risk_daily", {"start_date": "2026-01-09", "end_date": "2026-01-02"}
    )
    assert api.wait_for_end("merchant_risk_daily", run_id) == "failed"
    tasks = api.call("GET", f"/api/v2/dags/merchant_risk_daily/dagRuns/{run_id}/taskInstances")
    states = {task["task_id"]: task for task in tasks["task_instances"]}
    assert (states["plan"]["state"], states["plan"]["try_number"]) == ("failed", 1)
    assert states["publish"]["state"] == "upstream_failed"
    assert (home / "published" / "current").readlink() == before


def test_the_pool_of_the_one_writer_is_there(api: Api) -> None:
    assert api.call("GET", "/api/v2/pools/redline_warehouse")["slots"] == 1


def test_the_login_is_in_no_log(api: Api, home: Path) -> None:
    (password,) = json.loads((home / "airflow" / "passwords.json").read_text()).values()
    assert (home / "airflow" / "passwords.json").stat().st_mode & 0o077 == 0
    logs = [path for path in (home / "logs").rglob("*") if path.is_file()]
    assert logs
    assert not any(password.encode() in path.read_bytes() for path in logs)

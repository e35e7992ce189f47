"""The DAGs under the real scheduler, triggered over the REST API as another system would do it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from redline.settings import PROJECT
from tests.end_to_end_support import DAYS, Market
from tests.plugins.redline.alerts.receivers import ALERT, HttpReceiver, http_receiver

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(900)]

SOURCE = "simulator://?merchants=6&days=12&seed=3"

# A team that hears of merchants, and operators who hear of the pipeline.
ALERTS = """
channels:
  team: {kind: webhook, url: "${TEAM_URL}", secret: "${HOOK_SECRET}", allow_private: true}
  oncall: {kind: webhook, url: "${ONCALL_URL}", secret: "${HOOK_SECRET}", allow_private: true}
routes:
  - to: [team]
operators: [oncall]
"""


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

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
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


@dataclass
class Heard:
    """What the receivers were sent."""

    receiver: HttpReceiver

    def by(self, who: str) -> list[dict[str, Any]]:
        """The bodies of what the team or the operators got."""
        return [each.json for each in self.receiver.requests if each.path == f"/{who}"]

    def notices(self, kind: str, **of: str) -> list[dict[str, Any]]:
        """What the operators were told of that kind."""
        told = [body["notice"] for body in self.by("oncall")]
        return [
            notice
            for notice in told
            if notice["kind"] == kind and all(notice[name] == of[name] for name in of)
        ]


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with http_receiver() as receiver:
        yield Heard(receiver)


@pytest.fixture(scope="module")
def broken_shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A marketplace whose orders the intake gate refuses."""
    market = Market()
    for number in range(30):
        market.order(f"o{number}", DAYS[0], "m1")
    for row in market.rows["orders", DAYS[0]]:
        row["amount"] = "about twenty"
    return f"files://{market.write(tmp_path_factory.mktemp('shop'))}?platform=shop"


@pytest.fixture(scope="module")
def api(home: Path, heard: Heard, broken_shop: str) -> Iterator[Api]:
    """`make serve`, as its recipe starts it, on a free port."""
    home.mkdir()
    (home.parent / "alerts.yml").write_text(ALERTS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "REDLINE"))}
    server = subprocess.Popen(
        [sys.executable, "-m", "redline.serve", "--source", f"{SOURCE} {broken_shop}"],
        env={
            **inherited,
            "PYTHONPATH": str(PROJECT / "plugins"),
            "REDLINE_HOME": str(home),
            "REDLINE_PORT": str(port),
            "REDLINE_ALERTS": str(home.parent / "alerts.yml"),
            "TEAM_URL": f"{heard.receiver.base}/team",
            "ONCALL_URL": f"{heard.receiver.base}/oncall",
            "HOOK_SECRET": "s3cret-key",
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
        "merchant_risk_daily",
        {
            "marketplaces": ["simulator"],
            "start_date": str(first),
            "end_date": str(last - timedelta(1)),
        },
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


def test_a_refused_run_fails_at_its_first_task_and_publishes_nothing(
    api: Api, home: Path, heard: Heard
) -> None:
    before = (home / "published" / "current").readlink()
    run_id = api.trigger(
        "merchant_risk_daily",
        {"marketplaces": ["simulator"], "start_date": "2026-01-09", "end_date": "2026-01-02"},
    )
    assert api.wait_for_end("merchant_risk_daily", run_id) == "failed"
    tasks = api.call("GET", f"/api/v2/dags/merchant_risk_daily/dagRuns/{run_id}/taskInstances")
    states = {task["task_id"]: task for task in tasks["task_instances"]}
    assert (states["simulator.plan"]["state"], states["simulator.plan"]["try_number"]) == (
        "failed",
        1,
    )
    assert states["simulator.publish"]["state"] == "upstream_failed"
    assert (home / "published" / "current").readlink() == before
    (notice,) = wait(lambda: heard.notices("failed_task", run_id=run_id), 30)
    assert (notice["task_id"], notice["platform"]) == ("simulator.plan", "simulator")
    assert "2026-01-09" in notice["what"]


def test_a_failed_gate_is_told_to_the_operators_once_and_nothing_to_anybody_else(
    api: Api, heard: Heard
) -> None:
    run_id = api.trigger(
        "merchant_risk_daily",
        {"marketplaces": ["shop"], "start_date": str(DAYS[0]), "end_date": str(DAYS[0])},
    )
    assert api.wait_for_end("merchant_risk_daily", run_id) == "failed"

    (notice,) = wait(lambda: heard.notices("failed_gate", run_id=run_id), 30)
    assert notice["task_id"] == "shop.validate_intake"
    for said in (
        "intake.few_orders_of_a_small_batch_are_refused",  # the suite and the expectation
        "intake.refusals",  # the table
        "not_a_number:amount 30",  # what was observed
    ):
        assert said in notice["what"]
    assert run_id.split("+")[0] in notice["log_url"].replace("%3A", ":")
    # Neither the verdict nor the run, which the DAG processor tells of, says it again.
    time.sleep(10)
    assert [each["kind"] for each in heard.notices("failed_task", run_id=run_id)] == []
    assert len(heard.notices("failed_gate", run_id=run_id)) == 1
    assert heard.by("team") == []


def evening(home: Path, back: int, count: int) -> set[str]:
    """Alerts of a late evening, as if it had been published; their ids."""
    day = datetime.now(UTC).date() - timedelta(back)
    alerts = [
        {**ALERT, "alert_id": f"{day}-{number:03d}", "record_id": f"{day}-{number}"}
        | {"as_of_date": str(day), "merchant_id": f"m{number}"}
        for number in range(count)
    ]
    text = "".join(json.dumps(alert) + "\n" for alert in alerts)
    (home / "alerts" / f"{day}.jsonl").write_text(text)
    return {alert["alert_id"] for alert in alerts}


def held(home: Path) -> set[str]:
    """Why messages are held."""
    with sqlite3.connect(home / "outbox.sqlite", timeout=30) as connection:
        rows = connection.execute("select response from redline_messages where state = 'held'")
        return {response for (response,) in rows}


def ask(api: Api) -> str:
    """Weigh the alerts; the run that asks about them."""
    run_id = api.trigger("merchant_risk_alerts", {})
    path = f"/api/v2/dags/merchant_risk_alerts/dagRuns/{run_id}/taskInstances/ask"
    wait(lambda: api.call("GET", path)["state"] == "awaiting_input", 120)
    # A parked task's process lingers for five seconds. Airflow 3.3 takes an answer within them for
    # a task that was killed, and asks again.
    time.sleep(8)
    return run_id


def answer(api: Api, run_id: str, option: str, reason: str = "") -> None:
    path = f"/api/v2/dags/merchant_risk_alerts/dagRuns/{run_id}/taskInstances/ask/-1/hitlDetails"
    said = {"chosen_options": [option], "params_input": {"reason": reason}}
    api.call("PATCH", path, said)


def test_a_storm_goes_out_once_a_person_has_approved_it_and_is_not_asked_about_again(
    api: Api, home: Path, heard: Heard
) -> None:
    alerts = evening(home, 0, 60)

    run_id = ask(api)

    path = f"/api/v2/dags/merchant_risk_alerts/dagRuns/{run_id}/taskInstances"
    asked = api.call("GET", f"{path}/ask/-1/hitlDetails")
    assert "60 new alerts" in asked["subject"]
    assert "| sim |" in asked["body"]
    assert asked["options"] == ["Approve", "Reject"]
    assert heard.by("team") == []
    (notice,) = heard.notices("storm_asked", run_id=run_id)
    assert notice["log_url"].endswith("/tasks/ask/required_actions")

    answer(api, run_id, "Approve")
    assert api.wait_for_end("merchant_risk_alerts", run_id) == "success"
    assert {body["alert_id"] for body in heard.by("team")} == alerts

    cleared = {"dag_run_id": run_id, "dry_run": False, "only_failed": False}
    api.call("POST", "/api/v2/dags/merchant_risk_alerts/clearTaskInstances", cleared)
    assert api.wait_for_end("merchant_risk_alerts", run_id) == "success"
    states = {each["task_id"]: each["state"] for each in api.call("GET", path)["task_instances"]}
    assert (states["deliver"], states["ask"]) == ("success", "skipped")
    assert len(heard.by("team")) == 60


def test_a_rejected_storm_is_held_with_the_persons_name_and_reason(
    api: Api, home: Path, heard: Heard
) -> None:
    evening(home, 1, 60)
    run_id = ask(api)
    before = len(heard.by("team"))

    answer(api, run_id, "Reject", "a feed was cut short")

    assert api.wait_for_end("merchant_risk_alerts", run_id) == "success"
    assert "held: a storm, rejected by admin: a feed was cut short" in held(home)
    assert len(heard.by("team")) == before


def test_a_storm_that_nobody_answers_in_time_is_held_and_the_operators_are_told(
    api: Api, home: Path, heard: Heard
) -> None:
    evening(home, 2, 60)
    run_id = ask(api)
    before = len(heard.by("team"))

    # The hours pass.
    with sqlite3.connect(home / "airflow" / "airflow.db", timeout=60) as metadata:
        metadata.execute(
            "update task_instance set trigger_timeout = '2026-01-01 00:00:00'"
            " where task_id = 'ask' and state = 'awaiting_input'"
        )

    assert api.wait_for_end("merchant_risk_alerts", run_id) == "success"
    assert any("nobody had answered by" in reason for reason in held(home))
    (notice,) = heard.notices("storm_unanswered", run_id=run_id)
    assert "60 messages" in notice["what"]
    assert len(heard.by("team")) == before


def test_marts_that_are_not_there_at_their_deadline_are_told_to_the_operators(
    api: Api, home: Path, heard: Heard
) -> None:
    # The scheduler finds a run that fell due at two in the morning the day before yesterday.
    with sqlite3.connect(home / "airflow" / "airflow.db", timeout=60) as metadata:
        metadata.execute(
            "update dag set next_dagrun_create_after = ?, next_dagrun_partition_key = ?"
            " where dag_id = 'merchant_risk_daily'",
            (f"{datetime.now(UTC) - timedelta(2):%Y-%m-%d} 18:00:00.000000", "2026-02-02"),
        )

    (notice,) = wait(lambda: heard.notices("late_run"), 120)

    assert notice["run_id"].startswith("scheduled__")
    assert notice["what"].startswith("the marts of 2026-02-02 are not published at 06:00: ")
    assert "simulator has 2026-01-" in notice["what"]
    assert "shop has nothing" in notice["what"]
    # Runs that somebody triggered are for any date, at any hour: none of them was late.
    assert len(heard.notices("late_run")) == 1


def test_the_pool_of_the_one_writer_is_there(api: Api) -> None:
    assert api.call("GET", "/api/v2/pools/redline_warehouse")["slots"] == 1


def test_the_login_and_the_channels_secrets_are_in_no_log(
    api: Api, home: Path, heard: Heard
) -> None:
    (password,) = json.loads((home / "airflow" / "passwords.json").read_text()).values()
    assert (home / "airflow" / "passwords.json").stat().st_mode & 0o077 == 0
    logs = [path for path in (home / "logs").rglob("*") if path.is_file()]
    assert logs
    for secret in (password, "s3cret-key", heard.receiver.base):
        assert not any(secret.encode() in path.read_bytes() for path in logs)

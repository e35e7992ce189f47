"""The DAGs that send what falls due and keep what people say, driven through Airflow for real."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from redline.settings import PROJECT, read_settings
from tests.plugins.redline.alerts.receivers import HttpReceiver, http_receiver, made_alert

pytestmark = pytest.mark.usefixtures("airflow")

TODAY = datetime.now(UTC).date()


def load(dag_id: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags" / f"{dag_id}.py")
    assert not bag.import_errors
    return bag.dags[dag_id]


def run(dag_id: str, conf: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    dag = load(dag_id)
    for task in dag.tasks:
        task.retries = 0
    result = dag.test(run_conf=conf or {})
    return result.state, {ti.task_id: ti for ti in result.get_task_instances()}


def noted(folder: Path, patch: pytest.MonkeyPatch, receiver: HttpReceiver) -> None:
    """A home whose outbox has an alert to be sent, and one of which only its file tells."""
    for name, value in {"HOOK": f"{receiver.base}/s3cret-path", "WORD": "s3cret-word"}.items():
        patch.setenv(name, value)
    file = folder / "alerts.yml"
    file.write_text(
        "channels: {hook: {kind: webhook, url: '${HOOK}', secret: '${WORD}', allow_private: true}}"
    )
    patch.setenv("REDLINE_HOME", str(folder / "home"))
    patch.setenv("REDLINE_ALERTS", str(file))
    from redline.alerts.outbox import Entry, open_outbox

    settings = read_settings()
    settings.home.alerts.mkdir(parents=True)
    told = {**made_alert(1), "as_of_date": str(TODAY)}
    (settings.home.alerts / f"{TODAY}.jsonl").write_text(
        "".join(json.dumps({**told, "alert_id": name}) + "\n" for name in ("00001", "00002"))
    )
    outbox = open_outbox(settings)
    outbox.add([Entry(told, "hook")])
    outbox.close()


def test_what_is_due_is_sent_and_no_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        noted(tmp_path, monkeypatch, receiver)
        state, tasks = run("merchant_risk_delivery")
        assert state == "success"
        assert [request.json["alert_id"] for request in receiver.requests] == ["00001"]
        assert tasks["send_due"].xcom_pull("send_due")["sent"] == 1


def test_it_runs_by_itself_only_where_there_is_somewhere_to_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDLINE_ALERTS", raising=False)
    assert not load("merchant_risk_delivery").timetable.can_be_scheduled
    monkeypatch.setenv("REDLINE_ALERTS", str(tmp_path / "alerts.yml"))
    dag = load("merchant_risk_delivery")
    assert dag.timetable.can_be_scheduled
    assert (dag.max_active_runs, dag.catchup) == (1, False)


def test_no_secret_is_in_a_log_a_rendered_field_or_airflows_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with http_receiver(lambda _: (400, {}, b"s3cret-echo")) as receiver:
        noted(tmp_path, monkeypatch, receiver)
        state, _ = run("merchant_risk_delivery")
        assert state == "failed"
        assert len(receiver.requests) == 1
    printed = capfd.readouterr()
    assert "1 messages of alerts were refused" in printed.out + printed.err
    assert "s3cret" not in printed.out + printed.err
    airflow, seen = Path(os.environ["AIRFLOW_HOME"]), 0
    for folder in (airflow, tmp_path / "home"):
        for path in folder.rglob("*"):
            if path.is_file():
                seen += 1
                assert b"s3cret" not in path.read_bytes(), path
    assert seen > 3


def test_an_alert_is_acknowledged_or_snoozed_by_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        noted(tmp_path, monkeypatch, receiver)
    state, tasks = run("merchant_risk_acknowledge", {"alert_id": "00001", "reason": "seen"})
    assert state == "success"
    assert "00001 of record r1: acknowledged" in tasks["acknowledge"].xcom_pull("acknowledge")
    until = str(TODAY + timedelta(3))
    asked = {"alert_id": "0000", "reason": "on strike", "until": until}
    state, tasks = run("merchant_risk_acknowledge", asked)
    assert f"snoozed until {until}" in tasks["acknowledge"].xcom_pull("acknowledge")
    assert run("merchant_risk_acknowledge", {**asked, "alert_id": "zzzz"})[0] == "failed"


@pytest.mark.parametrize(
    "conf",
    [{}, {"alert_id": "00001"}, {"alert_id": "1", "reason": "x"}, {"reason": "x", "until": "soon"}],
)
def test_what_means_nothing_does_not_run(conf: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run("merchant_risk_acknowledge", conf)

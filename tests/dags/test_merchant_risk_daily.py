"""The daily DAG, driven through Airflow with stand-ins for its stages."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redline.errors import BusyError, GateError
from redline.settings import PROJECT
from tests.dags.conftest import FIRST, LAST, Published, Stages

pytestmark = pytest.mark.usefixtures("airflow")


def load(dag_id: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags" / f"{dag_id}.py")
    assert not bag.import_errors
    return bag.dags[dag_id]


def run(conf: dict[str, Any], dag_id: str = "merchant_risk_daily") -> tuple[str, dict[str, Any]]:
    dag = load(dag_id)
    dag.deadline = None  # see dag_runs.py
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
        task.retry_exponential_backoff = 0
    result = dag.test(run_conf=conf)
    return result.state, {ti.task_id: ti for ti in result.get_task_instances()}


def test_a_range_runs_every_stage_in_order(stages: Stages) -> None:
    state, _ = run({"start_date": str(FIRST), "end_date": str(LAST)})
    assert state == "success"
    assert stages.called() == [
        "extract",
        "validate_intake",
        "transform",
        "validate_publication",
        "publish",
    ]
    plan = stages.calls[-1][1]
    assert (plan.start, plan.end) == (FIRST, LAST)


def test_the_next_run_takes_every_date_since_the_published_one(stages: Stages) -> None:
    run({"start_date": str(FIRST), "end_date": str(FIRST)})
    state, _ = run({"start_date": str(LAST), "end_date": str(LAST)})
    assert state == "success"
    plan = stages.calls[-1][1]
    assert (plan.published_through, plan.start, plan.end) == (
        FIRST,
        FIRST + timedelta(1),
        LAST,
    )


def test_a_failed_check_is_not_retried_and_stops_the_run(stages: Stages) -> None:
    def fail() -> None:
        raise GateError(
            "12 % of complaints name no known order",
            "intake suite, complaints",
            "mend it",
        )

    stages.behave("validate_intake", fail)
    state, tasks = run({"start_date": str(FIRST), "end_date": str(LAST)})
    assert state == "failed"
    assert stages.called().count("validate_intake") == 1
    assert "transform" not in stages.called()
    assert tasks["publish"].state == "upstream_failed"


@pytest.mark.parametrize("error", [BusyError("busy", "run.lock", "wait"), OSError("disk away")])
def test_what_waiting_mends_is_retried(stages: Stages, error: Exception) -> None:
    def fail_once() -> None:
        if stages.called().count("transform") == 1:
            raise error

    stages.behave("transform", fail_once)
    state, tasks = run({"start_date": str(FIRST), "end_date": str(LAST)})
    assert state == "success"
    assert stages.called().count("transform") == 2
    assert tasks["transform"].try_number == 2


def test_a_failure_is_told_in_one_line_and_kept_beside_the_plan(
    stages: Stages, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise GateError("sum is off", "publication suite", "open the Data Docs")

    stages.behave("validate_publication", fail)
    run({"start_date": str(FIRST), "end_date": str(LAST)})
    (error,) = (tmp_path / "home" / "runs").glob("*/error.json")
    assert '"line": "sum is off (publication suite): open the Data Docs"' in error.read_text()


def test_an_end_before_its_start_is_refused_before_anything_is_read(
    stages: Stages,
) -> None:
    state, tasks = run({"start_date": str(LAST), "end_date": str(FIRST)})
    assert state == "failed"
    assert stages.calls == []
    assert tasks["plan"].try_number == 1


def test_without_a_connection_the_run_fails_at_once(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MARKETPLACE")
    state, _ = run({"start_date": "2026-01-01"})
    assert state == "failed"
    assert stages.calls == []
    assert "set AIRFLOW_CONN_MARKETPLACE" in capfd.readouterr().out


def test_the_alerts_are_those_of_the_run_that_was_asked_for(stages: Stages) -> None:
    assert (
        run({"run_id": "20260301T020000-simulator-abcdef"}, "merchant_risk_alerts")[0] == "success"
    )
    assert run({}, "merchant_risk_alerts")[0] == "success"
    assert stages.calls == [
        ("write_alerts", "20260301T020000-simulator-abcdef"),
        ("look", False),
        ("deliver", []),
        ("write_alerts", None),
        ("look", False),
        ("deliver", []),
    ]


def test_without_a_scheduler_a_storm_is_asked_of_nobody_and_the_run_ends(stages: Stages) -> None:
    stages.storm = SimpleNamespace(line="60 new alerts", table="", hours=8, is_asked=False)

    state, tasks = run({}, "merchant_risk_alerts")

    assert (state, tasks["ask"].state, tasks["settle"].state) == ("success", "skipped", "skipped")
    assert stages.calls == [("write_alerts", None), ("look", False), ("deliver", [])]


def announced() -> list[tuple[str, str | None]]:
    """The events of the asset so far, as (run_id, partition)."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        events = session.scalars(select(AssetEvent).order_by(AssetEvent.id)).all()
        return [(event.extra.get("run_id"), event.partition_key) for event in events]


def test_a_run_announces_its_own_platforms_evening_and_only_what_it_published(
    stages: Stages,
) -> None:
    before = len(announced())
    stages.published = Published("base", {"another": LAST})
    run({"start_date": str(FIRST), "end_date": str(FIRST)})
    plan = stages.calls[-1][1]
    assert announced()[before:] == [(plan.run_id, str(FIRST))]

    state, tasks = run({"start_date": str(FIRST), "end_date": str(FIRST)})

    assert (state, tasks["publish"].state) == ("success", "skipped")
    assert len(announced()) == before + 1


def test_only_publishing_may_be_tried_again_once_the_run_is_published(stages: Stages) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from redline.tasks import perform

    run({"start_date": str(FIRST), "end_date": str(LAST)})
    run_id = stages.published.run_id

    for name in ("extract", "validate intake", "transform", "validate publication"):
        with pytest.raises(AirflowFailException) as caught:
            perform(name, lambda *_: pytest.fail("the stage was called"), run_id)
        assert str(caught.value) == f"already published (run {run_id}): trigger a new run"
    assert perform("publish", lambda *_: {"published": True}, run_id) == {"published": True}


def test_an_ordinary_run_is_refused_until_a_failed_restatement_is_published(
    stages: Stages, tmp_path: Path
) -> None:
    def fail() -> None:
        raise GateError("sum is off", "intake suite", "mend it")

    run({"start_date": str(FIRST), "end_date": str(FIRST)})
    planned_before = stages.calls[-1][1]
    stages.behave("validate_intake", fail)
    assert run({"restate_from": str(FIRST)})[0] == "failed"
    stages.behaviour.clear()
    ordinary = {"start_date": str(LAST), "end_date": str(LAST)}
    called = len(stages.calls)

    assert run(ordinary)[0] == "failed"
    assert len(stages.calls) == called

    assert run({"restate_from": str(FIRST), "end_date": str(LAST)})[0] == "success"
    plan = stages.calls[-1][1]
    assert (plan.restated_from, plan.end) == (FIRST, planned_before.end)
    assert not (tmp_path / "home" / "restating.json").exists()
    assert run(ordinary)[0] == "success"


def test_a_stage_planned_before_a_restatement_began_is_refused(stages: Stages) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from redline import restating
    from redline.settings import read_settings
    from redline.tasks import perform

    def fail() -> None:
        raise GateError("sum is off", "intake suite", "mend it")

    stages.behave("validate_intake", fail)
    run({"start_date": str(FIRST), "end_date": str(LAST)})
    plan = stages.calls[-1][1]
    restating.begin(read_settings().home, plan.platform, FIRST)
    with pytest.raises(AirflowFailException, match="was not finished"):
        perform("transform", lambda *_: pytest.fail("the stage was called"), plan.run_id)

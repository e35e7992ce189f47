"""The daily DAG over several marketplaces, driven through Airflow with stand-ins for its stages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from redline.errors import GateError
from tests.dags.conftest import FIRST, LAST, Stages
from tests.dags.test_merchant_risk_daily import load, run

pytestmark = pytest.mark.usefixtures("airflow")

NAMES = ("red", "blue", "green")
DATES = {"start_date": str(FIRST), "end_date": str(LAST)}


@pytest.fixture(autouse=True)
def connections(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDLINE_MARKETPLACES", ",".join(NAMES))
    monkeypatch.delenv("AIRFLOW_CONN_MARKETPLACE")
    for name in NAMES:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", "standin://host")


def fail_for(stages: Stages, platform: str, stage: str) -> None:
    def act() -> None:
        if stages.calls[-1][1].platform == platform:
            raise GateError("sum is off", "intake suite", "mend it")

    stages.behave(stage, act)


def taken(stages: Stages, stage: str) -> list[str]:
    return [plan.platform for name, plan in stages.calls if name == stage]


def test_groups_follow_one_another_whatever_happens_and_the_verdict_comes_last() -> None:
    dag = load("merchant_risk_daily")
    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}

    assert set(dag.task_group.children) == {*NAMES, "verdict"}
    for before, name in pairwise(NAMES):
        assert upstream[f"{name}.plan"] == {f"{before}.publish"}
    assert upstream["verdict"] == {"green.publish"}
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
    assert {task for task, rule in rules.items() if rule == "all_done"} == {
        *(f"{name}.plan" for name in NAMES),
        "verdict",
    }


def test_one_that_fails_stops_no_other_and_is_named_with_its_reason(
    stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    fail_for(stages, "red", "validate_intake")

    state, tasks = run({**DATES, "marketplaces": ["red", "blue"]})

    assert state == "failed"
    assert tasks["red.publish"].state == "upstream_failed"
    assert tasks["blue.publish"].state == "success"
    assert tasks["green.publish"].state == "skipped"  # left out, and not told of
    assert taken(stages, "publish") == ["blue"]
    assert taken(stages, "validate_intake") == ["red", "blue"]  # a failed check is not retried
    assert tasks["verdict"].try_number == 1
    assert (
        "red is missing, has nothing published: validate_intake failed: "
        f"sum is off (intake suite): mend it; published: blue {LAST}"
    ) in capfd.readouterr().out

    # What failed is cleared, task by task, although another was published since it was planned.
    from redline.tasks import perform

    stages.behaviour.clear()
    red = next(plan for _, plan in stages.calls if plan.platform == "red")
    rebased: list[Any] = []
    for stage in ("validate intake", "publish"):
        perform(stage, lambda plan, _: rebased.append(plan) or {"published": True}, red.run_id)
    assert [plan.base_run for plan in rebased] == [stages.published.run_id] * 2
    assert {(plan.start, plan.end, plan.run_id) for plan in rebased} == {(FIRST, LAST, red.run_id)}


def test_a_second_run_takes_what_is_missing_and_nothing_twice(stages: Stages) -> None:
    from redline.tasks import perform

    fail_for(stages, "green", "transform")
    assert run(DATES)[0] == "failed"
    stages.behaviour.clear()
    red = next(plan for _, plan in stages.calls if plan.platform == "red")
    with pytest.raises(Exception, match=rf"already published \(run {red.run_id}\)"):
        perform("transform", lambda *_: pytest.fail("the stage was called"), red.run_id)

    state, tasks = run(DATES)
    assert state == "success"
    assert [tasks[f"{name}.publish"].state for name in NAMES] == ["skipped", "skipped", "success"]
    assert stages.published.as_of == dict.fromkeys(NAMES, LAST)


def test_a_marketplace_that_does_not_exist_cannot_be_asked_for(stages: Stages) -> None:
    with pytest.raises(Exception, match="purple"):
        run({**DATES, "marketplaces": ["purple"]})
    assert stages.calls == []


def test_two_of_one_platform_are_refused_and_a_third_is_taken(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GREEN", "standin://host?platform=red")
    assert run(DATES)[0] == "failed"
    assert taken(stages, "publish") == ["blue"]
    assert "2 marketplaces are of one platform, 'red': red and green" in capfd.readouterr().out

"""The backtest's DAG, driven through Airflow with a stand-in for the backtest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from redline.errors import BusyError, PackError
from redline.settings import PROJECT

pytestmark = pytest.mark.usefixtures("airflow")

ASKED = {"pack": "etsy", "start_date": "2026-01-01", "end_date": "2026-01-10"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """The questions that the stand-in was asked; see `behave`."""
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path))
    questions: list[tuple[str, ...]] = []
    behave(monkeypatch, questions, lambda: None)
    return questions


def behave(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, ...]], action: Callable[[], None]
) -> None:
    """Let the stand-in remember its questions, and do something."""

    def backtest(settings: Any, *question: str) -> Any:
        asked.append(question)
        action()
        figures = {"active": SimpleNamespace(value=2.0), "candidate": SimpleNamespace(value=None)}
        measure = SimpleNamespace(key="alerts", **figures)
        return SimpleNamespace(page=settings.home.backtests / "id/report.html", measures=[measure])

    module = ModuleType("redline.backtest")
    module.__dict__["backtest"] = backtest
    monkeypatch.setitem(sys.modules, module.__name__, module)


def load() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags" / "policy_backtest.py")
    assert not bag.import_errors
    return bag.dags["policy_backtest"]


def run(conf: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    dag = load()
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
        task.retry_exponential_backoff = 0
    result = dag.test(run_conf=conf)
    return result.state, {ti.task_id: ti for ti in result.get_task_instances()}


def test_it_runs_only_when_it_is_triggered_and_waits_for_the_one_writer() -> None:
    dag = load()

    assert not dag.timetable.can_be_scheduled
    assert dag.max_active_runs == 1
    assert [(task.task_id, task.pool) for task in dag.tasks] == [("replay", "redline_warehouse")]


def test_it_asks_what_it_was_triggered_with(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    state, tasks = run(ASKED)

    assert state == "success"
    assert asked == [("etsy", "2026-01-01", "2026-01-10")]
    assert tasks["replay"].xcom_pull("replay") == {
        "page": str(tmp_path / "backtests/id/report.html"),
        "measures": {"alerts": [2.0, None]},
    }


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {**ASKED, "pack": "/etc/passwd"},
        {**ASKED, "pack": "../pack_mine.csv"},
        {**ASKED, "start_date": "yesterday"},
        {**ASKED, "end_date": None},
    ],
)
def test_a_question_that_means_nothing_does_not_run(
    asked: list[tuple[str, ...]], conf: dict[str, Any]
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run(conf)
    assert asked == []


def test_a_broken_pack_is_not_tried_again(
    asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise PackError("'x' is not a basis", "pack_etsy.csv, line 2, column basis", "use raw")

    behave(monkeypatch, asked, refuse)

    assert run(ASKED)[0] == "failed"
    assert len(asked) == 1


def test_it_tries_again_while_a_run_is_at_work(
    asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_busy() -> None:
        if len(asked) == 1:
            raise BusyError("another run is at work", "run.lock", "wait")

    behave(monkeypatch, asked, be_busy)

    assert run(ASKED)[0] == "success"
    assert len(asked) == 2

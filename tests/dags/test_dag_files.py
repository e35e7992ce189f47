"""The DAG files as Airflow's processor meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from redline.settings import PROJECT

# Parsed in a process of its own: this one may have imported anything.
_PARSE = """
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
before, began = set(sys.modules), time.process_time()
bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": bag.import_errors,
    "dags": sorted(bag.dags),
    "seconds": time.process_time() - began,
    "heavy": sorted({"duckdb", "pyarrow", "pandas", "great_expectations", "dbt"}
                    & {name.partition(".")[0] for name in set(sys.modules) - before}),
}))
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", _PARSE, str(PROJECT / "dags")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def daily() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags" / "merchant_risk_daily.py").dags["merchant_risk_daily"]


@pytest.fixture(scope="module")
def alerts() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags" / "merchant_risk_alerts.py").dags["merchant_risk_alerts"]


def test_the_dags_are_read_without_errors(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert parsed["dags"] == [
        "merchant_risk_acknowledge",
        "merchant_risk_alerts",
        "merchant_risk_daily",
        "merchant_risk_delivery",
        "policy_backtest",
    ]


def test_reading_the_dags_is_quick_and_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert parsed["heavy"] == []
    assert parsed["seconds"] < 2


def test_the_tasks_follow_the_way_of_the_data(daily: Any) -> None:
    downstream = {task.task_id: task.downstream_task_ids for task in daily.tasks}
    assert "extract" in downstream["plan"]
    assert downstream["extract"] == {"validate_intake"}
    assert downstream["validate_intake"] == {"transform"}
    assert downstream["transform"] == {"validate_publication"}
    assert downstream["validate_publication"] == {"publish"}
    assert downstream["publish"] == set()


def test_one_run_and_one_writer_at_a_time(daily: Any) -> None:
    assert daily.max_active_runs == 1
    assert daily.catchup is False
    writers = {task.task_id for task in daily.tasks if task.pool == "redline_warehouse"}
    assert writers == {"validate_intake", "transform", "validate_publication", "publish"}


def test_a_scheduled_run_is_for_the_date_that_has_just_ended(daily: Any) -> None:
    import pendulum
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable = coerce_to_core_timetable(daily.timetable)
    restriction = TimeRestriction(earliest=None, latest=None, catchup=False)
    info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
    local = pendulum.instance(info.run_after).in_timezone("Asia/Shanghai")
    assert (local.hour, local.minute) == (2, 0)
    assert info.partition_key == str(local.date() - timedelta(days=1))


def test_every_failure_of_a_nightly_run_reaches_the_operators(daily: Any, alerts: Any) -> None:
    for dag in (daily, alerts):
        assert dag.on_failure_callback.__name__ == "tell_failed_run"
        for task in dag.tasks:
            assert [call.__name__ for call in task.on_failure_callback] == ["tell_failed_task"]


def test_the_marts_are_due_at_six_unless_a_setting_says_otherwise(
    daily: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("REDLINE_DEADLINE", "05:30")
    monkeypatch.setenv("REDLINE_TIMEZONE", "UTC")
    other = DagBag(PROJECT / "dags" / "merchant_risk_daily.py").dags["merchant_risk_daily"]
    (by_default,), (as_set,) = daily.deadline, other.deadline
    assert (by_default.reference.clock, by_default.reference.timezone) == ("06:00", "Asia/Shanghai")
    assert (as_set.reference.clock, as_set.reference.timezone) == ("05:30", "UTC")
    assert by_default.interval == timedelta(0)
    assert by_default.callback.path == "redline.operations.tell_late_run"


def test_alerts_are_weighed_before_they_go_and_an_answer_is_settled_whatever_it_is(
    alerts: Any,
) -> None:
    downstream = {task.task_id: task.downstream_task_ids for task in alerts.tasks}
    assert downstream == {
        "write_alerts": {"weigh", "deliver"},
        "weigh": {"deliver", "ask"},
        "deliver": set(),
        "ask": {"settle"},
        "settle": set(),
    }
    ask, settle = alerts.get_task("ask"), alerts.get_task("settle")
    assert (ask.options, ask.defaults) == (["Approve", "Reject"], ["Reject"])
    assert settle.trigger_rule.value == "none_skipped"


def test_only_the_daily_dag_announces_the_marts(daily: Any) -> None:
    announcing = {task.task_id: [asset.name for asset in task.outlets] for task in daily.tasks}
    assert announcing.pop("publish") == ["redline_marts"]
    assert not any(announcing.values())


def test_every_dag_tells_its_runbook_and_stands_in_the_table(parsed: dict[str, Any]) -> None:
    table = (PROJECT / "dags" / "README.md").read_text()
    for dag_id in parsed["dags"]:
        assert f"[`{dag_id}`]({dag_id}.py)" in table
        runbook = (PROJECT / "dags" / f"{dag_id}.py").read_text()
        assert all(word in runbook for word in ("**Runs**", "**When it fails**", "**Owner**"))


def test_airflow_imports_one_small_module_of_the_package_at_start_up() -> None:
    # Else it would import every one of them, the slow and the optional ones too.
    code = (
        "import sys; from airflow.plugins_manager import _get_plugins\n"
        "plugins, errors = _get_plugins()\n"
        "ours = [name for name in sys.modules if name.startswith('redline.')]\n"
        "print([plugin.name for plugin in plugins], errors, ours)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.splitlines()[-1] == "['redline'] {} ['redline.deadline']"

"""What the operators are told when Airflow says that something failed or is late."""

from __future__ import annotations

import asyncio
import errno
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from redline import operations
from redline.alerts.notices import Notice
from redline.errors import BusyError, GateError, RedlineError
from redline.tasks import ENDED_FROM_OUTSIDE


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Notice]:
    """What the operators were told."""
    heard: list[Notice] = []
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "redline.alerts.operators.notify", lambda settings, notice: heard.append(notice)
    )
    return heard


def context(task_id: str = "validate_intake", error: Exception | None = None) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="merchant_risk_daily",
        task_id=task_id,
        run_id="scheduled__1",
        map_index=-1,
        try_number=1,
        log_url="http://host/dags/merchant_risk_daily",
    )
    return {"ti": ti, **({"exception": error} if error else {})}


def raised(cause: Exception) -> AirflowFailException:
    """As `reported` raises what a retry cannot mend."""
    try:
        raise AirflowFailException(str(cause)) from cause
    except AirflowFailException as error:
        return error


def test_a_failed_gate_is_told_as_one_with_its_own_line(told: list[Notice]) -> None:
    error = raised(GateError("12 % name no order", "intake suite, complaints", "mend the source"))
    operations.tell_failed_task(context("douyin.validate_intake", error))

    (notice,) = told
    assert (notice.kind, notice.platform) == ("failed_gate", "douyin")
    assert (notice.what, notice.where, notice.todo) == error.__cause__.args  # type: ignore[union-attr]
    assert notice.log_url == "http://host/dags/merchant_risk_daily"


@pytest.mark.parametrize(
    ("task_id", "error", "kind", "what"),
    [
        ("extract", BusyError("another run is at work", "run.lock", "wait"), "failed_task", "work"),
        (
            "deliver",
            raised(RedlineError("2 refused", "outbox", "look")),
            "undelivered",
            "2 refused",
        ),
        ("extract", OSError(errno.ENOSPC, "no", "/x/secret"), "failed_task", "No space left"),
        ("transform", raised(ValueError("row of Ms Li")), "failed_task", "ValueError"),
        ("transform", None, "failed_task", ENDED_FROM_OUTSIDE),
    ],
)
def test_a_failed_task_is_told_in_redlines_words_or_by_its_kind(
    told: list[Notice], task_id: str, error: Exception | None, kind: str, what: str
) -> None:
    operations.tell_failed_task(context(task_id, error))

    (notice,) = told
    assert notice.kind == kind
    assert what in notice.what
    assert "secret" not in str(notice)
    assert "Ms Li" not in str(notice)


def test_the_run_tells_of_the_task_that_failed_it_as_the_task_does(told: list[Notice]) -> None:
    error = raised(GateError("sum is off", "publication suite", "open the Data Docs"))
    operations.tell_failed_task(context("validate_publication", error))
    operations.tell_failed_run(context("validate_publication"))

    assert len({notice.notice_id for notice in told}) == 1


def test_a_run_that_failed_for_no_task_is_told_too(told: list[Notice]) -> None:
    dag = SimpleNamespace(dag_id="merchant_risk_daily")
    operations.tell_failed_run({"dag": dag, "run_id": "scheduled__1", "reason": "deadlocked"})

    assert [notice.run_id for notice in told] == ["scheduled__1"]


def test_a_verdict_adds_nothing_to_what_its_groups_have_told(told: list[Notice]) -> None:
    known = AirflowFailException("red is missing, keeps 2026-01-01: plan failed: x (y): z")
    operations.tell_failed_task(context("verdict", known))
    operations.tell_failed_run(context("verdict"))
    assert told == []

    # A group that was killed told nothing; and a verdict may break itself.
    unknown = AirflowFailException(f"red is missing: plan failed: {ENDED_FROM_OUTSIDE}: clear it")
    operations.tell_failed_task(context("verdict", unknown))
    operations.tell_failed_task(context("verdict", KeyError("x")))
    assert [notice.kind for notice in told] == ["failed_task", "failed_task"]


def late(state: str = "running", key: str | None = "2026-03-02") -> dict[str, Any]:
    run = {"dag_id": "merchant_risk_daily", "dag_run_id": "scheduled__1", "state": state}
    return {"dag_run": {**run, "partition_key": key}, "deadline": {}}


@pytest.mark.parametrize(
    ("published", "told_of"),
    [
        (None, "red has nothing, blue has nothing"),
        ({"red": date(2026, 3, 1), "blue": date(2026, 3, 2)}, "red has 2026-03-01"),
        ({"red": date(2026, 3, 2), "blue": date(2026, 3, 3)}, None),
    ],
)
def test_a_run_is_late_while_one_marketplace_lacks_its_evening(
    told: list[Notice],
    monkeypatch: pytest.MonkeyPatch,
    published: dict[str, date] | None,
    told_of: str | None,
) -> None:
    monkeypatch.setenv("REDLINE_MARKETPLACES", "red,blue")
    for name in ("red", "blue"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", "files:///nowhere")
    state = None if published is None else SimpleNamespace(as_of=published)
    monkeypatch.setattr("redline.publish.published_state", lambda home: state)

    asyncio.run(operations.tell_late_run(late("failed")))

    if told_of is None:
        assert told == []
        return
    (notice,) = told
    assert notice.kind == "late_run"
    assert notice.what == f"the marts of 2026-03-02 are not published at 06:00: {told_of}"
    assert notice.where == "its run has failed"


def test_telling_raises_nothing_whatever_airflow_hands_over(
    told: list[Notice], caplog: pytest.LogCaptureFixture
) -> None:
    operations.tell_failed_task({})
    asyncio.run(operations.tell_late_run(late(key=None)))
    asyncio.run(operations.tell_late_run(None))

    assert told == []
    assert caplog.text.count("the operators were not told") == 3

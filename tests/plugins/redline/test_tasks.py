"""What the tasks share: the date of a run, the source's address, the sorting of errors."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redline import progress, tasks
from redline.errors import BusyError, GateError, SettingError, SourceError, StorageError

KEY, PARAM, INTERVAL = date(2026, 3, 1), date(2026, 2, 1), date(2026, 1, 1)


def context(key: bool, params: dict[str, Any], interval: bool) -> dict[str, Any]:
    # The interval ends at 02:00 on 2 January in Shanghai; a run without one is made a day later.
    end = datetime(2026, 1, 1, 18, tzinfo=UTC)
    dag_run = SimpleNamespace(
        partition_key=str(KEY) if key else None,
        data_interval_end=end if interval else None,
        run_after=end.replace(day=2),
    )
    return {"dag_run": dag_run, "params": params}


BOTH = {"start_date": str(PARAM), "end_date": "2026-02-03"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (context(True, BOTH, True), (KEY, KEY)),
        (context(False, BOTH, True), (PARAM, date(2026, 2, 3))),
        (context(False, {"start_date": str(PARAM)}, True), (PARAM, PARAM)),
        (context(False, {"end_date": str(PARAM), "start_date": None}, True), (PARAM, PARAM)),
        (context(False, {"restate_from": str(PARAM)}, True), (PARAM, PARAM)),
        (context(False, {"start_date": None}, True), (INTERVAL, INTERVAL)),
        (context(False, {}, False), (date(2026, 1, 2), date(2026, 1, 2))),
    ],
)
def test_the_partition_speaks_before_the_parameters_and_they_before_the_interval(
    given: dict[str, Any], expected: tuple[date, date]
) -> None:
    assert tasks.requested_dates(given, "Asia/Shanghai") == expected


def test_a_plain_address_reaches_the_source_as_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "simulator://?merchants=3&days=10&seed=1"
    monkeypatch.setenv("AIRFLOW_CONN_MARKETPLACE", address)
    assert tasks.source_address() == address


@pytest.mark.parametrize("error_type", [GateError, SettingError, SourceError])
def test_what_waiting_does_not_mend_is_not_retried(
    error_type: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "events"))
    line = r"^rows are missing \(orders\): deliver them$"
    with (
        pytest.raises(AirflowFailException, match=line),
        tasks.reported("extract orders", tmp_path),
    ):
        raise error_type("rows are\nmissing", "orders", "deliver them")
    told = json.loads((tmp_path / "error.json").read_text())
    assert told["line"] == "rows are missing (orders): deliver them"
    watch = progress.Watch(tmp_path / "events")
    watch.read()
    assert [failure["error"]["line"] for failure in watch.failures] == [told["line"]]


def test_a_mistake_in_the_code_is_not_retried() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException), tasks.reported("transform"):
        raise KeyError("no such column")


def test_disks_and_locks_are_retried() -> None:
    import duckdb

    for error in (
        BusyError("busy", "here", "wait"),
        StorageError("disk full", "here", "make room"),
        OSError("no space"),
        duckdb.IOException("locked"),
    ):
        with pytest.raises(type(error)), tasks.reported("transform"):
            raise error


def test_the_alerts_of_all_merged_events_are_written_and_what_is_missing() -> None:
    events = [SimpleNamespace(extra={"run_id": name}) for name in ("one", "two", "one")]
    assert tasks.announced_runs({"triggering_asset_events": {"marts": events}}) == [
        "one",
        "two",
        None,
    ]
    assert tasks.announced_runs({}) == [None]
    assert tasks.announced_runs({"params": {"run_id": "named"}}) == ["named"]

"""When marts are due."""

from __future__ import annotations

from datetime import UTC, datetime, time
from types import SimpleNamespace
from typing import Any

import pytest

from redline.deadline import PublishedBy, due


@pytest.mark.parametrize(
    ("run_after", "clock", "timezone", "expected"),
    [
        # 02:00 in Shanghai: four hours later.
        ("2026-03-01T18:00", "06:00", "Asia/Shanghai", "2026-03-01T22:00"),
        # A clock that shows an earlier time than the run's means the next day.
        ("2026-03-01T18:00", "01:30", "Asia/Shanghai", "2026-03-02T17:30"),
        ("2026-03-01T18:00", "02:00", "Asia/Shanghai", "2026-03-02T18:00"),
        # The night of Berlin's summer time has an hour less, by the same clock.
        ("2026-03-29T00:30", "06:00", "Europe/Berlin", "2026-03-29T04:00"),
    ],
)
def test_marts_are_due_when_the_clocks_next_show_the_time(
    run_after: str, clock: str, timezone: str, expected: str
) -> None:
    moment = datetime.fromisoformat(run_after).replace(tzinfo=UTC)
    found = due(moment, time.fromisoformat(clock), timezone)
    assert found.astimezone(UTC) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(("run_type", "has_one"), [("scheduled", True), ("manual", False)])
def test_a_run_that_somebody_triggered_has_no_deadline(run_type: str, has_one: bool) -> None:
    moment = datetime(2026, 3, 1, 18, tzinfo=UTC)
    row = SimpleNamespace(one=lambda: (run_type, moment))
    session: Any = SimpleNamespace(execute=lambda wanted: row)

    found = PublishedBy()._evaluate_with(session=session, dag_id="d", run_id="r")

    assert (found is not None) is has_one


def test_airflow_keeps_the_reference_as_it_is_and_finds_its_class() -> None:
    from airflow.serialization.decoders import decode_deadline_reference
    from airflow.serialization.encoders import encode_deadline_reference

    kept = encode_deadline_reference(PublishedBy("07:15", "UTC"))

    assert decode_deadline_reference(kept).inner_ref == PublishedBy("07:15", "UTC")

"""A few seconds of what `make fuzz` does for minutes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.plugins.redline.sources.fuzz import Delivery, Tally, check, deliveries

TALLY = Tally()


@given(deliveries)
@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_bytes_give_their_rows_or_one_line_that_says_why_not(
    tmp_path: Path, delivery: Delivery
) -> None:
    check(delivery, tmp_path, TALLY)


def test_both_outcomes_were_seen() -> None:
    kinds = {outcome.rpartition(" ")[2] for outcome in TALLY.outcomes}
    assert kinds == {"taken", "refused"}

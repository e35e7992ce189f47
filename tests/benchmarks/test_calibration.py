"""The projection's intervals are right as often as they say, on marketplaces never seen before.

200 of them differ in seed and size. They are small, to be quick: `make calibrate` has larger ones.
Six metrics are judged, of merchants and of categories, with the default pack's minimum of orders.

Counted are windows that by their orders alone had an event or more still to come. Where fewer
come the probability of none exceeds 37%, and no interval of whole numbers can be right four times
in five and no more: there they are right more often. Nor can chance be foreseen. Of m events still
to come, one who knew their true mean would be wrong by 0.74 m at m = 1, by 0.54 m at 2, 0.39 m at
4 (the mean deviation of a Poisson number: 2 m^(floor(m) + 1) e^-m / floor(m)!), while what has been
observed so far is wrong by all of m. So the error is asked to halve from four events on.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from benchmarks.calibration import METRICS, Sizes, calibrate, forecasts, simulate

SIZES = Sizes(marketplaces=200, eventful=0, merchants=(6, 32), days=27, seed=11)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def windows(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[duckdb.DuckDBPyConnection]:
    with forecasts(simulate(tmp_path_factory.mktemp("calibration"), SIZES)) as connection:
        yield connection


def test_intervals_cover_what_matured_as_often_as_they_say(
    windows: duckdb.DuckDBPyConnection,
) -> None:
    found = calibrate(windows)
    assert found["all"].windows > 1_500
    assert 0.76 <= found["all"].covered_80 <= 0.84
    assert 0.93 <= found["all"].covered_95 <= 0.97
    for name in ("merchants", "categories"):  # fewer windows, further apart by chance
        assert found[name].windows > 500
        assert 0.74 <= found[name].covered_80 <= 0.86
        assert 0.915 <= found[name].covered_95 <= 0.98


def test_intervals_of_rarer_events_are_right_more_often_still(
    windows: duckdb.DuckDBPyConnection,
) -> None:
    few = calibrate(windows, at_least=0)["events still to come: 0 to 1"]
    assert few.windows > 10_000
    assert few.covered_80 >= 0.8
    assert few.covered_95 >= 0.92


def test_projections_err_at_most_half_as_much_as_what_was_observed_so_far(
    windows: duckdb.DuckDBPyConnection,
) -> None:
    found = calibrate(windows, at_least=4)["all"]
    assert found.windows > 300
    assert found.error_per_window <= 0.5
    assert found.error_per_order <= 0.5


def test_every_metric_that_is_calibrated_is_one_of_the_products(
    windows: duckdb.DuckDBPyConnection,
) -> None:
    found = calibrate(windows, at_least=0)
    assert {*METRICS} <= found.keys()

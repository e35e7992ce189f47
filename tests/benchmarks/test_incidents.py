"""Injected incidents are found, before they show officially, and warnings are worth reading."""

from __future__ import annotations

import pytest

from benchmarks.incidents import Detection, detect

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Detection:
    return detect(tmp_path_factory.mktemp("incidents"), marketplaces=3, merchants=100, seed=23)


def test_every_large_incident_and_nearly_every_other_is_warned_of(found: Detection) -> None:
    assert found.recall["large"].incidents >= 8
    assert found.recall["large"].recall == 1
    assert found.recall["all"].recall >= 0.9
    assert {"bad_batch", "poor_delivery", "wrong_goods"} <= found.recall.keys()


def test_warnings_come_days_before_the_official_breach(found: Detection) -> None:
    large = found.recall["large"]
    assert large.violated >= 8
    assert large.warned_before >= 0.8 * large.violated
    assert large.median_lead_days is not None
    assert large.median_lead_days >= 3


def test_warnings_come_true_often_enough_to_be_read(found: Detection) -> None:
    """Of small merchants an event or two make a rate that no later cohort confirms."""
    everything = found.precision["all"]
    parts = (everything.of_incidents, everything.of_violations, everything.wrong)
    assert sum(parts) + everything.undecided == everything.warnings
    assert everything.of_incidents >= found.recall["all"].warned
    assert everything.precision >= 0.4

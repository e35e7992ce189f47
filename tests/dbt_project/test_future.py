"""No evening knows what comes after it, in whatever way the future turns out."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import timedelta

import duckdb
import pytest

from tests import support
from tests.dbt_project.simulated import FIRST, LAST, MIDDLE, PLATFORM, SOURCE
from tests.histories import TIMEZONE

pytestmark = [
    pytest.mark.xdist_group("simulated"),  # one worker builds the warehouse
    pytest.mark.timeout(900),  # of which the first test pays for all
]

# All that is said up to an evening: every column, and of what goes on after it what was known.
SAID = {
    "the ledger": "from marts.fct_cohort_ledger where report_date <= $1",
    "evaluations": "from marts.fct_policy_evaluations where as_of_date <= $1",
    "development": "from intermediate.int_category_development where as_of_date <= $1",
    "transitions": "from marts.fct_record_transitions where as_of_date <= $1",
    "alerts": "from marts.fct_alerts where as_of_date <= $1",
    "reasons of alerts": "from marts.fct_alert_reasons where as_of_date <= $1",
    "closed warnings": "select * exclude (is_new) from marts.fct_warning_records "
    "where closed_on <= $1",
    "closed violations": "select record_id, opened_on, last_at_level_on, closed_on, measure, "
    "repeats from marts.fct_violation_records where closed_on <= $1",
    "open records": "select record_id, opened_on from (from marts.fct_warning_records "
    "union all by name from marts.fct_violation_records) "
    "where opened_on <= $1 and coalesce(closed_on > $1, true)",
}

# A policy that was in force ends, and one begins that is far stricter.
_OTHER_POLICIES = """
    update seeds.pack_douyin_laike set effective_to = $1 where effective_to is null;
    insert into seeds.pack_douyin_laike
    select * replace (
        policy_id || '_later' as policy_id,
        warning_threshold / 3 as warning_threshold,
        violation_threshold / 2 as violation_threshold,
        $1 + 1 as effective_from,
        null as effective_to
    )
    from seeds.pack_douyin_laike
    where effective_to = $1;
"""


@pytest.fixture(scope="module")
def other_future(
    simulated: support.Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> support.Warehouse:
    """The simulated marketplace up to MIDDLE, and from there on another one of the same names.

    Its merchants, orders and events carry the ids of the first one and tell another story: other
    versions, categories, events, appeals. All dates are taken in one pass.
    """
    root = tmp_path_factory.mktemp("other_future")
    other = support.Warehouse(support.settings_of(root, TIMEZONE), simulated.platforms)
    shutil.copytree(simulated.settings.home.landing, other.settings.home.landing)
    shutil.copy(simulated.settings.home.warehouse, other.settings.home.warehouse)
    for partition in other.settings.home.landing.glob("*/*/report_date=*"):
        if partition.name.partition("=")[2] > str(MIDDLE):
            shutil.rmtree(partition)
    with pytest.MonkeyPatch.context() as environment:  # a source reads its own settings
        environment.setenv("REDLINE_HOME", str(root))
        environment.setenv("REDLINE_TIMEZONE", TIMEZONE)
        support.land_dates(
            other.settings,
            PLATFORM,
            SOURCE.replace("seed=3", "seed=4"),
            MIDDLE + timedelta(days=1),
            LAST,
        )
    with closing(duckdb.connect(str(other.settings.home.warehouse))) as connection:
        for statement in _OTHER_POLICIES.split(";")[:2]:
            connection.execute(statement, [MIDDLE])
    other.run(FIRST, LAST, on_top=False)
    return other


@pytest.mark.parametrize("what", SAID)
def test_whatever_the_future_brings_nothing_said_before_it_changes(
    simulated: support.Warehouse, other_future: support.Warehouse, what: str
) -> None:
    said, said_otherwise = (
        sorted(warehouse.rows(SAID[what], MIDDLE), key=repr)
        for warehouse in (simulated, other_future)
    )
    assert said == said_otherwise
    assert said, "nothing was said"


def test_another_future_is_judged_otherwise(
    simulated: support.Warehouse, other_future: support.Warehouse
) -> None:
    """Or the test above would show nothing."""
    query = (
        "select as_of_date, entity_id, metric, numerator, denominator, projected_value, status "
        "from marts.fct_policy_evaluations where as_of_date > $1"
    )
    before, after = ({*warehouse.rows(query, MIDDLE)} for warehouse in (simulated, other_future))
    assert len(before & after) < 0.2 * len(before)
    events = (
        "select distinct component, lag_days from marts.fct_cohort_ledger where report_date > $1"
    )
    assert len(other_future.rows(events, MIDDLE)) > 100

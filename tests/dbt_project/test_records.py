"""Records and alerts against a walk through the evenings, one after another.

The walk follows the definition literally: a record opens on the first evening at its level and
closes after three evenings below, an evening without an evaluation counting as below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from tests import support
from tests.dbt_project.simulated import COOLDOWN_DAYS, FIRST, LAST, MIDDLE, PLATFORM

pytestmark = [
    pytest.mark.xdist_group("simulated"),  # one worker builds the warehouse
    pytest.mark.timeout(900),  # of which the first test pays for all
]

EVENINGS = [FIRST + timedelta(days=offset) for offset in range((LAST - FIRST).days + 1)]
LEVELS = {"warning": ("warning", "violation"), "violation": ("violation",)}

Line = tuple[str, str, str, str, str]  # policy line, entity type, entity, metric, risk point


@dataclass
class Record:
    """An episode as the walk sees it."""

    record_type: str
    line: Line
    opened_on: date
    policy_id: str
    last_at_level_on: date
    evenings_below: int = 0
    closed_on: date | None = None
    decision: str | None = None

    @property
    def key(self) -> tuple[str, Line, date]:
        return self.record_type, self.line, self.opened_on


@dataclass
class Walk:
    """What happened to the records, evening by evening."""

    records: list[Record] = field(default_factory=list)
    alerts: set[tuple[Any, ...]] = field(default_factory=set)


@dataclass(frozen=True)
class Evaluation:
    """What the policy that spoke said of one line on one evening."""

    policy_id: str
    status: str
    numerator: int
    denominator: int
    value: float | None


@pytest.fixture(scope="module")
def evaluations(simulated: support.Warehouse) -> dict[tuple[date, Line], Evaluation]:
    found: dict[tuple[date, Line], Evaluation] = {}
    for evening, *line, policy_id, status, numerator, denominator, value in simulated.rows(
        "select as_of_date, policy_line, entity_type, entity_id, metric, risk_point, policy_id, "
        "status, numerator, denominator, value from marts.fct_policy_evaluations"
    ):
        key = (evening, tuple(line))
        assert key not in found, f"{key} is evaluated twice"
        found[key] = Evaluation(policy_id, status, numerator, denominator, value)
    return found


@pytest.fixture(scope="module")
def walk(simulated: support.Warehouse, evaluations: dict[tuple[date, Line], Evaluation]) -> Walk:
    appeals = dict(
        simulated.rows(
            "select subject_id, status from intermediate.int_appeals_versioned "
            "where subject_type = 'violation'"
        )
    )
    decisions = {
        ("violation", (*line, risk_point), opened_on): appeals[record_id]
        for record_id, *line, risk_point, opened_on in simulated.rows(
            "select record_id, policy_line, entity_type, entity_id, metric, risk_point, opened_on "
            "from marts.fct_violation_records"
        )
        if record_id in appeals
    }
    walked = Walk()
    for line in sorted({line for _, line in evaluations}):
        _walk_line(line, evaluations, decisions, walked)
    return walked


def _walk_line(
    line: Line,
    evaluations: dict[tuple[date, Line], Evaluation],
    decisions: dict[tuple[str, Line, date], str],
    walked: Walk,
) -> None:
    open_records: dict[str, Record] = {}
    for evening in EVENINGS:
        evaluation = evaluations.get((evening, line))
        had_warning = "warning" in open_records
        for record_type, levels in LEVELS.items():
            record = open_records.get(record_type)
            if evaluation is not None and evaluation.status in levels:
                if record is None:
                    record = Record(record_type, line, evening, evaluation.policy_id, evening)
                    record.decision = decisions.get(record.key)
                    open_records[record_type] = record
                    walked.records.append(record)
                    escalates = record_type == "violation" and had_warning
                    transition = "escalated" if escalates else "opened"
                    walked.alerts.add((evening, transition, record.key))
                record.policy_id = evaluation.policy_id
                record.last_at_level_on, record.evenings_below = evening, 0
            elif record is not None:
                record.evenings_below += 1
                if record.evenings_below == COOLDOWN_DAYS:
                    record.closed_on = evening
                    del open_records[record_type]
                    if record.decision != "upheld":
                        walked.alerts.add((evening, "resolved", record.key))


def _measures(simulated: support.Warehouse, walk: Walk) -> dict[tuple[str, Line, date], str]:
    """What each record leads to: of a violation, one step up the ladder for every earlier one."""
    of_policy = dict(simulated.rows("select policy_id, measure from marts.dim_policies"))
    ladder = [
        name for (name,) in simulated.rows("select measure from seeds.measures order by severity")
    ]
    found = {}
    for record in walk.records:
        step = ladder.index(of_policy[record.policy_id])
        if record.record_type == "violation":
            step += sum(
                earlier.record_type == "violation"
                and earlier.line == record.line
                and timedelta(0) < record.opened_on - earlier.opened_on <= timedelta(days=90)
                # Both decisions were known on the date after MIDDLE.
                and not (earlier.decision == "upheld" and record.opened_on > MIDDLE)
                for earlier in walk.records
            )
        found[record.key] = ladder[min(step, len(ladder) - 1)]
    return found


def test_the_marketplace_is_worth_walking_through(
    walk: Walk, evaluations: dict[tuple[date, Line], Evaluation]
) -> None:
    transitions = Counter((key[0], transition) for _, transition, key in walk.alerts)
    assert transitions["warning", "opened"] >= 5
    assert transitions["violation", "opened"] >= 3
    assert transitions["violation", "escalated"] >= 3
    assert transitions["violation", "resolved"] >= 3
    assert transitions["warning", "resolved"] >= 3
    assert {"upheld", "rejected"} <= {record.decision for record in walk.records}
    assert any(r.decision == "upheld" and r.closed_on is not None for r in walk.records)
    opened = Counter((record.record_type, record.line) for record in walk.records)
    assert max(opened.values()) >= 2, "no line has a second episode"
    assert any(_evenings_below(record, evaluations) for record in walk.records), (
        "no record outlives an evening below its level"
    )
    assert any(
        evaluations[record.opened_on, record.line].policy_id != record.policy_id
        for record in walk.records
    ), "no record outlives a version of its policy"


def _evenings_below(
    record: Record, evaluations: dict[tuple[date, Line], Evaluation]
) -> Iterator[date]:
    """Evenings below the record's level that it outlived."""
    for evening in EVENINGS:
        if record.opened_on < evening < record.last_at_level_on:
            evaluation = evaluations.get((evening, record.line))
            if evaluation is None or evaluation.status not in LEVELS[record.record_type]:
                yield evening


@pytest.mark.parametrize("record_type", LEVELS)
def test_records_are_those_of_a_walk_evening_by_evening(
    simulated: support.Warehouse, walk: Walk, record_type: str
) -> None:
    measures = _measures(simulated, walk)
    expected = Counter(
        (
            PLATFORM,
            *record.line,
            record.opened_on,
            record.last_at_level_on,
            record.closed_on,
            _status(record),
            (LAST - record.opened_on).days < 7,
            record.policy_id,
            measures[record.key],
        )
        for record in walk.records
        if record.record_type == record_type
    )
    actual = Counter(
        simulated.rows(
            "select platform, policy_line, entity_type, entity_id, metric, risk_point, opened_on, "
            f"last_at_level_on, closed_on, status, is_new, policy_id, measure "
            f"from marts.fct_{record_type}_records"
        )
    )
    assert not support.differences(actual, expected)


def _status(record: Record) -> str:
    if record.closed_on is not None:
        return "resolved"
    if record.record_type == "warning":
        return "open"
    return f"appeal_{record.decision}" if record.decision else "pending"


def test_alerts_are_the_transitions_of_a_walk_evening_by_evening(
    simulated: support.Warehouse,
    walk: Walk,
    evaluations: dict[tuple[date, Line], Evaluation],
) -> None:
    policies = {
        policy_id: thresholds
        for policy_id, *thresholds in simulated.rows(
            "select policy_id, warning_threshold, violation_threshold from marts.dim_policies"
        )
    }
    measures = _measures(simulated, walk)
    by_key = {record.key: record for record in walk.records}
    expected: Counter[tuple[Any, ...]] = Counter()
    for evening, transition, key in walk.alerts:
        record_type, line, _ = key
        evaluation = evaluations.get((evening, line))
        policy_id = evaluation.policy_id if evaluation else by_key[key].policy_id
        thresholds, measure = policies[policy_id], measures[key]
        said = (
            (evaluation.numerator, evaluation.denominator, evaluation.value) if evaluation else ()
        )
        expected[
            (
                evening,
                *key,
                transition,
                policy_id,
                said or (None, None, None),
                thresholds[record_type == "violation"],
                measure,
            )
        ] += 1
    actual: Counter[tuple[Any, ...]] = Counter()
    for evening, record_type, opened_on, transition, policy_id, *rest in simulated.rows(
        "select alerts.as_of_date, alerts.record_type, records.opened_on, alerts.transition, "
        "alerts.policy_id, policy_line, alerts.entity_type, alerts.entity_id, alerts.metric, "
        "alerts.risk_point, numerator, denominator, value, threshold, measure "
        "from marts.fct_alerts as alerts "
        "left join intermediate.int_record_episodes as records using (record_id)"
    ):
        *line, numerator, denominator, value, threshold, measure = rest
        key = (record_type, tuple(line), opened_on)
        said = (numerator, denominator, value)
        actual[(evening, *key, transition, policy_id, said, threshold, measure)] += 1
    assert not support.differences(actual, expected)


def test_no_two_alerts_share_an_id(simulated: support.Warehouse) -> None:
    assert simulated.rows("select count(*) - count(distinct alert_id) from marts.fct_alerts") == [
        (0,)
    ]

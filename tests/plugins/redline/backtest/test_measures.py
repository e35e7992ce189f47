"""What a backtest measures, on records written by hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from redline.backtest.report import (
    FLAP_DAYS,
    HORIZON_DAYS,
    Change,
    Figure,
    Judgement,
    Report,
    write_tables,
)
from tests.plugins.redline.backtest.hand_made import Replay, compare, evening


def figure(report: Report, key: str, side: str = "active") -> Figure:
    (measure,) = [measure for measure in report.measures if measure.key == key]
    found: Figure = getattr(measure, side)
    return found


def test_the_examples_below_stand_on_these_periods() -> None:
    assert (HORIZON_DAYS, FLAP_DAYS) == (14, 7)


# --- alerts and entities ------------------------------------------------------------------------


def test_alerts_between_the_evenings_are_counted_by_transition(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    for day in (0, 1, 31, 32):
        active.alerted("m1", day)
    active.alerted("m2", 5, "escalated", "violation")
    active.alerted("m2", 9, "resolved", "violation")

    report = compare(active, candidate, tmp_path)

    assert figure(report, "alerts") == Figure(4 / 31, 4, 31)
    assert figure(report, "alerts_opened") == Figure(2 / 31, 2, 31)
    assert figure(report, "alerts_escalated") == Figure(1 / 31, 1, 31)
    assert figure(report, "alerts_resolved") == Figure(1 / 31, 1, 31)
    assert figure(report, "alerts", "candidate") == Figure(0, 0, 31)


def test_an_entity_is_touched_once_on_its_platform(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    active.alerted("m1", 1)
    active.alerted("m1", 9, metric="refund_rate")
    active.alerted("m1", 9, platform="elsewhere")
    active.alerted("m1", 9, entity_type="product")
    candidate.alerted("food", 9, entity_type="category")

    report = compare(active, candidate, tmp_path)

    assert figure(report, "merchants_touched").value == 2
    assert figure(report, "products_touched").value == 1
    assert figure(report, "categories_touched").value == 0
    assert figure(report, "categories_touched", "candidate").value == 1


def test_types_of_entity_without_alerts_are_not_mentioned(tmp_path: Path) -> None:
    report = compare(Replay(), Replay(), tmp_path)

    keys = {measure.key for measure in report.measures}
    assert "merchants_touched" in keys
    assert keys.isdisjoint({"products_touched", "categories_touched"})


# --- warnings and violations --------------------------------------------------------------------


def test_a_warning_is_right_if_a_violation_follows_within_the_horizon(tmp_path: Path) -> None:
    active = Replay()
    for entity, violated_on in (("in time", 10), ("just in time", 19), ("too late", 20)):
        active.warned(entity, 5)
        active.violated(entity, violated_on)
    active.warned("never", 17)  # its horizon ends on the last evening

    report = compare(active, Replay(), tmp_path)

    assert figure(report, "precision") == Figure(0.5, 2, 4)
    assert figure(report, "precision", "candidate") == Figure(None, 0, 0)


def test_a_warning_whose_horizon_ends_later_is_left_out_even_if_it_came_true(
    tmp_path: Path,
) -> None:
    active = Replay()
    active.warned("came true", 18)
    active.violated("came true", 20)
    active.warned("not yet", 25)

    assert figure(compare(active, Replay(), tmp_path), "precision") == Figure(None, 0, 0)


def test_a_warning_that_opened_before_the_evenings_is_not_theirs(tmp_path: Path) -> None:
    active = Replay()
    active.warned("early", 0)
    active.violated("early", 3)

    report = compare(active, Replay(), tmp_path)

    assert figure(report, "precision").whole == 0
    assert figure(report, "recall") == Figure(1.0, 1, 1)


def test_a_violation_that_opens_with_its_warning_was_not_warned_of(tmp_path: Path) -> None:
    active = Replay()
    active.warned("sudden", 5)
    active.violated("sudden", 5, 8)
    active.violated("sudden", 12)  # the second one was

    report = compare(active, Replay(), tmp_path)

    assert figure(report, "precision") == Figure(None, 0, 0)
    assert figure(report, "recall") == Figure(0.5, 1, 2)
    assert report.lead_days["active"] == (7,)


def test_a_violation_belongs_to_the_warning_record_that_is_open(tmp_path: Path) -> None:
    active = Replay()
    active.warned("again", 2, 8)
    active.warned("again", 10)
    active.violated("again", 13)
    active.warned("closed", 2, 8)
    active.violated("closed", 8)  # on the evening on which the warning closes

    report = compare(active, Replay(), tmp_path)

    assert figure(report, "precision") == Figure(1 / 3, 1, 3)
    assert figure(report, "recall") == Figure(0.5, 1, 2)
    assert report.lead_days["active"] == (3,)


@pytest.mark.parametrize(
    "other",
    [
        {"platform": "elsewhere"},
        {"entity_type": "product"},
        {"policy_line": "another"},
        {"entity_id": "m2"},
    ],
)
def test_a_warning_speaks_of_its_own_violations_only(tmp_path: Path, other: dict[str, str]) -> None:
    active = Replay()
    active.warned("m1", 5)
    active.violated("m1", 10, **other)

    report = compare(active, Replay(), tmp_path)

    assert figure(report, "precision") == Figure(0.0, 0, 1)
    assert figure(report, "recall") == Figure(0.0, 0, 1)


def test_the_sides_are_measured_by_themselves(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    active.warned("m1", 5)
    candidate.violated("m1", 10)

    report = compare(active, candidate, tmp_path)

    assert figure(report, "precision") == Figure(0.0, 0, 1)
    assert figure(report, "recall") == Figure(None, 0, 0)
    assert figure(report, "recall", "candidate") == Figure(0.0, 0, 1)


def test_the_lead_is_the_median_over_violations_that_were_warned_of(tmp_path: Path) -> None:
    active = Replay()
    for entity, lead in (("a", 1), ("b", 4), ("c", 9), ("d", 30)):
        active.warned(entity, 20 - lead)
        active.violated(entity, 20)
    active.violated("unwarned", 20)

    report = compare(active, Replay(), tmp_path)

    assert report.lead_days == {"active": (1, 4, 9, 30), "candidate": ()}
    assert figure(report, "median_lead_days") == Figure(6.5)
    assert figure(report, "median_lead_days", "candidate") == Figure(None)


def test_a_record_flaps_if_it_reopens_within_days_of_closing(tmp_path: Path) -> None:
    active = Replay()
    active.warned("early", -9, -3)  # closed before the evenings, reopened in them
    active.warned("early", 4)
    active.violated("late", 1, 5)
    active.violated("late", 13)
    active.warned("late", 12)  # of the other kind

    assert figure(compare(active, Replay(), tmp_path), "flapping") == Figure(25.0, 1, 4)


# --- who gains and who loses an alert -----------------------------------------------------------


def changes(report: Report) -> list[tuple[str, str, str, date]]:
    return [(c.direction, c.entity_id, c.metric, c.evening) for c in report.changes]


def test_a_metric_of_an_entity_gains_or_loses_an_alert(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    active.alerted("kept", 3)
    candidate.alerted("kept", 9)
    active.alerted("lost", 7)
    active.alerted("lost", 4)
    candidate.alerted("gained", 6, "opened", "violation")
    candidate.alerted("kept", 5, metric="refund_rate")

    report = compare(active, candidate, tmp_path)

    assert changes(report) == [
        ("gained", "kept", "refund_rate", evening(5)),
        ("gained", "gained", "complaint_rate", evening(6)),
        ("lost", "lost", "complaint_rate", evening(4)),
    ]


def test_one_that_both_alert_of_is_raised_or_lowered(tmp_path: Path) -> None:
    mild, harsh = Replay(), Replay()
    for replay in (mild, harsh):
        replay.alerted("m1", 3)
    harsh.alerted("m1", 8, "escalated", "violation")

    raised = compare(mild, harsh, tmp_path / "raised")
    lowered = compare(harsh, mild, tmp_path / "lowered")

    assert changes(raised) == [("raised", "m1", "complaint_rate", evening(8))]
    assert changes(lowered) == [("lowered", "m1", "complaint_rate", evening(8))]
    (change,) = raised.changes
    assert (change.active.level, change.active.alerts) == ("warning", 1)
    assert (change.candidate.level, change.candidate.alerts) == ("violation", 2)


def test_good_news_alone_is_no_alert_that_is_gained(tmp_path: Path) -> None:
    candidate = Replay()
    candidate.alerted("m1", 2, "resolved")

    assert compare(Replay(), candidate, tmp_path).changes == ()


def test_both_sides_are_looked_at_on_the_evening_of_the_change(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    candidate.alerted("m1", 6)
    numbers = {
        "category_id": "food",
        "numerator": 3,
        "denominator": 100,
        "value": 0.03,
        "projected_value": 0.04,
        "warning_threshold": 0.03,
        "violation_threshold": 0.05,
    }
    candidate.judged("m1", 6, "warning", **numbers)
    candidate.judged("m1", 7, "violation", **{**numbers, "value": 0.09})
    active.judged("m1", 6, "pass", **{**numbers, "risk_point": "a", "value": 0.01})
    active.judged("m1", 6, "pass", **{**numbers, "risk_point": "b", "value": 0.02})
    active.judged("m1", 6, "violation", **{**numbers, "metric": "refund_rate"})
    candidate.add("dim_merchants", {"merchant_id": "m1", "merchant_name": "Iris"})

    (change,) = compare(active, candidate, tmp_path).changes

    judged = Judgement(0, None, "pass", 3, 100, 0.02, 0.04, 0.03, 0.05)  # the worse of two
    assert change == Change(
        "gained",
        "market",
        "merchant",
        "m1",
        "Iris",
        "food",
        "complaint_rate",
        evening(6),
        judged,
        Judgement(1, "warning", "warning", 3, 100, 0.03, 0.04, 0.03, 0.05),
    )


def test_of_several_policies_the_one_that_says_most_is_told(tmp_path: Path) -> None:
    candidate = Replay()
    candidate.alerted("m1", 6)
    for status, value in (("pass", 0.09), ("violation", 0.01), ("warning", 0.04)):
        candidate.judged("m1", 6, status, risk_point=status, value=value, violation_threshold=0.05)

    (change,) = compare(Replay(), candidate, tmp_path).changes

    assert change.candidate.status == "violation"


def test_where_no_policy_of_a_side_speaks_nothing_is_said(tmp_path: Path) -> None:
    candidate = Replay()
    candidate.alerted("p1", 6, entity_type="product")
    candidate.judged("p1", 6, "warning", entity_type="product")
    candidate.add("dim_products", {"product_id": "p1", "title": "Tea"})

    (change,) = compare(Replay(), candidate, tmp_path).changes

    assert change.name == "Tea"
    assert change.active == Judgement(0, None, *[None] * 7)


# --- the tables ---------------------------------------------------------------------------------


def test_the_tables_hold_what_the_report_holds(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    candidate.alerted("m1", 6)
    candidate.judged("m1", 6, "warning", value=0.03, numerator=3, denominator=100)
    active.alerted("m2", 2)
    active.warned("m2", 2)
    report = compare(active, candidate, tmp_path)

    write_tables(report, tmp_path)

    measures = pq.read_table(tmp_path / "measures.parquet").to_pylist()
    assert [row["measure"] for row in measures] == [measure.key for measure in report.measures]
    precision = next(row for row in measures if row["measure"] == "precision")
    assert (precision["active"], precision["active_part"], precision["active_whole"]) == (0, 0, 1)
    assert precision["candidate"] is None
    changed = pq.read_table(tmp_path / "changes.parquet").to_pylist()
    assert [(row["direction"], row["entity_id"]) for row in changed] == [
        ("gained", "m1"),
        ("lost", "m2"),
    ]
    assert (changed[0]["candidate_value"], changed[0]["active_status"]) == (0.03, None)
    alerts = pq.read_table(tmp_path / "alerts.parquet").to_pylist()
    assert [(row["side"], row["entity_id"]) for row in alerts] == [
        ("active", "m2"),
        ("candidate", "m1"),
    ]


def test_tables_without_rows_have_their_columns(tmp_path: Path) -> None:
    report = compare(Replay(), Replay(), tmp_path)

    write_tables(report, tmp_path)

    assert "candidate_value" in pq.read_schema(tmp_path / "changes.parquet").names
    assert "side" in pq.read_schema(tmp_path / "alerts.parquet").names

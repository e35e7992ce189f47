"""The oracle's own cases, counted by hand, and two of its roads held against each other."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from tests import histories as h
from tests import oracle
from tests.histories import DAYS, Delivery, histories, history_of, local

W = timedelta(days=oracle.W - 1)


def _day(number: int) -> date:
    """Day 1 is the first report date of the histories."""
    return h.FIRST + timedelta(days=number - 1)


def _at(number: int) -> datetime:
    return local(_day(number))


def _history(*rows: Any, **settings: Any) -> oracle.History:
    return history_of(
        "p", [(entity, _day(number), record) for entity, number, record in rows], **settings
    )


def _components(history: oracle.History, number: int) -> dict[tuple[str, int], int]:
    """(component, lag) -> quantity on an evening; the histories here have few orders."""
    counts: Counter[tuple[str, int]] = Counter()
    for (*_, component, lag), quantity in oracle.state(history, _day(number)).items():
        counts[component, lag] += quantity
    return dict(counts)


def test_a_business_date_begins_at_local_midnight() -> None:
    assert oracle.business_date(datetime(2025, 3, 1, 15, 59, 59), "Asia/Shanghai") == date(
        2025, 3, 1
    )
    assert oracle.business_date(datetime(2025, 3, 1, 16), "Asia/Shanghai") == date(2025, 3, 2)
    assert oracle.business_date(datetime(2025, 3, 1, 16), "UTC") == date(2025, 3, 1)


def test_the_newest_version_is_the_one_updated_last_and_among_equals_landed_last() -> None:
    older = oracle.Version(_day(1), _day(1), {"updated_at": _at(1), "says": "older"})
    newer = oracle.Version(_day(2), _day(2), {"updated_at": _at(2), "says": "newer"})
    late = oracle.Version(_day(3), _day(3), {"updated_at": _at(1), "says": "late"})
    equal = oracle.Version(_day(4), _day(4), {"updated_at": _at(2), "says": "equal"})
    resent = oracle.Version(_day(4), _day(3), {"updated_at": _at(2), "says": "resent"})
    versions = [equal, late, newer, resent, older]
    said = [oracle.newest(versions, _day(number)) for number in range(5)]
    assert said == [None, older, newer, newer, equal]


def test_a_complaint_counts_from_the_day_its_order_is_known_until_it_is_withdrawn() -> None:
    history = _history(
        ("complaints", 2, h.complaint("c1", _at(2), fault_party="buyer")),
        ("orders", 3, h.order("o1", _at(3), paid_at=_at(1), shipped_at=_at(1))),
        ("complaints", 5, h.complaint("c1", _at(5), created_at=_at(2), status="withdrawn")),
    )
    with_complaint = {("orders_paid", 0): 1, ("complaints", 1): 1, ("complaints_adjusted", 1): 1}
    assert _components(history, 2) == {}
    assert _components(history, 3) == _components(history, 4) == with_complaint
    assert _components(history, 5) == {("orders_paid", 0): 1}
    entry = (_day(1), "p", "m1", "unknown")
    assert oracle.ledger(history, DAYS) == {
        (_day(3), *entry, "orders_paid", 0): 1,
        (_day(3), *entry, "complaints", 1): 1,
        (_day(3), *entry, "complaints_adjusted", 1): 1,
        (_day(5), *entry, "complaints", 1): -1,
        (_day(5), *entry, "complaints_adjusted", 1): -1,
    }


def test_a_future_event_and_a_future_payment_wait_for_their_day() -> None:
    history = _history(
        ("orders", 1, h.order("o1", _at(1), paid_at=_at(3))),
        ("complaints", 1, h.complaint("c1", _at(1), created_at=_at(4))),
        ("complaints", 1, h.complaint("c2", _at(1), created_at=_at(1))),
    )
    assert _components(history, 2) == {}
    assert _components(history, 3)[("complaints", -2)] == 1
    assert ("complaints", 1) not in _components(history, 3)
    assert _components(history, 4)[("complaints", 1)] == 1


def test_a_deleted_order_takes_everything_with_it() -> None:
    history = _history(
        ("orders", 1, h.order("o1", _at(1), paid_at=_at(1), fulfilled_at=_at(1))),
        ("reviews", 1, h.review("v1", _at(1), rating=4)),
        ("orders", 2, h.order("o1", _at(2), paid_at=_at(1), fulfilled_at=_at(1), status="deleted")),
    )
    assert _components(history, 1) == {
        ("orders_paid", 0): 1,
        ("orders_fulfilled", 0): 1,
        ("review_rated_4", 0): 1,
        ("review_rated_4_adjusted", 0): 1,
    }
    assert _components(history, 2) == {}


def test_an_order_returned_twice_counts_once_under_its_earliest_standing_request() -> None:
    history = _history(
        ("orders", 1, h.order("o1", _at(1), paid_at=_at(1))),
        ("refunds", 2, h.refund("r1", _at(2))),
        ("refunds", 4, h.refund("r2", _at(4))),
        ("refunds", 5, h.refund("r1", _at(5), requested_at=_at(2), status="withdrawn")),
    )
    name = "merchant_fault_return_orders"
    returns = [
        {
            lag: n
            for (component, lag), n in _components(history, number).items()
            if component == name
        }
        for number in (1, 2, 4, 5)
    ]
    assert returns == [{}, {1: 1}, {1: 1}, {3: 1}]


def test_a_deadline_passes_in_silence_and_a_timely_shipment_reported_later_mends_it() -> None:
    paid = h.order("o1", _at(1), paid_at=_at(1))  # no ship_by_at: 72 hours
    shipped = h.order("o1", _at(7), paid_at=_at(1), shipped_at=_at(4))
    history = _history(("orders", 1, paid), ("orders", 7, shipped))
    assert ("late_shipments", 3) not in _components(history, 3)
    assert _components(history, 4)[("late_shipments", 3)] == 1
    assert ("late_shipments", 3) not in _components(history, 7), (
        "shipped at the deadline is in time"
    )
    rate = oracle.merchant_rates(history, _day(6))["m1", "late_shipment_rate", _day(1)]
    assert (rate.numerator, rate.denominator, rate.adjusted_numerator) == (1, 1, 1)


def test_only_the_last_decision_on_an_event_counts_for_the_adjusted_side() -> None:
    history = _history(
        ("orders", 1, h.order("o1", _at(1), paid_at=_at(1))),
        ("complaints", 1, h.complaint("c1", _at(1))),
        ("appeals", 2, h.appeal("a1", _at(2))),
        ("appeals", 3, h.appeal("a1", _at(3), status="upheld", decided_at=_at(4))),
        ("appeals", 6, h.appeal("a2", _at(6), status="rejected", decided_at=_at(5))),
        ("appeals", 7, h.appeal("a3", _at(7), status="upheld", decided_at=_at(5))),
    )
    standing = [
        ("complaints_adjusted", 0) in _components(history, number) for number in range(1, 8)
    ]
    assert standing == [True, True, True, False, False, True, False]
    assert all(("complaints", 0) in _components(history, number) for number in range(1, 8))


def test_a_fault_is_as_stated_else_as_the_most_specific_latest_code_in_effect() -> None:
    codes = [
        oracle.ReasonCode("*", "late", _day(1), "carrier"),
        oracle.ReasonCode("*", "late", _day(4), "buyer"),
        oracle.ReasonCode("p", "late", _day(3), "merchant"),
        oracle.ReasonCode("q", "late", _day(2), "platform"),
    ]
    history = _history(reason_codes=codes)
    silent = h.refund("r1", _at(1), reason_code="late")
    faults = [oracle.fault_of(history, silent, _day(number)) for number in range(5)]
    assert faults == ["unknown", "carrier", "carrier", "merchant", "merchant"]
    assert oracle.fault_of(history, silent | {"fault_party": "platform"}, _day(4)) == "platform"
    assert oracle.fault_of(history, silent | {"reason_code": "else"}, _day(4)) == "unknown"


@pytest.mark.parametrize(
    ("lines", "product"),
    [
        ([], "unknown"),
        ([(1, "a", 1, "5.00"), (2, "b", 3, "2.00")], "b"),
        ([(2, "b", 1, "6.00"), (1, "a", 3, "2.00")], "a"),
    ],
)
def test_an_order_counts_under_its_most_valuable_line(lines: list[Any], product: str) -> None:
    items = [
        ("order_items", 1, h.line("o1", n, product_id=p, quantity=q, unit_price=Decimal(price)))
        for n, p, q, price in lines
    ]
    elsewhere = ("order_items", 2, h.line("o1", 9, product_id="z", quantity=99))
    history = _history(("orders", 1, h.order("o1", _at(1), paid_at=_at(1))), elsewhere, *items)
    assert [contribution[3] for contribution in oracle.state(history, _day(3))] == [product]


def test_a_rate_counts_its_window_of_seven_days_without_a_lower_bound() -> None:
    created = [-1, 1, 7, 8]  # cohort day 1: the window ends on day 7
    history = _history(
        ("merchants", 1, h.merchant("m1", _at(1), category_id="food")),
        ("merchants", 9, h.merchant("m1", _at(9), category_id="hotel")),
        ("orders", 1, h.order("o1", _at(1), paid_at=_at(1), fulfilled_at=_at(2))),
        ("orders", 1, h.order("o2", _at(1), paid_at=_at(1))),
        *[
            ("complaints", max(n, 1), h.complaint(f"c{n}", _at(max(n, 1)), created_at=_at(n)))
            for n in created
        ],
        *[("reviews", n, h.review(f"v{n}", _at(n), rating=n - 1)) for n in (2, 3, 4)],
    )
    complaints = ("complaint_rate", _day(1))
    on_day_6 = oracle.merchant_rates(history, _day(6))["m1", *complaints]
    assert on_day_6 == (2, 2, 2, False)
    assert oracle.merchant_rates(history, _day(7))["m1", *complaints] == (3, 2, 3, True)
    assert oracle.merchant_rates(history, _day(9))["m1", *complaints] == (3, 2, 3, True)
    assert oracle.merchant_rates(history, _day(9))["m1", *complaints].rate == 1.5
    reviews = oracle.merchant_rates(history, _day(9))["m1", "negative_review_rate", _day(2)]
    assert reviews == (2, 1, 2, True)
    assert ("food", *complaints) in oracle.category_rates(history, _day(8))
    assert oracle.category_rates(history, _day(9))["hotel", *complaints] == (3, 2, 3, True)


@pytest.mark.parametrize(
    ("orders", "complaints", "changes", "status"),
    [
        (20, 1, {}, "violation"),  # exactly 5% breaches >= 5%
        (20, 1, {"comparator": ">"}, "warning"),
        (25, 1, {}, "warning"),
        (100, 1, {}, "pass"),
        (20, 1, {"min_denominator": 21}, "insufficient_data"),
        (20, 1, {"min_denominator": 21, "max_count": 1}, "pass"),
        (20, 2, {"min_denominator": 21, "max_count": 1}, "violation"),
    ],
)
def test_an_evaluation_compares_exactly(
    orders: int, complaints: int, changes: dict[str, Any], status: str
) -> None:
    policy = oracle.Policy("complaint_rate", 30, Fraction("0.03"), Fraction("0.05"))._replace(
        **changes
    )
    rates = {("m1", "complaint_rate", _day(1)): oracle.Rate(9, orders, complaints, True)}
    answer = oracle.evaluation(rates, policy, "m1", _day(1) + W)
    assert answer is not None and answer.status == status
    assert answer.value == Fraction(complaints, orders)


def test_an_evaluation_waits_for_mature_cohorts_and_ends_with_its_window() -> None:
    policy = oracle.Policy("complaint_rate", 3, Fraction("0.03"), Fraction("0.05"))
    rates = {("m1", "complaint_rate", _day(1)): oracle.Rate(1, 1, 1, True)}

    def status(number: int) -> str | None:
        answer = oracle.evaluation(rates, policy, "m1", _day(number))
        return answer.status if answer else None

    # On evenings 4 to 6 the cohort lies behind the running window and before the official one.
    assert [status(n) for n in (0, 1, 3, 4, 6, 7, 9, 10)] == [
        None, "too_early", "too_early", None, None, "violation", "violation", None,
    ]  # fmt: skip


def test_records_open_and_close_as_in_the_example_of_the_design() -> None:
    names = {"V": "violation", "W": "warning", "P": "pass"}
    evenings = [_day(n) for n in range(1, 7)]
    statuses = {day: names[letter] for day, letter in zip(evenings, "WVWPPP", strict=True)}
    walked = oracle.episodes(statuses, evenings)
    assert walked.violations == [oracle.Episode(_day(2), _day(5))]
    assert walked.warnings == [oracle.Episode(_day(1), _day(6))]
    assert walked.alerts == [
        (_day(1), "warning", "opened"),
        (_day(2), "violation", "escalated"),
        (_day(5), "violation", "resolved"),
        (_day(6), "warning", "resolved"),
    ]


def test_an_evening_without_an_evaluation_counts_as_below_and_a_relapse_keeps_the_record_open() -> (
    None
):
    statuses = {_day(1): "violation", _day(4): "violation"}
    walked = oracle.episodes(statuses, [_day(n) for n in range(1, 9)])
    assert walked.violations == walked.warnings == [oracle.Episode(_day(1), _day(7))]
    reopened = oracle.episodes(
        {_day(1): "warning", _day(5): "warning"}, [_day(n) for n in range(1, 8)]
    )
    assert reopened.warnings == [oracle.Episode(_day(1), _day(4)), oracle.Episode(_day(5), None)]


@settings(max_examples=15, deadline=None)
@given(histories(resent=True))
def test_the_rates_counted_literally_equal_the_sums_of_the_ledger(delivery: Delivery) -> None:
    history = delivery.history
    entries = oracle.ledger(history, [h.FIRST - timedelta(days=1), *DAYS])
    stars = [f"review_rated_{number}" for number in range(1, 6)]
    parts = {
        "complaint_rate": (["complaints"], ["orders_paid"]),
        "negative_review_rate": (stars[:2], ["orders_fulfilled"]),
        "merchant_fault_return_rate": (["merchant_fault_return_orders"], ["orders_paid"]),
        "late_shipment_rate": (["late_shipments"], ["orders_paid"]),
        "merchant_cancel_rate": (["merchant_cancels"], ["orders_paid"]),
        "dispute_rate": (["merchant_fault_complaints"], ["orders_paid"]),
        "refund_rate": (["refunded_orders"], ["orders_paid"]),
        "low_rating_rate": (stars[:3], stars),
        "order_defect_rate": (["defective_orders"], ["orders_paid"]),
    }
    assert parts.keys() == oracle.METRICS.keys()
    cohorts = {(merchant_id, cohort) for _, cohort, _, merchant_id, *_ in entries}
    for evening in DAYS:
        expected = {}
        for metric, (numerators, denominators) in parts.items():
            window = oracle.METRICS[metric].window
            sums: Counter[tuple[str, str, date]] = Counter()  # component, merchant, cohort
            for (report_date, cohort, _, who, _, component, lag), quantity in entries.items():
                if report_date <= evening and lag < window:
                    sums[component, who, cohort] += quantity
            has_twin = metric not in ("late_shipment_rate", "merchant_cancel_rate")
            twins = [name + "_adjusted" if has_twin else name for name in numerators]
            for who, cohort in cohorts:
                raw, orders, adjusted = (
                    sum(sums[name, who, cohort] for name in names)
                    for names in (numerators, denominators, twins)
                )
                if raw or orders or adjusted:
                    is_mature = evening >= cohort + timedelta(days=window - 1)
                    expected[who, metric, cohort] = oracle.Rate(raw, orders, adjusted, is_mature)
        assert oracle.merchant_rates(history, evening) == expected

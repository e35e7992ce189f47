"""What has gone wrong in pipelines like this one, each case by its name.

A case is a history written by hand, on a platform of its own. Each test says in numbers what the
ledger must hold, then holds every evening's rates and entries against the oracle.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests import oracle, support
from tests.dbt_project.conftest import MARTS, Marketplaces
from tests.histories import (
    DAYS,
    FIRST,
    RESENT_ON,
    Delivery,
    appeal,
    complaint,
    history_of,
    line,
    local,
    merchant,
    order,
    refund,
    review,
)

pytestmark = [
    pytest.mark.xdist_group("marketplaces"),  # one worker builds the warehouses
    pytest.mark.timeout(900),  # of which the first test pays for all
]


def _day(number: int) -> date:
    """Day 1 is the first report date."""
    return FIRST + timedelta(days=number - 1)


def _at(number: int, hour: int = 12) -> datetime:
    return local(_day(number), time(hour))


def _case(name: str, *rows: Any, noise: Any = ()) -> Delivery:
    """A history of (entity, report day[, source day], record) beside one described merchant."""
    described = [
        ("merchants", _day(1), merchant("m1", _at(1))),
        ("merchants", _day(1), merchant("m2", _at(1))),
    ]
    dated = [(row[0], *(_day(number) for number in row[1:-1]), row[-1]) for row in rows]
    return Delivery(history_of(name, [*described, *dated]), tuple(noise))


def _entries(marketplaces: Marketplaces, name: str, *components: str) -> Counter[Any]:
    """(report day, merchant, component, lag) -> quantity in the daily ledger of a case."""
    found: Counter[Any] = Counter()
    for entry, quantity in marketplaces.daily.ledgers()["named"].items():
        report_date, _, _, merchant_id, _, component, lag_days = entry
        case, _, merchant_id = merchant_id.partition(":")
        if case == name and component in components:
            found[(report_date - FIRST).days + 1, merchant_id, component, lag_days] += quantity
    return found


def _hold(marketplaces: Marketplaces, name: str) -> None:
    """The case's ledger, run in any way, and its rates of every evening are the oracle's."""
    history, mark = marketplaces.named.history, f"{name}:"
    expected = oracle.ledger(history, DAYS)
    assert any(mark in str(entry) for entry in expected)
    for warehouse in (marketplaces.daily, marketplaces.chunked, marketplaces.at_once):
        said = support.differences(warehouse.ledgers()["named"], expected, mark)
        assert not said, said
    for mart in MARTS:
        said = marketplaces.rate_differences(history, mart, mark)
        assert not said, said


CASES = [
    _case(
        "deadline",
        ("orders", 1, order("o1", _at(1), paid_at=_at(1), ship_by_at=_at(4))),
        ("orders", 2, order("o2", _at(2), paid_at=_at(2))),
        # Reported on day 9 only: it had been shipped in time.
        ("orders", 9, order("o2", _at(9), paid_at=_at(2), shipped_at=_at(5))),
    ),
    _case(
        "late_version",
        ("orders", 1, order("o1", _at(1), paid_at=_at(1), shipped_at=_at(1))),
        ("complaints", 2, complaint("c1", _at(2))),
        ("complaints", 4, complaint("c1", _at(4), created_at=_at(2), status="withdrawn")),
        ("complaints", 6, complaint("c1", _at(3), created_at=_at(2), status="resolved")),
    ),
    _case(
        "event_first",
        ("complaints", 2, complaint("c1", _at(2))),
        ("complaints", 3, complaint("c9", _at(3), order_id="never")),
        ("orders", 5, order("o1", _at(5), paid_at=_at(1), shipped_at=_at(1))),
    ),
    _case(
        "merchant_corrected",
        (
            "orders",
            1,
            order("o1", _at(1), paid_at=_at(1), fulfilled_at=_at(2), shipped_at=_at(1)),
        ),
        ("reviews", 3, review("v1", _at(3), rating=2)),
        (
            "orders",
            6,
            order(
                "o1",
                _at(6),
                merchant_id="m2",
                paid_at=_at(1),
                fulfilled_at=_at(2),
                shipped_at=_at(1),
            ),
        ),
    ),
    _case(
        "payment_corrected",
        ("orders", 2, order("o1", _at(2), paid_at=_at(2), shipped_at=_at(2))),
        ("complaints", 4, complaint("c1", _at(4))),
        ("orders", 5, order("o1", _at(5), paid_at=_at(1), shipped_at=_at(2))),
        ("orders", 7, order("o1", _at(7), paid_at=_at(9), shipped_at=_at(2))),
    ),
    _case(
        "counted_once",
        ("orders", 1, order("o1", _at(1), paid_at=_at(1), shipped_at=_at(1))),
        ("refunds", 2, refund("r1", _at(2))),
        ("refunds", 4, refund("r2", _at(4))),
        ("refunds", 6, refund("r1", _at(6), requested_at=_at(2), status="withdrawn")),
        (
            "appeals",
            8,
            appeal(
                "a1",
                _at(8),
                subject_type="refund",
                subject_id="r2",
                status="upheld",
                decided_at=_at(8),
            ),
        ),
        ("refunds", 9, refund("r1", _at(9), requested_at=_at(2), status="approved")),
    ),
    _case(
        "resent",
        ("orders", 2, order("o1", _at(2), paid_at=_at(2), shipped_at=_at(2))),
        ("order_items", 2, line("o1", 1, product_id="p1")),
        ("order_items", 2, line("o1", 2, product_id="p2", unit_price=Decimal("5.00"))),
        ("orders", 2, order("o2", _at(2), paid_at=_at(2), shipped_at=_at(2))),
        ("order_items", 2, line("o2", 1, product_id="p3")),
        ("complaints", 3, complaint("c1", _at(3))),
        # The file of day 2, sent again: another merchant, though nothing says so but content,
        # with the lines it had; and an order that it lacked.
        (
            "orders",
            7,
            2,
            order("o1", _at(2), merchant_id="m2", paid_at=_at(2), shipped_at=_at(2)),
        ),
        ("order_items", 7, 2, line("o1", 1, product_id="p1")),
        ("order_items", 7, 2, line("o1", 2, product_id="p2", unit_price=Decimal("5.00"))),
        ("orders", 7, 2, order("o3", _at(2), paid_at=_at(2), shipped_at=_at(2))),
        # The file of day 3: a withdrawal that had been known then.
        (
            "complaints",
            7,
            3,
            complaint("c1", _at(3, 14), created_at=_at(3), status="withdrawn"),
        ),
    ),
]


def test_a_shipping_deadline_that_passes_while_nothing_lands(marketplaces: Marketplaces) -> None:
    late = "late_shipments"
    assert _entries(marketplaces, "deadline", late) == {
        (4, "m1", late, 3): 1,  # o1, as its ship_by_at says
        (5, "m1", late, 3): 1,  # o2, 72 hours after its payment
        (9, "m1", late, 3): -1,
    }
    _hold(marketplaces, "deadline")


def test_a_version_that_arrives_late_with_an_older_updated_at(marketplaces: Marketplaces) -> None:
    assert _entries(marketplaces, "late_version", "complaints") == {
        (2, "m1", "complaints", 1): 1,
        (4, "m1", "complaints", 1): -1,
    }
    _hold(marketplaces, "late_version")


def test_an_event_reported_before_its_order(marketplaces: Marketplaces) -> None:
    assert _entries(marketplaces, "event_first", "complaints", "orders_paid") == {
        (5, "m1", "orders_paid", 0): 1,
        (5, "m1", "complaints", 1): 1,
    }
    _hold(marketplaces, "event_first")


def test_a_merchant_corrected_afterwards(marketplaces: Marketplaces) -> None:
    names = ("orders_paid", "orders_fulfilled", "review_rated_2")
    paid, fulfilled, rated = names
    assert _entries(marketplaces, "merchant_corrected", *names) == {
        (1, "m1", paid, 0): 1,
        (2, "m1", fulfilled, 0): 1,
        (3, "m1", rated, 1): 1,
        (6, "m1", paid, 0): -1,
        (6, "m1", fulfilled, 0): -1,
        (6, "m1", rated, 1): -1,
        (6, "m2", paid, 0): 1,
        (6, "m2", fulfilled, 0): 1,
        (6, "m2", rated, 1): 1,
    }
    _hold(marketplaces, "merchant_corrected")


def test_a_payment_date_corrected_afterwards(marketplaces: Marketplaces) -> None:
    assert _entries(marketplaces, "payment_corrected", "complaints") == {
        (4, "m1", "complaints", 2): 1,
        (5, "m1", "complaints", 2): -1,
        (5, "m1", "complaints", 3): 1,
        (7, "m1", "complaints", 3): -1,
        (9, "m1", "complaints", -5): 1,  # the corrected payment lies ahead until day 9
    }
    _hold(marketplaces, "payment_corrected")


def test_an_order_counted_once_whose_earliest_event_is_withdrawn_while_another_stays(
    marketplaces: Marketplaces,
) -> None:
    raw, adjusted = "merchant_fault_return_orders", "merchant_fault_return_orders_adjusted"
    assert _entries(marketplaces, "counted_once", raw, adjusted) == {
        (2, "m1", raw, 1): 1,
        (2, "m1", adjusted, 1): 1,
        (6, "m1", raw, 1): -1,
        (6, "m1", adjusted, 1): -1,
        (6, "m1", raw, 3): 1,
        (6, "m1", adjusted, 3): 1,
        (8, "m1", adjusted, 3): -1,  # the one that stays is overturned
        (9, "m1", raw, 3): -1,
        (9, "m1", raw, 1): 1,
        (9, "m1", adjusted, 1): 1,
    }
    _hold(marketplaces, "counted_once")


def test_a_resent_closed_date(marketplaces: Marketplaces) -> None:
    assert _day(7) == RESENT_ON
    assert _entries(marketplaces, "resent", "orders_paid", "complaints") == {
        (2, "m1", "orders_paid", 0): 2,
        (3, "m1", "complaints", 1): 1,
        (7, "m1", "orders_paid", 0): -1 + 1,  # o1 leaves, o3 comes
        (7, "m2", "orders_paid", 0): 1,
        (7, "m1", "complaints", 1): -1,
    }
    ledger = marketplaces.daily.ledgers()["named"]
    products = {
        (merchant_id, product_id)
        for (day, _, _, merchant_id, product_id, component, _), quantity in ledger.items()
        if day == RESENT_ON and component == "orders_paid" and merchant_id.startswith("resent:")
    }
    assert products == {
        ("resent:m1", "resent:p1"),
        ("resent:m2", "resent:p1"),  # an order sent again keeps its lines
        ("resent:m1", "unknown"),
    }, "o2, sent again as it was, is no difference"
    _hold(marketplaces, "resent")

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from redline.sources import MISSING
from tests.plugins.redline.landing.shop import DAY, Shop, row

NEXT = DAY + timedelta(days=1)
LAST = DAY + timedelta(days=2)
TOMORROW = "2026-03-02T02:00:00Z"


def keys(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(each[name] for name in names) for each in rows)


def publish_first_day(shop: Shop, entity: str = "complaints") -> None:
    """Two complaints landed on the first day, which is then closed."""
    shop.deliver(entity, DAY, row(entity, "c1"), row(entity, "c2"), row(entity, "bad", status="?"))
    shop.land(entity)


def test_only_the_differences_of_a_closed_date_land_under_the_next_open_one(shop: Shop) -> None:
    publish_first_day(shop)
    closed = shop.bytes_of("complaints")
    shop.deliver(
        "complaints",
        DAY,
        row("complaints", "c1"),  # as it was
        row("complaints", "c3"),  # new; c2 is absent
        row("complaints", "bad"),  # mended
        row("complaints", "worse", status="??"),
    )
    shop.deliver("complaints", NEXT, row("complaints", "c9"))
    report = shop.land("complaints", DAY, NEXT, published_through=DAY, run_id="run-2")
    assert keys(shop.landed("complaints"), "report_date", "source_date", "complaint_id") == [
        (DAY, DAY, "c1"),
        (DAY, DAY, "c2"),
        (NEXT, DAY, "bad"),
        (NEXT, DAY, "c3"),
        (NEXT, NEXT, "c9"),
    ]
    assert (report["late_rows"], report["rows_missing"], report["rows_unchanged"]) == (2, 1, 1)
    assert report["quarantined_by_reason"] == {"unknown_code:status": 1}
    assert report["rows_read"] == 4 and report["rows_landed"] == 3
    after = shop.bytes_of("complaints")
    assert {name: after[name] for name in closed} == closed

    # sent again before the open date is published, and after it
    shop.land("complaints", DAY, NEXT, published_through=DAY, run_id="run-3")
    assert shop.bytes_of("complaints") == after
    again = shop.land("complaints", DAY, LAST, published_through=NEXT, run_id="run-4")
    assert (again["late_rows"], again["rows_quarantined"]) == (0, 0)
    assert {k: v for k, v in shop.bytes_of("complaints").items() if str(LAST) not in k} == after


def test_a_plan_with_closed_dates_only_lands_differences_and_nothing_else(shop: Shop) -> None:
    publish_first_day(shop)
    before = shop.bytes_of("complaints")
    shop.land("complaints", DAY, DAY, published_through=DAY)
    assert shop.bytes_of("complaints") == before
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.land("complaints", DAY, DAY, published_through=DAY)
    assert keys(shop.landed("complaints"), "report_date", "complaint_id")[2:] == [(NEXT, "c3")]


def test_an_open_date_keeps_late_rows_when_it_is_extracted_again(shop: Shop) -> None:
    publish_first_day(shop)
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.land("complaints", DAY, NEXT, published_through=DAY)
    shop.deliver("complaints", NEXT, row("complaints", "c9"))
    shop.land("complaints", NEXT, NEXT, published_through=DAY, run_id="run-3")
    assert keys(shop.landed("complaints"), "report_date", "source_date", "complaint_id")[2:] == [
        (NEXT, DAY, "c3"),
        (NEXT, NEXT, "c9"),
    ]


def test_closed_dates_do_not_lose_an_open_partition_that_a_failed_run_left(shop: Shop) -> None:
    publish_first_day(shop)
    shop.deliver("complaints", NEXT, row("complaints", "c9"))
    shop.land("complaints", NEXT, published_through=DAY)
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.land("complaints", DAY, DAY, published_through=DAY, run_id="run-3")
    assert keys(shop.landed("complaints"), "report_date", "complaint_id")[2:] == [
        (NEXT, "c3"),
        (NEXT, "c9"),
    ]


def test_a_changed_fingerprint_is_noticed_by_an_ordinary_run_once(shop: Shop) -> None:
    shop.fingerprints[("complaints", DAY)] = "v1"
    publish_first_day(shop)
    shop.land("complaints", NEXT, published_through=DAY)
    assert [start for _, start, _ in shop.reads] == [DAY, NEXT]
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.fingerprints[("complaints", DAY)] = "v2"
    report = shop.land("complaints", NEXT, published_through=DAY, run_id="run-3")
    assert report["late_rows"] == 1
    assert keys(shop.landed("complaints"), "report_date", "complaint_id")[2:] == [(NEXT, "c3")]
    # touched again without a difference: recorded, then left alone
    shop.fingerprints[("complaints", DAY)] = "v3"
    shop.land("complaints", LAST, published_through=NEXT, run_id="run-4")
    shop.reads.clear()
    shop.land("complaints", LAST + timedelta(days=1), published_through=LAST, run_id="run-5")
    assert [start for _, start, _ in shop.reads] == [LAST + timedelta(days=1)]


def test_a_late_file_taken_back_before_publication_leaves_no_trace(shop: Shop) -> None:
    shop.fingerprints[("complaints", DAY)] = "v1"
    publish_first_day(shop)
    sent = shop.delivered[("complaints", DAY)]
    shop.land("complaints", NEXT, published_through=DAY)
    before = shop.bytes_of("complaints")
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.fingerprints[("complaints", DAY)] = "v2"
    shop.land("complaints", NEXT, published_through=DAY)
    assert shop.bytes_of("complaints") != before
    shop.deliver("complaints", DAY, *sent)
    shop.fingerprints[("complaints", DAY)] = "v1"
    shop.land("complaints", NEXT, published_through=DAY)
    assert shop.bytes_of("complaints") == before


def test_a_correction_stamped_after_its_closed_date_is_not_in_the_future(shop: Shop) -> None:
    publish_first_day(shop)
    shop.deliver(
        "complaints", DAY, row("complaints", "c1", status="withdrawn", updated_at=TOMORROW)
    )
    report = shop.land("complaints", DAY, NEXT, published_through=DAY)
    assert (report["late_rows"], report["rows_quarantined"]) == (1, 0)


def test_the_same_version_changed_back_and_forth_lands_each_time(shop: Shop) -> None:
    publish_first_day(shop)
    evenings = [(DAY, NEXT, "resolved"), (NEXT, LAST, "open")]
    for closed, opened, status in evenings:
        shop.deliver("complaints", DAY, row("complaints", "c1", status=status))
        shop.land("complaints", DAY, opened, published_through=closed)
    history = [
        (each["report_date"], each["status"])
        for each in shop.landed("complaints")
        if each["complaint_id"] == "c1"
    ]
    assert history == [(DAY, "open"), (NEXT, "resolved"), (LAST, "open")]


def publish_orders(shop: Shop) -> None:
    shop.deliver("orders", DAY, *(row("orders", f"o{i}") for i in range(1, 5)))
    shop.deliver(
        "order_items",
        DAY,
        *(row("order_items", f"o{i}", line_no=str(n)) for i in range(1, 5) for n in (1, 2)),
    )
    for entity in ("orders", "order_items"):
        shop.land(entity)


@pytest.mark.parametrize("first", ["orders", "order_items"])
def test_orders_and_their_lines_land_as_one_unit(shop: Shop, first: str) -> None:
    publish_orders(shop)
    orders = {each["order_id"]: each for each in shop.delivered[("orders", DAY)]}
    lines = {(e["order_id"], e["line_no"]): e for e in shop.delivered[("order_items", DAY)]}
    orders["o1"] = row("orders", "o1", amount="11")  # the order differs
    lines[("o2", "1")] = row("order_items", "o2", quantity="7")  # a line differs
    del lines[("o3", "2")]  # a line is gone
    shop.deliver("orders", DAY, *(each for key, each in orders.items() if key != "o2"))
    shop.deliver("order_items", DAY, *(each for (key, _), each in lines.items() if key != "o1"))
    second = {"orders": "order_items", "order_items": "orders"}[first]
    reports = {
        entity: shop.land(entity, DAY, NEXT, published_through=DAY) for entity in (first, second)
    }
    late = [each for each in shop.landed("orders") if each["report_date"] == NEXT]
    assert keys(late, "order_id", "amount", "source_date") == [
        ("o1", 11, DAY),
        ("o2", 10, DAY),  # not sent again: taken from what is known
        ("o3", 10, DAY),
    ]
    late = [each for each in shop.landed("order_items") if each["report_date"] == NEXT]
    assert keys(late, "order_id", "line_no", "quantity") == [
        ("o1", 1, 1),  # not sent again: taken from what is known
        ("o1", 2, 1),
        ("o2", 1, 7),
        ("o2", 2, 1),
        ("o3", 1, 1),
    ]
    assert (reports["orders"]["rows_missing"], reports["orders"]["late_rows"]) == (1, 3)
    before = {**shop.bytes_of("orders"), **shop.bytes_of("order_items")}
    for entity in (second, first):
        shop.land(entity, DAY, NEXT, published_through=DAY, run_id="run-3")
    assert {**shop.bytes_of("orders"), **shop.bytes_of("order_items")} == before
    # once published, the smaller set is what is known
    for entity in (first, second):
        assert shop.land(entity, DAY, LAST, published_through=NEXT)["late_rows"] == 0


def test_a_changed_fingerprint_of_either_entity_moves_the_unit(shop: Shop) -> None:
    names = ("orders", "order_items")
    shop.fingerprints = {(name, DAY): "v1" for name in names}
    publish_orders(shop)
    shop.deliver("order_items", DAY, row("order_items", "o1", quantity="9"))
    shop.fingerprints[("order_items", DAY)] = "v2"
    for name in reversed(names):
        shop.land(name, NEXT, published_through=DAY)
    assert keys([e for e in shop.landed("orders") if e["report_date"] == NEXT], "order_id") == [
        ("o1",)
    ]


def test_an_order_that_has_gone_beyond_the_horizon_takes_its_lines_with_it(shop: Shop) -> None:
    paid = "2026-02-28T20:00:00Z"
    shop.deliver(
        "orders", DAY, row("orders", "o1", paid_at=paid), row("orders", "o2", paid_at=paid)
    )
    shop.deliver("order_items", DAY, row("order_items", "o1"), row("order_items", "o2"))
    for entity in ("orders", "order_items"):
        shop.land(entity)
    shop.deliver(
        "order_items", DAY, row("order_items", "o1", quantity="5"), row("order_items", "o2")
    )
    through = DAY + timedelta(days=180)
    reports = [
        shop.land(entity, DAY, DAY, published_through=through)
        for entity in ("orders", "order_items")
    ]
    assert [report["late_rows"] for report in reports] == [0, 0]
    assert [report["quarantined_by_reason"] for report in reports] == [{}, {"beyond_horizon": 1}]


def test_a_restatement_extracts_closed_dates_anew_and_keeps_what_came_late_from_before(
    shop: Shop,
) -> None:
    publish_first_day(shop)
    shop.deliver("complaints", NEXT, row("complaints", "n1"))
    shop.deliver("complaints", DAY, row("complaints", "c3"))
    shop.land("complaints", DAY, NEXT, published_through=DAY)
    shop.deliver("complaints", NEXT, row("complaints", "n2"))
    shop.land("complaints", NEXT, LAST, published_through=NEXT)
    found = keys(shop.landed("complaints"), "report_date", "source_date", "complaint_id")
    assert found[2:] == [(NEXT, DAY, "c3"), (NEXT, NEXT, "n1"), (LAST, NEXT, "n2")]
    shop.land("complaints", NEXT, LAST, published_through=LAST, restated_from=NEXT)
    found = keys(shop.landed("complaints"), "report_date", "source_date", "complaint_id")
    assert found[2:] == [(NEXT, DAY, "c3"), (NEXT, NEXT, "n2")]


def test_a_date_the_source_has_for_the_first_time_lands_whole(shop: Shop) -> None:
    publish_first_day(shop)
    earlier = date(2026, 2, 27)
    shop.deliver("complaints", earlier, row("complaints", "c0", updated_at="2026-02-27"))
    shop.land("complaints", earlier, NEXT, published_through=DAY)
    assert (NEXT, earlier, "c0") in keys(
        shop.landed("complaints"), "report_date", "source_date", "complaint_id"
    )


@pytest.mark.parametrize("entity", ["complaints", "orders"])
def test_untouched_closed_dates_that_are_asked_for_again_are_not_read(
    shop: Shop, entity: str
) -> None:
    names = {"complaints": ["complaints"], "orders": ["orders", "order_items"]}[entity]
    shop.fingerprints = {(name, day): "v1" for name in names for day in (DAY, NEXT)}
    for name in names:
        shop.deliver(name, DAY, row(name, "k1"))
        shop.land(name, DAY, NEXT)
    before = shop.bytes_of(entity)
    shop.reads.clear()
    report = shop.land(entity, DAY, LAST, published_through=NEXT, run_id="run-2")
    assert shop.reads == [(entity, LAST, LAST)]
    assert report["late_rows"] == 0
    assert {k: v for k, v in shop.bytes_of(entity).items() if str(LAST) not in k} == before
    # one that was touched is read, with its unit; the others are not
    shop.fingerprints[(names[-1], NEXT)] = "v2"
    shop.reads.clear()
    shop.land(entity, DAY, LAST, published_through=NEXT, run_id="run-3")
    assert shop.reads == [(entity, LAST, LAST), *((name, NEXT, NEXT) for name in names)]


def test_a_closed_date_is_compared_where_one_of_its_unit_has_no_fingerprint(shop: Shop) -> None:
    shop.fingerprints = {("orders", DAY): "v1"}
    publish_orders(shop)
    shop.reads.clear()
    shop.land("orders", DAY, NEXT, published_through=DAY)
    assert [read for read in shop.reads if read[1] == DAY] == [
        ("orders", DAY, DAY),
        ("order_items", DAY, DAY),
    ]


def test_a_row_refused_as_future_lands_when_its_untouched_date_is_asked_for_again(
    shop: Shop,
) -> None:
    shop.fingerprints[("complaints", DAY)] = "v1"
    shop.deliver("complaints", DAY, row("complaints", "c1", updated_at=TOMORROW))
    assert shop.land("complaints")["quarantined_by_reason"] == {"future:updated_at": 1}
    assert shop.land("complaints", DAY, NEXT, published_through=DAY)["late_rows"] == 1


def test_a_file_that_is_taken_away_after_it_was_landed_changes_nothing(shop: Shop) -> None:
    shop.fingerprints[("complaints", DAY)] = "v1"
    publish_first_day(shop)
    shop.fingerprints[("complaints", DAY)] = MISSING
    shop.reads.clear()
    shop.land("complaints", NEXT, published_through=DAY, run_id="run-2")
    assert [start for _, start, _ in shop.reads] == [NEXT]

"""The keys behind ledger entries, on generated histories: they are counted by SQL of their own."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import date

import duckdb
import pytest

from redline.explain.keys import EntryName, Wanted, keys_behind
from redline.explain.model import Key
from tests import oracle, support
from tests.dbt_project.conftest import Marketplaces
from tests.histories import DAYS

pytestmark = [
    pytest.mark.xdist_group("marketplaces"),  # one worker builds the warehouses
    pytest.mark.timeout(900),  # of which the first test pays for all
]

EVENTS = {
    "complaint": ("complaints", "created_at", {"open", "resolved"}),
    "review": ("reviews", "created_at", {"visible"}),
    "refund": ("refunds", "requested_at", {"requested", "approved", "completed"}),
}
Counted = tuple[str, str, str | None]
"""component, order, event; None where an order is counted once or by itself"""


@pytest.fixture(scope="module")
def keys(marketplaces: Marketplaces) -> dict[str, dict[EntryName, tuple[Key, ...]]]:
    """By platform, all keys of all entries of its merchants."""
    return {
        platform: _keys(marketplaces.daily, platform, "merchant")
        for platform in marketplaces.daily.platforms
    }


def _keys(
    warehouse: support.Warehouse, platform: str, entity_type: str, entity_id: str | None = None
) -> dict[EntryName, tuple[Key, ...]]:
    (row,) = warehouse.rows(
        f"select list(distinct {entity_type}_id), list(distinct component), min(cohort_date), "
        "max(cohort_date) from marts.fct_cohort_ledger where platform = ?",
        platform,
    )
    entity_ids, components, first, last = row
    wanted = Wanted(
        platform,
        entity_type,
        (entity_id,) if entity_id else tuple(entity_ids),
        tuple(components),
        first,
        last,
        10_000,
        DAYS[-1],
    )
    with closing(
        duckdb.connect(str(warehouse.settings.home.warehouse), read_only=True)
    ) as connection:
        return keys_behind(connection, wanted)


def test_the_keys_of_every_entry_add_up_to_its_quantity(
    marketplaces: Marketplaces, keys: dict[str, dict[EntryName, tuple[Key, ...]]]
) -> None:
    said = []
    for platform, entries in marketplaces.daily.ledgers().items():
        expected: Counter[EntryName] = Counter()
        for (report, cohort, _, merchant, _, component, lag), quantity in entries.items():
            expected[report, cohort, merchant, component, lag] += quantity
        found = Counter(
            {name: sum(key.quantity for key in behind) for name, behind in keys[platform].items()}
        )
        said.append(support.differences(_without_zeros(found), _without_zeros(expected)))
    assert not any(said), "\n".join(said)


def test_an_entry_names_each_of_its_keys_once_with_its_date_and_why_it_left(
    keys: dict[str, dict[EntryName, tuple[Key, ...]]],
) -> None:
    for entries in keys.values():
        for (_, cohort_date, _, component, lag_days), behind in entries.items():
            assert len({_counted(component, key) for key in behind}) == len(behind)
            for key in behind:
                assert abs(key.quantity) == 1
                assert (key.happened_on - cohort_date).days == lag_days, (component, key)
                assert (key.why is None) <= (key.quantity > 0), (component, key)


def test_a_key_says_since_when_its_event_is_overturned(
    marketplaces: Marketplaces, keys: dict[str, dict[EntryName, tuple[Key, ...]]]
) -> None:
    seen = 0
    for delivery in [*marketplaces.gathered, marketplaces.named]:
        history = delivery.history
        overturned = {day: oracle.overturned(history, day) for day in DAYS}
        for behind in keys[history.platform].values():
            for key in behind:
                event = (key.event_kind or "", key.event_id or "")
                since: date | None = None
                for day in DAYS:
                    since = (since or day) if event in overturned[day] else None
                assert key.overturned_on == since, key
                seen += since is not None
    assert seen


def test_a_products_keys_are_those_of_its_own_orders(marketplaces: Marketplaces) -> None:
    platform = marketplaces.daily.platforms[0]
    ledger = marketplaces.daily.ledgers()[platform]
    said = []
    for product_id in sorted({entry[4] for entry in ledger})[:25]:
        expected: Counter[EntryName] = Counter()
        for (report, cohort, _, merchant, product, component, lag), quantity in ledger.items():
            if product == product_id:
                expected[report, cohort, merchant, component, lag] += quantity
        found = _keys(marketplaces.daily, platform, "product", product_id)
        sums = Counter({name: sum(key.quantity for key in keys) for name, keys in found.items()})
        said.append(support.differences(_without_zeros(sums), _without_zeros(expected)))
    assert not any(said), "\n".join(said)


def _without_zeros(counts: Counter[EntryName]) -> Counter[EntryName]:
    return Counter({name: quantity for name, quantity in counts.items() if quantity})


def test_the_keys_up_to_an_evening_name_what_counts_on_it(
    marketplaces: Marketplaces, keys: dict[str, dict[EntryName, tuple[Key, ...]]]
) -> None:
    said = []
    for delivery in [*marketplaces.gathered, marketplaces.named]:
        history = delivery.history
        for evening in DAYS:
            found: Counter[Counted] = Counter()
            for (report_date, _, _, component, _), behind in keys[history.platform].items():
                if report_date <= evening:
                    for key in behind:
                        found[_counted(component, key)] += key.quantity
            expected = _counting(history, evening)
            actual = Counter({name: count for name, count in found.items() if count})
            if actual != expected:
                said.append(f"{evening}:\n{support.differences(actual, expected)}")
    assert not said, "\n".join(said[:5])


def _counted(component: str, key: Key) -> Counted:
    if key.event_kind is None or component.removesuffix("_adjusted").endswith("_orders"):
        return component, key.order_id, None
    return component, key.order_id, f"{key.event_kind}:{key.event_id}"


def _counting(history: oracle.History, evening: date) -> Counter[Counted]:
    """What the definitions count on an evening, by name."""

    def day(moment: object) -> date | None:
        return moment and oracle.business_date(moment, history.timezone)  # type: ignore[arg-type, return-value]

    def passed(*dates: date | None) -> bool:
        return all(each is not None and each <= evening for each in dates)

    counted: Counter[Counted] = Counter()
    orders = oracle.newest_of(history, "orders", evening)
    upheld = oracle.overturned(history, evening)
    for order_id, (_, _, order) in orders.items():
        if order["status"] != "active":
            continue
        paid, fulfilled = day(order["paid_at"]), day(order["fulfilled_at"])
        if passed(paid):
            counted["orders_paid", order_id, None] = 1
            deadline = order["ship_by_at"] or order["paid_at"] + oracle.SHIP_WITHIN
            is_late = order["shipped_at"] is None or order["shipped_at"] > deadline
            if is_late and passed(day(deadline)):
                counted["late_shipments", order_id, None] = 1
            cancelled, shipped = order["cancelled_at"], order["shipped_at"]
            is_unshipped = shipped is None or (cancelled is not None and cancelled < shipped)
            if order["cancelled_by"] == "merchant" and passed(day(cancelled)) and is_unshipped:
                counted["merchant_cancels", order_id, None] = 1
        if passed(fulfilled):
            counted["orders_fulfilled", order_id, None] = 1

    for kind, (entity, time, statuses) in EVENTS.items():
        for event_id, (_, _, event) in oracle.newest_of(history, entity, evening).items():
            order_version = orders.get(event["order_id"])
            if order_version is None or order_version.record["status"] != "active":
                continue
            if event["status"] not in statuses or not passed(day(event[time])):
                continue
            paid = day(order_version.record["paid_at"])
            fulfilled = day(order_version.record["fulfilled_at"])
            key, fault = f"{kind}:{event_id}", None
            if kind != "review":
                fault = oracle.fault_of(history, event, evening)
            is_defect = fault == "merchant" or (kind == "review" and event["rating"] in (1, 2))
            names: list[tuple[str, str | None]] = []
            if kind == "review" and passed(fulfilled):
                names.append((f"review_rated_{event['rating']}", key))
            if kind == "complaint" and passed(paid):
                names.append(("complaints", key))
                names += [("merchant_fault_complaints", key)] if fault == "merchant" else []
            if kind == "refund" and passed(paid):
                names.append(("refunded_orders", None))
                names += [("merchant_fault_return_orders", None)] if fault == "merchant" else []
            if is_defect and passed(paid):
                names.append(("defective_orders", None))
            for component, name in names:
                counted[component, event["order_id"], name] = 1
                if (kind, event_id) not in upheld:
                    counted[f"{component}_adjusted", event["order_id"], name] = 1
    return counted

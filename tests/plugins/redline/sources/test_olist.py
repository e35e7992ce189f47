"""The mapping of the Olist dataset, against a second reading of its files in plain Python."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from redline.contract import ENTITIES, entity
from redline.errors import SettingError, SourceError
from redline.sources import Source, open_source

PROJECT = Path(__file__).resolve().parents[4]
DATASET = Path(
    os.environ.get("REDLINE_OLIST_DIR", PROJECT.parent / "shared" / "data" / "olist")
).absolute()

START, END = date(2016, 9, 1), date(2018, 10, 31)
FAR = date(2099, 12, 31)

needs_dataset = pytest.mark.skipif(
    not (DATASET / "olist_orders_dataset.csv").exists(),
    reason="the Olist dataset is not here: set REDLINE_OLIST_DIR to its folder",
)

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDLINE_TIMEZONE", "UTC")


@pytest.fixture
def source() -> Source:
    return open_source(f"olist://{DATASET}")


def delivered(source: Source, name: str, start: date = START, end: date = FAR) -> list[Row]:
    return [row for batch in source.read(entity(name), start, end) for row in batch.to_pylist()]


def original(name: str, folder: Path = DATASET) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def sellers() -> dict[str, dict[str, list[dict[str, str]]]]:
    """Lines by order and seller; an order without items has the seller ''."""
    lines: dict[str, dict[str, list[dict[str, str]]]] = {
        order["order_id"]: {} for order in original("olist_orders_dataset.csv")
    }
    for line in original("olist_order_items_dataset.csv"):
        lines[line["order_id"]].setdefault(line["seller_id"], []).append(line)
    return {order_id: by_seller or {"": []} for order_id, by_seller in lines.items()}


def expected_orders() -> Iterator[tuple[Any, ...]]:
    """Every version of every merchant order, as the mapping tells it."""
    by_order = sellers()
    buyers = {
        row["customer_id"]: row["customer_unique_id"]
        for row in original("olist_customers_dataset.csv")
    }
    for order in original("olist_orders_dataset.csv"):
        paid = moment(order["order_approved_at"])
        times = (
            paid,
            moment(order["order_delivered_carrier_date"]),
            moment(order["order_delivered_customer_date"]),
        )
        bought = datetime.fromisoformat(order["order_purchase_timestamp"])
        changes = {time for time in times if time is not None} if paid else {bought}
        for seller, lines in by_order[order["order_id"]].items():
            for change in changes:
                yield (
                    f"{order['order_id']}:{seller}",
                    seller or None,
                    buyers[order["customer_id"]],
                    sum(
                        (Decimal(x["price"]) + Decimal(x["freight_value"]) for x in lines),
                        Decimal(),
                    )
                    if lines
                    else None,
                    max(
                        (datetime.fromisoformat(x["shipping_limit_date"]) for x in lines),
                        default=None,
                    ),
                    *(time if time is not None and time <= change else None for time in times),
                    change,
                    change.date(),
                )


@needs_dataset
def test_every_version_of_every_merchant_order_shows_what_had_happened_by_then(
    source: Source,
) -> None:
    columns = (
        "order_id",
        "merchant_id",
        "buyer_id",
        "amount",
        "ship_by_at",
        "paid_at",
        "shipped_at",
        "fulfilled_at",
        "updated_at",
        "report_date",
    )
    orders = delivered(source, "orders")
    found = Counter(tuple(row[column] for column in columns) for row in orders)
    assert found == Counter(expected_orders())
    assert {(row["currency"], row["status"]) for row in orders} == {("BRL", "active")}


@needs_dataset
def test_orders_without_items_arrive_without_a_merchant(source: Source) -> None:
    with_items = {line["order_id"] for line in original("olist_order_items_dataset.csv")}
    bare = {row["order_id"] for row in original("olist_orders_dataset.csv")} - with_items
    without = {row["order_id"] for row in delivered(source, "orders") if row["merchant_id"] is None}
    assert bare and without == {f"{order_id}:" for order_id in bare}


@needs_dataset
def test_items_come_whole_with_every_date_of_their_orders_versions(source: Source) -> None:
    dates = defaultdict(set)
    for version in expected_orders():
        dates[version[0]].add(version[-1])
    expected = Counter(
        (order_id, int(line["order_item_id"]), line["product_id"], Decimal(line["price"]), day)
        for line in original("olist_order_items_dataset.csv")
        for order_id in [f"{line['order_id']}:{line['seller_id']}"]
        for day in dates[order_id]
    )
    rows = delivered(source, "order_items")
    found = Counter(
        (row["order_id"], row["line_no"], row["product_id"], row["unit_price"], row["report_date"])
        for row in rows
    )
    assert found == expected
    assert {row["quantity"] for row in rows} == {1}


@needs_dataset
def test_a_review_belongs_to_every_merchant_order_of_its_order(source: Source) -> None:
    by_order = sellers()
    expected = {
        f"{row['review_id']}:{row['order_id']}:{seller}": (
            f"{row['order_id']}:{seller}",
            int(row["review_score"]),
            moment(row["review_answer_timestamp"]),
        )
        for row in original("olist_order_reviews_dataset.csv")
        for seller in by_order[row["order_id"]]
    }
    rows = delivered(source, "reviews")
    assert len(rows) == len(expected) == 8301
    for row in rows:
        assert expected[row["review_id"]] == (row["order_id"], row["rating"], row["created_at"])
        assert row["report_date"] == row["created_at"].date() == row["updated_at"].date()


@needs_dataset
def test_complaints_are_the_worst_reviews_that_say_anything(source: Source) -> None:
    by_order = sellers()
    expected = sorted(
        (f"{row['review_id']}:{row['order_id']}:{seller}", row["review_comment_message"])
        for row in original("olist_order_reviews_dataset.csv")
        # str.split knows all white space of Unicode
        if row["review_score"] == "1" and row["review_comment_message"].split()
        for seller in by_order[row["order_id"]]
    )
    rows = delivered(source, "complaints")
    assert sorted((row["complaint_id"], row["description"]) for row in rows) == expected
    assert {row["reason_code"] for row in rows} == {"review_complaint"}


@needs_dataset
def test_paid_and_canceled_orders_are_refunded_in_full(source: Source) -> None:
    by_order = sellers()
    expected = {}
    for order in original("olist_orders_dataset.csv"):
        paid = moment(order["order_approved_at"])
        if order["order_status"] != "canceled" or paid is None:
            continue
        shipped = moment(order["order_delivered_carrier_date"])
        for seller, lines in by_order[order["order_id"]].items():
            due = max(
                (datetime.fromisoformat(x["shipping_limit_date"]) for x in lines), default=None
            )
            late = due is not None and (shipped is None or shipped > due)
            expected[f"{order['order_id']}:{seller}"] = (
                due,
                sum((Decimal(x["price"]) + Decimal(x["freight_value"]) for x in lines), Decimal())
                if lines
                else None,
                "merchant" if late else "unknown",
                max(paid, due or paid).date(),
            )
    rows = delivered(source, "refunds")
    found = {
        row["order_id"]: (
            row["requested_at"],
            row["amount"],
            row["fault_party"],
            row["report_date"],
        )
        for row in rows
    }
    assert len(rows) == len(found)
    assert found == expected


@needs_dataset
def test_merchants_and_products_come_with_the_first_order_that_names_them(source: Source) -> None:
    first_merchant: dict[str, datetime] = {}
    first_product: dict[str, tuple[datetime, str]] = {}
    products_of = defaultdict(set)
    for line in original("olist_order_items_dataset.csv"):
        products_of[f"{line['order_id']}:{line['seller_id']}"].add(line["product_id"])
    for version in expected_orders():
        order_id, merchant_id, changed = version[0], version[1], version[-2]
        if merchant_id is not None:
            first_merchant[merchant_id] = min(first_merchant.get(merchant_id, changed), changed)
        for product_id in products_of[order_id]:
            known = first_product.get(product_id, (changed, order_id))
            first_product[product_id] = min(known, (changed, order_id))
    merchants = delivered(source, "merchants")
    products = delivered(source, "products")
    assert {row["merchant_id"]: row["updated_at"] for row in merchants} == first_merchant
    assert len(merchants) == len(first_merchant) == 1610
    assert {row["product_id"]: (row["updated_at"], row["merchant_id"]) for row in products} == {
        product_id: (changed, order_id.partition(":")[2])
        for product_id, (changed, order_id) in first_product.items()
    }
    assert len(products) == 5460
    assert all(row["report_date"] == row["updated_at"].date() for row in merchants + products)


@needs_dataset
def test_categories_are_english_names_and_a_merchant_has_that_of_its_first_paid_orders_product(
    source: Source,
) -> None:
    english = {
        row["product_category_name"]: row["product_category_name_english"]
        for row in original("product_category_name_translation.csv")
    }
    category = {
        row["product_id"]: english.get(row["product_category_name"], row["product_category_name"])
        or "unknown"
        for row in original("olist_products_dataset.csv")
    }
    paid = {
        row["order_id"]: row["order_approved_at"] for row in original("olist_orders_dataset.csv")
    }
    first: dict[str, tuple[str, str]] = {}
    product = {}
    for order_id, by_seller in sellers().items():
        for seller, lines in by_seller.items():
            if seller:
                assert paid[order_id], "the sample has no unpaid order with items"
                best = max(lines, key=lambda x: (Decimal(x["price"]), -int(x["order_item_id"])))
                product[seller, order_id] = best["product_id"]
                first[seller] = min(first.get(seller, ("9", "")), (paid[order_id], order_id))
    found = {row["merchant_id"]: row["category_id"] for row in delivered(source, "merchants")}
    assert found == {
        seller: category[product[seller, order_id]] for seller, (_, order_id) in first.items()
    }
    assert {
        row["product_id"]: row["category_id"] for row in delivered(source, "products")
    }.items() <= category.items()
    assert {"unknown", "pc_gamer", "health_beauty"} <= set(category.values())


@needs_dataset
@pytest.mark.parametrize("name", [each.name for each in ENTITIES])
def test_a_range_delivers_what_its_dates_deliver_one_by_one(source: Source, name: str) -> None:
    split = date(2018, 1, 8), date(2018, 1, 9)
    whole = delivered(source, name, date(2018, 1, 5), date(2018, 1, 12))
    parts = [
        row
        for start, end in ((date(2018, 1, 5), split[0]), (split[1], date(2018, 1, 12)))
        # afresh, as every entity is landed by a process of its own
        for row in delivered(open_source(f"olist://{DATASET}"), name, start, end)
    ]
    assert sorted(map(repr, whole)) == sorted(map(repr, parts))
    assert name in ("buyers", "appeals") or whole


@needs_dataset
def test_its_span_covers_every_event(source: Source) -> None:
    found = [
        row["report_date"]
        for each in ENTITIES
        for row in delivered(source, each.name, date.min, date.max)
    ]
    assert source.span() == (min(found), max(found))
    assert source.fingerprint(entity("orders"), START) is None


@needs_dataset
def test_the_platform_is_olist_unless_the_address_names_another() -> None:
    assert open_source(f"olist://{DATASET}").platform == "olist"
    assert open_source(f"olist://{DATASET}?platform=brazil").platform == "brazil"


def test_another_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDLINE_TIMEZONE", "Asia/Shanghai")
    with pytest.raises(SettingError, match="set REDLINE_TIMEZONE=UTC"):
        open_source(f"olist://{tmp_path}")


def test_a_missing_folder_and_an_unknown_option_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no folder"):
        open_source(f"olist://{tmp_path / 'nowhere'}")
    with pytest.raises(SourceError, match="unknown option 'seed'"):
        open_source(f"olist://{tmp_path}?seed=1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing \(.*olist_orders_dataset.csv"):
        delivered(open_source(f"olist://{tmp_path}"), "orders")


@needs_dataset
@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("shipping_limit_date", "limit", "no column shipping_limit_date"),
        (",1,", ",one,", "cannot be read .*one"),
        ("order_id,order_item_id", "\xff,order_item_id", "cannot be read .*utf-8"),
    ],
)
def test_another_header_or_a_damaged_value_is_refused(
    tmp_path: Path, before: str, after: str, says: str
) -> None:
    for path in DATASET.glob("*.csv"):
        shutil.copyfile(path, tmp_path / path.name)
    items = tmp_path / "olist_order_items_dataset.csv"
    items.write_text(items.read_text().replace(before, after, 1), encoding="latin-1")
    with pytest.raises(SourceError, match=says) as refused:
        delivered(open_source(f"olist://{tmp_path}"), "order_items")
    assert "olist_order_items_dataset.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_dataset_file_without_its_header_is_refused_without_its_values(tmp_path: Path) -> None:
    for name in ("orders", "order_items", "customers", "sellers", "products"):
        path = tmp_path / f"olist_{name}_dataset.csv"
        path.write_text("b1,+55 11 91234-5678,x\nb2,+55 11 91234-5679,y\n")
    with pytest.raises(SourceError, match="found 3 unknown columns") as refused:
        delivered(open_source(f"olist://{tmp_path}"), "orders")
    assert "91234" not in str(refused.value)

"""The Olist dataset as delivered records, read with Python's csv module.

A second reading of the mapping to the contract, for the oracle: it shares no code with the
product's source. The dataset's own README says what each line here does.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests import histories
from tests.oracle import History

PLATFORM = "olist"
LAST_DATE = date(2018, 10, 31)


def folder() -> Path:
    """Where the dataset lies: `REDLINE_OLIST_DIR`, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "olist"
    return Path(os.environ.get("REDLINE_OLIST_DIR", beside))


def _rows(root: Path, name: str) -> Iterator[dict[str, str]]:
    with (root / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def history(root: Path) -> History:
    """All records of the dataset under the dates on which they became known."""
    english = {}
    for row in csv.DictReader(
        (root / "product_category_name_translation.csv").open(encoding="utf-8-sig")
    ):
        english[row["product_category_name"]] = row["product_category_name_english"]
    categories = {}
    for row in _rows(root, "olist_products_dataset.csv"):
        name = row["product_category_name"]
        categories[row["product_id"]] = english.get(name, name) or "unknown"

    # The lines of each merchant order, by order and seller.
    lines: defaultdict[str, defaultdict[str, list[dict[str, str]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in _rows(root, "olist_order_items_dataset.csv"):
        lines[row["order_id"]][row["seller_id"]].append(row)

    delivered: list[tuple[str, date, dict[str, Any]]] = []
    first_paid: dict[str, tuple[datetime, str, str]] = {}  # seller -> paid, order, product
    appeared: dict[str, datetime] = {}
    for row in _rows(root, "olist_orders_dataset.csv"):
        purchased = _moment(row["order_purchase_timestamp"])
        paid = _moment(row["order_approved_at"])
        shipped = _moment(row["order_delivered_carrier_date"])
        fulfilled = _moment(row["order_delivered_customer_date"])
        assert purchased is not None
        moments = {m for m in (paid, shipped, fulfilled) if m is not None} if paid else {purchased}
        for seller, items in lines[row["order_id"]].items():
            order_id = f"{row['order_id']}:{seller}"
            ship_by = max(datetime.fromisoformat(item["shipping_limit_date"]) for item in items)
            amount = sum(Decimal(item["price"]) + Decimal(item["freight_value"]) for item in items)
            for moment in sorted(moments):
                known = {
                    name: value if value is not None and value <= moment else None
                    for name, value in (
                        ("paid_at", paid),
                        ("shipped_at", shipped),
                        ("fulfilled_at", fulfilled),
                    )
                }
                order = histories.order(
                    order_id,
                    moment,
                    merchant_id=seller,
                    amount=amount,
                    currency="BRL",
                    ship_by_at=ship_by,
                    **known,
                )
                delivered.append(("orders", moment.date(), order))
            for day in {moment.date() for moment in moments}:
                for item in items:
                    line = histories.line(
                        order_id,
                        int(item["order_item_id"]),
                        product_id=item["product_id"],
                        unit_price=Decimal(item["price"]),
                    )
                    delivered.append(("order_items", day, line))
            dearest = min(
                items, key=lambda item: (-Decimal(item["price"]), int(item["order_item_id"]))
            )
            appeared[seller] = min(appeared.get(seller, datetime.max), min(moments))
            if paid is not None:
                found = (paid, order_id, dearest["product_id"])
                first_paid[seller] = min(first_paid.get(seller, found), found)
            if row["order_status"] == "canceled" and paid is not None:
                in_time = shipped is not None and shipped <= ship_by
                refund = histories.refund(
                    order_id,
                    max(ship_by, paid),
                    order_id=order_id,
                    requested_at=ship_by,
                    amount=amount,
                    fault_party="unknown" if in_time else "merchant",
                )
                delivered.append(("refunds", max(ship_by, paid).date(), refund))

    for seller, moment in appeared.items():
        product = first_paid[seller][2] if seller in first_paid else None
        category = categories.get(product, "unknown") if product else "unknown"
        merchant = histories.merchant(seller, moment, category_id=category)
        delivered.append(("merchants", moment.date(), merchant))

    for row in _rows(root, "olist_order_reviews_dataset.csv"):
        answered = datetime.fromisoformat(row["review_answer_timestamp"])
        for seller in lines[row["order_id"]]:
            order_id = f"{row['order_id']}:{seller}"
            event_id = f"{row['review_id']}:{order_id}"
            review = histories.review(
                event_id, answered, order_id=order_id, rating=int(row["review_score"])
            )
            delivered.append(("reviews", answered.date(), review))
            if row["review_score"] == "1" and "".join(row["review_comment_message"].split()):
                complaint = histories.complaint(
                    event_id, answered, order_id=order_id, reason_code="review_complaint"
                )
                delivered.append(("complaints", answered.date(), complaint))
    return histories.history_of(PLATFORM, delivered, timezone="UTC")

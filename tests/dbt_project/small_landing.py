"""A small marketplace, written straight into a landing zone for tests of the project itself.

Two merchants sell for some weeks. In the first week `m1` draws enough complaints, refunds and bad
reviews to cross its red lines; then it mends. No row has a fault, so the door is not needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redline.contract import ENTITIES, ColumnType
from redline.settings import Home
from tests.histories import (
    appeal,
    complaint,
    line,
    local,
    merchant,
    order,
    product,
    refund,
    review,
)

PLATFORM = "small"
FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=offset) for offset in range(24)]

_BAD_DAYS = 7
_MERCHANTS = ("m1", "m1", "m1", "m1", "m1", "m1", "m2", "m2")  # of a day's orders

_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "timestamp": pa.timestamp("us"),
    "money": pa.decimal128(18, 2),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
}

Row = tuple[str, date, dict[str, Any]]


def land(home: Home) -> None:
    """Write the marketplace's partitions: every entity has one for every date."""
    landed: dict[tuple[str, date], list[dict[str, Any]]] = defaultdict(list)
    for entity_name, day, record in _rows():
        landed[entity_name, day].append(
            record | {"platform": PLATFORM, "source_date": day, "source_file": f"{entity_name}.csv"}
        )
    for entity in ENTITIES:
        schema = pa.schema(
            [
                ("platform", pa.string()),
                *((column.name, _TYPES[column.type]) for column in entity.columns),
                ("source_date", pa.date32()),
                ("source_file", pa.string()),
            ]
        )
        for day in DAYS:
            partition = home.landing / PLATFORM / entity.name / f"report_date={day}"
            partition.mkdir(parents=True)
            table = pa.Table.from_pylist(landed[entity.name, day], schema)
            pq.write_table(table, partition / f"source_date={day}.parquet")


def _rows() -> Iterator[Row]:
    """(entity, report date, record): each lands on the date on which it was written."""
    yield _row("merchants", FIRST, merchant, "m1")
    yield _row("merchants", FIRST, merchant, "m2", category_id="travel")
    yield _row("products", FIRST, product, "p1")
    yield _row("products", FIRST, product, "p2", merchant_id="m2", category_id="travel")
    for day_number, paid_on in enumerate(DAYS):
        for number, merchant_id in enumerate(_MERCHANTS):
            rows = list(_order(f"{day_number}-{number}", merchant_id, paid_on))
            if merchant_id == "m1" and day_number < _BAD_DAYS:
                rows.extend(_trouble(f"{day_number}-{number}", number, paid_on))
            yield from (row for row in rows if row[1] <= DAYS[-1])
    for appeal_id, subject_id, verdict in (("a1", "0-0", "upheld"), ("a2", "1-0", "rejected")):
        yield _row("appeals", DAYS[5], appeal, appeal_id, subject_id=subject_id)
        yield _row("appeals", DAYS[8], appeal, appeal_id, subject_id=subject_id,
                   status=verdict, decided_at=_noon(DAYS[8]))  # fmt: skip


def _order(order_id: str, merchant_id: str, paid_on: date) -> Iterator[Row]:
    """Paid, and two days later shipped (one in six never) and fulfilled; every third is praised."""
    number, fulfilled_on = int(order_id.rpartition("-")[2]), paid_on + timedelta(days=2)
    fields = {"merchant_id": merchant_id, "paid_at": _noon(paid_on)}
    done = {"shipped_at": _noon(fulfilled_on), "fulfilled_at": _noon(fulfilled_on)}
    yield _row("orders", paid_on, order, order_id, **fields)
    yield ("order_items", paid_on, line(order_id, 1, product_id=merchant_id.replace("m", "p")))
    if number != 5:
        yield _row("orders", fulfilled_on, order, order_id, **fields, **done)
        yield ("order_items", fulfilled_on, line(order_id, 1, product_id="p1"))
    if number % 3 == 1:
        yield _row(
            "reviews", fulfilled_on, review, f"praise-{order_id}", order_id=order_id, rating=5
        )


def _trouble(order_id: str, number: int, paid_on: date) -> Iterator[Row]:
    """Of a day's orders one is complained about, one refunded twice and one reviewed badly."""
    soon, later = paid_on + timedelta(days=2), paid_on + timedelta(days=4)
    if number == 0:
        yield _row("complaints", soon, complaint, order_id, order_id=order_id)
    if number == 1:
        asked = {"order_id": order_id, "requested_at": _noon(soon)}
        yield _row("refunds", soon, refund, f"first-{order_id}", **asked)
        yield _row("refunds", later, refund, f"first-{order_id}", **asked, status="withdrawn")
        yield _row("refunds", later, refund, f"second-{order_id}", order_id=order_id)
    if number == 2:
        yield _row("reviews", later, review, f"blame-{order_id}", order_id=order_id, rating=1)


def _row(entity: str, day: date, made: Any, key: str, **fields: Any) -> Row:
    return (entity, day, made(key, _noon(day), **fields))


def _noon(day: date) -> datetime:
    return local(day)

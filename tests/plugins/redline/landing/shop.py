"""A shop whose deliveries a test makes up row by row, and what of them was landed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redline import landing
from redline.contract import ENTITIES, Entity
from redline.plan import Plan, days
from redline.settings import Home, Settings

DAY = date(2026, 3, 1)
Row = dict[str, Any]

_FILLED: dict[str, Row] = {
    "merchants": {"merchant_name": "Tea house", "category_id": "food", "status": "active"},
    "products": {"merchant_id": "m1", "category_id": "food", "title": "Tea", "status": "active"},
    "buyers": {},
    "orders": {
        "merchant_id": "m1",
        "buyer_id": "b1",
        "amount": "10.00",
        "currency": "CNY",
        "status": "active",
    },
    "order_items": {"line_no": "1", "product_id": "p1", "quantity": "1", "unit_price": "10"},
    "complaints": {
        "order_id": "o1",
        "created_at": "2026-03-01T01:00:00Z",
        "reason_code": "late",
        "status": "open",
    },
    "reviews": {
        "order_id": "o1",
        "rating": "5",
        "created_at": "2026-03-01T01:00:00Z",
        "status": "visible",
    },
    "refunds": {
        "order_id": "o1",
        "requested_at": "2026-03-01T01:00:00Z",
        "amount": "1",
        "kind": "full",
        "reason_code": "late",
        "status": "requested",
    },
    "appeals": {
        "subject_type": "review",
        "subject_id": "r1",
        "merchant_id": "m1",
        "submitted_at": "2026-03-01T01:00:00Z",
        "status": "submitted",
    },
}
_BY_NAME = {entity.name: entity for entity in ENTITIES}


@dataclass
class Shop:
    """A source held in memory, the home it is landed in, and shorthands for both."""

    home: Home
    settings: Settings
    platform: str = "shop"
    delivered: dict[tuple[str, date], list[Row]] = field(default_factory=dict)
    batches: list[pa.RecordBatch] | None = None
    fingerprints: dict[tuple[str, date], str] = field(default_factory=dict)
    reads: list[tuple[str, date, date]] = field(default_factory=list)

    def span(self) -> tuple[date, date] | None:
        return None

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        self.reads.append((entity.name, start, end))
        if self.batches is not None:
            yield from self.batches
            return
        for day in days(start, end):
            rows = self.delivered.get((entity.name, day), [])
            if rows:
                yield batch(entity.name, day, rows)

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        return self.fingerprints.get((entity.name, day))

    def deliver(self, entity: str, day: date, *rows: Row) -> None:
        """Say what the shop has for a date, in place of what it had."""
        self.delivered[(entity, day)] = list(rows)

    def plan(self, start: date = DAY, end: date | None = None, **changes: Any) -> Plan:
        end = end or start
        through = changes.get("published_through")
        first = max(start, through + timedelta(days=1)) if through else start
        plan = Plan("run-1", self.platform, "memory://", start, end, None, None, first, end)
        return replace(plan, **changes)

    def land(self, entity: str, start: date = DAY, end: date | None = None, **changes: Any) -> Row:
        return landing.land(self.plan(start, end, **changes), self.settings, entity)

    def landed(self, entity: str) -> list[Row]:
        """All landed rows with their report dates, in the order of report and source dates."""
        return self._rows(self.home.landing / self.platform / entity)

    def refused(self, entity: str) -> list[Row]:
        """All rows in quarantine."""
        return self._rows(self.home.quarantine / self.platform / entity)

    def partition(self, entity: str, day: date = DAY) -> Path:
        return self.home.landing / self.platform / entity / f"report_date={day}"

    def bytes_of(self, entity: str) -> dict[str, bytes]:
        """Every Parquet file of an entity, landed and refused."""
        return {
            str(path.relative_to(self.home.root)): path.read_bytes()
            for top in (self.home.landing, self.home.quarantine)
            for path in sorted((top / self.platform / entity).rglob("*.parquet"))
        }

    def _rows(self, folder: Path) -> list[Row]:
        return [
            {"report_date": date.fromisoformat(path.parent.name.removeprefix("report_date="))} | row
            for path in sorted(folder.glob("report_date=*/*.parquet"))
            for row in pq.ParquetFile(path).read().to_pylist()
        ]


def batch(entity: str, day: date, rows: list[Row]) -> pa.RecordBatch:
    """Rows as text, with all columns of the contract, as a CSV file would give them."""
    names = _BY_NAME[entity].column_names
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    columns["report_date"] = pa.array([day] * len(rows), pa.date32())
    columns["source_file"] = pa.array([row.get("source_file", f"{entity}.csv") for row in rows])
    columns["surprise"] = pa.array(["dropped at the door"] * len(rows))
    return pa.RecordBatch.from_pydict(columns)


def row(entity: str, key: str, **values: Any) -> Row:
    """A row without faults, but for the values given."""
    filled: Row = {_BY_NAME[entity].key[0]: key, **_FILLED[entity]}
    if _BY_NAME[entity].is_versioned:
        filled["updated_at"] = "2026-03-01T02:00:00Z"
    return {**filled, **values}

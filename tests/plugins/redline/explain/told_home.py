"""A published home whose records are worth a story: every entity type and kind of component."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from redline.plan import ONE_DAY, Plan
from redline.publish import publish
from tests import support
from tests.dbt_project.simulated import FIRST, LAST, MIDDLE, PLATFORM, SOURCE, draw_red_lines
from tests.histories import TIMEZONE

# Beside the merchants' and categories' of the simulated marketplace: products, and metrics whose
# numerators are orders, orders counted once, and events by fault or by stars; raw and adjusted.
_MORE_POLICIES: tuple[dict[str, Any], ...] = (
    {"metric": "complaint_rate", "entity_type": "product", "basis": "adjusted"},
    {"metric": "negative_review_rate", "entity_type": "product", "basis": "raw"},
    {"metric": "late_shipment_rate"},
    {"metric": "merchant_cancel_rate", "violation_threshold": 0.03},
    {
        "metric": "dispute_rate",
        "basis": "raw",
        "min_component": "orders_fulfilled",
        "min_count": 20,
        "min_days": 14,
    },
    {"metric": "refund_rate", "entity_type": "category", "evaluation_days": 5},
    {"metric": "low_rating_rate", "warning_threshold": 0.2, "violation_threshold": 0.3},
    {"metric": "order_defect_rate", "evaluation_days": 10},
)


def build_told(root: Path) -> support.Warehouse:
    """Bring the simulated marketplace on under more policies, in two passes, and publish it.

    After the first pass two violations are appealed against, and decisions that had overturned
    events are taken back.
    """
    settings = support.settings_of(root, TIMEZONE)
    support.land_dates(settings, PLATFORM, SOURCE, FIRST, LAST)
    warehouse = support.Warehouse(settings, (PLATFORM,))
    warehouse.seed()
    draw_red_lines(warehouse)
    with closing(duckdb.connect(str(settings.home.warehouse))) as connection:
        for policy in _MORE_POLICIES:
            row = _policy_row(**policy)
            columns = ", ".join(f"${name} as {name}" for name in row)
            connection.execute(f"insert into seeds.pack_douyin_laike by name select {columns}", row)
    warehouse.run(FIRST, MIDDLE, on_top=False)
    _appeal_against_violations(warehouse)
    _take_decisions_back(warehouse)
    warehouse.run(MIDDLE + ONE_DAY, LAST, on_top=True)
    publish(_plan(FIRST, LAST), settings)
    return warehouse


def _policy_row(metric: str, entity_type: str = "merchant", **more: Any) -> dict[str, Any]:
    return {
        "policy_id": f"told_{entity_type}_{metric}",
        "platform": "*",
        "category_id": "*",
        "metric": metric,
        "risk_point": "told",
        "entity_type": entity_type,
        "warning_threshold": 0.01,
        "violation_threshold": 0.02,
        "comparator": ">=",
        "basis": "adjusted",
        "evaluation_days": 7,
        "min_denominator": 10,
        "measure": "notice",
        "effective_from": date(2000, 1, 1),
        "owner": "tests",
        "source": "ours",
        **more,
    }


def _appeal_against_violations(warehouse: support.Warehouse) -> None:
    """One appeal is upheld, one rejected, both a day after they came."""
    violations = warehouse.rows(
        "select record_id, entity_id from marts.fct_violation_records "
        "where last_at_level_on = ? and entity_type = 'merchant' order by record_id",
        MIDDLE,
    )
    came, decided = MIDDLE + ONE_DAY, MIDDLE + 2 * ONE_DAY
    for day, statuses in (
        (came, ("submitted", "submitted")),
        (decided, ("upheld", "rejected")),
    ):
        rows = [
            {
                "appeal_id": f"against-{verdict}",
                "subject_type": "violation",
                "subject_id": record_id,
                "merchant_id": merchant_id,
                "submitted_at": datetime.combine(came, time(4)),
                "decided_at": None if day == came else datetime.combine(day, time(4)),
                "status": status,
            }
            for verdict, status, (record_id, merchant_id) in zip(
                ("upheld", "rejected"), statuses, violations, strict=False
            )
        ]
        _land_appeals(warehouse, day, rows)


def _take_decisions_back(warehouse: support.Warehouse) -> None:
    day = LAST - ONE_DAY
    columns = ("appeal_id", "subject_type", "subject_id", "merchant_id")
    appeals = warehouse.rows(
        f"select {', '.join(columns)} from intermediate.int_appeals_versioned "
        "where status = 'upheld' order by valid_from desc, appeal_id limit 12"
    )
    moment = datetime.combine(day, time(4))
    rows = [
        {
            **dict(zip(columns, appeal, strict=True)),
            "submitted_at": moment - timedelta(days=20),
            "decided_at": moment,
            "status": "rejected",
        }
        for appeal in appeals
    ]
    _land_appeals(warehouse, day, rows)


def _land_appeals(warehouse: support.Warehouse, day: date, rows: Sequence[dict[str, Any]]) -> None:
    """Add a file of appeals to the partition of a date."""
    partition = warehouse.settings.home.landing / PLATFORM / "appeals" / f"report_date={day}"
    like = pq.read_schema(partition / f"source_date={day}.parquet")
    added = {
        "platform": PLATFORM,
        "updated_at": datetime.combine(day, time(4)),
        "source_date": FIRST,
        "source_file": "by hand",
    }
    table = pa.Table.from_pylist([{**row, **added} for row in rows], like)
    pq.write_table(table, partition / f"source_date={FIRST}.parquet")


def _plan(start: date, end: date) -> Plan:
    return Plan(
        run_id=f"{PLATFORM}-{start}",
        platform=PLATFORM,
        source=SOURCE,
        requested_start=start,
        requested_end=end,
        published_through=None,
        base_run=None,
        start=start,
        end=end,
    )

"""A published home whose records are worth a story: every entity type and kind of component."""

from __future__ import annotations

from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from redline.plan import Plan
from redline.publish import publish
from tests import support
from tests.dbt_project.simulated import FIRST, LAST, PLATFORM, build

# Beside the merchants' and categories' of the simulated marketplace: products, and metrics whose
# numerators are orders, orders counted once, and events by fault or by stars; raw and adjusted.
_MORE_POLICIES: tuple[dict[str, Any], ...] = (
    {"metric": "complaint_rate", "entity_type": "product", "basis": "adjusted"},
    {"metric": "negative_review_rate", "entity_type": "product", "basis": "raw"},
    {"metric": "late_shipment_rate"},
    {"metric": "merchant_cancel_rate", "violation_threshold": 0.03},
    {"metric": "dispute_rate", "basis": "raw"},
    {"metric": "refund_rate", "entity_type": "category", "evaluation_days": 5},
    {"metric": "low_rating_rate", "warning_threshold": 0.2, "violation_threshold": 0.3},
    {"metric": "order_defect_rate", "evaluation_days": 10},
)


def build_told(root: Path) -> support.Warehouse:
    """Bring the simulated marketplace on under more policies, and publish it."""
    warehouse = build(root)
    with closing(duckdb.connect(str(warehouse.settings.home.warehouse))) as connection:
        for policy in _MORE_POLICIES:
            row = _policy_row(**policy)
            columns = ", ".join(f"${name} as {name}" for name in row)
            connection.execute(f"insert into seeds.pack_douyin_laike by name select {columns}", row)
    _reverse_decisions(warehouse)
    warehouse.run(FIRST, LAST, on_top=False)
    publish(plan_of(FIRST, LAST), warehouse.settings)
    return warehouse


def _reverse_decisions(warehouse: support.Warehouse) -> None:
    """Let the last decisions in favour of merchants be taken back on the day before the last."""
    day = LAST - timedelta(days=1)
    partition = warehouse.settings.home.landing / PLATFORM / "appeals" / f"report_date={day}"
    like = pq.read_schema(partition / f"source_date={day}.parquet")
    moment = datetime.combine(day, time(4))
    appeals = warehouse.rows(
        """
        select appeal_id, subject_type, subject_id, merchant_id
        from intermediate.int_appeals_versioned
        where status = 'upheld' and subject_type <> 'violation' and valid_from < ?
        order by valid_from desc, appeal_id limit 12
        """,
        day,
    )
    rows = [
        {
            "platform": PLATFORM,
            "appeal_id": appeal_id,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "merchant_id": merchant_id,
            "submitted_at": moment - timedelta(days=9),
            "decided_at": moment,
            "status": "rejected",
            "updated_at": moment,
            "source_date": FIRST,
            "source_file": "by hand",
        }
        for appeal_id, subject_type, subject_id, merchant_id in appeals
    ]
    pq.write_table(pa.Table.from_pylist(rows, like), partition / f"source_date={FIRST}.parquet")


def plan_of(start: date, end: date) -> Plan:
    """The plan of the first run over these dates."""
    return Plan(
        run_id=f"{PLATFORM}-{start}",
        platform=PLATFORM,
        source=f"simulator://?platform={PLATFORM}",
        requested_start=start,
        requested_end=end,
        published_through=None,
        base_run=None,
        start=start,
        end=end,
    )


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

"""A small simulated marketplace under red lines so strict that records open, escalate and close."""

from __future__ import annotations

from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests import support
from tests.histories import TIMEZONE

PLATFORM = "simulator"
FIRST, MIDDLE, LAST = date(2026, 1, 1), date(2026, 1, 26), date(2026, 2, 4)
NEW_VERSIONS_FROM = date(2026, 1, 20)
COOLDOWN_DAYS = 3
MIN_DENOMINATOR = 6

SOURCE = f"simulator://?merchants=30&days={(LAST - FIRST).days + 1}&seed=3&start={FIRST}"

# Thresholds that a merchant with few orders meets often, and of each a version that begins later.
_RED_LINES = f"""
    update seeds.pack_douyin_laike
    set
        warning_threshold = warning_threshold / 2,
        violation_threshold = violation_threshold / 2,
        min_denominator = {MIN_DENOMINATOR},
        basis = case when metric = 'complaint_rate' then 'raw' else 'adjusted' end,
        max_count = case when metric = 'merchant_fault_return_rate' then 0 end,
        effective_to = $1;
    insert into seeds.pack_douyin_laike
    select * replace (
        policy_id || '_next' as policy_id,
        warning_threshold * 1.5 as warning_threshold,
        $1 + 1 as effective_from,
        null as effective_to
    )
    from seeds.pack_douyin_laike;
"""


def build(root: Path) -> support.Warehouse:
    """Land the marketplace and bring its warehouse on in two passes.

    Between the passes an appeal against an open violation is decided in the merchant's favour, and
    one against another is rejected.
    """
    settings = support.settings_of(root, TIMEZONE)
    support.land_dates(settings, PLATFORM, SOURCE, FIRST, LAST)
    warehouse = support.Warehouse(settings, (PLATFORM,))
    warehouse.seed()
    draw_red_lines(warehouse)
    warehouse.run(FIRST, MIDDLE, on_top=False)
    land_appeals(warehouse)
    warehouse.run(MIDDLE + timedelta(days=1), LAST, on_top=True)
    return warehouse


def draw_red_lines(warehouse: support.Warehouse) -> None:
    """Make the seeded policies stricter, each in two versions."""
    with closing(duckdb.connect(str(warehouse.settings.home.warehouse))) as connection:
        for statement in _RED_LINES.split(";")[:2]:
            connection.execute(statement, [NEW_VERSIONS_FROM - timedelta(days=1)])


def land_appeals(warehouse: support.Warehouse) -> None:
    """Add a file of appeals to the partition of the date after MIDDLE."""
    violations = warehouse.rows(
        "select record_id, entity_id from marts.fct_violation_records "
        "where closed_on is null order by last_at_level_on, record_id"
    )
    assert len(violations) >= 2, "too few violations are open to appeal against"
    day = MIDDLE + timedelta(days=1)
    partition = warehouse.settings.home.landing / PLATFORM / "appeals" / f"report_date={day}"
    like = pq.read_schema(partition / f"source_date={day}.parquet")
    decided_at = datetime.combine(day, datetime.min.time())
    rows = [
        {
            "platform": PLATFORM,
            "appeal_id": f"against-{verdict}",
            "subject_type": "violation",
            "subject_id": record_id,
            "merchant_id": merchant_id,
            "submitted_at": decided_at,
            "decided_at": decided_at,
            "status": verdict,
            "updated_at": decided_at,
            "source_date": MIDDLE,
            "source_file": "by hand",
        }
        for verdict, (record_id, merchant_id) in zip(
            ("upheld", "rejected"), violations, strict=False
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows, like), partition / f"source_date={MIDDLE}.parquet")

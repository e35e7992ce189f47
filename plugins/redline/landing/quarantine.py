"""Reading the quarantine: what was refused in a run, and why."""

from __future__ import annotations

import duckdb

from redline.contract import ENTITIES
from redline.landing.partitions import partition
from redline.landing.scope import scope_of
from redline.plan import Plan
from redline.settings import Home

RefusedRows = tuple[str, str, int, str, str]


def quarantine_summary(home: Home, plan: Plan) -> list[RefusedRows]:
    """What a run's report dates refused: one row per entity and reason, the most frequent first.

    Returns:
        (entity, reason, rows, sample_key, source_file); the sample is the least key and its file.
    """
    scope = scope_of(plan)
    # Differences of closed dates are refused under the first open one, extracted or not.
    dates = sorted({scope.first_open, *scope.open_dates})
    files: list[str] = []
    for entity in ENTITIES:
        folder = home.quarantine / plan.platform / entity.name
        for day in dates:
            files.extend(str(path) for path in partition(folder, day).glob("source_date=*.parquet"))
    if not files:
        return []
    with duckdb.connect(":memory:") as con:
        return con.execute(
            """
            SELECT entity, reason, count(*) AS rows, min(row_key),
                arg_min(source_file, row_key || chr(0) || source_file)
            FROM read_parquet($files, hive_partitioning = false)
            GROUP BY entity, reason
            ORDER BY rows DESC, entity, reason
            """,
            {"files": files},
        ).fetchall()

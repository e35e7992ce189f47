"""What a delivery looks like: absent values and the mix of codes, kept in its manifest.

Counted once, when the rows are landed, so that a later run compares its dates with earlier ones
without reading a row of them.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

import duckdb

from redline.contract import Column, Entity
from redline.landing.engine import literal, quoted

Profile = dict[str, Any]

_MOST_VALUES = 50  # of a column; the commonest
_KINDS = ("category_id", "reason_code", "kind", "currency")


def is_categorical(column: Column) -> bool:
    """Whether a column's values are few, so that their mix says something."""
    return bool(column.codes) or column.name in _KINDS


def profiles(con: duckdb.DuckDBPyConnection, entity: Entity, table: str) -> dict[date, Profile]:
    """Profile the clean rows of a workbench table by the date they were delivered for.

    Returns:
        Per source date `nulls` (rows without a value, per nullable column) and `values` (rows per
        value, per categorical column).
    """
    clean = f"FROM {quoted(table)} WHERE reason IS NULL"
    found: dict[date, Profile] = defaultdict(lambda: {"nulls": {}, "values": {}})
    nullable = [column.name for column in entity.columns if not column.required]
    if nullable:
        counts = ", ".join(f"count(*) - count({quoted(name)})" for name in nullable)
        for day, *nulls in con.execute(
            f"SELECT source_date, {counts} {clean} GROUP BY ALL"
        ).fetchall():
            found[day]["nulls"] = dict(zip(nullable, nulls, strict=True))
    categorical = [column.name for column in entity.columns if is_categorical(column)]
    if categorical:
        parts = (
            f"SELECT source_date, {literal(name)} AS name, {quoted(name)} AS value, "
            f"count(*) AS count {clean} AND {quoted(name)} IS NOT NULL GROUP BY ALL"
            for name in categorical
        )
        for day, name, value, count in con.execute(
            f"SELECT * FROM ({' UNION ALL '.join(parts)}) QUALIFY row_number() OVER "
            f"(PARTITION BY source_date, name ORDER BY count DESC, value) <= {_MOST_VALUES} "
            "ORDER BY ALL"
        ).fetchall():
            found[day]["values"].setdefault(name, {})[value] = count
    return dict(found)

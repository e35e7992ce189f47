"""How a day compares with the like days before it: rows, absent values and the mix of codes.

Like days are the earlier report dates of the same weekday, at most 28 of them. What they looked
like stands in their manifests (`redline.landing.profile`), so that no row of them is read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from redline.contract import ENTITIES, Entity
from redline.plan import Plan, days
from redline.validation.gate import create

LIKE_DATES = 28
EARLY_DATES = 4

_Row = tuple[Any, ...]


def make_usual(con: duckdb.DuckDBPyConnection, root: Path, plan: Plan) -> None:
    """Make `intake.usual` for a plan's report dates.

    Grain: entity, report date, measure (`volume`, `nulls`, `mix`) and column. `found` and `usual`
    are rows for `volume`, else shares; of `mix` those of the value that changed most, which
    `of_column` names. `deviation` is their ratio for `volume`, the rise for `nulls`, the change
    without its sign for `mix`; null where nothing is usual yet. `like_dates` says how many dates
    it is compared with, `usual_rows` how many rows these have.
    """
    deliveries: list[_Row] = []
    shares: list[_Row] = []
    for entity in ENTITIES:
        for day, entry in _own_entries(root, entity, plan):
            rows, landed = int(entry.get("rows_read") or 0), int(entry.get("rows_landed") or 0)
            deliveries.append((entity.name, day, day >= plan.start, rows))
            if landed:
                shares.extend((entity.name, day, *each) for each in _shares(entry, landed))
    create(con, "intake.deliveries", _table(deliveries, _DELIVERIES))
    create(con, "intake.shares", _table(shares, _SHARES))
    con.execute(
        f"""
        create table intake.like_dates as
        select now.entity, now.report_date, earlier.report_date as like_date
        from intake.deliveries as now
        inner join intake.deliveries as earlier
            on earlier.entity = now.entity
            and earlier.report_date < now.report_date
            and (now.report_date - earlier.report_date) % 7 = 0
            and earlier.report_date >= now.report_date - {LIKE_DATES * 7}
        where now.is_judged
        """
    )
    con.execute(
        """
        create table intake.usual_rows as
        select
            now.entity,
            now.report_date,
            now.rows_read,
            count(earlier.rows_read) as like_dates,
            coalesce(median(earlier.rows_read), 0) as usual_rows
        from intake.deliveries as now
        left join intake.like_dates as dates using (entity, report_date)
        left join intake.deliveries as earlier
            on earlier.entity = dates.entity and earlier.report_date = dates.like_date
        where now.is_judged
        group by all
        """
    )
    con.execute(_USUAL)


def too_early(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Entities of which too few like dates have been landed before the last report date."""
    rows = con.execute(
        """
        select entity
        from intake.usual_rows
        group by entity
        having arg_max(like_dates, report_date) < $dates
        order by entity
        """,
        {"dates": EARLY_DATES},
    ).fetchall()
    return [name for (name,) in rows]


_DELIVERIES = pa.schema(
    {
        "entity": pa.string(),
        "report_date": pa.date32(),
        "is_judged": pa.bool_(),
        "rows_read": pa.int64(),
    }
)
_SHARES = pa.schema(
    {
        "entity": pa.string(),
        "report_date": pa.date32(),
        "measure": pa.string(),
        "column": pa.string(),
        "value": pa.string(),
        "share": pa.float64(),
    }
)

# A value that a date has none of has the share 0 there.
_USUAL = """
    create table intake.usual as
    with
        profiled as (
            select distinct entity, report_date, measure, "column" from intake.shares
        ),

        -- every value that either the date or one of its like dates has
        asked as (
            select distinct dates.entity, dates.report_date, shares.measure, shares."column",
                shares.value
            from intake.like_dates as dates
            inner join intake.shares as shares
                on shares.entity = dates.entity
                and shares.report_date in (dates.report_date, dates.like_date)
            inner join profiled as now
                on now.entity = dates.entity
                and now.report_date = dates.report_date
                and now.measure = shares.measure
                and now."column" = shares."column"
        ),

        compared as (
            select
                asked.*,
                coalesce(any_value(now.share), 0) as found,
                median(coalesce(earlier.share, 0)) as usual,
                count(*) as like_dates
            from asked
            inner join intake.like_dates as dates
                on dates.entity = asked.entity and dates.report_date = asked.report_date
            inner join profiled as known
                on known.entity = asked.entity
                and known.report_date = dates.like_date
                and known.measure = asked.measure
                and known."column" = asked."column"
            left join intake.shares as now
                on now.entity = asked.entity
                and now.report_date = asked.report_date
                and now.measure = asked.measure
                and now."column" = asked."column"
                and now.value = asked.value
            left join intake.shares as earlier
                on earlier.entity = asked.entity
                and earlier.report_date = dates.like_date
                and earlier.measure = asked.measure
                and earlier."column" = asked."column"
                and earlier.value = asked.value
            group by all
        ),

        worst as (
            select *
            from compared
            qualify
                row_number() over (
                    partition by entity, report_date, measure, "column"
                    order by abs(found - usual) desc, value
                )
                = 1
        )

    select
        entity,
        report_date,
        'volume' as measure,
        null::varchar as of_column,
        rows_read::double as found,
        usual_rows::double as usual,
        like_dates,
        usual_rows,
        case when usual_rows > 0 then rows_read / usual_rows end as deviation
    from intake.usual_rows
    union all
    select
        entity,
        report_date,
        measure,
        "column" || case when measure = 'mix' then ' ' || value else '' end,
        round(found, 4),
        round(usual, 4),
        worst.like_dates,
        all_rows.usual_rows,
        round(case when measure = 'mix' then abs(found - usual) else found - usual end, 4)
    from worst
    inner join intake.usual_rows as all_rows using (entity, report_date)
"""


def _own_entries(root: Path, entity: Entity, plan: Plan) -> Iterator[tuple[date, dict[str, Any]]]:
    """What each date itself brought, as its manifest tells; dates without one are left out."""
    for day in days(plan.start - timedelta(days=LIKE_DATES * 7), plan.end):
        path = root / entity.name / f"report_date={day}" / "manifest.json"
        try:
            entries = json.loads(path.read_text())["files"]
            own = next(e for e in entries if e["name"] == f"source_date={day}.parquet")
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue  # said by another expectation, where it is a date of the run
        yield day, own


def _shares(entry: dict[str, Any], landed: int) -> Iterator[tuple[str, str, str, float]]:
    profile = entry.get("profile") or {}
    for column, nulls in profile.get("nulls", {}).items():
        yield "nulls", column, "null", nulls / landed
    for column, values in profile.get("values", {}).items():
        for value, count in values.items():
            yield "mix", column, value, count / landed


def _table(rows: list[_Row], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)

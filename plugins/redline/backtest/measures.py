"""Measuring both replays: SQL over the published columns of evaluations, records and alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from redline.backtest.question import Question
from redline.backtest.report import (
    FLAP_DAYS,
    HORIZON_DAYS,
    Change,
    Figure,
    Judgement,
    Measure,
    Report,
    Unit,
)

_SIDES = ("active", "candidate")

# Of both sides under one name each. Records are needed from before the first evening too.
_BETWEEN = """
    create temp table {mart} as
    select 'active' as side, * from active.marts.fct_{mart}
    where as_of_date between $start and $end
    union all by name
    select 'candidate' as side, * from candidate.marts.fct_{mart}
    where as_of_date between $start and $end
"""
_RECORDS = """
    insert into records
    select
        '{side}', '{kind}', record_id, platform, policy_line, entity_type, entity_id, opened_on,
        closed_on
    from {side}.marts.fct_{kind}_records
"""
_BOTH = (
    _BETWEEN.format(mart="alerts"),
    _BETWEEN.format(mart="policy_evaluations"),
    """
    create temp table records (
        side varchar, record_type varchar, record_id varchar, platform varchar,
        policy_line varchar, entity_type varchar, entity_id varchar, opened_on date,
        closed_on date
    )
    """,
    *(
        _RECORDS.format(side=side, kind=kind)
        for side in _SIDES
        for kind in ("warning", "violation")
    ),
)

_ALERTS = """
    select * from alerts
    order by side, as_of_date, platform, entity_type, entity_id, metric, alert_id
"""

_TRANSITIONS = "select side, transition, count(*) from alerts group by all"

_TOUCHED = """
    select side, entity_type, count(distinct (platform, entity_id)) from alerts group by all
"""

# A warning spoke first if no violation opened with it. It is decided once its horizon has passed,
# whether or not the violation came earlier: else the quick ones alone would count at the end.
_WARNINGS = f"""
    with
        episodes as (
            select
                warnings.side,
                warnings.record_id,
                warnings.opened_on,
                min(violations.opened_on) as violated_on
            from records as warnings
            left join records as violations
                on violations.record_type = 'violation'
                and violations.side = warnings.side
                and violations.platform = warnings.platform
                and violations.policy_line = warnings.policy_line
                and violations.entity_type = warnings.entity_type
                and violations.entity_id = warnings.entity_id
                and violations.opened_on >= warnings.opened_on
                and coalesce(violations.opened_on < warnings.closed_on, true)
            where warnings.record_type = 'warning' and warnings.opened_on between $start and $end
            group by all
        )

    select
        side,
        count(*) filter (violated_on <= opened_on + {HORIZON_DAYS}),
        count(*)
    from episodes
    where violated_on is distinct from opened_on and opened_on + {HORIZON_DAYS} <= $end
    group by side
"""

_VIOLATIONS = """
    select
        violations.side,
        violations.record_id,
        violations.opened_on - max(warnings.opened_on) as lead_days
    from records as violations
    left join records as warnings
        on warnings.record_type = 'warning'
        and warnings.side = violations.side
        and warnings.platform = violations.platform
        and warnings.policy_line = violations.policy_line
        and warnings.entity_type = violations.entity_type
        and warnings.entity_id = violations.entity_id
        and warnings.opened_on < violations.opened_on
        and coalesce(warnings.closed_on > violations.opened_on, true)
    where violations.record_type = 'violation' and violations.opened_on between $start and $end
    group by violations.side, violations.record_id, violations.opened_on
    order by violations.side, lead_days, violations.record_id
"""

_REOPENED = f"""
    with
        followed as (
            select
                side,
                opened_on,
                lag(closed_on) over (
                    partition by side, record_type, platform, policy_line, entity_type, entity_id
                    order by opened_on
                ) as closed_before_on
            from records
        )

    select side, count(*) filter (opened_on - closed_before_on <= {FLAP_DAYS}), count(*)
    from followed
    where opened_on between $start and $end
    group by side
"""

# An entity's metric has gained an alert if only the candidate says anything of it that is not good
# news. Both sides are looked at on the same evening, that of the alert which only one of them has.
_CHANGES = """
    with
        alarms as (
            select
                side, platform, entity_type, entity_id, metric,
                count(*) as alerts,
                min(as_of_date) as first_on,
                min(as_of_date) filter (record_type = 'violation') as violated_on
            from alerts
            where transition <> 'resolved'
            group by all
        ),

        compared as (
            select
                platform, entity_type, entity_id, metric,
                coalesce(active.alerts, 0) as active_alerts,
                coalesce(candidate.alerts, 0) as candidate_alerts,
                case
                    when active.violated_on is not null then 'violation'
                    when active.alerts > 0 then 'warning'
                end as active_level,
                case
                    when candidate.violated_on is not null then 'violation'
                    when candidate.alerts > 0 then 'warning'
                end as candidate_level,
                case
                    when active.alerts is null then 'gained'
                    when candidate.alerts is null then 'lost'
                    when active.violated_on is null and candidate.violated_on is not null
                    then 'raised'
                    when active.violated_on is not null and candidate.violated_on is null
                    then 'lowered'
                end as direction,
                case direction
                    when 'gained' then candidate.first_on
                    when 'raised' then candidate.violated_on
                    when 'lowered' then active.violated_on
                    when 'lost' then active.first_on
                end as evening
            from (select * from alarms where side = 'active') as active
            full join (select * from alarms where side = 'candidate') as candidate
                using (platform, entity_type, entity_id, metric)
        ),

        judged as (
            select *
            from policy_evaluations
            qualify
                row_number() over (
                    partition by side, as_of_date, platform, entity_type, entity_id, metric
                    order by
                        status = 'violation' desc,
                        status = 'warning' desc,
                        value / violation_threshold desc nulls last,
                        policy_id
                ) = 1
        )

    select
        compared.*,
        coalesce(candidate.category_id, active.category_id) as category_id,
        coalesce(merchants.merchant_name, products.title) as name,
        COLUMNS
    from compared
    left join judged as active
        on active.side = 'active'
        and active.as_of_date = compared.evening
        and active.platform = compared.platform
        and active.entity_type = compared.entity_type
        and active.entity_id = compared.entity_id
        and active.metric = compared.metric
    left join judged as candidate
        on candidate.side = 'candidate'
        and candidate.as_of_date = compared.evening
        and candidate.platform = compared.platform
        and candidate.entity_type = compared.entity_type
        and candidate.entity_id = compared.entity_id
        and candidate.metric = compared.metric
    left join candidate.marts.dim_merchants as merchants
        on compared.entity_type = 'merchant'
        and merchants.platform = compared.platform
        and merchants.merchant_id = compared.entity_id
    left join candidate.marts.dim_products as products
        on compared.entity_type = 'product'
        and products.platform = compared.platform
        and products.product_id = compared.entity_id
    where direction is not null
    order by
        list_position(['gained', 'raised', 'lowered', 'lost'], direction),
        evening, platform, entity_type, entity_id, metric
"""
_JUDGEMENT = [field.name for field in fields(Judgement)]
_JUDGED = [name for name in _JUDGEMENT if name not in ("alerts", "level")]

# A measure's figure by side.
Figures = Mapping[str, Figure]


def measure(question: Question, folder: Path, warehouses: Sequence[Path]) -> Report:
    """Compare what both sides would have said between the evenings.

    Args:
        folder: where the report will lie.
        warehouses: the replays' DuckDB files, that of the active packs first.
    """
    between = {"start": question.start, "end": question.end}
    with duckdb.connect() as connection:
        for side, warehouse in zip(_SIDES, warehouses, strict=True):
            path = str(warehouse).replace("'", "''")
            connection.execute(f"attach '{path}' as {side} (read_only)")

        def execute(sql: str) -> duckdb.DuckDBPyConnection:
            # DuckDB refuses a parameter that a statement does not use.
            used = {name: day for name, day in between.items() if f"${name}" in sql}
            return connection.execute(sql, used)

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return execute(sql).fetchall()

        for statement in _BOTH:
            execute(statement)
        lead_days: dict[str, list[int]] = {side: [] for side in _SIDES}
        violations: dict[str, int] = defaultdict(int)
        for side, _, days in rows(_VIOLATIONS):
            violations[side] += 1
            if days is not None:
                lead_days[side].append(days)
        measures = [
            *_alerts_per_evening(question, rows(_TRANSITIONS)),
            *_touched(rows(_TOUCHED)),
            _ratio(
                "precision",
                "Precision of warnings",
                f"Of the warning records that opened before any violation and at least"
                f" {HORIZON_DAYS} days before the last evening, those in which a violation on"
                f" mature data opened within {HORIZON_DAYS} days. Later ones are undecided.",
                {side: (part, whole) for side, part, whole in rows(_WARNINGS)},
            ),
            _ratio(
                "recall",
                "Recall of violations",
                "Of the violation records that opened, those whose warning record had opened on an"
                " earlier evening and was still open.",
                {side: (len(lead_days[side]), violations[side]) for side in _SIDES},
            ),
            _measure(
                "median_lead_days",
                "Median lead in days",
                "days",
                "Days from the first warning evening to the first violation evening, over the"
                " violation records that were warned of.",
                {side: Figure(_median(lead_days[side])) for side in _SIDES},
            ),
            _ratio(
                "flapping",
                "Reopened, of 100 records",
                f"Of 100 warning and violation records that opened, those that had closed within"
                f" the {FLAP_DAYS} days before.",
                {side: (part, whole) for side, part, whole in rows(_REOPENED)},
                "per 100",
            ),
        ]
        return Report(
            question=question,
            folder=folder,
            measures=tuple(measures),
            changes=tuple(_changes(connection)),
            alerts=connection.execute(_ALERTS).to_arrow_table(),
            lead_days={side: tuple(found) for side, found in lead_days.items()},
        )


def _measure(
    key: str, label: str, unit: Unit, meaning: str, figures: Figures, *, is_part: bool = False
) -> Measure:
    return Measure(key, label, unit, figures["active"], figures["candidate"], meaning, is_part)


def _alerts_per_evening(
    question: Question, counted: Sequence[tuple[str, str, int]]
) -> list[Measure]:
    """Alerts an evening, in all and by transition."""
    evenings = len(question.evenings)
    counts = {(side, transition): count for side, transition, count in counted}
    usual = ["opened", "escalated", "resolved"]
    others = sorted({transition for _, transition in counts} - {*usual})

    def figures(*transitions: str) -> dict[str, Figure]:
        sums = {side: sum(counts.get((side, name), 0) for name in transitions) for side in _SIDES}
        return {side: Figure(sums[side] / evenings, sums[side], evenings) for side in _SIDES}

    every = [*usual, *others]
    meaning = f"Transitions of records on the {evenings} evenings, divided by these."
    return [
        _measure("alerts", "Alerts an evening", "per evening", meaning, figures(*every)),
        *(
            _measure(
                f"alerts_{name}",
                name,
                "per evening",
                f"Of the alerts the transition `{name}`.",
                figures(name),
                is_part=True,
            )
            for name in every
        ),
    ]


def _touched(counted: Sequence[tuple[str, str, int]]) -> list[Measure]:
    """How many entities have an alert; merchants always, others where there are any."""
    counts = {(side, entity_type): count for side, entity_type, count in counted}
    plurals = {"merchant": "merchants", "product": "products", "category": "categories"}
    found = {entity_type for _, entity_type in counts}
    return [
        _measure(
            f"{plural}_touched",
            f"{plural.capitalize()} touched",
            "count",
            f"Different {plural} with at least one alert.",
            {side: Figure(float(counts.get((side, entity_type), 0))) for side in _SIDES},
        )
        for entity_type, plural in plurals.items()
        if entity_type == "merchant" or entity_type in found
    ]


def _ratio(
    key: str, label: str, meaning: str, counts: Mapping[str, tuple[int, int]], unit: Unit = "share"
) -> Measure:
    scale = 100 if unit == "per 100" else 1
    figures = {}
    for side in _SIDES:
        part, whole = counts.get(side, (0, 0))
        figures[side] = Figure(scale * part / whole if whole else None, part, whole)
    return _measure(key, label, unit, meaning, figures)


def _median(numbers: Sequence[int]) -> float | None:
    return float(median(numbers)) if numbers else None


def _changes(connection: duckdb.DuckDBPyConnection) -> list[Change]:
    columns = [f"{side}.{name} as {side}_{name}" for side in _SIDES for name in _JUDGED]
    cursor = connection.execute(_CHANGES.replace("COLUMNS", ", ".join(columns)))
    names = [column[0] for column in cursor.description or ()]
    found = []
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        active, candidate = (
            Judgement(**{name: row[f"{side}_{name}"] for name in _JUDGEMENT}) for side in _SIDES
        )
        of_change = {field.name: row[field.name] for field in fields(Change) if field.name in row}
        found.append(Change(**of_change, active=active, candidate=candidate))
    return found

"""What a backtest answers, and its tables as Parquet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from redline.backtest.question import Question

# A warning is right if a violation follows within that many days. A projection speaks of an evening
# window - 1 = 6 days later; twice the window leaves room for what is only on its way.
HORIZON_DAYS = 14

# A record flaps if it opens again within that many days of closing.
FLAP_DAYS = 7

Unit = Literal["per evening", "count", "share", "days", "per 100"]
Direction = Literal["gained", "raised", "lowered", "lost"]

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Figure:
    """A measure of one side.

    Attributes:
        value: in the measure's unit; None where there is nothing to measure.
        part, whole: what it is made of, such as 12 of 40; None where it is not a ratio.
    """

    value: float | None
    part: int | None = None
    whole: int | None = None


@dataclass(frozen=True)
class Measure:
    """One thing that is measured of both sides.

    Attributes:
        key: its name for programs.
        label: its name for people.
        unit: of its values.
        active, candidate: what it is.
        meaning: how it is counted.
        is_part: whether it is a part of the measure before it.
    """

    key: str
    label: str
    unit: Unit
    active: Figure
    candidate: Figure
    meaning: str
    is_part: bool = False


@dataclass(frozen=True)
class Judgement:
    """What a side says of an entity and metric on an evening: the worst, if several policies do.

    Attributes:
        alerts: how many opened or escalated over all evenings.
        level: the highest level of those alerts, `warning` or `violation`; None without any.
        status: of the evaluation on the evening; None where no policy speaks.
        numerator, denominator: events and orders of the official window.
        value, projected_value: fractions.
        warning_threshold, violation_threshold: fractions.
    """

    alerts: int
    level: str | None
    status: str | None
    numerator: int | None
    denominator: int | None
    value: float | None
    projected_value: float | None
    warning_threshold: float | None
    violation_threshold: float | None


@dataclass(frozen=True)
class Change:
    """An entity and metric of which the sides do not say the same.

    Attributes:
        direction: `gained` (only the candidate alerts), `raised` (both do, only it to a violation),
            `lowered` or `lost`, which are the same for the active packs.
        name: the entity's, for people; as known on the last evening.
        category_id: the entity's on the evening.
        evening: the first on which the side that says more alerts; both are judged on it.
    """

    direction: Direction
    platform: str
    entity_type: str
    entity_id: str
    name: str | None
    category_id: str | None
    metric: str
    evening: date
    active: Judgement
    candidate: Judgement


@dataclass(frozen=True)
class Report:
    """What a backtest answers.

    Attributes:
        question: what was asked.
        folder: where the page and the tables lie.
        measures: what is measured of both sides.
        changes: the differences, the gained first, each by its evening.
        alerts: every alert between the evenings, under its side's label.
        lead_days: by side, days from the first warning evening to the first violation evening.
    """

    question: Question
    folder: Path
    measures: tuple[Measure, ...]
    changes: tuple[Change, ...]
    alerts: pa.Table
    lead_days: dict[str, tuple[int, ...]]

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / REPORT_FILE

    def changed(self, direction: Direction) -> list[Change]:
        """The changes in one direction."""
        return [change for change in self.changes if change.direction == direction]


_SIDES = ("active", "candidate")
_TYPES = {
    "alerts": pa.int64(),
    "level": pa.string(),
    "status": pa.string(),
    "numerator": pa.int64(),
    "denominator": pa.int64(),
    "value": pa.float64(),
    "projected_value": pa.float64(),
    "warning_threshold": pa.float64(),
    "violation_threshold": pa.float64(),
}
_CHANGES = pa.schema(
    [
        *((name, pa.string()) for name in ("direction", "platform", "entity_type", "entity_id")),
        *((name, pa.string()) for name in ("name", "category_id", "metric")),
        ("evening", pa.date32()),
        *(
            (f"{side}_{field.name}", _TYPES[field.name])
            for side in _SIDES
            for field in fields(Judgement)
        ),
    ]
)
_MEASURES = pa.schema(
    [
        *((name, pa.string()) for name in ("measure", "label", "unit")),
        *(
            (f"{side}{name}", kind)
            for side in _SIDES
            for name, kind in (("", pa.float64()), ("_part", pa.int64()), ("_whole", pa.int64()))
        ),
        ("meaning", pa.string()),
    ]
)


def write_tables(report: Report, folder: Path) -> None:
    """Write the report's tables into a folder: measures, changes and alerts."""
    measures = [_measure_row(measure) for measure in report.measures]
    changes = [_change_row(change) for change in report.changes]
    pq.write_table(pa.Table.from_pylist(measures, _MEASURES), folder / "measures.parquet")
    pq.write_table(pa.Table.from_pylist(changes, _CHANGES), folder / "changes.parquet")
    pq.write_table(report.alerts, folder / "alerts.parquet")


def _measure_row(measure: Measure) -> dict[str, Any]:
    row: dict[str, Any] = {
        "measure": measure.key,
        "label": measure.label,
        "unit": measure.unit,
        "meaning": measure.meaning,
    }
    for side in _SIDES:
        figure: Figure = getattr(measure, side)
        row |= {side: figure.value, f"{side}_part": figure.part, f"{side}_whole": figure.whole}
    return row


def _change_row(change: Change) -> dict[str, Any]:
    row = {name: value for name, value in asdict(change).items() if name not in _SIDES}
    for side in _SIDES:
        row |= {f"{side}_{name}": value for name, value in asdict(getattr(change, side)).items()}
    return row

"""How far a day may be from usual: `expectations/limits.csv`, one row per entity and measure.

- `volume`: rows read, as a multiple of usual; `low` and `high` bound it.
- `nulls`: how much greater the share of rows without a value has become, per column.
- `mix`: the greatest change of a value's share, per categorical column.

`*` is any entity that no row of its own names. Nothing is judged before `from_dates` earlier dates
of the same weekday, nor where these usually have fewer than `from_rows` rows.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from redline.contract import ENTITIES
from redline.errors import SettingError
from redline.settings import PROJECT
from redline.validation.suite import Severity

PATH = PROJECT / "expectations" / "limits.csv"
ANY = "*"
Measure = Literal["volume", "nulls", "mix"]
_COLUMNS = ("entity", "measure", "low", "high", "from_dates", "from_rows", "severity")


@dataclass(frozen=True)
class Limit:
    """A row of the seed; see the module's docstring."""

    entity: str
    measure: Measure
    low: float | None
    high: float | None
    from_dates: int
    from_rows: int
    severity: Severity


def read_limits(path: Path = PATH) -> tuple[Limit, ...]:
    """Read the seed.

    Raises:
        SettingError: a row that means nothing, or two of one entity and measure, with the line.
    """
    limits: dict[tuple[str, str], Limit] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != _COLUMNS:
            raise SettingError("another header", f"{path}, line 1", f"write {','.join(_COLUMNS)}")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            limit = _limit(row, where)
            if (limit.entity, limit.measure) in limits:
                raise SettingError(
                    f"a second limit of {limit.measure} for {limit.entity}", where, "keep one"
                )
            limits[limit.entity, limit.measure] = limit
    return tuple(limits.values())


def _limit(row: dict[str, str | None], where: str) -> Limit:
    def one_of(name: str, known: tuple[str, ...]) -> str:
        text = row[name] or ""
        if text not in known:
            raise SettingError(f"{name} '{text}'", where, f"write one of {', '.join(known)}")
        return text

    def number(name: str) -> float | None:
        text = row[name] or ""
        try:
            return float(text) if text else None
        except ValueError:
            raise SettingError(f"{name} '{text}'", where, "write a number or nothing") from None

    def count(name: str) -> int:
        text = row[name] or ""
        if not text.isdecimal():
            raise SettingError(f"{name} '{text}'", where, "write a whole number")
        return int(text)

    measure: Measure = one_of("measure", get_args(Measure))  # type: ignore[assignment]
    severity: Severity = one_of("severity", get_args(Severity))  # type: ignore[assignment]
    low, high = number("low"), number("high")
    if low is None and high is None:
        raise SettingError("neither low nor high", where, "write at least one of them")
    return Limit(
        one_of("entity", (ANY, *(entity.name for entity in ENTITIES))),
        measure,
        low,
        high,
        count("from_dates"),
        count("from_rows"),
        severity,
    )

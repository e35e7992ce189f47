"""Dates for which a platform's source delivered nothing although rows were due.

What is a gap, per entity:

- a date for which the source had no delivery at all (`sources.MISSING`), until it has one;
- of orders, the heartbeat, any date without rows;
- of events that come on most dates, a silence that their quiet dates do not explain: with the
  share q of quiet ones among the 28 dates before it (by the rule of succession, (quiet + 1) /
  (dates + 2)), one whose probability q ** length is below 5%. So one date counts where none of 28
  was quiet, and two in a row where one in ten is. Within the first week it is too early to tell.
  Merchants, products and buyers change when they change: their silence says nothing.

A gap ends, whenever that is, with rows for its dates. One carries on from the run before: closed
dates do not change, so only the last ones are read again, as the history of the new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from redline.contract import ENTITIES
from redline.plan import ONE_DAY, Plan, days
from redline.publish.freshness import carries_on, manifests
from redline.publish.state import PublishedState
from redline.settings import Home
from redline.sources import MISSING

Gaps = list[dict[str, str]]

_HEARTBEAT = "orders"
_EVENTS = ("order_items", "complaints", "reviews", "refunds")
_HISTORY, _FIRST_WEEK = 28, 7
_CHANCE = 0.05
# The silence of an entity that delivers on most dates is a gap from its fifth date on, at the
# latest: one that began longer ago is a gap already, or never.
_LONGEST = 7
_SHOWN = 3


@dataclass
class _Delivered:
    """What the manifests say of the dates that were read.

    Attributes:
        dates: report dates.
        filled: source dates with rows.
        absent: source dates of which the source had nothing yet.
        answered: source dates of which it had something later, if only a file without rows.
    """

    dates: set[date] = field(default_factory=set)
    filled: set[date] = field(default_factory=set)
    absent: set[date] = field(default_factory=set)
    answered: set[date] = field(default_factory=set)

    def note(self, day: date, file: dict[str, Any]) -> None:
        """Take in a landed file."""
        source_date = date.fromisoformat(file["source_date"])
        if file["rows_landed"] > 0:
            self.filled.add(source_date)
        elif file.get("fingerprint") == MISSING:
            self.absent.add(source_date)
        elif source_date < day:
            self.answered.add(source_date)


def gaps(home: Home, plan: Plan, base: PublishedState | None) -> Gaps:
    """Ranges (`entity`, `from`, `to`) of business dates that are gaps, by entity and date.

    A late delivery of a closed date is landed under an open one, and fills the gap it was sent for.
    """
    on_top = base is not None and carries_on(plan, base)
    since = plan.start - timedelta(days=_HISTORY + _LONGEST) if on_top else date.min
    found: Gaps = []
    for entity in ENTITIES:
        known: set[date] = set()
        for gap in base.gaps.get(plan.platform, []) if base is not None and on_top else []:
            if gap["entity"] == entity.name:
                known.update(_dates(gap))
        delivered = _Delivered()
        for day, manifest in manifests(home, plan, base, entity.name, since=since):
            delivered.dates.add(day)
            for file in manifest["files"]:
                delivered.note(day, file)
        if delivered.dates:
            known = _judged(entity.name, known, delivered, plan.end)
        found += [
            {"entity": entity.name, "from": str(first), "to": str(last)}
            for first, last in _ranges(sorted(known))
        ]
    return found


def told(gaps: Iterable[dict[str, str]]) -> list[str]:
    """Gaps as text, one per entity: `orders: no data for 3 dates (2026-03-02 to 2026-03-04)`."""
    by_entity: dict[str, list[dict[str, str]]] = {}
    for gap in gaps:
        by_entity.setdefault(gap["entity"], []).append(gap)
    lines = []
    for entity, ranges in by_entity.items():
        count = sum(len(_dates(gap)) for gap in ranges)
        # The newest are those that somebody can still deliver.
        shown = [
            gap["from"] if gap["from"] == gap["to"] else f"{gap['from']} to {gap['to']}"
            for gap in ranges[-_SHOWN:]
        ]
        earlier = ["earlier ones"] if len(ranges) > _SHOWN else []
        dates = f"{count} date{'s' if count > 1 else ''}"
        lines.append(f"{entity}: no data for {dates} ({', '.join([*earlier, *shown])})")
    return lines


def _judged(entity: str, known: set[date], delivered: _Delivered, end: date) -> set[date]:
    candidates = days(min(delivered.dates), end)
    missing = delivered.absent - delivered.answered
    if entity == _HEARTBEAT:
        missing.update(candidates)
    else:
        known = known - delivered.answered
        quiet = [day for day in candidates if day not in delivered.filled]
        for first, last in _ranges(quiet):
            silence = days(first, last)
            goes_on = first in known and first not in delivered.absent
            if entity in _EVENTS and (
                goes_on or _is_no_chance(silence, candidates, delivered.filled)
            ):
                missing.update(silence)
    return (known | missing) - delivered.filled


def _is_no_chance(
    silence: Sequence[date], candidates: Sequence[date], filled: Collection[date]
) -> bool:
    """Whether a silence is longer than an entity's quiet dates explain."""
    began = candidates.index(silence[0])
    history = candidates[max(0, began - _HISTORY) : began]
    quiet = sum(day not in filled for day in history)
    if len(history) < _FIRST_WEEK or quiet * 2 >= len(history):
        return False  # too early to tell, or it does not deliver on most dates
    return float(((quiet + 1) / (len(history) + 2)) ** len(silence)) < _CHANCE


def _dates(gap: dict[str, str]) -> list[date]:
    return days(date.fromisoformat(gap["from"]), date.fromisoformat(gap["to"]))


def _ranges(ordered: Iterable[date]) -> list[tuple[date, date]]:
    result: list[tuple[date, date]] = []
    for day in ordered:
        if result and result[-1][1] + ONE_DAY == day:
            result[-1] = (result[-1][0], day)
        else:
            result.append((day, day))
    return result

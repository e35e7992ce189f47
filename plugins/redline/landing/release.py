"""Releasing the quarantine: the next run asks the source again for what was refused.

A request is a file in the home. It holds for the run that comes on top of what was published when
it was made: that one extracts the dates of the rows that wait once more, as if they had been sent
again, so today's rules judge them, and only what has become clean is landed, under the first open
date. An order is taken with its lines, nothing is read from the quarantine itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta

import duckdb

from redline.contract import Entity
from redline.landing.waiting import find_waiting
from redline.plan import Plan
from redline.settings import Home, Settings

_FILE = "release.json"


def request(home: Home, published: dict[str, date]) -> None:
    """Ask for the release of these platforms, each published through a date."""
    path = home.root / _FILE
    aside = path.with_name(f".{_FILE}.tmp")
    aside.write_text(json.dumps({name: str(day) for name, day in published.items()}) + "\n")
    aside.replace(path)


def released_dates(plan: Plan, settings: Settings, entities: Iterable[Entity]) -> set[date]:
    """Closed dates with rows that wait, if their release was asked for; of any of the entities."""
    path = settings.home.root / _FILE
    if plan.published_through is None or not path.exists():
        return set()
    asked: dict[str, str] = json.loads(path.read_text())
    if asked.get(plan.platform) != str(plan.published_through):
        return set()
    found: set[date] = set()
    with duckdb.connect() as con:
        for entity in entities:
            find_waiting(
                con,
                settings.home.landing / plan.platform / entity.name,
                settings.home.quarantine / plan.platform / entity.name,
                entity,
                plan.start - timedelta(days=settings.horizon_days),
                before=plan.start,
            )
            found.update(
                day for (day,) in con.execute("select distinct source_date from waiting").fetchall()
            )
    return found

"""How fresh a platform's landed data are.

It carries on from the run before: closed dates do not change, so only the new ones are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from redline.contract import ENTITIES
from redline.plan import Plan, days
from redline.publish.state import PublishedState
from redline.settings import Home

Freshness = dict[str, dict[str, str | None]]


def freshness(home: Home, plan: Plan, base: PublishedState | None) -> Freshness:
    """Per entity: `newest_report_date` with rows and `newest_updated_at` (UTC), as ISO text."""
    known = base.freshness.get(plan.platform, {}) if carries_on(plan, base) and base else {}
    result: Freshness = {}
    with duckdb.connect() as connection:
        for entity in ENTITIES:
            files: list[str] = []
            newest_day: date | None = None
            for day, manifest in manifests(home, plan, base, entity.name):
                names = [file["name"] for file in manifest["files"] if file["rows_landed"] > 0]
                folder = _partition(home, plan.platform, entity.name, day)
                files += [str(folder / name) for name in names]
                newest_day = day if names else newest_day
            newest_update = None
            if files and entity.is_versioned:
                query = "select max(updated_at)::varchar from read_parquet($files)"
                row = connection.execute(query, {"files": files}).fetchone()
                newest_update = row[0] if row else None
            before = known.get(entity.name, {})
            found = {
                "newest_report_date": _latest(
                    str(newest_day) if newest_day else None, before, "newest_report_date"
                ),
                "newest_updated_at": _latest(newest_update, before, "newest_updated_at"),
            }
            if any(found.values()):
                result[entity.name] = found
    return result


def carries_on(plan: Plan, base: PublishedState | None) -> bool:
    """Whether what the run before said of the platform's closed dates still holds."""
    return base is not None and plan.platform in base.as_of and plan.restated_from is None


def manifests(
    home: Home, plan: Plan, base: PublishedState | None, entity: str, since: date | None = None
) -> Iterator[tuple[date, dict[str, Any]]]:
    """Manifests of the dates to read, oldest first.

    Args:
        since: the first date to read of a run that carries on; by default its own first.
    """
    if carries_on(plan, base):
        candidates = days(since or plan.start, plan.end)
    else:
        folders = (home.landing / plan.platform / entity).glob("report_date=*")
        found = sorted(date.fromisoformat(path.name.partition("=")[2]) for path in folders)
        candidates = [day for day in found if day <= plan.end]
    for day in candidates:
        path = _partition(home, plan.platform, entity, day) / "manifest.json"
        if path.is_file():
            yield day, json.loads(path.read_text())


def _partition(home: Home, platform: str, entity: str, day: date) -> Path:
    return home.landing / platform / entity / f"report_date={day}"


def _latest(found: str | None, before: dict[str, str | None], name: str) -> str | None:
    return max(filter(None, (found, before.get(name))), default=None)

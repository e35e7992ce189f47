"""The plan of a run: which dates it takes, on top of what.

Made once at the start of a run and read by every stage, so that all stages agree although each
is a process of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from redline.marketplaces import CONNECTION
from redline.settings import Home

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """What one run does, for one platform.

    Attributes:
        run_id: names the run's folders; safe as a file name.
        platform: whose records.
        source: the source's address.
        requested_start, requested_end: the business dates that were asked for, inclusive.
        published_through: the platform's last published date when the run began, or None.
        base_run: the published run that this one builds on, None before the first.
        start, end: the open report dates this run takes, inclusive; `start > end` when every date
            asked for is closed. `start` is the day after `published_through` where there is one.
        restated_from: the first closed date that this run rewrites, else None.
        connection: the Airflow connection that the address comes from.
    """

    run_id: str
    platform: str
    source: str
    requested_start: date
    requested_end: date
    published_through: date | None
    base_run: str | None
    start: date
    end: date
    restated_from: date | None = None
    connection: str = CONNECTION

    @property
    def has_open_dates(self) -> bool:
        """Whether there is anything to transform and publish."""
        return self.start <= self.end

    def folder(self, home: Home) -> Path:
        """Where the run's stages leave their reports."""
        return home.runs / self.run_id

    def save(self, home: Home) -> None:
        """Write the plan aside, then rename it into its folder."""
        folder = self.folder(home)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / "plan.json.tmp"
        aside.write_text(json.dumps(asdict(self), default=str, indent=2))
        aside.replace(folder / "plan.json")


def load_plan(home: Home, run_id: str) -> Plan:
    """Read a saved plan."""
    fields: dict[str, Any] = json.loads((home.runs / run_id / "plan.json").read_text())
    for name in (
        "requested_start",
        "requested_end",
        "published_through",
        "start",
        "end",
        "restated_from",
    ):
        fields[name] = date.fromisoformat(fields[name]) if fields[name] else None
    return Plan(**fields)


def days(start: date, end: date) -> list[date]:
    """All calendar dates from start to end, both included."""
    return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]


__all__ = ["ONE_DAY", "Plan", "days", "load_plan"]

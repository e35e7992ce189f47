"""When an evening's marts are due, as a reference for an Airflow deadline.

Registered by `redline_plugin.py`, since scheduler and API server make deadlines without the DAG's
file. It imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from airflow.sdk.definitions.deadline import BaseDeadlineReference


@dataclass(frozen=True)
class PublishedBy(BaseDeadlineReference):
    """The next time that a clock shows an hour, after a scheduled run fell due.

    A run that somebody triggered has none: it may be for any date, at any hour.

    Attributes:
        clock: the time of day, `HH:MM`.
        timezone: an IANA name.
    """

    clock: str = "06:00"
    timezone: str = "Asia/Shanghai"

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def serialize_reference(self) -> dict[str, Any]:
        """As Airflow keeps it."""
        return {
            "reference_type": self.reference_name,
            "clock": self.clock,
            "timezone": self.timezone,
        }

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> PublishedBy:
        """As Airflow kept it."""
        return cls(reference_data["clock"], reference_data["timezone"])

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from airflow.utils.types import DagRunType
        from sqlalchemy import select

        wanted = select(DagRun.run_type, DagRun.run_after)
        run_type, run_after = session.execute(
            wanted.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        ).one()
        if run_type != DagRunType.SCHEDULED:
            return None
        return due(run_after, time.fromisoformat(self.clock), self.timezone)


def due(run_after: datetime, clock: time, timezone: str) -> datetime:
    """The first moment after `run_after` at which the clocks of a zone show a time."""
    zone = ZoneInfo(timezone)
    day = run_after.astimezone(zone).date()
    if (found := datetime.combine(day, clock, zone)) > run_after:
        return found
    return datetime.combine(day + timedelta(1), clock, zone)

"""The business time zone as arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class UtcOffset:
    """A stretch of time in which a zone keeps one offset.

    Attributes:
        begins_at, ends_at: naive UTC; the end is not included.
        seconds: what to add to UTC to get local time.
    """

    begins_at: datetime
    ends_at: datetime
    seconds: int


def utc_offsets(timezone: str, start: date, end: date) -> list[UtcOffset]:
    """The offsets of a zone from the day `start` to the day `end`, both UTC, without gaps.

    A change is placed to the minute; zones change on whole minutes.
    """
    zone = ZoneInfo(timezone)
    last = datetime(end.year, end.month, end.day) + timedelta(days=1)
    begins_at = datetime(start.year, start.month, start.day)
    stretches: list[UtcOffset] = []
    while begins_at < last:
        seconds = _seconds(zone, begins_at)
        ends_at = begins_at
        for step in (timedelta(days=1), _HOUR, timedelta(minutes=1)):
            while ends_at < last and _seconds(zone, min(ends_at + step, last)) == seconds:
                ends_at = min(ends_at + step, last)
        ends_at = min(ends_at + timedelta(minutes=1), last)
        stretches.append(UtcOffset(begins_at, ends_at, seconds))
        begins_at = ends_at
    return stretches


def _seconds(zone: ZoneInfo, utc: datetime) -> int:
    offset = utc.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0

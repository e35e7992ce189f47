"""Business wall clock to UTC, as SQL.

The simulator counts *moments*: whole seconds of the business wall clock since midnight of the
first business date, 86,400 to a day. So `moment // 86400` is the business date of a moment in any
time zone, and only the last step turns moments into UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

DAY = 86_400


def instant_macro(start: date, first_day: int, last_day: int, timezone: str) -> str:
    """The statement that makes `instant(moment)`, a naive UTC timestamp, for a range of days.

    On the days when a zone moves its clock, a day's moments are spread evenly over its 23 or 25
    hours, so that none leaves its business date and none changes places with another.
    """
    spans = list(_spans(start, first_day, last_day, timezone))
    branches = [
        f"when moment < {until * DAY} then {midnight}"
        f" + (moment - {day * DAY})" + ("" if length == DAY else f" * {length} // {DAY}")
        for day, until, midnight, length in spans
    ]
    # The last span has no end of its own: moments behind it are never delivered.
    branches.append(branches[-1].replace(f"when moment < {spans[-1][1] * DAY} then", "else"))
    return (
        f"create macro instant(moment) as make_timestamp(1000000 * (case {' '.join(branches)} end))"
    )


def _spans(
    start: date, first_day: int, last_day: int, timezone: str
) -> Iterator[tuple[int, int, int, int]]:
    """Runs of days with one offset: first day, day after, UTC second of midnight, length."""
    midnights = [
        _midnight(start + timedelta(days=d), timezone) for d in range(first_day, last_day + 2)
    ]
    lengths = [after - before for before, after in pairwise(midnights)]
    begin = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or lengths[i] != lengths[i - 1]:
            # A run of ordinary days is one line; each odd day stands alone.
            step = i - begin if lengths[begin] == DAY else 1
            for day in range(begin, i, step):
                yield (
                    first_day + day,
                    first_day + day + step,
                    midnights[day],
                    lengths[begin],
                )
            begin = i


def _midnight(day: date, timezone: str) -> int:
    """Seconds from 1970 to the first instant of a business date."""
    local = datetime.combine(day, time(), ZoneInfo(timezone))
    return int(local.astimezone(UTC).timestamp())

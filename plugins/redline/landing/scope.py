"""Which dates of a plan are open, and which closed ones it asks for again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from redline.plan import ONE_DAY, Plan, days


@dataclass(frozen=True)
class Scope:
    """The dates that landing handles.

    Attributes:
        first_open: the first open date; differences of closed dates are landed under it.
        open_dates: replaced whole by a fresh extraction. With a restatement these begin with the
            first date it rewrites.
        asked_again: closed dates that the run asks for, compared with what was landed.
    """

    first_open: date
    open_dates: tuple[date, ...]
    asked_again: tuple[date, ...]


def scope_of(plan: Plan) -> Scope:
    """Tell a plan's open dates from its closed ones."""
    first, last = plan.start, plan.end
    if plan.restated_from is not None:
        first = min(first, plan.restated_from)
        last = max(last, plan.published_through or last)
    asked: list[date] = []
    if plan.published_through is not None:
        closed = min(plan.requested_end, plan.published_through, first - ONE_DAY)
        asked = days(plan.requested_start, closed)
    return Scope(first, tuple(days(first, last)), tuple(asked))

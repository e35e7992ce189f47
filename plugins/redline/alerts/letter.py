"""A letter: what one message tells, before any channel has put it into its own form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# An alert as its file tells it.
Alert = Mapping[str, Any]

# One alert; many of one evening; one that nobody has acknowledged; what befell the pipeline.
Form = Literal["alert", "digest", "reminder", "notice"]
Audience = Literal["operator", "merchant"]


@dataclass(frozen=True)
class Letter:
    """What a message tells, and to whom.

    Attributes:
        audience: the marketplace's own people, or the merchant that the alerts are about.
        alerts: one, or those of a digest; none of a notice.
        notice: of a notice what it says; of a reminder for how many `hours` nobody acknowledged.
    """

    form: Form
    audience: Audience
    alerts: tuple[Alert, ...]
    notice: Mapping[str, Any] | None = None


def of_one(alert: Alert) -> Letter:
    """The letter of one alert to the marketplace's own people."""
    return Letter("alert", "operator", (alert,))

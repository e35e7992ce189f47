"""What senders show of a message, part by part, and how much of a digest fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from redline.alerts.message import Message
from redline.alerts.telling import line

_LONGEST = 900  # characters of a text: names come from merchants
MARKS = {"violation": "🔴", "warning": "🟠", "resolved": "🟢"}


@dataclass(frozen=True)
class Part:
    """A heading and its text.

    Attributes:
        link, kind: the page and the severity of an alert in a digest.
    """

    label: str
    text: str
    link: str | None = None
    kind: str | None = None

    @property
    def mark(self) -> str:
        """A coloured dot and a space, of an alert in a digest."""
        return f"{MARKS.get(self.kind, '⚪')} " if self.kind else ""


def parts(message: Message, *, chart: bool = True) -> list[Part]:
    """The parts, with the chart's line of characters after what happened.

    Args:
        chart: whether that line is wanted; a mail has a picture.
    """
    links = message.links or (None,) * len(message.parts)
    kinds = message.kinds or (None,) * len(message.parts)
    shown = [
        Part(line(label, _LONGEST), line(text, _LONGEST), link, kind)
        for (label, text), link, kind in zip(message.parts, links, kinds, strict=True)
    ]
    if chart and message.chart is not None:
        shown.insert(1, Part(message.chart.label, message.chart.line))
    return shown


def fitted(message: Message, size: Callable[[Message], int], limit: int) -> Message:
    """A digest with as many alerts as a sender's limit allows; any other message as it is.

    Args:
        size: of a message as the sender would send it, in the limit's unit.
    """
    if message.shorter is None or size(message) <= limit:
        return message
    fits, too_many = 0, len(message.parts)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if size(message.shorter(middle)) <= limit:
            fits = middle
        else:
            too_many = middle
    return message.shorter(fits)

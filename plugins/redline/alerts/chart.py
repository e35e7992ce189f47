"""The last evenings of an alert's value, as one line of characters."""

from __future__ import annotations

from dataclasses import dataclass

_BLOCKS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"  # of an evening without a value


@dataclass(frozen=True)
class Chart:
    """What a chart shows.

    Attributes:
        history: evenings (ISO) and the official value (fraction) on each, oldest first.
        threshold: a fraction; None where none was in force.
        opened: the evening on which the record opened (ISO).
        label: a heading.
        told: what it shows, for those who cannot see it.
        line: the same in one line of characters.
    """

    history: tuple[tuple[str, float | None], ...]
    threshold: float | None
    opened: str | None
    label: str
    told: str
    line: str


def sparkline(values: tuple[float | None, ...], threshold: float | None) -> str:
    """One block for each value, from 0 to the greatest of them or the threshold."""
    top = max([*(value for value in values if value is not None), threshold or 0.0]) or 1.0
    return "".join(
        _NOTHING if value is None else _BLOCKS[min(int(value / top * len(_BLOCKS)), 7)]
        for value in values
    )

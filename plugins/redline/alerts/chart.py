"""The last evenings of an alert's value, as a picture and as one line of characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

from redline.alerts.text import percent

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


# Drawn at twice the size at which it is shown: phones have that many points.
WIDTH, HEIGHT = 320, 104
_SCALE = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 46, 10, 20
# Colours between light and dark, on no background: they read on a white page and on a black one.
_LINE, _AREA, _LIMIT, _TEXT = (
    (46, 117, 214, 255),
    (46, 117, 214, 46),
    (217, 65, 50, 255),
    (134, 142, 156, 255),
)


def png(chart: Chart) -> bytes:
    """The chart as a picture: the values, the threshold and the evening on which it opened.

    It takes milliseconds, and Pillow, which is imported with the first one.
    """
    from PIL import Image, ImageDraw

    drawn = _SCALE * 2  # then halved: Pillow draws jagged lines
    image = Image.new("RGBA", (WIDTH * drawn, HEIGHT * drawn), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    values = [value for _, value in chart.history]
    known = [value for value in values if value is not None]
    top = max([*known, chart.threshold or 0.0]) * 1.08 or 1.0

    def at(place: int, value: float) -> tuple[float, float]:
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * place / max(len(values) - 1, 1)
        y = _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)
        return x * drawn, y * drawn

    for run in _runs(values):
        points = [at(place, values[place] or 0.0) for place in run]
        draw.polygon([at(run[0], 0), *points, at(run[-1], 0)], fill=_AREA)
        draw.line(points, fill=_LINE, width=2 * drawn, joint="curve")
        if len(points) == 1:
            _dot(draw, points[0], 1.5 * drawn, _LINE)
    draw.line([at(0, 0), at(len(values) - 1, 0)], fill=_TEXT, width=drawn // 2)
    if chart.threshold is not None:
        _dashes(draw, at(0, chart.threshold), at(len(values) - 1, chart.threshold), _LIMIT, drawn)
    opened = [place for place, (day, _) in enumerate(chart.history) if day == chart.opened]
    for place in opened[:1]:
        _dashes(draw, at(place, 0), at(place, top), _TEXT, drawn)
    last = max(place for place, value in enumerate(values) if value is not None)
    _dot(draw, at(last, values[last] or 0.0), 3.5 * drawn, _LINE)
    image = image.reduce(2)
    _write(image, chart, [y / 2 for y in (at(0, chart.threshold or 0)[1], at(0, known[-1])[1])])
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _write(image: Any, chart: Chart, heights: list[float]) -> None:
    """Write the threshold and the last value on the right, the first and last evening below."""
    from PIL import ImageDraw

    draw, font = ImageDraw.Draw(image), _font(11 * _SCALE)
    right, below = (WIDTH - _RIGHT + 7) * _SCALE, (HEIGHT - 4) * _SCALE
    limit, last = heights
    known = [value for _, value in chart.history if value is not None]
    apart = 14 * _SCALE
    if chart.threshold is not None:
        if abs(limit - last) < apart:  # the two would be written over each other
            middle = (limit + last) / 2
            limit, last = (
                (middle + apart / 2, middle - apart / 2)
                if known[-1] >= chart.threshold
                else (middle - apart / 2, middle + apart / 2)
            )
        draw.text((right, limit), percent(chart.threshold), _LIMIT, font, "lm")
    draw.text((right, last), percent(known[-1]), _LINE, font, "lm")
    first_day, last_day = chart.history[0][0], chart.history[-1][0]
    draw.text((_LEFT * _SCALE, below), first_day, _TEXT, font, "ls")
    draw.text(((WIDTH - _RIGHT) * _SCALE, below), last_day, _TEXT, font, "rs")


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _runs(values: Sequence[float | None]) -> list[list[int]]:
    """The places of values without a gap between them."""
    runs: list[list[int]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _dot(draw: Any, at: tuple[float, float], radius: float, fill: tuple[int, ...]) -> None:
    x, y = at
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _dashes(
    draw: Any,
    begin: tuple[float, float],
    end: tuple[float, float],
    fill: tuple[int, ...],
    drawn: int,
) -> None:
    (x0, y0), (x1, y1) = begin, end
    count = max(int(max(abs(x1 - x0), abs(y1 - y0)) / (7 * drawn)), 1)
    for number in range(count):
        a, b = number / count, (number + 0.6) / count
        draw.line(
            [(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)],
            fill=fill,
            width=int(1.25 * drawn),
        )

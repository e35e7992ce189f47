"""The plots of a backtest, as SVG elements to stand within a page."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline.backtest.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by lightness too, for those who see no difference of hue.
ACTIVE, CANDIDATE = "#8a94a6", "#0b4fa8"
GAINED, LOST = "#a8440b", "#3f8f86"
_INK, _RULE = "#1d2433", "#d9dee6"

# What is longer stands together at the end.
_MOST_LEAD_DAYS = 21
_MOST_MARKS, _MOST_DATES = 62, 8

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": _INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 11,
    "grid.color": _RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words: they can be searched, read aloud and enlarged
    "text.color": _INK,
    "xtick.color": _INK,
    "xtick.major.size": 0,
    "ytick.color": _INK,
    "ytick.major.size": 0,
}


def draw_alerts(report: Report) -> str | None:
    """Alerts on each evening, of both sides; None where there are none."""
    counts = Counter(
        (row["side"], row["as_of_date"])
        for row in report.alerts.select(["side", "as_of_date"]).to_pylist()
    )
    if not counts:
        return None
    evenings = report.question.evenings
    by_side = {
        side.label: [counts[side.label, evening] for evening in evenings]
        for side in report.question.sides
    }

    def draw(axes: Axes) -> None:
        size = 4.5 if len(evenings) <= _MOST_MARKS else 0
        for side, style, colour in (("active", "s--", ACTIVE), ("candidate", "o-", CANDIDATE)):
            axes.plot(by_side[side], style, color=colour, label=side, markersize=size)
        places = range(0, len(evenings), -(-len(evenings) // _MOST_DATES))
        axes.set_xticks(
            [*places],
            [str(evenings[at]) if at == 0 else f"{evenings[at]:%m-%d}" for at in places],
        )
        axes.set_ylabel("alerts")
        _from_nothing(axes)

    most = {side: max(found) for side, found in by_side.items()}
    return _svg(
        "Alerts per evening, active against candidate",
        f"Two lines over {len(evenings)} evenings: at most {most['active']} alerts an evening under"
        f" the active packs, at most {most['candidate']} under the candidate.",
        draw,
        legend=True,
    )


def draw_lead_days(report: Report) -> str | None:
    """How long before their violations the warnings came; None where no violation was warned of."""
    if not any(report.lead_days.values()):
        return None
    counts = {
        side: Counter(min(days, _MOST_LEAD_DAYS) for days in found)
        for side, found in report.lead_days.items()
    }
    last = max(day for found in counts.values() for day in found)

    def draw(axes: Axes) -> None:
        days = range(1, last + 1)
        for side, colour, shift in (("active", ACTIVE, -0.2), ("candidate", CANDIDATE, 0.2)):
            heights = [counts[side][day] for day in days]
            axes.bar([day + shift for day in days], heights, 0.38, color=colour, label=side)
        axes.set_xticks(
            [*days],
            [f"{day}+" if day == _MOST_LEAD_DAYS else str(day) for day in days],
        )
        axes.set_xlabel("days from the first warning to the first violation")
        axes.set_ylabel("violation records")
        axes.set_xlim(0.4, max(last, 7) + 0.6)
        _from_nothing(axes)

    warned = {side: len(found) for side, found in report.lead_days.items()}
    return _svg(
        "Lead of warnings over violations",
        f"Bars by days of lead: {warned['active']} violations under the active packs and"
        f" {warned['candidate']} under the candidate were warned of, by up to {last} days.",
        draw,
        legend=True,
    )


def draw_changes(report: Report) -> str | None:
    """Entities that gain and lose an alert, by metric; None where none does."""
    gained = Counter(change.metric for change in report.changed("gained"))
    lost = Counter(change.metric for change in report.changed("lost"))
    metrics = sorted({*gained, *lost}, key=lambda metric: (gained[metric] + lost[metric], metric))
    if not metrics:
        return None

    def draw(axes: Axes) -> None:
        rows = range(len(metrics))
        ours = axes.barh(rows, [gained[name] for name in metrics], 0.6, color=GAINED)
        theirs = axes.barh(rows, [-lost[name] for name in metrics], 0.6, color=LOST)
        for bars, counts, sign in ((ours, gained, "+"), (theirs, lost, "-")):
            labels = [f"{sign}{counts[name]}" if counts[name] else "" for name in metrics]
            axes.bar_label(bars, labels, padding=4)
        axes.axvline(0, color=_INK, linewidth=1)
        axes.set_yticks([*rows], metrics)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        most_lost, most_gained = max(lost.values(), default=0), max(gained.values(), default=0)
        room = 0.12 * (most_lost + most_gained)  # for the numbers beside the bars
        axes.set_xlim(-most_lost - room, most_gained + room)
        axes.set_title("lost", loc="left", fontsize=11)
        axes.set_title("gained", loc="right", fontsize=11)

    counted = [f"{name}: {gained[name]} gained, {lost[name]} lost" for name in reversed(metrics)]
    return _svg(
        "Entities that gain or lose an alert, by metric",
        "; ".join(counted),
        draw,
        height=1.0 + 0.42 * len(metrics),
    )


def _svg(
    title: str,
    description: str,
    draw: Callable[[Axes], None],
    *,
    height: float = 3.2,
    legend: bool = False,
) -> str:
    """Draw into an SVG element that says in words what it shows."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    name = re.sub(r"[^a-z]+", "-", title.lower())
    # The salt keeps the names of parts apart where several plots stand on one page.
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if legend:
            figure.legend(loc="outside upper left", ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    # Groups are named by number, the same in every plot, and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", text.getvalue())
    begin = svg.index("<svg")
    opening_end = svg.index(">", begin)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", svg[begin:opening_end])
    return (
        f'{opening} role="img" aria-labelledby="{name} {name}-told">'
        f'<title id="{name}">{escape(title)}</title>'
        f'<desc id="{name}-told">{escape(description)}</desc>{svg[opening_end + 1 :]}'
    )


def _from_nothing(axes: Axes) -> None:
    """Whole numbers from 0 up."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_ylim(bottom=0)


def keep_fonts_in(folder: Path) -> None:
    """Let matplotlib keep its list of fonts there: Redline writes nothing outside of its home.

    To be called before anything is drawn; who has said where it should be is obeyed.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(folder))

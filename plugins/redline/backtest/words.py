"""Figures and judgements in words, the same on the terminal and on the page."""

from __future__ import annotations

from redline.backtest.question import Question
from redline.backtest.report import Change, Direction, Figure, Judgement, Unit

NOTHING = "–"

# By direction, what the candidate does to an entity's metric.
DIRECTIONS: dict[Direction, str] = {
    "gained": "gains an alert",
    "raised": "raised to a violation",
    "lowered": "lowered to a warning",
    "lost": "loses its alerts",
}


def say(figure: Figure, unit: Unit) -> str:
    """A figure, such as `30.0%`."""
    return NOTHING if figure.value is None else _number(figure.value, unit)


def say_parts(figure: Figure, unit: Unit) -> str:
    """What a figure is made of, such as `12 of 40`; empty where it is no ratio."""
    if figure.part is None or figure.whole is None:
        return ""
    if unit == "per evening":
        return f"{figure.part:,} in all"
    return f"{figure.part:,} of {figure.whole:,}"


def say_difference(active: Figure, candidate: Figure, unit: Unit) -> str:
    """The candidate's figure less the active packs', with its sign."""
    if active.value is None or candidate.value is None:
        return NOTHING
    difference = candidate.value - active.value
    if unit == "share":
        return f"{100 * difference:+.1f} points"
    return ("+" if difference >= 0 else "") + _number(difference, unit)


def _number(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{value:.1%}"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.2f}" if unit == "per evening" else f"{value:,.1f}"


def say_left_out(question: Question) -> str:
    """Which platforms a backtest leaves out."""
    names = ", ".join(question.left_out)
    return f"Left out, as not all of these evenings are published for them: {names}."


def say_entity(change: Change, question: Question) -> str:
    """Whom a change is of: name and id, with the platform where there are several."""
    named = f"{change.name} ({change.entity_id})" if change.name else change.entity_id
    kind = "" if change.entity_type == "merchant" else f"{change.entity_type} "
    place = f" on {change.platform}" if len(question.platforms) > 1 else ""
    return f"{kind}{named}{place}"


def say_judgement(judgement: Judgement) -> str:
    """What a side said on an evening, such as `warning, 2.10% (3/143), projected 3.40%`."""
    if judgement.status is None:
        return "not judged"
    told = [judgement.status.replace("_", " ")]
    if judgement.value is not None:
        told.append(f"{judgement.value:.2%} ({judgement.numerator}/{judgement.denominator})")
    if judgement.projected_value is not None:
        told.append(f"projected {judgement.projected_value:.2%}")
    return ", ".join(told)


def say_thresholds(judgement: Judgement) -> str:
    """From where a side warns and where it sees a violation, such as `2% / 3%`."""
    if judgement.warning_threshold is None or judgement.violation_threshold is None:
        return ""
    return f"{_percent(judgement.warning_threshold)} / {_percent(judgement.violation_threshold)}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}%"

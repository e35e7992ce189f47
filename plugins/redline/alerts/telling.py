"""The parts of an alert in words: each from the alert as its file tells it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

from redline.alerts.chart import Chart, sparkline
from redline.alerts.text import percent
from redline.alerts.words import Audience, Language, reason
from redline.settings import PROJECT

Alert = Mapping[str, Any]
Words = Mapping[str, str]

SHORT = 12  # characters of an id that a person reads or types
LONGEST_TITLE = 200  # characters


def severity(alert: Alert) -> str:
    """`violation`, `warning` or `resolved`."""
    return "resolved" if alert["transition"] == "resolved" else str(alert["record_type"])


def title(alert: Alert, said: Words, language: Language, *, briefly: bool = False) -> str:
    """What became of which record; of a merchant's digest without its name."""
    metric = _name("metrics", alert["metric"], language)
    subject = said.get(f"subject {alert['entity_type']}", "")
    told = said["brief title" if briefly else "title"].format(
        event=said[f"{alert['record_type']} {alert['transition']}"],
        who=owner(alert) if subject else _who(alert, said),
        metric=metric,
        subject=subject.format(metric=metric[:1].lower() + metric[1:], name=_product(alert)),
    )
    return line(told, LONGEST_TITLE)


def owner(alert: Alert) -> str:
    """The merchant's name, or its id."""
    return str(alert.get("merchant_name") or alert.get("merchant_id"))


def happened(alert: Alert, said: Words, *, briefly: bool = False) -> str:
    """The value, its threshold and window, and since when; briefly without the window."""
    value, threshold = alert["value"], alert["threshold"]
    opened = alert.get("opened_on") or alert["as_of_date"]
    since = said["since"].format(opened=opened)
    if value is None:
        return f"{said['no value']}{said['stop']}{since}"
    told = _rate(alert, said)
    if threshold is not None:
        more = "> " if alert.get("comparator") == ">" else "≥ "
        told += said[f"{alert['record_type']} threshold"].format(
            sign=more if _reaches(alert, value, threshold) else "", threshold=percent(threshold)
        )
    if (window := _window(alert)) and not briefly:
        told += said["window"].format(first=window[0], last=window[1])
    return f"{told}{said['stop']}{since}"


def sure(alert: Alert, said: Words) -> str:
    """Whether it is beyond chance, and where it is heading."""
    told = []
    if alert["record_type"] == "violation" and alert["transition"] != "resolved":
        told.append(said["confirmed" if alert.get("is_confirmed") else "unconfirmed"])
    projected = alert.get("projected_value")
    if projected is not None:
        text = said["projected"].format(value=percent(projected))
        low, high = alert.get("projected_lower_80"), alert.get("projected_upper_80")
        if low is not None and high is not None:
            text += said["interval"].format(low=percent(low), high=percent(high))
        told.append(text)
    return said["stop"].join(told)


def why(alert: Alert, said: Words, language: Language) -> str:
    """The evening before, and the products and reasons that moved the cases since.

    Nothing of a file that does not tell them.
    """
    moved: list[dict[str, Any]] | None = alert.get("why")
    if moved is None:
        return ""
    before: dict[str, Any] = alert.get("before") or {"value": None, "denominator": None}
    judged = before["value"] is not None
    told = []
    for kind in ("product", "reason"):
        moves = said["comma"].join(
            (reason(move["key"], language) if kind == "reason" else move["name"] or move["key"])
            + f" ({move['quantity']:+d})"
            for move in moved
            if move["kind"] == kind
        )
        told += [said[f"{kind} moves"].format(moves=moves)] if moves else []
    since = said["stop"].join(told)
    if not moved:
        changed = judged and before["denominator"] != alert["denominator"]
        since = said["only orders" if changed else "no moves"]
    elif _is_projected(alert):
        since = said["still open"].format(moves=since)
    was = said["before"].format(rate=_rate(before, said)) if judged else said["not before"]
    return f"{was}{said['stop']}{since}"


def follows(
    alert: Alert,
    said: Words,
    language: Language,
    appeal: str | None,
    appeal_days: int | None,
) -> str:
    """The measure, what a warning becomes, and how to appeal."""
    if alert["transition"] == "resolved":
        return said["over"].format(evening=alert["as_of_date"])
    told = []
    if measure := alert.get("measure"):
        told.append(said["measure"].format(measure=_name("measures", measure, language)))
    if alert["record_type"] == "warning":
        limit = alert.get("violation_threshold")
        told.append(said["warned"].format(limit=percent(limit)) if limit is not None else "")
    told.append(how_to_appeal([alert], said, appeal, appeal_days))
    return said["stop"].join(text for text in told if text)


def how_to_appeal(
    alerts: Sequence[Alert], said: Words, appeal: str | None, appeal_days: int | None
) -> str:
    """Until when and how, if there is a violation to appeal against."""
    violated = [str(alert["as_of_date"]) for alert in alerts if severity(alert) == "violation"]
    if not violated:
        return ""
    told = []
    if appeal_days is not None:
        until = date.fromisoformat(max(violated)) + timedelta(appeal_days)
        told.append(said["until"].format(until=until))
    return said["stop"].join([*told, *([appeal] if appeal else [])])


def rests(alert: Alert, said: Words, audience: Audience) -> str:
    """The data, policy and run behind it, and what was never delivered."""
    gaps = ", ".join(alert.get("known_gaps") or ())
    told = said["data"].format(
        evening=alert["as_of_date"],
        platform=alert["platform"],
        run=alert.get("run_id") or "-",
        policy=alert["policy_id"],
        alert=alert["alert_id"] if audience == "operator" else alert["alert_id"][:SHORT],
    )
    return told + said["stop"] + said["gaps"].format(gaps=gaps) if gaps else told


def chart(alert: Alert, said: Words, language: Language) -> Chart | None:
    """The chart of an alert whose file tells at least two values."""
    history = tuple((str(day), value) for day, value in alert.get("history") or ())
    known = [value for _, value in history if value is not None]
    if len(known) < 2:
        return None
    threshold, first, last = alert["threshold"], percent(known[0]), percent(known[-1])
    told = said["chart told"].format(
        metric=_name("metrics", alert["metric"], language),
        evenings=len(history),
        first=first,
        last=last,
    )
    if threshold is not None:
        told += said["chart limit"].format(threshold=percent(threshold))
    spark = sparkline(tuple(value for _, value in history), threshold)
    return Chart(
        history=history,
        threshold=threshold,
        opened=alert.get("opened_on"),
        label=said["chart"].format(evenings=len(history)),
        told=told,
        line=f"{spark} {first} → {last}",
    )


def line(text: str, longest: int | None = None) -> str:
    """One line of printable characters, and no more than so many: names come from merchants."""
    told = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return told if longest is None or len(told) <= longest else told[: longest - 1] + "…"


def _product(alert: Alert) -> str:
    return str(alert.get("product_title") or alert["entity_id"])


def _who(alert: Alert, said: Words) -> str:
    name = alert.get("merchant_name") or alert.get("merchant_id")
    kind = alert["entity_type"]
    if kind == "merchant":
        who = str(name or alert["entity_id"])
    else:
        who = said[kind].format(name=_product(alert))
        who = said["of"].format(what=who, whose=name) if name else who
    category = alert.get("category_id")
    return f"{who} ({category})" if category and kind != "category" else who


def _rate(measured: Mapping[str, Any], said: Words) -> str:
    return said["rate"].format(
        value=percent(measured["value"]),
        numerator=measured["numerator"],
        denominator=measured["denominator"],
    )


def _window(alert: Alert) -> tuple[date, date] | None:
    """The cohort dates that the official value covers: the last ones whose own window has ended."""
    days, metric = alert.get("evaluation_days"), _rows("metrics").get(alert["metric"])
    if days is None or metric is None:
        return None
    last = date.fromisoformat(alert["as_of_date"]) - timedelta(int(metric["window_days"]) - 1)
    return last - timedelta(int(days) - 1), last


def _is_projected(alert: Alert) -> bool:
    """Whether only its projection makes a warning: it is about cohorts that are still open."""
    value, threshold = alert["value"], alert["threshold"]
    return (alert["record_type"], alert["transition"]) == ("warning", "opened") and not (
        value is not None and threshold is not None and _reaches(alert, value, threshold)
    )


def _reaches(alert: Alert, value: float, threshold: float) -> bool:
    return value > threshold or (alert.get("comparator") != ">" and value == threshold)


def _name(seed: str, key: str, language: Language) -> str:
    row = _rows(seed).get(key)
    return (row["name"] if language == "en" else row["name_zh"]) if row else key


@cache
def _rows(seed: str) -> dict[str, dict[str, str]]:
    """The rows of a seed by their first column."""
    path = PROJECT / "dbt_project" / "seeds" / f"{seed}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}

"""What an alert says to a person, in this order.

What happened, how sure, why, what follows, where to read more, on what it rests. A digest says in a
line each what many alerts say.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

from redline.alerts.chart import Chart, sparkline
from redline.alerts.text import percent
from redline.alerts.words import LANGUAGES, Audience, Language, reason, words
from redline.settings import PROJECT

__all__ = ["LANGUAGES", "Audience", "Language", "Message", "digest", "message", "reminded"]

Alert = Mapping[str, Any]
Words = Mapping[str, str]

DIGEST = 40  # alerts that a digest shows; of the others it tells how many there are
_SEVERITIES = ("violation", "warning", "resolved")
_SHORT = 12  # characters of an id that a person reads or types


@dataclass(frozen=True)
class Message:
    """An alert in words, or a digest of several.

    Attributes:
        title: one line.
        parts: headings and their text, one line each.
        severity: `violation`, `warning` or `resolved`; senders colour by it.
        evening: that the alert is of, ISO; of a digest the last one.
        link: the address of a page that tells more.
        link_label: what a button to it says.
        chart: of an alert that has a history.
        links: of a digest, the page of each part, as `parts`; else empty.
        kinds: of a digest, the severity of each part, as `parts`, None of one that is no alert.
        shorter: of a digest, the same with no more than that many alerts shown.
    """

    title: str
    parts: tuple[tuple[str, str], ...]
    severity: str
    evening: str
    link: str | None = None
    link_label: str = ""
    chart: Chart | None = None
    links: tuple[str | None, ...] = ()
    kinds: tuple[str | None, ...] = ()
    shorter: Callable[[int], Message] | None = field(default=None, compare=False, repr=False)


def message(
    alert: Alert,
    language: Language,
    appeal: str | None = None,
    appeal_days: int | None = None,
    *,
    page: str | None = None,
    audience: Audience = "operator",
) -> Message:
    """Put an alert into words.

    Args:
        alert: as its file tells it.
        appeal: how to appeal, in the channel's own words.
        appeal_days: days from the evening within which an appeal is heard.
        page: where the pages of records begin, such as https://risk.example.com/redline.
        audience: `merchant`: only what is that merchant's own, and no link: pages show more.

    Raises:
        ValueError: a merchant is to be told of what is not one merchant's.
    """
    _check([alert], audience)
    said = words(language, audience)
    parts = (
        (said["happened"], _happened(alert, said)),
        (said["sure"], _sure(alert, said)),
        (said["why"], _why(alert, said, language)),
        (said["follows"], _follows(alert, said, language, appeal, appeal_days)),
        (said["page"], _command(alert, page, audience)),
        (said["rests"], _rests(alert, said, audience)),
    )
    return Message(
        title=_title(alert, said, language),
        parts=tuple((label, _line(text)) for label, text in parts if text),
        severity=_severity(alert),
        evening=str(alert["as_of_date"]),
        link=_link(alert, page, audience),
        link_label=said["open"],
        chart=_chart(alert, said, language),
    )


def digest(
    alerts: Sequence[Alert],
    language: Language,
    *,
    page: str | None = None,
    audience: Audience = "operator",
    appeal: str | None = None,
    appeal_days: int | None = None,
) -> Message:
    """Put the alerts of a day into one message, the worst first.

    Confirmed violations come before others, then warnings, then what is resolved; within each the
    greatest value for its threshold, then the most orders. `DIGEST` are shown, and the others
    counted.

    Args:
        alerts: at least one; for a merchant, its own only.
        page, audience, appeal, appeal_days: as of `message`; `appeal_days` from the last evening.

    Raises:
        ValueError: there are none; or a merchant is to be told of what is not its own.
    """
    if not alerts:
        raise ValueError("a digest of no alerts says nothing")
    _check(alerts, audience)
    said = words(language, audience)
    ordered = sorted(alerts, key=_worst_first)
    evenings = sorted({str(alert["as_of_date"]) for alert in ordered})
    title = said["digest"].format(
        counts=_counts(ordered, said),
        whose=_owner(ordered[0])
        if audience == "merchant"
        else ", ".join(sorted({str(alert["platform"]) for alert in ordered})),
        evening=evenings[0]
        if len(evenings) == 1
        else said["evenings"].format(first=evenings[0], last=evenings[-1]),
    )
    told = [
        (
            (
                _title(alert, said, language, briefly=True),
                _line(_happened(alert, said, briefly=True)),
            ),
            _link(alert, page, audience),
            _severity(alert),
        )
        for alert in ordered[:DIGEST]
    ]
    how = _how_to_appeal(ordered, said, appeal, appeal_days)

    def showing(shown: int) -> Message:
        rest = ordered[shown:]
        tail = [(said["more"].format(n=len(rest)), _counts(rest, said))] if rest else []
        tail += [(said["follows"], _line(how))] if how else []
        here = told[:shown]
        nothing = (None,) * len(tail)
        return Message(
            title=_line(title),
            parts=(*(part for part, _, _ in here), *tail),
            severity=min((_severity(alert) for alert in ordered), key=_SEVERITIES.index),
            evening=evenings[-1],
            link=page.rstrip("/") if page and audience == "operator" else None,
            link_label=said["open all"],
            links=(*(link for _, link, _ in here), *nothing),
            kinds=(*(kind for _, _, kind in here), *nothing),
            shorter=showing,
        )

    return showing(DIGEST)


def reminded(told: Message, hours: float, language: Language) -> Message:
    """The same message, sent again because nobody has acknowledged it for so many hours."""
    title = words(language, "operator")["reminder"].format(hours=hours, title=told.title)
    return replace(told, title=title)


def _check(alerts: Sequence[Alert], audience: Audience) -> None:
    """See that alerts may be told to an audience: to a merchant what is its own."""
    if audience == "operator":
        return
    whose = {
        (alert["platform"], alert.get("merchant_id"))
        if alert["entity_type"] in ("merchant", "product")
        else None
        for alert in alerts
    }
    if len(whose) > 1 or None in whose or any(not each[1] for each in whose if each):
        raise ValueError("a merchant can be told only of what is that one merchant's own")


def _severity(alert: Alert) -> str:
    return "resolved" if alert["transition"] == "resolved" else str(alert["record_type"])


def _worst_first(alert: Alert) -> tuple[Any, ...]:
    severity, value, threshold = _severity(alert), alert["value"], alert["threshold"]
    return (
        _SEVERITIES.index(severity),
        not (severity == "violation" and alert.get("is_confirmed")),
        -(value / threshold if value is not None and threshold else 0.0),
        -(alert["denominator"] or 0),
        str(alert["alert_id"]),
    )


def _counts(alerts: Sequence[Alert], said: Words) -> str:
    """How many of each severity, such as `3 violations, 1 resolved`."""
    counted = Counter(_severity(alert) for alert in alerts)
    return said["comma"].join(
        said[f"{'1' if counted[kind] == 1 else 'n'} {kind}"].format(n=counted[kind])
        for kind in _SEVERITIES
        if counted[kind]
    )


def _title(alert: Alert, said: Words, language: Language, *, briefly: bool = False) -> str:
    metric = _name("metrics", alert["metric"], language)
    subject = said.get(f"subject {alert['entity_type']}", "")
    title = said["brief title" if briefly else "title"].format(
        event=said[f"{alert['record_type']} {alert['transition']}"],
        who=_owner(alert) if subject else _who(alert, said),
        metric=metric,
        subject=subject.format(metric=metric[:1].lower() + metric[1:], name=_product(alert)),
    )
    return _line(title)


def _owner(alert: Alert) -> str:
    return str(alert.get("merchant_name") or alert.get("merchant_id"))


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


def _happened(alert: Alert, said: Words, *, briefly: bool = False) -> str:
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


def _sure(alert: Alert, said: Words) -> str:
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


def _why(alert: Alert, said: Words, language: Language) -> str:
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


def _is_projected(alert: Alert) -> bool:
    """Whether only its projection makes a warning: it is about cohorts that are still open."""
    value, threshold = alert["value"], alert["threshold"]
    return (alert["record_type"], alert["transition"]) == ("warning", "opened") and not (
        value is not None and threshold is not None and _reaches(alert, value, threshold)
    )


def _reaches(alert: Alert, value: float, threshold: float) -> bool:
    return value > threshold or (alert.get("comparator") != ">" and value == threshold)


def _follows(
    alert: Alert,
    said: Words,
    language: Language,
    appeal: str | None,
    appeal_days: int | None,
) -> str:
    if alert["transition"] == "resolved":
        return said["over"].format(evening=alert["as_of_date"])
    told = []
    if measure := alert.get("measure"):
        told.append(said["measure"].format(measure=_name("measures", measure, language)))
    if alert["record_type"] == "warning":
        limit = alert.get("violation_threshold")
        told.append(said["warned"].format(limit=percent(limit)) if limit is not None else "")
    told.append(_how_to_appeal([alert], said, appeal, appeal_days))
    return said["stop"].join(text for text in told if text)


def _how_to_appeal(
    alerts: Sequence[Alert], said: Words, appeal: str | None, appeal_days: int | None
) -> str:
    """Until when and how, if there is a violation to appeal against."""
    violated = [str(alert["as_of_date"]) for alert in alerts if _severity(alert) == "violation"]
    if not violated:
        return ""
    told = []
    if appeal_days is not None:
        until = date.fromisoformat(max(violated)) + timedelta(appeal_days)
        told.append(said["until"].format(until=until))
    return said["stop"].join([*told, *([appeal] if appeal else [])])


def _link(alert: Alert, page: str | None, audience: Audience) -> str | None:
    if not page or audience == "merchant":
        return None
    return f"{page.rstrip('/')}/records/{quote(str(alert['record_id']), safe='')}"


def _command(alert: Alert, page: str | None, audience: Audience) -> str:
    """What shows more where there is no page."""
    if page or audience == "merchant":
        return ""
    return f"make explain RECORD={str(alert['record_id'])[:_SHORT]}"


def _rests(alert: Alert, said: Words, audience: Audience) -> str:
    gaps = ", ".join(alert.get("known_gaps") or ())
    told = said["data"].format(
        evening=alert["as_of_date"],
        platform=alert["platform"],
        run=alert.get("run_id") or "-",
        policy=alert["policy_id"],
        alert=alert["alert_id"] if audience == "operator" else alert["alert_id"][:_SHORT],
    )
    return told + said["stop"] + said["gaps"].format(gaps=gaps) if gaps else told


def _chart(alert: Alert, said: Words, language: Language) -> Chart | None:
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
    line = sparkline(tuple(value for _, value in history), threshold)
    return Chart(
        history=history,
        threshold=threshold,
        opened=alert.get("opened_on"),
        label=said["chart"].format(evenings=len(history)),
        told=told,
        line=f"{line} {first} → {last}",
    )


def _name(seed: str, key: str, language: Language) -> str:
    row = _rows(seed).get(key)
    return (row["name"] if language == "en" else row["name_zh"]) if row else key


@cache
def _rows(seed: str) -> dict[str, dict[str, str]]:
    """The rows of a seed by their first column."""
    path = PROJECT / "dbt_project" / "seeds" / f"{seed}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def _line(text: str) -> str:
    """One line of printable characters: names come from merchants."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

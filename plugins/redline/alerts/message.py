"""What an alert says to a person, in this order.

What happened, how sure, why, what follows, where to read more, on what it rests. A digest says in a
line each what many alerts say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from redline.alerts import telling
from redline.alerts.chart import Chart
from redline.alerts.telling import Alert, Words
from redline.alerts.words import LANGUAGES, Audience, Language, words

__all__ = ["LANGUAGES", "Audience", "Language", "Message", "digest", "message", "reminded"]

DIGEST = 40  # alerts that a digest shows; of the others it tells how many there are
_SEVERITIES = ("violation", "warning", "resolved")


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
        (said["happened"], telling.happened(alert, said)),
        (said["sure"], telling.sure(alert, said)),
        (said["why"], telling.why(alert, said, language)),
        (said["follows"], telling.follows(alert, said, language, appeal, appeal_days)),
        (said["page"], _command(alert, page, audience)),
        (said["rests"], telling.rests(alert, said, audience)),
    )
    return Message(
        title=telling.title(alert, said, language),
        parts=tuple((label, telling.line(text)) for label, text in parts if text),
        severity=telling.severity(alert),
        evening=str(alert["as_of_date"]),
        link=_link(alert, page, audience),
        link_label=said["open"],
        chart=telling.chart(alert, said, language),
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
        whose=telling.owner(ordered[0])
        if audience == "merchant"
        else ", ".join(sorted({str(alert["platform"]) for alert in ordered})),
        evening=evenings[0]
        if len(evenings) == 1
        else said["evenings"].format(first=evenings[0], last=evenings[-1]),
    )
    told = [
        (
            (
                telling.title(alert, said, language, briefly=True),
                telling.line(telling.happened(alert, said, briefly=True)),
            ),
            _link(alert, page, audience),
            telling.severity(alert),
        )
        for alert in ordered[:DIGEST]
    ]
    how = telling.how_to_appeal(ordered, said, appeal, appeal_days)

    def showing(shown: int) -> Message:
        rest = ordered[shown:]
        tail = [(said["more"].format(n=len(rest)), _counts(rest, said))] if rest else []
        tail += [(said["follows"], telling.line(how))] if how else []
        here = told[:shown]
        nothing = (None,) * len(tail)
        return Message(
            title=telling.line(title, telling.LONGEST_TITLE),
            parts=(*(part for part, _, _ in here), *tail),
            severity=min((telling.severity(alert) for alert in ordered), key=_SEVERITIES.index),
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


def _worst_first(alert: Alert) -> tuple[Any, ...]:
    severity, value, threshold = telling.severity(alert), alert["value"], alert["threshold"]
    return (
        _SEVERITIES.index(severity),
        not (severity == "violation" and alert.get("is_confirmed")),
        -(value / threshold if value is not None and threshold else 0.0),
        -(alert["denominator"] or 0),
        str(alert["alert_id"]),
    )


def _counts(alerts: Sequence[Alert], said: Words) -> str:
    """How many of each severity, such as `3 violations, 1 resolved`."""
    counted = Counter(telling.severity(alert) for alert in alerts)
    return said["comma"].join(
        said[f"{'1' if counted[kind] == 1 else 'n'} {kind}"].format(n=counted[kind])
        for kind in _SEVERITIES
        if counted[kind]
    )


def _link(alert: Alert, page: str | None, audience: Audience) -> str | None:
    if not page or audience == "merchant":
        return None
    return f"{page.rstrip('/')}/records/{quote(str(alert['record_id']), safe='')}"


def _command(alert: Alert, page: str | None, audience: Audience) -> str:
    """What shows more where there is no page."""
    if page or audience == "merchant":
        return ""
    return f"make explain RECORD={str(alert['record_id'])[: telling.SHORT]}"

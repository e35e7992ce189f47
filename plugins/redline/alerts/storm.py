"""Storms: evenings with so many new alerts that a person should look before they go out.

A storm is more often a fault of the data (a feed cut short, a changed code) than of the merchants.
Nothing here reads or writes: guard.py brings the figures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from redline.alerts.letter import Alert
from redline.alerts.text import percent

# Evenings before an evening from which the usual number is taken.
HISTORY = 28
# The next run, a day later, must not wait for an answer to this one.
LONGEST_HOURS = 20
_SHOWN = 10
_LONGEST_NAME = 60


@dataclass(frozen=True)
class StormLimits:
    """From when on alerts wait for an answer.

    Attributes:
        multiple: of the usual number of a platform's new alerts.
        share: of its evaluated merchants that the new alerts are about (fraction).
        at_least: fewer new alerts of a platform are never a storm.
        answer_hours: how long an answer is waited for, `LONGEST_HOURS` at most.
    """

    multiple: float = 5.0
    share: float = 0.2
    at_least: int = 20
    answer_hours: float = 8


@dataclass(frozen=True)
class Evening:
    """A platform's evening: what is about to go out, and what is usual.

    Attributes:
        alerts: that would be sent, and of which nobody was told before.
        past: numbers of alerts of the published evenings before, by metric, at most `HISTORY`.
        merchants: that were evaluated on the evening.
        volumes: of each component what the evening brought, and its median before.
        is_backfill: whether it was published with many others, after the fact.
    """

    platform: str
    evening: str
    alerts: tuple[Alert, ...]
    past: Mapping[str, Sequence[int]]
    merchants: int
    volumes: tuple[tuple[str, int, float], ...] = ()
    is_backfill: bool = False

    @property
    def usual(self) -> float:
        """The median number of alerts of an evening; 0 without a history."""
        return float(median(map(sum, zip(*self.past.values(), strict=True)))) if self.past else 0.0

    @property
    def touched(self) -> int:
        """Merchants that the alerts are about."""
        return len({each["merchant_id"] for each in self.alerts if each.get("merchant_id")})

    @property
    def share(self) -> float | None:
        """Of the evaluated merchants, those that the alerts are about; None without any."""
        return self.touched / self.merchants if self.merchants else None


@dataclass(frozen=True)
class Storm:
    """Alerts that must not go out unseen.

    Attributes:
        evenings: all that would go out, those within the limits too: all of it waits.
        reasons: which limit which of them exceeds, a line each.
    """

    evenings: tuple[Evening, ...]
    reasons: tuple[str, ...]

    @property
    def count(self) -> int:
        """New alerts."""
        return sum(len(each.alerts) for each in self.evenings)

    @property
    def line(self) -> str:
        """The storm in one line."""
        return f"{self.count} new alerts: {'; '.join(self.reasons)}"


def weigh(evenings: Sequence[Evening], limits: StormLimits) -> Storm | None:
    """Whether what is about to go out is a storm."""
    reasons = [reason for each in evenings if (reason := _reason(each, limits)) is not None]
    return Storm(tuple(evenings), tuple(reasons)) if reasons else None


def _reason(each: Evening, limits: StormLimits) -> str | None:
    count, told = len(each.alerts), f"{each.platform} {each.evening}"
    if count < limits.at_least:
        return None
    if count > limits.multiple * each.usual:
        return f"{told} has {count}, usual are {each.usual:g}"
    if each.share is not None and each.share > limits.share:
        return f"{told} is about {percent(each.share)} of its {each.merchants} merchants"
    return None


def table(storm: Storm) -> str:
    """What a person needs to decide, as Markdown: numbers, merchants, gaps, volumes."""
    lines = ["**Nothing has gone out.** " + "; ".join(map(_plain, storm.reasons)) + ".", ""]
    lines += _table(
        (
            "platform",
            "evening",
            "metric",
            "violations",
            "warnings",
            "resolved",
            "usual",
            "merchants",
        ),
        [row for each in storm.evenings for row in _metrics(each)],
    )
    for each in storm.evenings:
        name = f"{_plain(each.platform)} {each.evening}"
        if merchants := _merchants(each):
            lines += [f"**Most alerts, {name}**", ""]
            lines += _table(("merchant", "alerts", "violations", "highest value"), merchants)
        gaps = sorted({gap for alert in each.alerts for gap in alert.get("known_gaps") or ()})
        if gaps:
            lines += [f"**Known gaps, {name}:** {'; '.join(map(_plain, gaps))}", ""]
        if each.volumes:
            lines += [f"**What came in, {name}**", ""]
            lines += _table(
                ("component", "this evening", "usual", "change"),
                [
                    (_plain(component), f"{now:,}", f"{before:,.0f}", _change(now, before))
                    for component, now, before in each.volumes
                ],
            )
    lines.append(
        "Approve: all of them go out. Reject: they are held with your reason, until somebody asks "
        "for them (`make alerts RETRY=held`)."
    )
    return "\n".join(lines)


def _metrics(each: Evening) -> list[tuple[str, ...]]:
    rows = []
    for metric in sorted({str(alert["metric"]) for alert in each.alerts}):
        own = [alert for alert in each.alerts if alert["metric"] == metric]
        kinds = Counter(_severity(alert) for alert in own)
        touched = len({alert["merchant_id"] for alert in own if alert.get("merchant_id")})
        share = f" ({percent(touched / each.merchants)})" if each.merchants else ""
        past = each.past.get(metric)
        rows.append(
            (
                _plain(each.platform),
                each.evening,
                _plain(metric),
                *(str(kinds[kind]) for kind in ("violation", "warning", "resolved")),
                f"{median(past):g}" if past else "0",
                f"{touched}{share}",
            )
        )
    return rows


def _merchants(each: Evening) -> list[tuple[str, ...]]:
    by_merchant: dict[str, list[Alert]] = {}
    for alert in each.alerts:
        if alert.get("merchant_id"):
            by_merchant.setdefault(str(alert["merchant_id"]), []).append(alert)

    def violations(alerts: list[Alert]) -> int:
        return sum(_severity(alert) == "violation" for alert in alerts)

    ordered = sorted(
        by_merchant.items(), key=lambda item: (-violations(item[1]), -len(item[1]), item[0])
    )
    rows: list[tuple[str, ...]] = []
    for merchant_id, alerts in ordered[:_SHOWN]:
        name = alerts[0].get("merchant_name")
        values = [alert["value"] for alert in alerts if alert.get("value") is not None]
        rows.append(
            (
                _plain(f"{name} ({merchant_id})" if name else merchant_id),
                str(len(alerts)),
                str(violations(alerts)),
                percent(max(values)) if values else "",
            )
        )
    return rows


def _severity(alert: Alert) -> str:
    return "resolved" if alert["transition"] == "resolved" else str(alert["record_type"])


def _change(now: float, before: float) -> str:
    return f"{now / before - 1:+.0%}" if before else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: names come from merchants."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) > _LONGEST_NAME * 2:
        text = text[: _LONGEST_NAME * 2 - 1] + "…"
    return re.sub(r"([\\`*_{}\[\]<>#|~!$&])", r"\\\1", text)

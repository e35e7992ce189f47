"""Routing: which channels an alert goes to, in which form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from redline.alerts.letter import Alert
from redline.alerts.outbox import Entry
from redline.alerts.rules import Route, Rules


def addressed(
    rules: Rules, alert: Alert, now: datetime, held: str | None = None
) -> Iterator[Entry]:
    """An alert for each channel that gets it.

    Args:
        now: in the time zone of the warehouse; a digest waits for today's time of digests, if that
            is still to come.
        held: why it is kept back.
    """
    kinds = {channel.name: channel.kind for channel in rules.channels}
    for channel, route in routes_of(rules, alert).items():
        # A system reads one alert at a time; people read a page.
        is_digest = kinds[channel] != "webhook" and _is_for_digest(route, alert)
        yield Entry(
            alert,
            channel,
            "digest" if is_digest else "alert",
            route.audience,
            _digest_time(rules, now) if is_digest else 0.0,
            held,
        )


def routes_of(rules: Rules, alert: Alert) -> Mapping[str, Route]:
    """The route that decides, by the channel that gets the alert: the first that names it."""
    found: dict[str, Route] = {}
    for route in rules.routes:
        if not _matches(route, alert):
            continue
        # Of a category's alert there is no merchant to tell.
        if route.audience == "merchant" and not alert.get("merchant_id"):
            continue
        for channel in route.to:
            found.setdefault(channel, route)
    return found


def _matches(route: Route, alert: Alert) -> bool:
    return all(alert.get(field) in allowed for field, allowed in route.when.items())


def _is_for_digest(route: Route, alert: Alert) -> bool:
    if route.send == "by_severity":
        return not (alert["record_type"] == "violation" and alert["transition"] != "resolved")
    return route.send == "digest"


def _digest_time(rules: Rules, now: datetime) -> float:
    if rules.digest_at is None:
        return 0.0
    clock = rules.digest_at
    at = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return at.timestamp() if at > now else 0.0

"""Escalation: who is reminded of an alert that nobody acknowledged in time."""

from __future__ import annotations

import time

from redline.alerts.marks import acknowledged
from redline.alerts.outbox import Entry, Outbox
from redline.alerts.routing import routes_of
from redline.alerts.rules import Rules

# Nobody is reminded of what was sent longer ago.
REACH = 8 * 24 * 3600.0


def remind(outbox: Outbox, rules: Rules) -> int:
    """Note reminders of the alerts that were sent long enough ago; how many are new.

    An alert is reminded of once, however many channels it was sent to. It is not if its record was
    acknowledged or snoozed since it came in, or has resolved.
    """
    if all(route.escalate is None for route in rules.routes):
        return 0
    now = time.time()
    said = acknowledged(outbox.store, now - REACH)
    entries = []
    for told in outbox.unreminded(now - REACH):
        route = routes_of(rules, told.alert).get(told.channel)
        if route is None or route.escalate is None:
            continue
        hours = int((now - told.sent_at) // 3600)
        if (
            hours < route.escalate.after_hours
            or said.get(told.alert["record_id"], 0) >= told.noted_at
        ):
            continue
        entries += [
            Entry(told.alert, channel, "reminder", hours=hours) for channel in route.escalate.to
        ]
    return outbox.add(entries)

"""Telling the operators: the channels that `operators:` names, at once and within seconds."""

from __future__ import annotations

import logging
from dataclasses import asdict

from redline.alerts.delivery import send_notices
from redline.alerts.notices import Notice
from redline.alerts.outbox import open_outbox
from redline.alerts.rules import read_rules
from redline.errors import RedlineError
from redline.settings import Settings

# Airflow ends a task's process 20 s after the task itself has ended, whatever it still does.
SECONDS = 12.0

log = logging.getLogger("redline")


def notify(settings: Settings, notice: Notice, seconds: float = SECONDS) -> bool:
    """Tell the operators, once for each notice; whether it is new.

    What cannot be sent within `seconds` waits in the outbox for the next delivery. Raises nothing:
    who calls it has a failure of its own to tell.
    """
    try:
        if settings.alerts is None:
            return False
        rules = read_rules(settings.alerts)
        if not rules.operators:
            log.info("no operators are named in the file of alerts, so nobody was told")
            return False
        outbox = open_outbox(settings)
        try:
            added = outbox.add_notice(
                notice.notice_id, rules.operators, notice.happened_at[:10], asdict(notice)
            )
            if added:
                send_notices(outbox, rules, rules.operators, seconds)
        finally:
            outbox.close()
    except RedlineError as error:
        log.error("the operators were not told: %s", error)
        return False
    except Exception as error:  # noqa: BLE001 - nothing may come on top of what is told
        # Not its words: they may hold an address.
        log.error("the operators were not told: %s", type(error).__name__)
        return False
    return bool(added)

"""
### merchant_risk_delivery

Sends what falls due between publications: digests at their time of day, messages that a receiver
did not take before, and reminders of alerts that nobody acknowledged in time. It reads no marts and
no alert files: what `merchant_risk_alerts` has not let through it cannot send.

**Runs** every ten minutes where `REDLINE_ALERTS` names a file of alerts, else never.

**When it fails** a message was refused, or given up after twelve attempts, and waits for you:
`make alerts` lists it with what the receiver said. Mend it, then `make alerts RETRY=failed`.
What a receiver does not take yet is tried again by the next run, which is no failure. The operators
are told of a failure, once for each run that met one.

**Owner**: risk-data.
"""

from __future__ import annotations

from dataclasses import asdict

from airflow.sdk import CronTriggerTimetable, dag, task

from redline.operations import tell_failed_task
from redline.settings import read_settings
from redline.tasks import RETRIES, reported

SETTINGS = read_settings()


@dag(
    dag_id="merchant_risk_delivery",
    doc_md=__doc__,
    schedule=(
        CronTriggerTimetable("*/10 * * * *", timezone=SETTINGS.timezone)
        if SETTINGS.alerts is not None
        else None
    ),
    catchup=False,  # what was due an hour ago is due now
    max_active_runs=1,  # a receiver that hangs is asked by one run at a time
    default_args={
        "owner": "risk-data",
        **RETRIES,
        "retries": 0,  # the next run is the retry
        "on_failure_callback": tell_failed_task,
    },
    tags=["redline", "risk"],
)
def merchant_risk_delivery() -> None:
    """Send what has fallen due."""

    @task
    def send_due() -> dict[str, int]:
        from redline.alerts import go_on

        with reported("send what is due") as noted:
            noted["deliveries"] = asdict(go_on(read_settings()))
            return noted["deliveries"]

    send_due()


merchant_risk_delivery()

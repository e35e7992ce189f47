"""
### merchant_risk_acknowledge

Says that an alert is seen: nobody is reminded of it any more. With an `until` it snoozes what the
alert is about (the entity's metric and risk point) to the end of that date: what comes of it is
held, but for anything worse; a snoozed warning never hides a violation. Who says so is who triggers
the run. The same from a shell: `make alerts ACKNOWLEDGE=<alert> REASON=...`, or `SNOOZE=<alert>
UNTIL=<date> REASON=...`.

**Runs** when it is triggered, from the UI or the REST API.

**When it fails** the log ends with one line: no such alert, no reason, or an end that has passed.

**Owner**: risk-data.
"""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task

from redline.settings import read_settings
from redline.tasks import RETRIES, reported


@dag(
    dag_id="merchant_risk_acknowledge",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    params={
        "alert_id": Param(
            "", type="string", minLength=4, description="The alert's id, or the beginning of it."
        ),
        "reason": Param("", type="string", minLength=1, maxLength=500, description="Why."),
        "until": Param(
            None,
            type=["null", "string"],
            format="date",
            description="Last date of a snooze; empty: it is acknowledged.",
        ),
    },
    default_args={"owner": "risk-data", **RETRIES},
    tags=["redline", "risk"],
)
def merchant_risk_acknowledge() -> None:
    """Keep what a person says of an alert."""

    @task
    def acknowledge() -> str:
        from redline.alerts.marks import say
        from redline.planning import read_date

        context = get_current_context()
        given = context["params"]
        said_by = getattr(context["dag_run"], "triggering_user_name", None) or "unknown"
        with reported("acknowledge") as noted:
            until = read_date(given["until"], "until") if given["until"] else None
            noted["said"] = say(read_settings(), given["alert_id"], said_by, given["reason"], until)
            return noted["said"]

    acknowledge()


merchant_risk_acknowledge()

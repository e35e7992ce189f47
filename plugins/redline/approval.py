"""The approval of a storm of alerts: an Airflow task that waits for a person.

Imported when a DAG file is parsed, so it imports nothing heavy.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

# What it offers; both words are Airflow's own.
APPROVE, REJECT = "Approve", "Reject"

# Under it the task before leaves what is asked: `subject`, `table` and `hours`.
FOUND = "found"


class StormApproval(HITLOperator):
    """Asks what the task before it has found, for as long as that says.

    Not Airflow's ApprovalOperator: on a rejection that one skips the task behind it, which has to
    hold the alerts. Without an answer in time `Reject` is taken, and no user stands with it.
    """

    def __init__(self, *, asked_by: str, **more: Any) -> None:
        more.pop("params", None)  # the DAG's own, which Airflow hands to every task
        found = f"ti.xcom_pull(task_ids='{asked_by}', key='{FOUND}')"
        super().__init__(
            subject=f"{{{{ {found}.subject }}}}",
            body=f"{{{{ {found}.table }}}}",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            params={
                "reason": Param(
                    "",
                    type="string",
                    maxLength=200,
                    description="Why; it is kept with the alerts that are held.",
                )
            },
            **more,
        )
        self.asked_by = asked_by

    def execute(self, context: Any) -> Any:
        """Park the task until somebody answers."""
        found = context["ti"].xcom_pull(task_ids=self.asked_by, key=FOUND)
        self.response_timeout = timedelta(hours=found["hours"])
        return super().execute(context)

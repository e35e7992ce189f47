"""
### merchant_risk_alerts

Writes the alerts of a published evening, one JSON Lines file per evening, below `alerts/` in
`REDLINE_HOME`, and those of earlier evenings that have none yet because a run was killed. Then
delivers them to the channels in the file that `REDLINE_ALERTS` names; without one, to none. Alerts
of evenings long past and of a first publication are held; restatements have none.

**Runs** whenever `merchant_risk_daily` announces the asset `redline_marts`. To write the alerts of
what is published now once more, trigger it by hand; the same run gives the same file.

**When it fails** the marts are published all the same. The task's log ends with one line: what is
wrong, where, what to do. Mend that and clear the task: an alert keeps its id, so none is doubled.
`deliver` fails while receivers do not take messages; what waits is sent by the next run too.
`make alerts` lists it, with what the receivers said.

**Owner**: risk-data.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from airflow.sdk import Param, PartitionedAssetTimetable, dag, get_current_context, task

from redline.settings import read_settings
from redline.tasks import MARTS, RETRIES, announced_runs, reported


@dag(
    dag_id="merchant_risk_alerts",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=MARTS),
    catchup=False,
    max_active_runs=1,  # evenings in their order
    params={
        "run_id": Param(
            None,
            type=["null", "string"],
            description="Published run; empty: the last one, and what is missing.",
        )
    },
    default_args={"owner": "risk-data", **RETRIES},
    tags=["redline", "risk"],
)
def merchant_risk_alerts() -> None:
    """Write what the published evening has to say, and deliver it."""

    @task
    def write_alerts() -> list[str]:
        from redline.alerts import write_alerts

        with reported("write alerts") as noted:
            settings = read_settings()
            files = {
                str(file)
                for run_id in announced_runs(get_current_context())
                for file in write_alerts(settings, run_id)
            }
            noted["files"] = sorted(files)
            return noted["files"]

    @task
    def deliver(files: list[str]) -> dict[str, int]:
        from redline.alerts import deliver

        with reported("deliver") as noted:
            done = deliver(read_settings(), [Path(file) for file in files])
            noted["deliveries"] = asdict(done)
            return noted["deliveries"]

    deliver(write_alerts())


merchant_risk_alerts()

"""
### merchant_risk_alerts

Writes the alerts of a published evening, one JSON Lines file per evening, below `alerts/` in
`REDLINE_HOME`, and those of earlier evenings that have none yet because a run was killed. Then
delivers them to the channels in the file that `REDLINE_ALERTS` names; without one, to none. Alerts
of evenings long past and of a first publication are held; restatements have none.

**Runs** whenever `merchant_risk_daily` announces the asset `redline_marts`. To write the alerts of
what is published now once more, trigger it by hand; the same run gives the same file.

**A storm** is more new alerts than `storm:` in that file allows: more than `multiple` times the
usual number of a platform, or about more than `share` of its merchants. Then nothing goes out: all
is held, the operators are told, and `ask` waits under "Required Actions" with a table. Look at the
gaps and at what came in: a storm is more often a fault of the data. **Approve** sends everything;
**Reject** holds it with your name and reason. Without an answer within `answer_hours` it stays held
and the operators are told again. What is held goes out with `make alerts RETRY=held`. Marts never
wait for any of this. Nobody is asked in a backfill or by `make run`: a storm is held there.

**When it fails** the marts are published all the same. The task's log ends with one line: what is
wrong, where, what to do. Mend that and clear the task: an alert keeps its id, so none is doubled,
and what was answered is not asked again. `deliver` fails while receivers do not take messages; what
waits is sent by the next run too. `make alerts` lists it, with what the receivers said. If `ask`
fails, `settle` holds the alerts: clear `weigh` to be asked again.

**Owner**: risk-data.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from airflow.sdk import (
    Param,
    PartitionedAssetTimetable,
    chain,
    dag,
    get_current_context,
    task,
)

from redline.approval import FOUND, StormApproval
from redline.operations import tell_failed_run, tell_failed_task, tell_storm
from redline.settings import read_settings
from redline.tasks import MARTS, RETRIES, announced_runs, has_scheduler, reported


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
    default_args={"owner": "risk-data", **RETRIES, "on_failure_callback": tell_failed_task},
    on_failure_callback=tell_failed_run,
    tags=["redline", "risk"],
)
def merchant_risk_alerts() -> None:
    """Write what the published evening has to say, weigh it, and deliver it."""

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

    @task.branch
    def weigh(files: list[str]) -> str:
        from redline.alerts import guard

        with reported("weigh alerts") as noted:
            found = guard.look(
                read_settings(), [Path(file) for file in files], asks=has_scheduler()
            )
            if found is None:
                return "deliver"
            noted["storm"] = found.line
            if not found.is_asked:
                noted["held"] = found.line
                return "deliver"
            context = get_current_context()
            asked = {"subject": found.line, "table": found.table, "hours": found.hours}
            context["ti"].xcom_push(key=FOUND, value=asked)
            tell_storm(context, "storm_asked", found.line)
            return "ask"

    @task
    def deliver(files: list[str]) -> dict[str, int]:
        from redline.alerts import deliver

        with reported("deliver") as noted:
            done = deliver(read_settings(), [Path(file) for file in files])
            noted["deliveries"] = asdict(done)
            return noted["deliveries"]

    # It runs whatever became of the question, unless there was none.
    @task(trigger_rule="none_skipped")
    def settle() -> str:
        from redline.alerts import guard

        context = get_current_context()
        with reported("settle") as noted:
            done = guard.settle(read_settings(), context["ti"].xcom_pull(task_ids="ask"))
            if done.messages and not done.is_answered:
                tell_storm(context, "storm_unanswered", done.line)
            noted["settled"] = done.line
            return done.line

    files = write_alerts()
    ask = StormApproval(task_id="ask", asked_by="weigh")
    chain(weigh(files), [deliver(files), ask])
    chain(ask, settle())


merchant_risk_alerts()

"""
### merchant_risk_daily

Takes the records of a business date (or a range of dates), builds the marts on top of the last
published ones and publishes them if both gates let them pass.

**Runs** at 02:00 in `REDLINE_TIMEZONE` for the business date that has just ended. A run first takes
every date since the last published one, so a missed night needs nothing from you. To run a range,
trigger it with `{"start_date": "2026-03-01", "end_date": "2026-03-31"}`; to rewrite closed dates
from one up to the last published one, with `{"restate_from": "2026-03-01"}` (no alerts are sent for
those). A restatement that failed must be finished before another run of its platform is planned.

**Several marketplaces** (`REDLINE_MARKETPLACES` names their connections) are a group of tasks each,
one after the other; a group begins whatever happened to the one before. `verdict` fails if one of
them is missing, and says which, why, what it keeps and who published. To run some of them, add
`{"marketplaces": ["douyin"]}`; groups that are left out are skipped.

**When it fails** the failed task's log ends with one line: what is wrong, where, what to do.
Nothing of that marketplace has been published; its marts and alerts of yesterday stand.

| task | usual cause | what to do |
|---|---|---|
| `plan` | a date, the time zone, the connection, a policy pack | correct it, trigger again |
| `extract` | a file is missing, cut short, of another header | have it delivered, clear it |
| `validate_intake` | too many bad rows | open the Data Docs, mend the source, clear the run |
| `transform` | a dbt model or test | read the log, fix it, clear the task |
| `validate_publication` | the marts do not add up | open the Data Docs; do not publish by hand |
| any, of a published run | it was cleared: closed dates must stay | trigger a new run |
| `verdict` | a marketplace is missing | mend what it names, clear that group's failed tasks |
| any | disk full, another run at work | retried by itself; then free the disk, clear the task |

A task that was killed half-way is simply cleared: every stage writes aside and renames.

**Who is told**: the channels that `operators:` names in the file of `REDLINE_ALERTS`: of a task
that failed for good, with its last line; and at `REDLINE_DEADLINE`, if the evening of a scheduled
run is not published by then. A run that somebody triggered is never late.

**Owner**: risk-data. **Writes**: everything below `REDLINE_HOME`. **Announces**: the asset
`redline_marts`, for which `merchant_risk_alerts` waits. With no open date it publishes nothing and
announces nothing: `publish` is then skipped.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    AsyncCallback,
    CronPartitionTimetable,
    DeadlineAlert,
    Param,
    TaskGroup,
    chain,
    dag,
    get_current_context,
    task,
)

from redline.deadline import PublishedBy
from redline.operations import tell_failed_run, tell_failed_task, tell_late_run
from redline.settings import read_settings
from redline.tasks import (
    MARTS,
    RETRIES,
    WRITER_POOL,
    Report,
    fates,
    perform,
    reported,
    requested_dates,
    skip_unless_asked_for,
    source_address,
)

SETTINGS = read_settings()
TIMEZONE, MARKETPLACES = SETTINGS.timezone, SETTINGS.marketplaces


def _date(description: str) -> Param:
    return Param(None, type=["null", "string"], format="date", description=description)


def _choice() -> dict[str, Param]:
    """The parameter by which a run is for some of several marketplaces."""
    if len(MARKETPLACES) == 1:
        return {}
    param = Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": [*MARKETPLACES]},
        examples=[*MARKETPLACES],
        description="Names of connections; empty: all of REDLINE_MARKETPLACES.",
    )
    return {"marketplaces": param}


@dag(
    dag_id="merchant_risk_daily",
    doc_md=__doc__,
    schedule=CronPartitionTimetable(
        "0 2 * * *",
        timezone=TIMEZONE,
        run_offset=-1,  # at 02:00 the date that has just ended is due, not the one that began
        key_format="%Y-%m-%d",
    ),
    catchup=False,  # one run takes all dates since the last published one
    max_active_runs=1,  # DuckDB has one writer, and each run builds on what the last one published
    params={
        "start_date": _date("First business date; empty: the run's own date."),
        "end_date": _date("Last business date, included; empty: the same as start_date."),
        "restate_from": _date("Rewrite closed dates from this one to the last; sends no alerts."),
        **_choice(),
    },
    default_args={"owner": "risk-data", **RETRIES, "on_failure_callback": tell_failed_task},
    on_failure_callback=tell_failed_run,
    deadline=DeadlineAlert(
        reference=PublishedBy(f"{SETTINGS.deadline:%H:%M}", TIMEZONE),
        interval=timedelta(0),
        # In the triggerer: a run that hangs may hold every slot of the executor.
        callback=AsyncCallback(tell_late_run),
        name="marts published",
    ),
    tags=["redline", "risk"],
)
def merchant_risk_daily() -> None:
    """Extract, check, transform, check again, publish."""

    # Of several, each begins when the one before has ended, whatever happened to that.
    @task(trigger_rule="all_done")
    def plan(name: str) -> str:
        from redline import lock, planning

        context = get_current_context()
        skip_unless_asked_for(context, name)
        with reported("plan") as noted:
            settings = read_settings()
            start, end = requested_dates(context, settings.timezone)
            restate_from = context["params"].get("restate_from")
            planning.prepare_home(settings)
            with lock.hold(settings.home, "planning"):
                made = planning.make_plan(
                    settings,
                    source_address(name, beside=MARKETPLACES),
                    start,
                    end,
                    context["dag_run"].run_id,
                    planning.read_date(restate_from, "restate_from") if restate_from else None,
                    name,
                )
            noted["run_id"] = made.run_id
            return made.run_id

    # One task for all entities: a database is read in one snapshot.
    @task
    def extract(planned: str) -> Report:
        from redline.landing import extract

        return perform("extract", extract, planned)

    @task(pool=WRITER_POOL)
    def validate_intake(planned: str) -> Report:
        from redline.validation import validate_intake

        return perform("validate intake", validate_intake, planned)

    @task(pool=WRITER_POOL)
    def transform(planned: str) -> Report:
        from redline.transform import transform

        return perform("transform", transform, planned)

    @task(pool=WRITER_POOL)
    def validate_publication(planned: str) -> Report:
        from redline.validation import validate_publication

        return perform("validate publication", validate_publication, planned)

    @task(pool=WRITER_POOL, outlets=[MARTS])
    def publish(planned: str) -> Report:
        from airflow.sdk.exceptions import AirflowSkipException

        from redline.publish import publish

        report = perform("publish", publish, planned)
        if not report["published"]:
            # A task that succeeds announces its assets, whatever it did.
            raise AirflowSkipException(report["reason"])
        event = get_current_context()["outlet_events"][MARTS]
        event.extra = {"run_id": report["run_id"]}
        # Airflow wakes a waiting DAG either by events with a partition or by events without, so
        # a range run, which has no partition of its own, names the published evening as one.
        event.add_partitions(report["as_of"][report["platform"]])
        return report

    def take_in(name: str) -> tuple[Any, Any]:
        run = plan(name)
        stages = [extract(run), validate_intake(run), transform(run), validate_publication(run)]
        published = publish(run)
        chain(*stages, published)
        return run, published

    @task(trigger_rule="all_done")
    def verdict() -> str:
        from airflow.sdk.exceptions import AirflowFailException

        from redline.verdict import told

        found = fates(get_current_context(), MARKETPLACES)
        if any(fate.is_missing for fate in found):
            raise AirflowFailException(told(found))
        return told(found)

    if len(MARKETPLACES) == 1:
        take_in(MARKETPLACES[0])
        return
    # One after the other: DuckDB has one writer, and each publication builds on the one before.
    before: list[Any] = []
    for name in MARKETPLACES:
        with TaskGroup(name):
            first, last = take_in(name)
        if before:
            chain(before, first)
        before = [last]
    chain(before, verdict())


merchant_risk_daily()

"""What all tasks of the DAGs share: how a stage is called and how its failure is told to Airflow.

Imported when a DAG file is parsed, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from redline import lock, progress, restating
from redline.airflow_env import NO_SCHEDULER
from redline.errors import BusyError, RedlineError, SettingError, StorageError
from redline.marketplaces import (
    CONNECTION,
    Marketplace,
    connected,
    no_source,
    refuse_alike,
    variable,
)
from redline.plan import Plan, load_plan
from redline.settings import Settings, read_settings
from redline.verdict import Fate

# The published marts. The daily DAG announces them, whoever reads them may wait for them.
MARTS = Asset(name="redline_marts", uri="redline://marts")

# DuckDB has one writer: one slot. `make run`, `make serve` and docker-compose.yml make the pool.
WRITER_POOL = "redline_warehouse"
WRITER_POOL_SLOTS = 1

# Under it a failed task leaves its one line to the verdict.
_ERROR = "error"

# The task that tells of several marketplaces, and what it says of one that left no line.
VERDICT = "verdict"
ENDED_FROM_OUTSIDE = "it was ended from outside"

# Disks and locks get better by waiting; a failed data check does not.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
}

Report = dict[str, Any]
log = logging.getLogger("redline")


def perform(name: str, stage: Callable[[Plan, Settings], Report], run_id: str) -> Report:
    """Call one stage of a run, holding the home meanwhile.

    Raises:
        AirflowFailException: what a retry cannot mend (settings, sources, failed checks, mistakes).
        BusyError, StorageError, OSError, duckdb.IOException: what it can.
    """
    settings = read_settings()
    with reported(name, settings.home.runs / run_id) as noted:
        plan = _with_password(load_plan(settings.home, run_id))
        with lock.hold(settings.home, f"{name} of {run_id}", shared=name.startswith("extract")):
            plan = _on_top_of_others(name, plan, settings)
            report = stage(plan, settings)
            noted["report"] = report
            return report


@contextmanager
def reported(name: str, folder: Path | None = None) -> Iterator[dict[str, Any]]:
    """Note how a stage fares; sort its errors into those to be retried and the rest.

    Yields a dict: what the block puts into it is noted when the stage is done. A failure is noted
    as one line in the log, in the progress file and as `error.json` in `folder`.
    """
    progress.note(name, "started")
    noted: dict[str, Any] = {}
    try:
        yield noted
    except Exception as error:
        told = _tell(error)
        log.error("%s failed: %s", name, told["line"])
        progress.note(name, "failed", error=told)
        _leave_to_the_verdict(told["line"])
        if folder is not None and folder.is_dir():
            (folder / "error.json").write_text(json.dumps({"stage": name, **told}, indent=2))
        if _gets_better_by_waiting(error):
            raise
        raise AirflowFailException(told["line"]) from error
    progress.note(name, "done", **noted)


def _leave_to_the_verdict(line: str) -> None:
    try:
        context = get_current_context()
    except RuntimeError:
        return  # a stage that is called outside of Airflow
    context["ti"].xcom_push(key=_ERROR, value=line)


def _tell(error: Exception) -> dict[str, str]:
    if isinstance(error, RedlineError):
        return {
            "kind": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "todo": error.todo,
            "line": str(error),
        }
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return {"kind": type(error).__name__, "line": line}


def _gets_better_by_waiting(error: Exception) -> bool:
    if isinstance(error, RedlineError):
        return isinstance(error, BusyError | StorageError)
    # By name: DuckDB need not be imported to know that it was not DuckDB.
    is_duckdb_io = type(error).__name__ == "IOException" and "duckdb" in type(error).__module__
    return is_duckdb_io or isinstance(error, OSError)


def _on_top_of_others(name: str, plan: Plan, settings: Settings) -> Plan:
    """The plan, on top of what other platforms have published since it was made.

    Their rows are taken over whatever they are, so a failed task can be cleared when the next
    marketplaces have gone on. What its own platform has published since ends it.

    Raises:
        SettingError: its platform has published since; or a restatement is to be finished first.
    """
    from redline.planning import published
    from redline.publish import published_since

    restating.check(settings.home, plan.platform, plan.restated_from)
    _, current = published(settings.home, plan.platform)
    if current == plan.base_run or (current == plan.run_id and name == "publish"):
        return plan
    since = published_since(settings.home, plan.base_run)
    if since is not None and all(run.platform != plan.platform for run in since):
        return replace(plan, base_run=current)
    if current == plan.run_id or any(run.run_id == plan.run_id for run in since or ()):
        raise SettingError("already published", f"run {plan.run_id}", "trigger a new run")
    raise SettingError(
        f"run {current} was published after this run was planned",
        f"run {plan.run_id}",
        "clear the whole DAG run, or trigger a new one: it will be planned on top of it",
    )


def requested_dates(context: Mapping[str, Any], timezone: str) -> tuple[date, date]:
    """The dates a DAG run is for: its partition's, else its parameters', else its interval's.

    Raises:
        SettingError: a date that cannot be read.
    """
    from redline.planning import last_complete_date, read_date

    dag_run = context["dag_run"]
    if key := getattr(dag_run, "partition_key", None):
        day = read_date(str(key)[:10], "the run's partition key")
        return day, day

    params = context.get("params") or {}
    start, end = params.get("start_date"), params.get("end_date")
    start, end = (
        start or params.get("restate_from") or end,
        end or start or params.get("restate_from"),
    )
    if start and end:
        return read_date(str(start), "start_date"), read_date(str(end), "end_date")

    moment: datetime = getattr(dag_run, "data_interval_end", None) or dag_run.run_after
    day = last_complete_date(moment, timezone)
    return day, day


def skip_unless_asked_for(context: Mapping[str, Any], name: str) -> None:
    """Skip a marketplace that the parameter `marketplaces` leaves out.

    Raises:
        AirflowSkipException: it does.
    """
    asked = (context.get("params") or {}).get("marketplaces")
    if asked is not None and name not in asked:
        raise AirflowSkipException(f"{name} was not asked for")


def has_scheduler() -> bool:
    """Whether a scheduler runs this task, and so can wait for a person's answer.

    `make run` and any other `dag.test()` run a task in a supervisor within their own process.
    """
    from airflow.sdk.execution_time import task_runner

    supervisor = type(getattr(task_runner, "SUPERVISOR_COMMS", None)).__name__
    return NO_SCHEDULER not in os.environ and supervisor != "InProcessSupervisorComms"


def source_address(name: str = CONNECTION, beside: Sequence[str] = ()) -> str:
    """The address of a marketplace's source, with its platform: the Airflow connection.

    Args:
        name: of the connection.
        beside: names of other connections, none of which may be of the same platform.

    Raises:
        SettingError: there is no such connection, or its platform is also another's.
    """
    own = connected(name, _connection(name))
    others: list[Marketplace] = []
    for other in beside:
        if other != name:
            with suppress(SettingError):  # its own failure
                others.append(connected(other, _connection(other)))
    for each in others:
        refuse_alike([own, each])
    return own.address


def _connection(name: str) -> str:
    # Verbatim where it is plain text: an address that went through a Connection comes back altered.
    text = os.environ.get(variable(name), "").strip()
    if text and not text.startswith("{"):
        return text
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return str(Connection.get(name).get_uri())
    except AirflowNotFoundException:
        raise no_source(name) from None


def fates(context: Mapping[str, Any], names: Sequence[str]) -> list[Fate]:
    """How the groups of tasks of a DAG run ended, one per marketplace, those left out not told.

    Args:
        context: of a task that runs after all of them.
        names: of the marketplaces, which are those of the groups.
    """
    ti, run_id = context["ti"], context["dag_run"].run_id
    states: dict[str, str | None] = ti.get_task_states(ti.dag_id, run_ids=[run_id])[run_id]
    result = []
    for name in names:
        if states.get(f"{name}.plan") == "skipped":
            continue
        failed = [
            task
            for task, state in states.items()
            if task.startswith(f"{name}.") and state not in ("success", "skipped")
        ]
        # What failed itself before what could not begin for it.
        failed.sort(key=lambda task: states[task] == "upstream_failed")
        lines = [ti.xcom_pull(task_ids=task, key=_ERROR) for task in failed]
        why = None
        if failed:
            line = next(filter(None, lines), f"{ENDED_FROM_OUTSIDE}: read its log, clear it")
            why = f"{failed[0].partition('.')[2]} failed: {line}"
        published = states.get(f"{name}.publish") == "success"
        result.append(Fate(name, _last_evening(name), published, why))
    return result


def _last_evening(name: str) -> date | None:
    from redline.planning import published

    return published(read_settings().home, platform_of(name))[0]


def platform_of(name: str) -> str:
    """The platform under which a marketplace's records are kept."""
    with suppress(SettingError):
        return connected(name, _connection(name)).platform
    return Marketplace(name, "").platform


def _with_password(plan: Plan) -> Plan:
    """Put the password back that the saved plan leaves out."""
    from redline.planning import without_password

    if "***" not in plan.source:
        return plan
    address = source_address(plan.connection)
    return replace(plan, source=address) if without_password(address) == plan.source else plan


def announced_runs(context: Mapping[str, Any]) -> list[str | None]:
    """The published runs whose alerts a DAG run writes; None: the current one and what is missing.

    Its parameter names one. Else they are those of its events, which Airflow merges where several
    runs published the same evening, and None.
    """
    if named := (context.get("params") or {}).get("run_id"):
        return [str(named)]
    events = context.get("triggering_asset_events") or {}
    found = [
        event.extra.get("run_id") for asset in events for event in events[asset] if event.extra
    ]
    return [*dict.fromkeys(str(run_id) for run_id in found if run_id), None]

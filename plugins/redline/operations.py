"""What Airflow calls when something befalls the pipeline: the operators are told.

Airflow calls `tell_failed_task` in the task's own process; if that was lost, in the DAG processor,
which knows no error. A process killed by the system calls nothing, so `tell_failed_run`, which the
DAG processor calls for a failed run, tells of the task that failed it: the same notice, so it
arrives once. `tell_late_run` is called by the triggerer.

Imported when a DAG file is parsed, so it imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from redline.errors import GateError, RedlineError, system_code
from redline.settings import Settings, read_settings
from redline.tasks import ENDED_FROM_OUTSIDE, VERDICT, platform_of

if TYPE_CHECKING:
    from redline.alerts.notices import Kind, Notice

log = logging.getLogger("redline")


def tell_failed_task(context: Mapping[str, Any]) -> None:
    """Tell of a task that failed for good."""
    _tell(lambda: _of_task(context, context.get("exception")))


def tell_failed_run(context: Mapping[str, Any]) -> None:
    """Tell of the task that failed a run, unless it has told of itself."""
    _tell(lambda: _of_task(context, None))


def tell_storm(context: Mapping[str, Any], kind: Kind, line: str) -> None:
    """Tell that alerts wait for an answer, or that they had none."""
    _tell(lambda: _of_storm(context, kind, line))


async def tell_late_run(context: Mapping[str, Any] | None = None) -> None:
    """Tell that a scheduled run's evening is not published at its deadline, if it is not."""
    # In a thread: the triggerer's loop must not wait for files and receivers.
    await asyncio.to_thread(_tell, lambda: _of_late_run(context or {}))


def _tell(made: Any) -> None:
    try:
        notice = made()
        if notice is not None:
            from redline.alerts.operators import notify

            notify(read_settings(), notice)
    except RedlineError as error:
        log.error("the operators were not told: %s", error)
    except Exception as error:  # noqa: BLE001 - nothing may come on top of what is told
        log.error("the operators were not told: %s", type(error).__name__)


def _of_task(context: Mapping[str, Any], error: BaseException | None) -> Notice | None:
    """The notice of a failed task; None where others tell all of it."""
    from redline.alerts.notices import Notice

    ti = context.get("ti")
    if ti is None:  # a run that failed for no task: nothing could be started any more
        dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
        return Notice(
            kind="failed_task",
            title=dag_id,
            what="the run failed, and Airflow names no task for it",
            where=f"run {run_id}",
            todo="open it in Airflow's web page",
            run_id=run_id,
            dag_id=dag_id,
            task_id="",
            platform=None,
            log_url=None,
            happened_at=_now(),
        )
    if ti.task_id == VERDICT and _is_told(error):
        return None
    kind, what, where, todo = _told(error, ti.task_id)
    return Notice(
        kind=kind,
        title=f"{ti.dag_id}.{ti.task_id}",
        what=what,
        where=where,
        todo=todo,
        run_id=ti.run_id,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        platform=ti.task_id.partition(".")[0] if "." in ti.task_id else None,
        log_url=_log_url(ti),
        happened_at=_now(),
        map_index=ti.map_index if ti.map_index is not None else -1,
        try_number=ti.try_number,
    )


def _is_told(error: BaseException | None) -> bool:
    """Whether a verdict says only what the tasks that it speaks of have told themselves."""
    # Without an error it is the run that tells; with another one the verdict itself broke.
    if error is None:
        return True
    return isinstance(error, AirflowFailException) and ENDED_FROM_OUTSIDE not in str(error)


def _told(error: BaseException | None, task_id: str) -> tuple[Kind, str, str, str]:
    """Kind, what, where and what to do, of the error that ended a task."""
    cause = error.__cause__ if isinstance(error, AirflowFailException) else error
    if isinstance(cause, RedlineError):
        kind: Kind = "failed_gate" if isinstance(cause, GateError) else "failed_task"
        if task_id in ("deliver", "settle", "send_due") and cause.where == "outbox":
            kind = "undelivered"
        return kind, cause.what, cause.where, cause.todo
    clear = "read its log, mend what it says, then clear the task"
    if error is None:
        return "failed_task", ENDED_FROM_OUTSIDE, f"task {task_id}", "read its log, clear the task"
    if cause is None:  # said in our own words, without an error behind it
        return "failed_task", str(error), f"task {task_id}", clear
    # Not its words: what others raise may hold values of rows.
    what = f"it ended with an error that Redline does not know: {type(cause).__name__}"
    if isinstance(cause, Exception) and (code := system_code(cause)):
        what += f", {os.strerror(code)}"
    return "failed_task", what, f"task {task_id}", clear


def _of_storm(context: Mapping[str, Any], kind: Kind, line: str) -> Notice:
    from redline.alerts.notices import Notice

    ti = context["ti"]
    run = _run_url(ti.dag_id, ti.run_id)
    is_asked = kind == "storm_asked"
    return Notice(
        kind=kind,
        title="a storm of new alerts",
        what=line,
        where="the outbox: all of them are held",
        todo=(
            "look at the table in Airflow (Required Actions), then approve or reject"
            if is_asked
            else "see `make alerts`; send them with `make alerts RETRY=held`"
        ),
        run_id=ti.run_id,
        dag_id=ti.dag_id,
        task_id="ask",
        platform=None,
        log_url=f"{run}/tasks/ask/required_actions" if run and is_asked else run,
        happened_at=_now(),
        try_number=ti.try_number,
    )


def _of_late_run(context: Mapping[str, Any]) -> Notice | None:
    """The notice of a run that is late; None where the marts are published by now."""
    from redline.alerts.notices import Notice

    run, settings = context["dag_run"], read_settings()
    evening = date.fromisoformat(run["partition_key"][:10])
    missing = [*_unpublished(settings, evening)]
    if not missing:
        return None
    state = {"failed": "has failed", "queued": "has not begun", "running": "is still at work"}
    return Notice(
        kind="late_run",
        title=f"{evening} by {settings.deadline:%H:%M}",
        what=f"the marts of {evening} are not published at {settings.deadline:%H:%M}: "
        + ", ".join(missing),
        where=f"its run {state.get(run['state'], run['state'])}",
        todo="open the run; mend and clear what failed, and it publishes by itself",
        run_id=run["dag_run_id"],
        dag_id=run["dag_id"],
        task_id="",
        platform=None,
        log_url=_run_url(run["dag_id"], run["dag_run_id"]),
        happened_at=_now(),
    )


def _unpublished(settings: Settings, evening: date) -> Iterable[str]:
    """The marketplaces without an evening, and what they have instead."""
    from redline.publish import published_state

    state = published_state(settings.home)
    published = state.as_of if state else {}
    for name in settings.marketplaces:
        last = published.get(platform_of(name))
        if last is None:
            yield f"{name} has nothing"
        elif last < evening:
            yield f"{name} has {last}"


def _log_url(ti: Any) -> str | None:
    with suppress(Exception):  # only known where Airflow's own settings are
        return str(ti.log_url)
    return None


def _run_url(dag_id: str, run_id: str) -> str | None:
    from urllib.parse import quote

    from airflow.configuration import conf

    base = conf.get("api", "base_url", fallback="")
    return f"{base.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id)}" if base else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

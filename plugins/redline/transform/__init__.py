"""Run the dbt project over a plan's dates.

dbt runs as a process of its own: its start costs seconds, so a run makes one invocation, and its
end frees the lock that DuckDB holds on the warehouse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from redline.business_time import utc_offsets
from redline.errors import BusyError, RedlineError, StorageError
from redline.plan import ONE_DAY, Plan
from redline.policies import asks_buyers
from redline.settings import PROJECT, Settings
from redline.transform import components
from redline.transform.waiting import list_waiting

DBT_PROJECT = PROJECT / "dbt_project"

_DBT_PROCESS = Path(__file__).with_name("dbt_process.py")

# By it the models learn what they run for; see the macro run_value.
RUN_VARIABLE = "REDLINE_RUN"

# Most timestamps of a run lie within a year of its dates; the rest are looked up in the zone.
_NEARBY = timedelta(days=366)


@dataclass(frozen=True)
class ModelRun:
    """What dbt reports of one model: its name, status, seconds and, if it failed, why."""

    name: str
    status: str
    seconds: float
    message: str | None


def transform(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Bring the warehouse from the day before `plan.start` to `plan.end`.

    Idempotent: what an earlier attempt left for these dates is deleted first.

    Returns:
        `models` (seconds by name), `seconds` (their sum) and `waiting`: per entity, how many events
        wait for their order; also written to the run's folder as `transform.json`.

    Raises:
        RedlineError: a model failed; names it and the log that tells more.
        BusyError: another process holds the warehouse.
    """
    report: dict[str, Any] = {"models": {}, "seconds": 0.0, "waiting": {}}
    if plan.has_open_dates:
        first_rebuilt = plan.restated_from or plan.start
        first_landed = _first_landed(settings, plan.platform)
        on_top = plan.published_through is not None and first_landed < first_rebuilt
        models: list[ModelRun] = []
        if on_top:
            models += _fill_new_components(settings, plan, first_landed, first_rebuilt - ONE_DAY)
        models += run_dbt(
            settings,
            plan.start,
            plan.end,
            [plan.platform],
            on_top=on_top,
            rebuild_rates=plan.restated_from is not None
            or (on_top and components.rated_otherwise(settings, plan.platform)),
        )
        components.remember(settings.home, plan.platform)
        report = {
            "models": {model.name: model.seconds for model in models},
            "seconds": round(sum(model.seconds for model in models), 3),
            "waiting": list_waiting(plan, settings),
        }
    (plan.folder(settings.home) / "transform.json").write_text(json.dumps(report, indent=2))
    return report


def _first_landed(settings: Settings, platform: str) -> date:
    """The platform's first report date; the end of time where nothing has landed."""
    partitions = (settings.home.landing / platform / "orders").glob("report_date=*")
    days = (date.fromisoformat(part.name.partition("=")[2]) for part in partitions)
    return min(days, default=date.max)


def _fill_new_components(settings: Settings, plan: Plan, first: date, last: date) -> list[ModelRun]:
    """Make the entries of components that the seeds have gained for all closed report dates.

    One pass over the versions that the warehouse keeps; the entries of other components, and all
    that was evaluated, stay as they are.
    """
    new = components.new(settings.home, plan.platform)
    if not new:
        return []
    return run_dbt(
        settings, first, last, [plan.platform], on_top=False, fill=new, select=components.FILLED
    )


def run_dbt(
    settings: Settings,
    start: date,
    end: date,
    platforms: Sequence[str],
    *,
    on_top: bool = True,
    rebuild_rates: bool = False,
    fill: Sequence[str] = (),
    select: Sequence[str] = (),
    resources: Sequence[str] = ("seed", "model"),
    project: Path = DBT_PROJECT,
) -> list[ModelRun]:
    """Build seeds and models for the report dates `start` to `end` of `platforms`.

    Args:
        settings: where the warehouse lies, and in which zone its dates are.
        start: first report date, inclusive.
        end: last report date, inclusive.
        platforms: whose records.
        on_top: whether earlier report dates exist; False rebuilds the platforms from nothing.
        rebuild_rates: whether every rate is made anew, as restating needs.
        fill: the components whose entries are made; all if empty.
        select: dbt node selectors; all nodes if empty.
        resources: the dbt resource types to build.
        project: the folder of the dbt project.

    Returns:
        One entry per node, in the order in which they ran.

    Raises:
        RedlineError: dbt or one of its nodes failed.
        BusyError: another process holds the warehouse.
    """
    run = {
        "start_date": start,
        "end_date": end,
        "platforms": list(platforms),
        "utc_offsets": [
            asdict(offset)
            for offset in utc_offsets(settings.timezone, start - _NEARBY, end + _NEARBY)
        ],
        "on_top": on_top,
        "rebuild_rates": rebuild_rates,
        "fill": list(fill),
    }
    results = _results(settings)
    results.unlink(missing_ok=True)
    options = [
        *(part for resource in resources for part in ("--resource-type", resource)),
        *(("--select", *select) if select else ()),
    ]
    finished = _call_dbt(settings, project, "build", "--no-write-json", *options, run=run)
    models = _read_results(results)
    if finished.returncode != 0:
        raise _failure(models, finished.stdout + finished.stderr, settings)
    return models


def read_nodes(settings: Settings, project: Path = DBT_PROJECT) -> dict[str, dict[str, Any]]:
    """The project's seeds and models as dbt describes them in its manifest, by their unique id.

    Raises:
        RedlineError: dbt cannot parse the project.
    """
    finished = _call_dbt(settings, project, "parse")
    if finished.returncode != 0:
        raise _failure([], finished.stdout + finished.stderr, settings)
    manifest = json.loads((_target(settings) / "manifest.json").read_text())
    return {
        name: node
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("seed", "model")
    }


def _target(settings: Settings) -> Path:
    """Where dbt leaves what it has parsed, compiled and done."""
    return settings.home.root / "dbt"


def _results(settings: Settings) -> Path:
    """Where a build leaves what became of each node."""
    return _target(settings) / "run_results.json"


def _call_dbt(
    settings: Settings,
    project: Path,
    verb: str,
    *options: str,
    run: Mapping[str, Any] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    # Variables that stay the same from day to day let dbt reuse its parse of the project.
    variables = {
        "timezone": settings.timezone,
        "policies": list(settings.policies),
        "counts_buyers": asks_buyers(settings.policies, project / "seeds"),
    }
    arguments = [
        str(_results(settings)),
        "--quiet",
        verb,
        *options,
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
        "--target-path",
        str(_target(settings)),
        "--log-path",
        str(settings.home.logs / "dbt"),
        "--vars",
        json.dumps(variables),
    ]
    environment = {
        **os.environ,
        "REDLINE_HOME": str(settings.home.root),
        RUN_VARIABLE: json.dumps({**run}, default=str),
    }
    return _start_dbt(arguments, environment)


def _start_dbt(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(_DBT_PROCESS), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _read_results(path: Path) -> list[ModelRun]:
    if not path.exists():
        return []
    return [
        ModelRun(
            name=result["unique_id"].split(".", 2)[-1],
            status=result["status"],
            seconds=round(result["execution_time"], 3),
            message=result["message"],
        )
        for result in json.loads(path.read_text())["results"]
    ]


def _failure(models: Sequence[ModelRun], output: str, settings: Settings) -> RedlineError:
    if "Could not set lock on file" in output:
        return BusyError(
            "another process holds the warehouse",
            str(settings.home.warehouse),
            "wait for it to end; the run is tried again by itself",
        )
    failed = [model for model in models if model.status in ("error", "fail")]
    kind = RedlineError
    if any(sign in output for sign in ("No space left on device", "IO Error")):
        kind = StorageError
    where = failed[0].name if failed else "dbt"
    message = (failed[0].message or "") if failed else output.strip()[-500:]
    return kind(
        f"the transform failed: {message}",
        where,
        f"see {settings.home.logs / 'dbt' / 'dbt.log'}; nothing was published",
    )

"""One publication: build aside, make it last, swap one symlink."""

from __future__ import annotations

import json
import logging
import platform as machine
import shutil
import stat
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from redline import restating
from redline.errors import RedlineError, SettingError, StorageError, is_lasting
from redline.plan import Plan
from redline.publish import content, parquet_files, state
from redline.publish.freshness import freshness
from redline.publish.gaps import gaps
from redline.publish.state import PublishedState
from redline.settings import Home, Settings

log = logging.getLogger("redline")

_READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_PARTS = (
    "redline",
    "duckdb",
    "dbt-core",
    "dbt-duckdb",
    "great-expectations",
    "apache-airflow",
)


def publish(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Publish a run's marts: readers see all of them or none.

    The plan's platform comes from the warehouse, every other platform from the run before. Killed
    at any moment it leaves the run before in place, and calling it again finishes the work; called
    again after that it changes nothing.

    Returns:
        `published`, `run_id`, `platform`, `as_of`; if published also `base_run`, `row_counts`,
        `checksums`, `parquet_files_written`, `parquet_files_shared` and `runs_removed`.

    Raises:
        BusyError: another run is writing at this moment.
        SettingError: another run published since the plan was made.
        StorageError: the marts could not be written, which may pass. Nothing has changed.
        RedlineError: the marts must not be published, or cannot be written. Nothing has changed.
    """
    home = settings.home
    if not plan.has_open_dates:
        result: dict[str, Any] = {
            "published": False,
            "run_id": plan.run_id,
            "platform": plan.platform,
            "reason": "every date asked for is already published",
        }
    else:
        with state.locked(home.published):
            result = _publish_locked(plan, settings)
    _report(plan.folder(home), result)
    return result


def _publish_locked(plan: Plan, settings: Settings) -> dict[str, Any]:
    home = settings.home
    state.remove_leftovers(home)
    base = state.published_state(home)
    counts: dict[str, int] = {}
    if base is not None and base.run_id == plan.run_id:
        made = base  # a retry of a task that was killed after the swap
    else:
        _check_order(plan, base)
        made, counts = _build(plan, home, base, _deliveries(settings))
        state.make_fixed_links(home)
        state.make_current(home, plan.run_id)
    if plan.restated_from is not None:
        restating.finish(home, plan.platform, plan.restated_from)
    removed = state.prune(home, settings.kept_runs)
    return {
        "published": True,
        "run_id": made.run_id,
        "platform": made.platform,
        "as_of": {name: str(day) for name, day in made.as_of.items()},
        "base_run": made.base_run,
        "row_counts": made.row_counts,
        "checksums": made.checksums,
        **counts,
        "runs_removed": removed,
    }


def _deliveries(settings: Settings) -> pa.Table:
    """What became of alerts; an outbox that cannot be read must not keep the marts back."""
    # Not above: alerts read what is published.
    from redline.alerts import history

    try:
        return history.deliveries(settings)
    except RedlineError as error:
        log.warning("deliveries stay as they were published before: %s", error)
        return history.SCHEMA.empty_table()


def _check_order(plan: Plan, base: PublishedState | None) -> None:
    if (base.run_id if base else None) != plan.base_run:
        raise SettingError(
            f"run {base.run_id if base else 'none'} is published, not {plan.base_run or 'none'}",
            f"run {plan.run_id}",
            "start a new run: this one was planned on top of another",
        )
    last = base.as_of.get(plan.platform) if base else None
    if last is not None and plan.start <= last and plan.restated_from is None:
        raise RedlineError(
            f"{plan.start} to {plan.end} are closed: {plan.platform} is published through {last}",
            f"run {plan.run_id}",
            f"run a later date, or restate FROM={plan.start}",
        )


def _build(
    plan: Plan, home: Home, base: PublishedState | None, deliveries: pa.Table
) -> tuple[PublishedState, dict[str, int]]:
    """Make the run's folder, complete and on the disk, beside the published ones."""
    aside, folder = (
        state.aside_folder(home, plan.run_id),
        state.run_folder(home, plan.run_id),
    )
    try:
        aside.mkdir(parents=True)
        made, counts = _write(plan, home, base, aside, deliveries)
        for path in aside.rglob("*"):
            if path.is_file():
                path.chmod(_READ_ONLY)
        state.sync_tree(aside)
        state.discard(home, plan.run_id)  # complete but never current: a retry after a kill
        aside.rename(folder)
        state.sync_folder(folder.parent)
    except (OSError, duckdb.Error) as error:
        may_pass = isinstance(error, OSError | duckdb.IOException) and not is_lasting(error)
        kind = StorageError if may_pass else RedlineError
        raise kind(
            f"could not build the published run: {error}",
            str(folder),
            "see that the disk has room and the folder is writable, then run again",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return made, counts


def _write(
    plan: Plan, home: Home, base: PublishedState | None, aside: Path, deliveries: pa.Table
) -> tuple[PublishedState, dict[str, int]]:
    base_folder = state.run_folder(home, base.run_id) if base else None
    connection = content.open_new(
        aside / state.DATABASE,
        home.warehouse,
        base_folder / state.DATABASE if base_folder else None,
    )
    with connection:
        connection.execute("begin")
        made = content.fill(connection, plan, base, deliveries)
        content.check_platforms(connection, made.values())
        content.check_evenings(connection, made.values(), plan)
        shares = [
            share
            for table in made.values()
            if table.name not in content.WITHOUT_CHECKSUM
            for share in content.shares(connection, table, plan)
        ]
        if base is not None and base_folder is not None:
            shares += parquet_files.emptied(base_folder, made.values(), shares)
            changed = _changed_closed_dates(plan, base, base_folder, shares)
            if changed:
                content.check_closed_dates(connection, plan.platform, changed)
        published = _describe(plan, home, base, shares)
        content.add_published_run(connection, published, has_base=base is not None)
        connection.execute("commit")
        connection.execute("checkpoint redline")
        left = (
            shares
            if base_folder is None
            else parquet_files.link_unchanged(aside, base_folder, shares)
        )
        unsummed = content.tables(connection, "redline")
        left_over = [
            content.Share(unsummed[name], content.ANY_PLATFORM, None, 0, 0)
            for name in content.WITHOUT_CHECKSUM
        ]
        parquet_files.write_files(connection, aside, [*left, *left_over])
    parquet_files.write_content(aside, shares)
    state.write_run(aside, published)
    return published, {
        "parquet_files_written": len(left) + len(left_over),
        "parquet_files_shared": len(shares) - len(left),
    }


def _changed_closed_dates(
    plan: Plan, base: PublishedState, base_folder: Path, shares: Iterable[content.Share]
) -> list[date]:
    """Closed report dates whose ledger entries are not those of the run before."""
    last = base.as_of.get(plan.platform)
    if last is None:
        return []
    before = parquet_files.read_content(base_folder)
    suffix = f"/{plan.platform}.parquet"
    prefix = f"{state.PARQUET}/{content.LEDGER}/{content.PARTITION_COLUMNS[content.LEDGER]}="
    was = {
        date.fromisoformat(name[len(prefix) : -len(suffix)]): checksum
        for name, checksum in before.items()
        if name.startswith(prefix) and name.endswith(suffix)
    }
    now = {
        share.day: share.checksum
        for share in shares
        if share.table.name == content.LEDGER and share.owner == plan.platform and share.day
    }
    return sorted(
        day
        for day in was.keys() | now.keys()
        if day <= last
        and (plan.restated_from is None or day < plan.restated_from)
        and was.get(day) != now.get(day)
    )


def _describe(
    plan: Plan, home: Home, base: PublishedState | None, shares: Iterable[content.Share]
) -> PublishedState:
    row_counts, checksums = content.totals(shares, plan.platform)
    return PublishedState(
        run_id=plan.run_id,
        as_of={**(base.as_of if base else {}), plan.platform: plan.end},
        platform=plan.platform,
        start=plan.start,
        end=plan.end,
        base_run=base.run_id if base else None,
        restated_from=plan.restated_from,
        published_at=datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        row_counts=row_counts,
        checksums=checksums,
        freshness={
            **(base.freshness if base else {}),
            plan.platform: freshness(home, plan, base),
        },
        gaps={**(base.gaps if base else {}), plan.platform: gaps(home, plan, base)},
        versions=_versions(),
    )


@cache
def _versions() -> dict[str, str]:
    found = {"python": machine.python_version()}
    for part in _PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            continue
    return found


def _report(folder: Path, result: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / "publish.json.tmp"
    aside.write_text(json.dumps(result, indent=2, sort_keys=True, default=str) + "\n")
    aside.replace(folder / "publish.json")

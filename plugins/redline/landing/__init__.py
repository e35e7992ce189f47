"""Landing: what a source delivers becomes immutable Parquet partitions, or quarantine.

`extract` takes all entities of one run, `land` one of them. Clean rows lie in
`landing/<platform>/<entity>/report_date=D/source_date=S.parquet`, refused rows under the same
names in `quarantine/`. Personal values are pseudonyms in both.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from redline import contract, progress
from redline.errors import BusyError, RedlineError, SettingError, StorageError, is_lasting
from redline.landing.batches import read_chunks
from redline.landing.door import admit, evening
from redline.landing.drift import Overheard, note_dropped
from redline.landing.engine import workbench
from redline.landing.late import Late, find_differences
from redline.landing.partitions import (
    LandedFile,
    close_aside,
    keep_file,
    open_aside,
    read_manifest,
    swap_in,
    write_manifest,
)
from redline.landing.pseudonyms import PseudonymKey, check_key, read_key
from redline.landing.quarantine import quarantine_summary
from redline.landing.scope import Scope, scope_of
from redline.landing.writer import Delivery, write_aside
from redline.plan import Plan
from redline.settings import Settings
from redline.sources import Snapshots, Source, open_source

__all__ = ["extract", "land", "quarantine_summary"]

log = logging.getLogger("redline")

# Lines before their orders: where a source cannot hold still, an order that moves on meanwhile to a
# later date leaves lines behind that wait for it, and is not landed without them.
_READ = sorted(contract.ENTITIES, key=lambda entity: entity.name != "order_items")


def extract(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Land all entities, from one consistent snapshot where the source can hold one.

    An entity that fails does not keep the others from landing: whoever mends it sees all that is
    wrong at once.

    Returns:
        `entities`: the report of each, as `land` returns it.

    Raises:
        RedlineError: the first failure that waiting does not mend, else the first; with the names
            of the other entities that failed.
    """
    source = open_source(plan.source)
    reports: list[dict[str, Any]] = []
    failures: dict[str, RedlineError] = {}
    with source.snapshot() if isinstance(source, Snapshots) else nullcontext():
        for entity in _READ:
            progress.note(f"extract {entity.name}", "started")
            try:
                reports.append(land(plan, settings, entity.name, source))
            except RedlineError as error:
                log.error("extract %s failed: %s", entity.name, error)
                failures[entity.name] = error
    if failures:
        raise _first(failures)
    return {"entities": reports}


def _first(failures: dict[str, RedlineError]) -> RedlineError:
    """One failure for all: one that a retry cannot mend goes before those that it may."""
    name = next(
        (n for n, e in failures.items() if not isinstance(e, BusyError | StorageError)),
        next(iter(failures)),
    )
    error = failures[name]
    others = ", ".join(other for other in failures if other != name)
    todo = f"{error.todo} ({others} failed too: see the log)" if others else error.todo
    return type(error)(f"{name}: {error.what}", error.where, todo)


def land(
    plan: Plan, settings: Settings, entity_name: str, source: Source | None = None
) -> dict[str, Any]:
    """Land one entity: the plan's open dates whole, closed ones by their differences.

    Args:
        source: the plan's source where it is open already.

    Returns:
        Counts: `entity`, `rows_read`, `rows_landed`, `rows_quarantined`, `rows_collapsed` (summed
        over the files written, so read = landed + quarantined + collapsed), of these `late_rows`
        landed from closed dates; `rows_unchanged` and `rows_missing` of closed dates that were
        examined; `quarantined_by_reason`; `dates`, the number of open dates landed; `new_columns`,
        those outside the contract that were dropped for the first time. The same is in
        `land_<entity>.json` in the run's folder.

    Raises:
        SourceError: a file or batch is missing, truncated or has the wrong header.
        SettingError: the home may not be written, or its pseudonym key cannot be used.
        StorageError: the storage of the home or of the source failed.
    """
    source = source or open_source(plan.source)
    folder = settings.home.landing / plan.platform / entity_name
    refused_folder = settings.home.quarantine / plan.platform / entity_name
    try:
        key = read_key(settings)
        check_key(settings, plan, key)
        aside = open_aside(folder, plan.run_id)
        refused_aside = open_aside(refused_folder, plan.run_id)
        try:
            spill = aside / "spill"
            with workbench(spill) as con:
                report = _land(con, source, plan, settings, entity_name, key, aside, refused_aside)
        finally:
            close_aside(aside)
            close_aside(refused_aside)
        _save(report, plan.folder(settings.home) / f"land_{entity_name}.json")
    except (OSError, duckdb.IOException) as error:
        where = f"{entity_name} in {settings.home.root}"
        if is_lasting(error):
            raise SettingError(
                f"the home cannot be used: {error}",
                where,
                "make the folder writable, or set REDLINE_HOME to another folder",
            ) from error
        raise StorageError(
            f"the home cannot be read or written: {error}",
            where,
            "free some space, see that its disk or mount is well, and run again",
        ) from error
    return report


def _land(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    plan: Plan,
    settings: Settings,
    entity_name: str,
    key: PseudonymKey,
    aside: Path,
    refused_aside: Path,
) -> dict[str, Any]:
    entity = contract.entity(entity_name)
    scope = scope_of(plan)
    folder, refused_folder = aside.parent, refused_aside.parent
    heard = Overheard(source)
    deliveries = _deliver_open_dates(con, heard, settings, entity, key, scope)
    late = find_differences(con, heard, plan, settings, entity, key, scope)
    differing = con.execute(f"SELECT DISTINCT source_date FROM {late.table}").fetchall()
    deliveries += [
        Delivery(scope.first_open, day, late.table, None, 0, late.fingerprints[day])
        for day in sorted({row[0] for row in differing} | late.renewed)
    ]
    written = write_aside(con, plan, entity, deliveries, aside, refused_aside)
    files: dict[date, list[LandedFile]] = {day: [] for day in scope.open_dates}
    if late.fingerprints:
        files.setdefault(scope.first_open, [])
    for day, file in written:
        files[day].append(file)
    for day, fresh in files.items():
        for file in read_manifest(folder, day):
            if _stays(file, day, scope, late):
                keep_file(folder, aside, day, file.source_date)
                keep_file(refused_folder, refused_aside, day, file.source_date)
                fresh.append(file)
        if fresh:
            write_manifest(aside, plan, entity, day, fresh)
    swap_in(refused_folder, refused_aside, files)
    swap_in(folder, aside, files)  # the last: from here on the manifests tell of the new files
    return {
        **_report(entity_name, scope, [file for _, file in written], late),
        "new_columns": note_dropped(folder, heard.dropped, scope),
    }


def _deliver_open_dates(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    settings: Settings,
    entity: contract.Entity,
    key: PseudonymKey,
    scope: Scope,
) -> list[Delivery]:
    """Extract all open dates in one pass, into the workbench table `arrived`."""
    if not scope.open_dates:
        return []
    # Asked before reading: what changes meanwhile is noticed by the next run.
    fingerprints = {day: source.fingerprint(entity, day) for day in scope.open_dates}
    admitted = admit(
        con,
        entity,
        read_chunks(source, entity, scope.open_dates[0], scope.open_dates[-1]),
        [evening(day, day, settings.timezone, settings.horizon_days) for day in scope.open_dates],
        key,
        "arrived",
    )
    files: dict[date, dict[str, tuple[int, int]]] = {day: {} for day in scope.open_dates}
    for (day, file), rows in admitted.rows_read.items():
        files[day][file] = rows, admitted.rows_collapsed.get((day, file), 0)
    return [
        Delivery(
            report_date=day,
            source_date=day,
            table=admitted.table,
            rows_read=sum(rows for rows, _ in files[day].values()),
            rows_collapsed=sum(collapsed for _, collapsed in files[day].values()),
            fingerprint=fingerprints[day],
            files=files[day],
        )
        for day in scope.open_dates
    ]


def _stays(file: LandedFile, day: date, scope: Scope, late: Late) -> bool:
    """Whether a file already landed under an open date is taken over as it is.

    What came late from before the open dates stays unless it was examined anew; everything else
    has just been extracted under its own date.
    """
    if day == scope.first_open and file.source_date in late.fingerprints:
        return False
    return file.source_date < scope.first_open or day not in scope.open_dates


def _report(entity_name: str, scope: Scope, files: list[LandedFile], late: Late) -> dict[str, Any]:
    by_reason: Counter[str] = Counter()
    for file in files:
        by_reason.update(file.quarantined_by_reason)
    return {
        "entity": entity_name,
        "rows_read": sum(file.rows_read for file in files),
        "rows_landed": sum(file.rows_landed for file in files),
        "rows_quarantined": sum(file.rows_quarantined for file in files),
        "rows_collapsed": sum(file.rows_collapsed for file in files),
        "late_rows": sum(f.rows_landed for f in files if f.source_date < scope.first_open),
        "rows_unchanged": late.rows_unchanged,
        "rows_missing": late.rows_missing,
        "quarantined_by_reason": dict(sorted(by_reason.items())),
        "dates": len(scope.open_dates),
    }


def _save(report: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    aside.replace(path)

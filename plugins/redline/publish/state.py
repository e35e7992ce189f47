"""What is published: the run that `published/current` names, and the runs it was built on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from redline.errors import BusyError, RedlineError, StorageError, is_lasting
from redline.settings import Home

DATABASE = "redline.duckdb"
PARQUET = "parquet"
CURRENT = "current"
RUN_FILE = "run.json"
_ASIDE = ".aside-"


@dataclass(frozen=True)
class PublishedState:
    """A published run.

    Attributes:
        run_id: names its folder.
        as_of: the last published evening of every platform in it.
        platform: the platform that the run brought up to date; the others are as in `base_run`.
        start, end: the report dates it added, inclusive.
        base_run: the published run it was built on, None for the first.
        restated_from: the first closed date that it rewrote, else None.
        published_at: UTC, ISO 8601.
        row_counts, checksums: per table, over the rows of `platform`.
        freshness: per entity `newest_report_date` (with rows) and `newest_updated_at`.
        gaps: ranges (`entity`, `from`, `to`) of business dates without rows, though due.
        versions: of the parts that made it.
    """

    run_id: str
    as_of: dict[str, date]
    platform: str
    start: date
    end: date
    base_run: str | None
    restated_from: date | None
    published_at: str
    row_counts: dict[str, int]
    checksums: dict[str, str]
    freshness: dict[str, dict[str, dict[str, str | None]]]
    gaps: dict[str, list[dict[str, str]]]
    versions: dict[str, str]


def published_state(home: Home) -> PublishedState | None:
    """The current published run, or None before the first.

    Raises:
        RedlineError: `published/current` leads to no run.
    """
    run_id = current_run(home)
    if run_id is None:
        return None
    state = read_run(home, run_id)
    if state is None:
        raise RedlineError(
            f"published/{CURRENT} names run '{run_id}', which is not there",
            str(run_folder(home, run_id)),
            f"put the folder back, or point {CURRENT} at a complete run in published/runs",
        )
    return state


def published_since(home: Home, run_id: str | None) -> list[PublishedState] | None:
    """The runs published since a run, the newest first; None where that can no longer be told.

    Args:
        run_id: the run; None: since before the first.
    """
    since: list[PublishedState] = []
    current = current_run(home)
    while current != run_id:
        found = None if current is None else read_run(home, current)
        if found is None:
            return None
        since.append(found)
        current = found.base_run
    return since


def current_run(home: Home) -> str | None:
    """The id of the run that `published/current` names, or None before the first."""
    try:
        return (home.published / CURRENT).readlink().name
    except FileNotFoundError:
        return None


def run_folder(home: Home, run_id: str) -> Path:
    """Where a published run lies, or would lie."""
    return home.published / "runs" / run_id


def aside_folder(home: Home, run_id: str) -> Path:
    """Where a run is built before it is complete."""
    return home.published / "runs" / f"{run_id}{_ASIDE}{os.getpid()}"


def read_run(home: Home, run_id: str) -> PublishedState | None:
    """The run of that id, or None where it is not (or no longer) kept."""
    try:
        fields: dict[str, Any] = json.loads((run_folder(home, run_id) / RUN_FILE).read_text())
    except FileNotFoundError:
        return None
    fields["as_of"] = {name: date.fromisoformat(day) for name, day in fields["as_of"].items()}
    for name in ("start", "end", "restated_from"):
        fields[name] = date.fromisoformat(fields[name]) if fields[name] else None
    return PublishedState(**fields)


def write_run(folder: Path, state: PublishedState) -> None:
    """Write a run's `run.json` into the folder in which it is being built."""
    text = json.dumps(asdict(state), default=str, indent=2, sort_keys=True)
    (folder / RUN_FILE).write_text(text + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other writers; the lock ends with the process, however that ends.

    Raises:
        BusyError: another process holds it.
        RedlineError: the folder cannot be written; a StorageError where that may pass.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        kind = RedlineError if is_lasting(error) else StorageError
        raise kind(
            f"cannot write here: {error.strerror}",
            str(folder),
            "make the folder writable",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise BusyError("another run is writing here", str(folder), "let it finish") from error
    try:
        yield
    finally:
        os.close(descriptor)


def make_fixed_links(home: Home) -> None:
    """Make the addresses that readers use; they never change again."""
    for name in (DATABASE, PARQUET):
        link, target = home.published / name, f"{CURRENT}/{name}"
        if not link.is_symlink() or str(link.readlink()) != target:
            _point(link, target)


def make_current(home: Home, run_id: str) -> None:
    """Replace `published/current`, in one step."""
    _point(home.published / CURRENT, f"runs/{run_id}")
    sync_folder(home.published)


def _point(link: Path, target: str) -> None:
    aside = link.with_name(f".{link.name}{_ASIDE}{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's list of names is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all of a folder is on the disk, what it holds before the folders that name it."""
    for here, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(here, name)
            if path.stat().st_nlink == 1:  # a shared file was synced by the run that wrote it
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(Path(here))


def remove_leftovers(home: Home) -> None:
    """Remove what killed publications left; to be called under the lock."""
    for path in home.published.glob(f".*{_ASIDE}*"):
        path.unlink()
    for path in (home.published / "runs").glob(f"*{_ASIDE}*"):
        shutil.rmtree(path)


def discard(home: Home, run_id: str) -> None:
    """Remove a run's folder; killed half-way it is a leftover, never a half run."""
    folder = run_folder(home, run_id)
    if folder.exists():
        aside = folder.with_name(f"{run_id}{_ASIDE}removed-{os.getpid()}")
        folder.rename(aside)
        shutil.rmtree(aside)


def prune(home: Home, kept_runs: int) -> list[str]:
    """Keep the current run and those it was built on, `kept_runs` in all; the rest is removed."""
    kept: list[str] = []
    run_id = current_run(home)
    while run_id is not None and len(kept) < kept_runs:
        state = read_run(home, run_id)
        if state is None:
            break
        kept.append(run_id)
        run_id = state.base_run
    found = [path.name for path in (home.published / "runs").iterdir() if path.is_dir()]
    removed = sorted(name for name in found if kept and name not in kept)
    for name in removed:
        discard(home, name)
    return removed

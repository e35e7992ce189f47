"""Partitions: written aside, then renamed in whole, each with a manifest of its files.

`<entity folder>/report_date=D/source_date=S.parquet`, S = D for what the date itself brought and
S < D for differences of a closed date; `manifest.json` says where each file comes from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from redline.contract import SCHEMA_VERSION, Entity
from redline.errors import SettingError
from redline.plan import Plan

_ASIDE = ".aside-"
_PREFIX = "report_date="


@dataclass(frozen=True)
class LandedFile:
    """One file of a partition, as its manifest tells.

    Attributes:
        name: of the file.
        source_date: the business date that its rows were delivered for.
        source: the source's address, without a password.
        rows_read: rows that it accounts for: landed + quarantined + collapsed. For a closed date
            these are the differences only.
        rows_landed, rows_quarantined, rows_collapsed: what became of them.
        sha256: of the file.
        fingerprint: what the source said of the date when it was read.
        quarantined_by_reason: refused rows by `<fault>:<column>`.
        landed_at: when, UTC.
        profile: of what a date itself brought, see `redline.landing.profile`; else empty.
        source_files: rows read from each source file and identical copies dropped of them; of a
            closed date empty.
    """

    name: str
    source_date: date
    source: str
    rows_read: int
    rows_landed: int
    rows_quarantined: int
    rows_collapsed: int
    sha256: str
    fingerprint: str | None
    quarantined_by_reason: dict[str, int]
    landed_at: str
    profile: dict[str, Any] = field(default_factory=dict)
    source_files: dict[str, tuple[int, int]] = field(default_factory=dict)


def file_name(source_date: date) -> str:
    """Of the landed and of the quarantined rows of a source date."""
    return f"source_date={source_date}.parquet"


def partition(folder: Path, report_date: date) -> Path:
    """The partition of a report date in an entity's folder."""
    return folder / f"{_PREFIX}{report_date}"


def report_dates(folder: Path) -> list[date]:
    """The report dates that have a partition, in order; none where nothing was landed."""
    names = (entry.name for entry in os.scandir(folder)) if folder.is_dir() else iter(())
    return sorted(
        date.fromisoformat(name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX)
    )


def read_manifest(folder: Path, report_date: date) -> list[LandedFile]:
    """The files of a partition; none where there is no partition.

    Raises:
        SettingError: a manifest that cannot be understood.
    """
    path = partition(folder, report_date) / "manifest.json"
    try:
        files: list[dict[str, Any]] = json.loads(path.read_text())["files"]
        return [
            LandedFile(**{**file, "source_date": date.fromisoformat(file["source_date"])})
            for file in files
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"a manifest that cannot be read: {error}",
            str(path),
            "put it back from a copy, or move the partition away and land its date again",
        ) from error


def write_manifest(
    folder: Path, plan: Plan, entity: Entity, report_date: date, files: Iterable[LandedFile]
) -> None:
    """Write the manifest of a partition that still lies aside."""
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "platform": plan.platform,
        "entity": entity.name,
        "report_date": report_date,
        "run_id": plan.run_id,
        "files": [asdict(file) for file in sorted(files, key=lambda file: file.source_date)],
    }
    text = json.dumps(manifest, default=str, indent=2, ensure_ascii=False)
    (partition(folder, report_date) / "manifest.json").write_text(text + "\n")


def open_aside(folder: Path, run_id: str) -> Path:
    """An empty folder beside the partitions, after mending what a killed run left.

    A partition that had been moved away but not yet replaced is put back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_ASIDE}*"):
        for old in (left / "replaced").glob(f"{_PREFIX}*"):
            if not (folder / old.name).exists():
                old.rename(folder / old.name)
        shutil.rmtree(left)
    aside = folder / f"{_ASIDE}{run_id}"
    (aside / "replaced").mkdir(parents=True)
    return aside


def swap_in(folder: Path, aside: Path, report_dates: Iterable[date]) -> None:
    """Replace the partitions of these dates by what lies aside; without anything aside, by nothing.

    A folder cannot be replaced by one rename: the old one is moved away first, and `open_aside` of
    the next run moves it back should this one be killed in between.
    """
    for day in report_dates:
        target, new = partition(folder, day), partition(aside, day)
        if target.exists():
            target.rename(partition(aside / "replaced", day))
        if new.exists():
            new.rename(target)


def close_aside(aside: Path) -> None:
    """Remove the folder aside with what was replaced."""
    shutil.rmtree(aside, ignore_errors=True)


def keep_file(folder: Path, aside: Path, report_date: date, source_date: date) -> bool:
    """Take over a file of the partition that is about to be replaced; whether there is one."""
    name = file_name(source_date)
    old, new = partition(folder, report_date) / name, partition(aside, report_date) / name
    if not old.exists():
        return False
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:  # a file system without hard links
        shutil.copy2(old, new)
    return True


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

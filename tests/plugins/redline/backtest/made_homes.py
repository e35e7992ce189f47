"""A simulated home whose evenings are published in two runs, under a pack that breaches often."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from redline import planning, policies
from redline.backtest.question import Question
from redline.backtest.replay import Chain
from redline.plan import ONE_DAY, Plan
from redline.publish import publish, published_state
from redline.settings import Home, Settings
from redline.transform import DBT_PROJECT, run_dbt
from tests import support
from tests.dbt_project import simulated
from tests.dbt_project.simulated import FIRST, LAST, MIDDLE, PLATFORM
from tests.histories import TIMEZONE

PACKS = ("strict", "product_quality", "ebay")  # of merchants, products and buyers
NEW_VERSIONS_FROM = date(2026, 1, 20)


@dataclass(frozen=True)
class Homes:
    """Homes of one marketplace, and the project whose packs are in force in them.

    Attributes:
        project: a copy of the dbt project with the pack `strict`.
        ended: published up to MIDDLE.
        went_on: published up to MIDDLE, then up to LAST.
        loose: a candidate's file, outside of the project.
    """

    project: Path
    ended: Settings
    went_on: Settings
    loose: Path


@dataclass(frozen=True)
class Replay:
    """A question, and the warehouse that replaying the packs in force for it has made.

    Attributes:
        question: what was asked.
        chain: what was made, of what.
        warehouse: the DuckDB file.
    """

    question: Question
    chain: Chain
    warehouse: Path


Replayed = Callable[[Settings, date, date], Replay]


def build(root: Path) -> Homes:
    """Make the marketplace's homes; an appeal against a violation is decided between the runs."""
    project = root / "project"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    _write_pack(project / "seeds" / "policies" / "pack_strict.csv", 0.5, NEW_VERSIONS_FROM)
    loose = root / "pack_loose.csv"
    _write_pack(loose, 0.8)
    settings = replace(support.settings_of(root / "went_on", TIMEZONE), policies=PACKS)
    with pytest.MonkeyPatch.context() as environment:  # a source reads its own settings
        environment.setenv("REDLINE_HOME", str(settings.home.root))
        environment.setenv("REDLINE_TIMEZONE", TIMEZONE)
        planning.prepare_home(settings)
        support.land_dates(settings, PLATFORM, simulated.SOURCE, FIRST, LAST)
        _publish(settings, project, FIRST, MIDDLE)
        ended = replace(settings, home=Home(root / "ended"))
        shutil.copytree(settings.home.root, ended.home.root, symlinks=True)
        simulated.land_appeals(support.Warehouse(settings, (PLATFORM,)))
        _publish(settings, project, MIDDLE + ONE_DAY, LAST)
    return Homes(project, ended, settings, loose)


def _write_pack(file: Path, factor: float, new_versions_from: date | None = None) -> None:
    """The default pack with other thresholds, and versions that follow them."""
    rows = []
    shipped = policies.SEEDS / "policies" / "pack_douyin_laike.csv"
    for row in csv.DictReader(shipped.read_text().splitlines()):
        for level in ("warning", "violation"):
            row[f"{level}_threshold"] = f"{factor * float(row[f'{level}_threshold']):.6g}"
        row["min_denominator"] = str(simulated.MIN_DENOMINATOR)
        row["basis"] = "raw" if row["metric"] == "complaint_rate" else "adjusted"
        row["max_count"] = "0" if row["metric"] == "merchant_fault_return_rate" else ""
        if row["metric"] == "negative_review_rate":
            row |= {"min_component": "orders_fulfilled", "min_count": "3", "min_days": "20"}
        rows.append(row)
        if new_versions_from:
            following = {
                **row,
                "policy_id": f"{row['policy_id']}_next",
                "warning_threshold": f"{1.2 * float(row['warning_threshold']):.6g}",
                "effective_from": str(new_versions_from),
            }
            row["effective_to"] = str(new_versions_from - timedelta(days=1))
            rows.append(following)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, policies.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _publish(settings: Settings, project: Path, start: date, end: date) -> None:
    state = published_state(settings.home)
    run_dbt(settings, start, end, [PLATFORM], on_top=state is not None, project=project)
    plan = Plan(
        run_id=f"run-{end}",
        platform=PLATFORM,
        source=simulated.SOURCE,
        requested_start=start,
        requested_end=end,
        published_through=state.as_of[PLATFORM] if state else None,
        base_run=state.run_id if state else None,
        start=start,
        end=end,
    )
    plan.save(settings.home)
    publish(plan, settings)

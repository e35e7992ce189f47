"""What a backtest is asked: which packs, over which published evenings, of which platforms."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from redline import planning, policies
from redline.errors import SettingError
from redline.plan import days
from redline.publish.state import DATABASE, current_run, published_state, run_folder
from redline.settings import Home, Settings

# A record that is open on the first evening may have opened long before, and violations repeated
# within 90 days count together. So the replay begins that much earlier, or with the first evening.
WARM_UP_DAYS = 100

_FIRST_EVENINGS = """
    select platform, min(report_date) from marts.fct_cohort_ledger group by platform
"""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        label: `active` or `candidate`.
        packs: its packs' files by name, in their order.
    """

    label: str
    packs: Mapping[str, Path]

    @property
    def title(self) -> str:
        """The names of its packs."""
        return ", ".join(self.packs)


@dataclass(frozen=True)
class Question:
    """What a backtest is asked.

    Attributes:
        active: the packs in force.
        candidate: the packs that might take their place.
        start, end: the evenings that are compared, inclusive.
        replayed_from: the first evening that is replayed, so that records stand open on `start`.
        platforms: those for which all these evenings are published.
        left_out: the others.
        name: names the report's folder; the same for the same packs, evenings and platforms.
    """

    active: Side
    candidate: Side
    start: date
    end: date
    replayed_from: date
    platforms: tuple[str, ...]
    left_out: tuple[str, ...]
    name: str

    @property
    def sides(self) -> tuple[Side, Side]:
        """The active packs, then the candidate."""
        return self.active, self.candidate

    @property
    def evenings(self) -> list[date]:
        """The evenings that are compared."""
        return days(self.start, self.end)


def ask(settings: Settings, pack: str, start: str, end: str, project: Path) -> Question:
    """Hold a question against the packs and against what is published.

    Args:
        pack: the candidate: a pack's name or its file's path; several are separated by commas.
        start, end: the evenings, as a person writes them.
        project: the folder of the dbt project.

    Raises:
        SettingError: see `backtest`.
        PackError: a pack that is missing or broken.
    """
    first = planning.read_date(start, "START, or start_date")
    last = planning.read_date(end, "END, or end_date")
    planning.check_dates(first, last)
    seeds = project / "seeds"
    active = Side("active", _packs_in_force(settings, seeds))
    candidate = Side("candidate", _candidate(pack, seeds))
    spans = _published_spans(settings)
    platforms = [name for name, span in spans.items() if span[0] <= first and last <= span[1]]
    if not platforms:
        raise SettingError(
            f"not all evenings from {first} to {last} are published",
            "START and END, or start_date and end_date",
            "give both within "
            + ", or ".join(f"{span[0]} to {span[1]} ({name})" for name, span in spans.items()),
        )
    return Question(
        active=active,
        candidate=candidate,
        start=first,
        end=last,
        replayed_from=max(
            first - timedelta(days=WARM_UP_DAYS), min(spans[name][0] for name in platforms)
        ),
        platforms=tuple(platforms),
        left_out=tuple(name for name in spans if name not in platforms),
        name=_name(first, last, active, candidate, platforms),
    )


def _packs_in_force(settings: Settings, seeds: Path) -> dict[str, Path]:
    policies.check_packs(settings.policies, seeds)
    there = policies.shipped_packs(seeds)
    return {name: there[name] for name in settings.policies}


def _candidate(pack: str, seeds: Path) -> dict[str, Path]:
    """The files of the packs that a text names, by name."""
    there = policies.shipped_packs(seeds)
    parts = [part.strip() for part in pack.split(",") if part.strip()]
    if not parts:
        raise SettingError(
            "no candidate is named",
            "PACK, or pack",
            f"name a pack ({', '.join(there)}), or the path of a pack's file",
        )
    files = {part: Path(part).expanduser().absolute() for part in parts if _is_path(part)}
    names = [policies.pack_name(files[part]) if part in files else part for part in parts]
    elsewhere = {policies.pack_name(file): file for file in files.values()}
    policies.check_packs(names, seeds, elsewhere=elsewhere, setting="PACK, or pack")
    return {name: {**there, **elsewhere}[name] for name in names}


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith(".csv")


def _published_spans(settings: Settings) -> dict[str, tuple[date, date]]:
    """By platform, the first and the last published evening."""
    home = settings.home
    state = published_state(home)
    if state is None or not home.warehouse.exists():
        raise SettingError(
            "nothing has been published yet" if state is None else "there is no warehouse",
            f"REDLINE_HOME={home.root}",
            "use `make run` first, or set REDLINE_HOME to the home of a run",
        )
    planning.prepare_home(settings)
    firsts = _first_evenings(home)
    return {name: (firsts[name], last) for name, last in state.as_of.items() if name in firsts}


def _first_evenings(home: Home) -> dict[str, date]:
    # What is published never changes, so it can be read beside a run.
    run_id = current_run(home)
    assert run_id is not None, "the caller has seen that something is published"
    database = run_folder(home, run_id) / DATABASE
    with duckdb.connect(str(database), read_only=True) as connection:
        return dict(connection.execute(_FIRST_EVENINGS).fetchall())


def _name(start: date, end: date, active: Side, candidate: Side, platforms: list[str]) -> str:
    """`2026-02-01_2026-03-01_mine_1f3a9c`: six digits of a hash of packs and platforms."""
    digest = hashlib.sha256(" ".join(platforms).encode())
    for side in (active, candidate):
        for name, file in side.packs.items():
            digest.update(f"\n{side.label} {name}\n".encode())
            digest.update(file.read_bytes())
    return f"{start}_{end}_{'-'.join(candidate.packs)[:60]}_{digest.hexdigest()[:6]}"

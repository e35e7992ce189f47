"""`make quarantine`: what waits in quarantine, and trying it again.

`python -m redline.quarantine [--platform NAME] [--release]`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
from rich.console import Console

from redline.contract import ENTITIES
from redline.errors import RedlineError, SettingError
from redline.landing import release
from redline.landing.waiting import find_waiting
from redline.publish import published_state
from redline.settings import Home, Settings, read_settings

SAMPLES = 3

# What to do about a kind of reason, the part before its column.
WHAT_TO_DO = {
    "missing": "fill the column at the source, or map another one",
    "not_a_timestamp": "write times as 2026-03-01T10:00:00Z, or map their unit",
    "not_a_number": "write numbers with a point and without separators",
    "not_a_boolean": "write true or false",
    "below_minimum": "mend the value at the source",
    "above_maximum": "mend the value at the source",
    "unknown_code": "map the code to one of the contract's",
    "future": "mend the source's clock; the row is taken once its time has come",
    "conflicting_duplicate": "one version of a record must be one row: send the right one",
    "beyond_horizon": "too old to count; raise REDLINE_HORIZON_DAYS before the next run",
    "waiting": "nothing: it joins by itself when its order arrives",
}


@dataclass(frozen=True)
class Waiting:
    """Rows of one platform, entity and reason that wait.

    Attributes:
        platform, entity, reason: whose, and why.
        rows: how many.
        since: the first report date under which one was refused or began to wait.
        samples: some of their keys.
        source_file: of the first of them; empty for events that wait for their order.
    """

    platform: str
    entity: str
    reason: str
    rows: int
    since: date
    samples: tuple[str, ...]
    source_file: str

    @property
    def todo(self) -> str:
        """What to do about it."""
        return WHAT_TO_DO.get(
            self.reason.partition(":")[0], "mend it at the source and send it again"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """List, or ask for the release; the exit code is 1 where there is nothing to read."""
    parser = argparse.ArgumentParser(prog="redline.quarantine", description=__doc__)
    parser.add_argument("--platform", default="")
    parser.add_argument("--release", action="store_true")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        settings = read_settings()
        published = _published(settings.home, options.platform)
        waiting = [row for name, day in published.items() for row in find(settings, name, day)]
        show(console, waiting)
        if options.release:
            _release(console, settings.home, published, waiting)
    except RedlineError as error:
        console.print(f"Error: {error}", markup=False, soft_wrap=True)
        return 1
    return 0


def find(settings: Settings, platform: str, as_of: date) -> list[Waiting]:
    """What waits of a platform on its published evening, the most rows first.

    Rows older than the horizon are no longer looked at.
    """
    home = settings.home
    earliest = as_of - timedelta(days=settings.horizon_days)
    found: list[Waiting] = []
    with duckdb.connect() as con:
        for entity in ENTITIES:
            quarantine = home.quarantine / platform / entity.name
            find_waiting(con, home.landing / platform / entity.name, quarantine, entity, earliest)
            found += _grouped(con, platform, "waiting", "source_file", "report_date")
            orphans = quarantine / "waiting.parquet"
            if orphans.exists():
                con.execute("set variable orphans = $path", {"path": str(orphans)})
                relation = "read_parquet(getvariable('orphans'), hive_partitioning = false)"
                found += _grouped(con, platform, relation, "''", "since")
    return sorted(found, key=lambda row: (-row.rows, row.entity, row.reason))


def _grouped(
    con: duckdb.DuckDBPyConnection, platform: str, relation: str, file: str, since: str
) -> list[Waiting]:
    rows = con.execute(
        f"""
        select entity, reason, count(*), min({since}),
            list(distinct row_key order by row_key)[:{SAMPLES}], coalesce(min({file}), '')
        from {relation}
        group by all
        """
    ).fetchall()
    return [
        Waiting(platform, entity, reason, count, first, tuple(keys), source)
        for entity, reason, count, first, keys, source in rows
    ]


def show(console: Console, waiting: Sequence[Waiting]) -> None:
    """Print what waits, and what to do about each kind of reason."""
    if not waiting:
        console.print("Nothing waits in quarantine.")
        return
    console.print(f"{'rows':>8}  since       what", style="dim", soft_wrap=True)
    for row in waiting:
        line = f"{row.rows:>8,}  {row.since}  {row.platform} {row.entity} {row.reason}"
        keys = ", ".join(row.samples) + (", ..." if row.rows > len(row.samples) else "")
        place = f" in {row.source_file}" if row.source_file else ""
        for told in (line, f"{'':22}{keys}{place}"):
            console.print(told, markup=False, soft_wrap=True)
    console.print()
    kinds = dict.fromkeys((row.reason.partition(":")[0], row.todo) for row in waiting)
    for kind, todo in kinds:
        console.print(f"{kind}: {todo}.", markup=False, soft_wrap=True)


def _published(home: Home, platform: str) -> dict[str, date]:
    state = published_state(home)
    if state is None:
        raise SettingError("nothing is published yet", str(home.root), "use make run first")
    if platform and platform not in state.as_of:
        known = ", ".join(sorted(state.as_of))
        raise SettingError(f"no platform '{platform}'", "PLATFORM", f"there are {known}")
    return {n: day for n, day in sorted(state.as_of.items()) if platform in ("", n)}


def _release(
    console: Console, home: Home, published: dict[str, date], waiting: Sequence[Waiting]
) -> None:
    rows = sum(row.rows for row in waiting if not row.reason.startswith("waiting"))
    if not rows:
        return
    release.request(home, published)
    console.print(
        f"The next run asks the source again for the dates of these {rows:,} rows: make run.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())

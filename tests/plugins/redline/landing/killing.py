"""Kills extraction at random moments and compares what a plain re-run makes of it.

`python -m tests.plugins.redline.landing.killing KILLS [ENTITY ...]` (by default of all entities)
prints one line of JSON: how many runs were killed, how many of them left something half-way, and
what differed.

This process never opens DuckDB: it forks children that do, which spares them the imports.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from redline import contract, landing
from redline.plan import Plan
from redline.settings import Home, Settings
from tests.plugins.redline.landing.shop import row

CLOSED, FIRST, LAST = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 4)
ROWS = 40


def main(folder: Path, kills: int, entities: Sequence[str]) -> dict[str, Any]:
    """Kill that many runs, each from the same beginning."""
    chance = random.Random(kills)
    if entities:
        landing._READ = list(map(contract.entity, entities))
    market, begun = folder / "market", folder / "begun"
    for day in (CLOSED, FIRST, FIRST + timedelta(1), LAST):
        deliver(market, day)
    run(market, begun, plan(market, CLOSED, CLOSED, None, "closed"))
    deliver(market, CLOSED, changed=True)  # re-sent after it was published
    wanted = plan(market, FIRST, LAST, CLOSED, "wanted")
    whole = folder / "whole"
    shutil.copytree(begun, whole)
    seconds = run(market, whole, wanted)
    reference = told(whole)
    killed, halfway, differing = 0, 0, []
    while killed < kills:
        home = folder / "home"
        shutil.copytree(begun, home)
        if run(market, home, wanted, kill_after=chance.uniform(0, seconds)) < 0:
            killed += 1
            halfway += any(home.rglob(".aside-*"))
            run(market, home, wanted)
            if told(home) != reference:
                differing.append({"kill": killed, "files": sorted(different(home, reference))})
        shutil.rmtree(home)
    return {
        "killed": killed,
        "halfway": halfway,
        "differing": differing,
        "files": len(reference),
        "seconds": round(seconds, 3),
    }


def plan(market: Path, start: date, end: date, through: date | None, name: str) -> Plan:
    """A plan for the market; asking from the closed date on."""
    asked = through or start
    return Plan(name, "files", f"files://{market}", asked, end, through, None, start, end)


def run(market: Path, home: Path, wanted: Plan, kill_after: float | None = None) -> float:
    """Extract in a child; how many seconds it took, -1 where it was killed."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        settings = Settings(Home(home), "UTC", ("douyin_laike",), 180, 7, "a key for tests")
        try:
            landing.extract(wanted, settings)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -1.0
    assert status == 0, f"the run failed: {status}"
    return time.monotonic() - began


def deliver(market: Path, day: date, *, changed: bool = False) -> None:
    """Lay a day's files: clean rows, refused ones, copies; with `changed` some of them differ."""
    for entity in landing._READ:
        rows = [_row(entity.name, f"{entity.name}-{day:%d}-{i}", i, day) for i in range(ROWS)]
        if changed:
            rows = [*rows[1:], _row(entity.name, f"{entity.name}-{day:%d}-late", 3, day)]
            rows[1] |= {"updated_at": f"{day}T05:00:00Z"} if entity.is_versioned else {}
        path = market / entity.name / f"{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, entity.column_names)
            writer.writeheader()
            writer.writerows([*rows, rows[3]])  # one copy


def _row(entity: str, key: str, number: int, day: date) -> dict[str, Any]:
    made = {**row(entity, key), "updated_at": f"{day}T02:00:00Z"}
    if entity == "order_items":
        made.pop("updated_at")
    if number == 5 and "status" in made:
        made["status"] = "unheard of"  # one refused row
    return made


def told(home: Path) -> dict[str, Any]:
    """Every file of landing and quarantine: Parquet by its bytes, manifests without the clock."""
    return dict(_told(home))


def _told(home: Path) -> Iterator[tuple[str, Any]]:
    for top in ("landing", "quarantine"):
        for path in sorted((home / top).rglob("*")):
            if path.is_file():
                name = str(path.relative_to(home))
                yield name, path.read_bytes() if path.suffix != ".json" else _timeless(path)


def _timeless(path: Path) -> Any:
    content = json.loads(path.read_text())
    for file in content.get("files", ()):
        file.pop("landed_at")
    return content


def different(home: Path, reference: dict[str, Any]) -> set[str]:
    """The files that differ from a reference."""
    now = told(home)
    return {name for name in now.keys() | reference.keys() if now.get(name) != reference.get(name)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps(main(Path(made), int(sys.argv[1]), sys.argv[2:])))

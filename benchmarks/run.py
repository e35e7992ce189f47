"""`make bench`: how fast is the transform, and how far from the limit?

`python -m benchmarks.run [--orders N] [--merchants N] [--days N] [--stages ...] [--incidents N]`

Makes a marketplace's landing zone in a scratch home and times, each in a process of its own, the
real stages of a run over the whole history and over one day on top of it, beside `limit.sql` on
the same files. Fails if the product's ledger or merchant rates differ from the limit's by a row.
Last, it simulates marketplaces with incidents and tells which of them the product's warnings found.
What exactly is compared: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks import alerts, incidents, intake
from benchmarks.make_data import FIRST_DATE, PLATFORM, TIMEZONE, Size
from benchmarks.stage import PRODUCT
from redline.plan import ONE_DAY, Plan
from redline.settings import PROJECT, Home

RESULTS = PROJECT / "benchmarks" / "results"


class BenchmarkError(Exception):
    """A stage failed, or the product and the limit disagree."""


@dataclass(frozen=True)
class Measured:
    """What a stage took.

    Attributes:
        seconds: on the clock.
        cpu_seconds: on all processors, its children's included.
        peak_bytes: resident memory of its largest process.
        returned: what it returned.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    returned: dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A scratch home and the marketplace within it."""

    home: Home
    size: Size

    @property
    def next_day(self) -> Path:
        """The landing folder of the date on top, until it is moved in."""
        return self.home.root / "next_day"

    def measure(self, stage: str, *arguments: object) -> Measured:
        """Perform one stage.

        Raises:
            BenchmarkError: it failed; with the last line of what it said.
        """
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.stage", stage, *map(str, arguments)],
            cwd=PROJECT,
            env=_environment(self.home),
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            said = finished.stderr.strip().splitlines() or ["nothing was said"]
            raise BenchmarkError(f"{stage}: {said[-1]}")
        return Measured(**json.loads(finished.stdout.splitlines()[-1]))

    def make_data(self) -> Measured:
        """Make the landing zone, and that of the date on top beside it."""
        sizes = (self.size.orders, self.size.merchants, self.size.days)
        return self.measure("make_data", *sizes, self.home.landing, self.next_day)

    def let_a_day_pass(self) -> None:
        """Move the partitions of the date on top into the landing zone."""
        for folder in self.next_day.glob("*/*/report_date=*"):
            folder.rename(self.home.landing / folder.relative_to(self.next_day))

    def run(self, start: date, end: date, stages: list[str]) -> dict[str, Measured]:
        """Take the report dates as a run of the DAG does, on top of what came before."""
        before = start - ONE_DAY if start > FIRST_DATE else None
        is_published = "publish" in stages
        plan = Plan(
            run_id=f"{PLATFORM}-{end}",
            platform=PLATFORM,
            source=f"{PLATFORM}://",
            requested_start=start,
            requested_end=end,
            published_through=before,
            base_run=f"{PLATFORM}-{before}" if before and is_published else None,
            start=start,
            end=end,
        )
        plan.save(self.home)
        return {stage: self.measure(stage, plan.run_id) for stage in stages}


def main() -> int:
    """Measure, tell, write the results down."""
    options = _options()
    console = Console(highlight=False)
    size = Size(options.orders, options.merchants, options.days)
    scratch = Path(tempfile.mkdtemp(prefix="redline-bench-", dir=options.scratch))
    try:
        results = measure_all(console, scratch, size, options.stages, growth=options.history_growth)
        if options.intake:
            with console.status("intake"):
                bench = Bench(Home(scratch / "home"), size)
                results["intake"] = intake.measure_all(
                    bench.measure, scratch / "intake", options.intake
                )
        if options.alerts:
            with console.status("alerts"):
                bench = Bench(Home(scratch / "home"), size)
                results["alerts"] = alerts.measure_all(
                    bench.measure,
                    scratch / "alerts",
                    options.alerts,
                    min(alerts.RECIPIENTS, options.alerts),
                )
        if options.incidents:
            with console.status("incidents"):
                results["incidents"] = incidents.detect(
                    scratch / "incidents", marketplaces=options.incidents
                )
    except BenchmarkError as error:
        console.print(f"Error: {error}", markup=False, soft_wrap=True)
        return 1
    finally:
        if options.keep:
            console.print(f"Kept {scratch}", soft_wrap=True)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    path = options.json or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2, default=asdict))
    show(console, results)
    if "intake" in results:
        intake.show(console, results["intake"])
    if "alerts" in results:
        alerts.show(console, results["alerts"])
    if "incidents" in results:
        incidents.show(console, results["incidents"])
    console.print(f"\nAll numbers, per model as well: {path}", soft_wrap=True)
    differing = sum(results[run]["compared"][part] for run in RUNS for part in ("ledger", "rates"))
    if differing:
        console.print(f"Error: {differing} rows differ from the limit's")
    return 1 if differing else 0


RUNS = {"history": "the whole history", "day": "one day on top"}

# What the models are for: the first part is what limit.sql makes too.
LIKE_LIMIT, EVALUATED, START = "ledger and rates", "evaluations and records", "dbt itself"
_EVALUATING = re.compile(
    "int_(entity|category|development|metric_ages|evaluation|window|minimum|buyers|polic|record"
    "|violation|alert)|fct_(policy|alert|warning|violation)|dim_policies|pack_|measures"
)


def measure_all(
    console: Console, scratch: Path, size: Size, stages: list[str], *, growth: bool
) -> dict[str, Any]:
    """Measure both runs of the product and of the limit; with `growth` also a tenth of the history.

    Raises:
        BenchmarkError: a stage failed.
    """
    bench = Bench(Home(scratch / "home"), size)
    console.print(
        f"{size.orders:,} orders of {size.merchants:,} merchants over {size.days} days",
    )
    with console.status("") as status:
        status.update("make data")
        data = bench.make_data()
        results: dict[str, Any] = {
            "size": size,
            "machine": _machine(),
            "stages": stages,
            "make_data": data,
        }
        dates = {"history": (FIRST_DATE, size.last_date), "day": (size.next_date, size.next_date)}
        for run, (start, end) in dates.items():
            if run == "day":
                bench.let_a_day_pass()
            status.update(f"limit: {RUNS[run] if run == 'history' else 'all dates again'}")
            limit = bench.measure("limit", end)
            status.update(f"product: {RUNS[run]}")
            product = bench.run(start, end, stages)
            status.update("compare")
            compared = bench.measure("compare").returned
            results[run] = {"limit": limit, "product": product, "compared": compared}
        if growth:
            status.update("product: one day on top of a tenth")
            results["tenth"] = measure_day(scratch / "tenth", _tenth(size))
    return results


def measure_day(root: Path, size: Size) -> dict[str, Any]:
    """The transform of one day on top of a history."""
    bench = Bench(Home(root), size)
    bench.make_data()
    bench.run(FIRST_DATE, size.last_date, ["transform"])
    bench.let_a_day_pass()
    day = bench.run(size.next_date, size.next_date, ["transform"])
    return {"size": size, "product": day}


def _tenth(size: Size) -> Size:
    days = max(1, size.days // 10)
    return Size(size.orders_per_day * days, size.merchants, days)


# --- telling ------------------------------------------------------------------------------------


def show(console: Console, results: dict[str, Any]) -> None:
    """Print the tables."""
    landed = results["make_data"].returned
    console.print(
        f"Landed {landed['orders']:,} versions of orders and {landed['order_items']:,} lines"
        f" (made in {results['make_data'].seconds:.0f} s), which make a ledger of"
        f" {results['history']['compared']['ledger_rows']:,} rows",
        soft_wrap=True,
    )
    limit = results["history"]["limit"]
    table = Table("run", "stage", "seconds", "CPU seconds", "peak memory", "x limit")
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    table.add_row(RUNS["history"], "limit.sql", *_cells(limit), "1.00", end_section=True)
    for run, title in RUNS.items():
        for number, (stage, measured) in enumerate(results[run]["product"].items()):
            is_transform = stage == "transform"
            ratio = f"{measured.seconds / limit.seconds:.2f}" if is_transform else ""
            table.add_row("" if number else title, stage, *_cells(measured), ratio)
            for part, seconds in _parts(measured).items() if is_transform else ():
                ratio = f"{seconds / limit.seconds:.2f}" if part == LIKE_LIMIT else ""
                table.add_row("", f"  {part}", f"{seconds:.1f}", "", "", ratio)
        table.add_section()
    console.print(table)
    for run, title in RUNS.items():
        models = results[run]["product"].get("transform")
        if models is not None:
            console.print(f"Slowest models, {title}: {_slowest(models)}", soft_wrap=True)
    console.print(f"limit.sql: {_seconds(limit.returned['seconds'])}", soft_wrap=True)
    for run, title in RUNS.items():
        compared = results[run]["compared"]
        console.print(
            f"Rows that differ from the limit's, {title}:"
            f" ledger {compared['ledger']:,} of {compared['ledger_rows']:,},"
            f" rates {compared['rates']:,} of {compared['rates_rows']:,}",
            soft_wrap=True,
        )
    if "tenth" in results:
        short = results["tenth"]["product"]["transform"].seconds
        long = results["day"]["product"]["transform"].seconds
        console.print(
            f"A day's transform on top of {results['tenth']['size'].days} days takes {short:.1f} s,"
            f" on top of {results['size'].days} days {long:.1f} s: x {long / short:.2f}",
            soft_wrap=True,
        )


def _parts(transform: Measured) -> dict[str, float]:
    """Seconds of the transform by what its models are for."""
    models: dict[str, float] = transform.returned["models"]
    evaluated = sum(
        seconds for name, seconds in models.items() if _EVALUATING.match(name.split(".")[-1])
    )
    in_models = sum(models.values())
    return {
        LIKE_LIMIT: in_models - evaluated,
        EVALUATED: evaluated,
        START: transform.seconds - in_models,
    }


def _cells(measured: Measured) -> tuple[str, str, str]:
    return (
        f"{measured.seconds:.1f}",
        f"{measured.cpu_seconds:.1f}",
        f"{measured.peak_bytes / 1e9:.2f} GB",
    )


def _slowest(measured: Measured, count: int = 8) -> str:
    models: dict[str, float] = measured.returned["models"]
    return _seconds(dict(sorted(models.items(), key=lambda item: -item[1])[:count]))


def _seconds(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())


# --- the environment ----------------------------------------------------------------------------


def _environment(home: Home) -> dict[str, str]:
    """Ours without the settings of another home, and the scratch home's."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("REDLINE_")
    }
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)]),
        "REDLINE_HOME": str(home.root),
        "REDLINE_TIMEZONE": TIMEZONE,
        # The benchmark says what is true of this machine, so the key may be anything.
        "REDLINE_PSEUDONYM_KEY": "benchmark",
    }


def _machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.split("\n")[0])
    for name, default in {"orders": 1_000_000, "merchants": 5_000, "days": 90}.items():
        # `make` hands its arguments on as environment; an empty one is none.
        parser.add_argument(
            f"--{name}", type=_count, default=os.environ.get(name.upper()) or str(default)
        )
    parser.add_argument(
        "--stages",
        type=_stages,
        default=list(PRODUCT),
        help=f"comma-separated, of {', '.join(PRODUCT)} (default: all)",
    )
    parser.add_argument(
        "--history-growth",
        action="store_true",
        help="also time a day on top of a tenth of the history, at as many orders a day",
    )
    parser.add_argument(
        "--intake",
        type=int,
        help="how many rows to land from each kind of source (default: the orders); 0: none",
    )
    parser.add_argument(
        "--alerts",
        type=int,
        default=alerts.ALERTS,
        help="how many alerts to deliver; 0 leaves it out",
    )
    parser.add_argument(
        "--incidents",
        type=int,
        default=incidents.MARKETPLACES,
        help="in how many simulated marketplaces to look for incidents; 0 leaves it out",
    )
    parser.add_argument("--scratch", type=Path, help="where to make the scratch home")
    parser.add_argument("--keep", action="store_true", help="keep the scratch home")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    if options.intake is None:
        options.intake = options.orders
    if options.orders < options.days:
        parser.error("at least one order a day")
    return options


def _count(text: str) -> int:
    """A whole number of at least 1; `10_000_000` is one."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count: give 1 or more, as 10_000_000")
    return number


def _stages(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PRODUCT]
    if unknown or "transform" not in names:
        raise argparse.ArgumentTypeError(
            f"'{text}': name transform and any of {', '.join(PRODUCT)}"
        )
    return [name for name in PRODUCT if name in names]


if __name__ == "__main__":
    sys.exit(main())

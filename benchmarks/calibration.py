"""`make calibrate`: are the projection's intervals right as often as they say?

`python -m benchmarks.calibration [--marketplaces N] [--seed N]`

Simulates marketplaces that differ in seed and size, brings all of them through the product as
platforms of one warehouse, and holds what was projected on each evening against what the same
windows came to when they were mature. What exactly is compared: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.make_data import sections
from benchmarks.markets import FIRST_DATE, Market, build, settings_of
from redline.sources.simulator import Options

SCRIPT = Path(__file__).with_suffix(".sql")
QUIET, EVENTFUL = "quiet", "eventful"
EVALUATION_DAYS = 7
# Of metrics that mature in a week: those of more days have too few evenings, those over events
# expect nothing, and late shipments come in one stroke, at their deadline.
METRICS = (
    "complaint_rate",
    "negative_review_rate",
    "merchant_fault_return_rate",
    "merchant_cancel_rate",
    "dispute_rate",
    "refund_rate",
)
MIN_DENOMINATORS = {"merchant": 30, "category": 200}  # as the default pack asks
# Before that evening there is little history to tell how reports develop.
WARM_UP_DAYS = 19


@dataclass(frozen=True)
class Sizes:
    """What to simulate.

    Attributes:
        marketplaces: in which nothing goes wrong on purpose.
        eventful: in which something does; a regime that changes is what no projection foresees.
        merchants: least and most of a marketplace.
        days: of all of them.
        seed: of the marketplaces' own seeds and sizes.
    """

    marketplaces: int = 200
    eventful: int = 40
    merchants: tuple[int, int] = (20, 100)
    days: int = 40
    seed: int = 1


@dataclass(frozen=True)
class Calibration:
    """How projections fared.

    Attributes:
        name: of which windows.
        windows: how many.
        covered_80, covered_95: share of them that came to lie within the interval.
        error_per_window: mean absolute error of the projected value, over that of the value
            observed so far.
        error_per_order: the same, windows weighing as their orders.
    """

    name: str
    windows: int
    covered_80: float
    covered_95: float
    error_per_window: float
    error_per_order: float


def simulate(root: Path, sizes: Sizes) -> Path:
    """Bring the marketplaces through the product; where their warehouse lies."""
    settings = settings_of(root)
    build(settings, _markets(sizes), _policies(), with_products=False)
    return settings.home.warehouse


@contextmanager
def forecasts(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with the table `windows`: every forecast and what came."""
    with closing(duckdb.connect()) as connection:
        connection.execute(f"attach '{warehouse}' as product (read_only)")
        connection.execute(
            sections(SCRIPT)["windows"],
            {
                "first_evening": FIRST_DATE + timedelta(days=WARM_UP_DAYS),
                "evaluation_days": EVALUATION_DAYS,
            },
        )
        yield connection


def calibrate(
    windows: duckdb.DuckDBPyConnection, kind: str = QUIET, at_least: float = 1
) -> dict[str, Calibration]:
    """Hold every forecast against what came.

    Args:
        windows: made by `forecasts`.
        kind: of which marketplaces, QUIET or EVENTFUL.
        at_least: how many events a window must have had still to come, by its orders. Below one,
            no interval of whole numbers is right four times in five and no more.

    Returns:
        By name: of all windows, of merchants and categories, of each metric and each number of
        events still to come.
    """
    rows = windows.execute(
        sections(SCRIPT)["calibration"], {"platforms": f"{kind}%", "at_least": at_least}
    ).fetchall()
    return {row[0]: Calibration(*row) for row in rows}


def _markets(sizes: Sizes) -> list[Market]:
    rng = random.Random(sizes.seed)  # noqa: S311  no secret
    return [
        Market(
            f"{kind}_{number:03}",
            Options(
                merchants=rng.randint(*sizes.merchants),
                days=sizes.days,
                seed=rng.randrange(2**31),
                start=FIRST_DATE,
                incidents=incidents,
            ),
        )
        for kind, count, incidents in (
            (QUIET, sizes.marketplaces, 0),
            (EVENTFUL, sizes.eventful, None),
        )
        for number in range(count)
    ]


def _policies() -> list[dict[str, Any]]:
    """A policy of every metric, for merchants and for categories, that is never breached."""
    return [
        {
            "policy_id": f"{entity_type}_{metric}",
            "platform": "*",
            "category_id": "*",
            "metric": metric,
            "risk_point": "calibration",
            "entity_type": entity_type,
            "warning_threshold": 9.0,
            "violation_threshold": 10.0,
            "comparator": ">=",
            "basis": "adjusted",
            "evaluation_days": EVALUATION_DAYS,
            "min_denominator": least,
            "measure": "notice",
            "effective_from": date(2000, 1, 1),
            "owner": "benchmarks",
            "source": "ours",
        }
        for metric in METRICS
        for entity_type, least in MIN_DENOMINATORS.items()
    ]


def show(console: Console, windows: duckdb.DuckDBPyConnection, sizes: Sizes) -> None:
    """Print the tables."""
    for kind, count in ((QUIET, sizes.marketplaces), (EVENTFUL, sizes.eventful)):
        if not count:
            continue
        with_what = "without incidents" if kind == QUIET else "with incidents"
        table = Table(
            "windows with an event or more still to come",
            "windows",
            "80% interval",
            "95% interval",
            "error, per window",
            "error, per order",
            title=f"{count} marketplaces {with_what}",
        )
        for column in table.columns[1:]:
            column.justify = "right"
        found = calibrate(windows, kind)
        few = "events still to come: 0 to 1"
        found[few] = calibrate(windows, kind, at_least=0)[few]
        for one in found.values():
            table.add_row(
                one.name,
                f"{one.windows:,}",
                f"{one.covered_80:.1%}",
                f"{one.covered_95:.1%}",
                f"{one.error_per_window:.2f}",
                f"{one.error_per_order:.2f}",
            )
        console.print(table)
    console.print(
        "Errors are of the projected value over those of the value observed so far.",
        soft_wrap=True,
    )


def main() -> int:
    """Simulate, compare, tell."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.calibration", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--marketplaces", type=int, default=Sizes.marketplaces)
    parser.add_argument("--eventful", type=int, default=Sizes.eventful)
    parser.add_argument("--seed", type=int, default=Sizes.seed)
    parser.add_argument("--scratch", type=Path, help="where to make the scratch home")
    options = parser.parse_args()
    sizes = Sizes(options.marketplaces, options.eventful, seed=options.seed)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="redline-calibrate-", dir=options.scratch) as scratch:
        with console.status(f"{sizes.marketplaces + sizes.eventful} marketplaces"):
            warehouse = simulate(Path(scratch), sizes)
        with forecasts(warehouse) as windows:
            show(console, windows, sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

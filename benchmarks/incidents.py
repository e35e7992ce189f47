"""Are the incidents that the simulator injects found, how early, and how many warnings are right?

`python -m benchmarks.incidents [--marketplaces N] [--seed N]`, also the last part of `make bench`.
What exactly is counted: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.make_data import sections
from benchmarks.markets import FIRST_DATE, Market, build, settings_of
from redline.sources.simulator import Options, incidents

SCRIPT = Path(__file__).with_suffix(".sql")
# What an incident is seen by, of the metrics that the default pack judges.
AFFECTED = {
    "bad_batch": ("complaint_rate",),
    "poor_delivery": ("negative_review_rate", "complaint_rate"),
    "wrong_goods": ("merchant_fault_return_rate",),
}
MARKETPLACES = 6
# Orders paid during an incident from which on it is large: enough for a few evenings' minimum.
LARGE = 100


@dataclass(frozen=True)
class Recall:
    """How incidents were found.

    Attributes:
        name: of which incidents.
        incidents: how many.
        warned: by a warning record of the merchant, under a metric that the kind affects, which
            opened between the incident's start and its end + the metric's window.
        violated: likewise, by a violation record: a breach on mature cohorts.
        median_lead_days: from the first warning to the first violation, of those with both.
        warned_before: whose warning opened before their violation.
    """

    name: str
    incidents: int
    warned: int
    violated: int
    median_lead_days: float | None
    warned_before: int

    @property
    def recall(self) -> float:
        """The share of the incidents that a warning was about."""
        return self.warned / self.incidents


@dataclass(frozen=True)
class Precision:
    """How warning records of merchants came true.

    Attributes:
        name: of which metric.
        warnings: how many.
        of_incidents: that are about an incident (see Recall).
        of_violations: others whose policy line was violated while they were open, or within the
            days that a projection looks ahead.
        undecided: others of the last evenings, which may still come true.
        wrong: all others.
    """

    name: str
    warnings: int
    of_incidents: int
    of_violations: int
    undecided: int
    wrong: int

    @property
    def precision(self) -> float:
        """The share of the decided warnings that came true."""
        right = self.of_incidents + self.of_violations
        return right / (right + self.wrong)


@dataclass(frozen=True)
class Detection:
    """Recall and precision by name."""

    recall: dict[str, Recall]
    precision: dict[str, Precision]


def detect(
    root: Path,
    *,
    marketplaces: int = MARKETPLACES,
    merchants: int = 120,
    days: int = 60,
    seed: int = 1,
) -> Detection:
    """Simulate marketplaces, bring them through the product, hold its records against the truth.

    Args:
        root: becomes the scratch home.
        marketplaces: how many, as platforms of one warehouse.
        merchants: of each of them.
        days: likewise.
        seed: of the marketplaces' own seeds.
    """
    rng = random.Random(seed)  # noqa: S311  no secret
    markets = [
        Market(f"eventful_{number:03}", Options(merchants, days, rng.randrange(2**31), FIRST_DATE))
        for number in range(marketplaces)
    ]
    settings = settings_of(root)
    build(settings, markets)
    script = sections(SCRIPT)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"attach '{settings.home.warehouse}' as product (read_only)")
        _inject(connection, markets)
        connection.execute(script["found"], {"large": LARGE})
        recall = connection.execute(script["recall"]).fetchall()
        last_date = {"last_date": markets[0].options.end}
        precision = connection.execute(script["precision"], last_date).fetchall()
    return Detection(
        {row[0]: Recall(*row) for row in recall}, {row[0]: Precision(*row) for row in precision}
    )


def _inject(connection: duckdb.DuckDBPyConnection, markets: Sequence[Market]) -> None:
    """Tell the truth: tables of the incidents, and of the metrics that each kind affects."""
    connection.execute(
        "create temp table injected ("
        'platform varchar, merchant_id varchar, kind varchar, start date, "end" date)'
    )
    for market in markets:
        made = market.options
        address = (
            f"simulator://?merchants={made.merchants}&days={made.days}&seed={made.seed}"
            f"&start={made.start}"
        )
        connection.executemany(
            "insert into injected values (?, ?, ?, ?, ?)",
            [
                (market.platform, one.merchant_id, one.kind, one.start, one.end)
                for one in incidents(address)
            ],
        )
    connection.execute("create temp table affected (kind varchar, metric varchar)")
    connection.executemany(
        "insert into affected values (?, ?)",
        [(kind, metric) for kind, metrics in AFFECTED.items() for metric in metrics],
    )


def show(console: Console, detection: Detection) -> None:
    """Print the tables."""
    recall = Table("incidents", "", "warned", "recall", "violated", "warned before", "median lead")
    for found in detection.recall.values():
        lead = found.median_lead_days
        recall.add_row(
            found.name,
            f"{found.incidents}",
            f"{found.warned}",
            f"{found.recall:.0%}",
            f"{found.violated}",
            f"{found.warned_before}",
            "" if lead is None else f"{lead:g} days",
        )
    precision = Table("warnings", "", "incident", "violation", "wrong", "precision", "undecided")
    for judged in detection.precision.values():
        precision.add_row(
            judged.name,
            f"{judged.warnings}",
            f"{judged.of_incidents}",
            f"{judged.of_violations}",
            f"{judged.wrong}",
            f"{judged.precision:.0%}",
            f"{judged.undecided}",
        )
    for table in (recall, precision):
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)


def main() -> int:
    """Simulate, compare, tell."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.incidents", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--marketplaces", type=int, default=MARKETPLACES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="where to make the scratch home")
    options = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="redline-incidents-", dir=options.scratch) as scratch:
        with console.status(f"{options.marketplaces} marketplaces"):
            found = detect(Path(scratch), marketplaces=options.marketplaces, seed=options.seed)
        show(console, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

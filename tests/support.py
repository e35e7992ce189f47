"""Arranging homes and reading marts: what the tests of the dbt project share."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb

from redline.landing import land
from redline.plan import Plan
from redline.settings import Home, Settings
from redline.transform import run_dbt
from tests import oracle
from tests.histories import (
    DAYS,
    ENTITIES,
    FIRST,
    ONE_DAY,
    RESENT_ON,
    Delivery,
    deliver,
    without_resent,
)


def settings_of(root: Path, timezone: str) -> Settings:
    """Settings of a home at `root`, independent of the environment."""
    root.mkdir(parents=True, exist_ok=True)
    return Settings(Home(root), timezone, ("douyin_laike",), 180, 7, "a key for tests")


def land_dates(
    settings: Settings,
    platform: str,
    source: str,
    start: date,
    end: date,
    *,
    published_through: date | None = None,
    requested_start: date | None = None,
) -> None:
    """Land the open dates `start` to `end`, and with `requested_start` closed ones again."""
    plan = Plan(
        run_id=f"{platform}-{start}",
        platform=platform,
        source=source,
        requested_start=requested_start or start,
        requested_end=end,
        published_through=published_through,
        base_run=f"{platform}-base" if published_through else None,
        start=start,
        end=end,
    )
    plan.save(settings.home)
    for entity in ENTITIES:
        land(plan, settings, entity)


def land_delivery(settings: Settings, delivery: Delivery, folder: Path) -> None:
    """Bring a delivery through the real door, closed dates being sent again on RESENT_ON.

    Land the dates before it; then the rest, and the closed dates once more.
    """
    platform, eve = delivery.history.platform, RESENT_ON - ONE_DAY
    source = f"files://{folder}?platform={platform}&settle=0"
    deliver(without_resent(delivery), folder, DAYS)
    land_dates(settings, platform, source, FIRST, eve)
    deliver(delivery, folder, DAYS)
    land_dates(
        settings,
        platform,
        source,
        RESENT_ON,
        DAYS[-1],
        published_through=eve,
        requested_start=FIRST,
    )


@dataclass(frozen=True)
class Warehouse:
    """A home's warehouse, brought on in chunks of report dates."""

    settings: Settings
    platforms: tuple[str, ...]

    def seed(self, more: Mapping[str, Iterable[Mapping[str, Any]]] = MappingProxyType({})) -> None:
        """Build the seeds and add rows of the tests' own to them, by the seed's name."""
        first = date(2000, 1, 1)
        run_dbt(self.settings, first, first, self.platforms, resources=("seed",))
        with closing(duckdb.connect(str(self.settings.home.warehouse))) as connection:
            for seed, rows in more.items():
                for row in rows:
                    columns = ", ".join(f"${name} as {name}" for name in row)
                    connection.execute(
                        f"insert into seeds.{seed} by name select {columns}", dict(row)
                    )

    def copied_to(self, root: Path) -> Warehouse:
        """A copy of this warehouse in a home of its own, over the same landing zone."""
        other = settings_of(root, self.settings.timezone)
        other.home.landing.symlink_to(self.settings.home.landing)
        shutil.copy(self.settings.home.warehouse, other.home.warehouse)
        return replace(self, settings=other)

    def run(self, start: date, end: date, *, on_top: bool) -> None:
        """Bring the models on from `start` to `end`."""
        run_dbt(self.settings, start, end, self.platforms, on_top=on_top, resources=("model",))

    def run_in_chunks(self, days: Sequence[date], sizes: Iterable[int]) -> None:
        """Bring the models on over `days`, some at a time."""
        begin = 0
        for size in sizes:
            chunk = days[begin : begin + size]
            if chunk:
                self.run(chunk[0], chunk[-1], on_top=begin > 0)
            begin += size

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query over the warehouse."""
        with closing(
            duckdb.connect(str(self.settings.home.warehouse), read_only=True)
        ) as connection:
            return connection.execute(sql, list(parameters)).fetchall()

    def ledgers(self) -> dict[str, Counter[tuple[date, *oracle.Contribution]]]:
        """By platform, the entries of the ledger and their quantities.

        Raises:
            AssertionError: an entry stands twice, or stands for nothing.
        """
        ledgers: dict[str, Counter[tuple[date, *oracle.Contribution]]] = {
            platform: Counter() for platform in self.platforms
        }
        for *entry, quantity in self.rows(
            "select report_date, cohort_date, platform, merchant_id, product_id, component, "
            "lag_days, quantity from marts.fct_cohort_ledger"
        ):
            key = tuple(entry)
            assert key not in ledgers[key[2]], f"the entry {key} stands twice"
            assert quantity != 0, f"the entry {key} stands for nothing"
            ledgers[key[2]][key] = quantity
        return ledgers

    def rates(self, mart: str, entity_columns: str) -> dict[str, dict[tuple[Any, str, date], Rate]]:
        """By platform, the rows of a mart of daily rates under (entity, metric, cohort date)."""
        found: dict[str, dict[tuple[Any, str, date], Rate]] = {p: {} for p in self.platforms}
        for platform, entity, metric, cohort_date, *row in self.rows(
            f"select platform, {entity_columns}, metric, cohort_date, numerator, denominator, "
            f"adjusted_numerator, is_mature, rate, adjusted_rate from marts.{mart}"
        ):
            key = (entity, metric, cohort_date)
            assert key not in found[platform], f"{mart} has two rows of {platform}, {key}"
            found[platform][key] = tuple(row)
        return found


Rate = tuple[int, int, int, bool, float | None, float | None]


def expected_rates(
    rates: dict[tuple[Any, str, date], oracle.Rate],
) -> dict[tuple[Any, str, date], Rate]:
    """The oracle's rates as the marts write them."""
    return {key: (*rate, rate.rate, rate.adjusted_rate) for key, rate in rates.items()}


def differences(actual: dict[Any, Any], expected: dict[Any, Any], mark: str = "") -> str:
    """What differs between two tables of rows by key, for a person to read.

    Only keys that hold `mark` are compared.
    """
    keys = [
        key
        for key in actual.keys() | expected.keys()
        if actual.get(key) != expected.get(key) and mark in str(key)
    ]
    lines = [
        f"  {key}: is {actual.get(key)}, should be {expected.get(key)}"
        for key in sorted(keys, key=str)[:20]
    ]
    return "\n".join([*lines, f"  ({len(keys)} differences)"] if keys else [])


def running_sums(
    entries: Counter[tuple[date, *oracle.Contribution]], evening: date
) -> Counter[oracle.Contribution]:
    """The ledger summed up to an evening, without what has cancelled out."""
    sums: Counter[oracle.Contribution] = Counter()
    for (report_date, *contribution), quantity in entries.items():
        if report_date <= evening:
            sums[tuple(contribution)] += quantity  # type: ignore[index]
    return Counter({key: quantity for key, quantity in sums.items() if quantity})

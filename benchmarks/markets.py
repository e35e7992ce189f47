"""Many simulated marketplaces as the platforms of one warehouse: dbt starts once for all of them.

A source is landed platform by platform, entity by entity, with a file for every date, which takes
seconds a marketplace. Here the rows of the same simulator are written for many platforms at once,
every file holding all of them. They do not pass the door: its faults are left out by the same
contract, and so is whatever is personal or free text, which no measurement reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from redline.contract import ENTITIES, SQL_TYPES, Column, Entity
from redline.landing.engine import literal
from redline.settings import Home, Settings
from redline.sources.simulator import Options, Simulator
from redline.transform import run_dbt

TIMEZONE = "Asia/Shanghai"
FIRST_DATE = date(2026, 1, 1)
PACK = "douyin_laike"
_READ = [entity for entity in ENTITIES if entity.name != "buyers"]  # which no model reads
_OF_PRODUCTS = ("products", "order_items")
_GROUP = 20  # marketplaces whose rows are in memory at a time, for each processor


@dataclass(frozen=True)
class Market:
    """A simulated marketplace.

    Attributes:
        platform: the name under which its records are kept.
        options: what it is made from.
    """

    platform: str
    options: Options


def settings_of(root: Path) -> Settings:
    """Settings of a scratch home, independent of the environment."""
    root.mkdir(parents=True, exist_ok=True)
    return Settings(Home(root), TIMEZONE, (PACK,), 180, 1, "none is written")


def build(
    settings: Settings,
    markets: Sequence[Market],
    policies: Iterable[Mapping[str, Any]] | None = None,
    *,
    with_products: bool = True,
) -> None:
    """Land the marketplaces and bring a new warehouse to their last date, in one pass.

    Args:
        settings: of a home without a landing zone.
        markets: all of the same dates.
        policies: rows of a policy pack in place of the default one's, by column.
        with_products: False leaves out what only the rates of products ask for.
    """
    land(settings.home, markets, with_products=with_products)
    (end,) = {market.options.end for market in markets}
    platforms = [market.platform for market in markets]
    resources: tuple[str, ...] = ("seed", "model")
    if policies is not None:
        run_dbt(settings, FIRST_DATE, end, platforms, on_top=False, resources=("seed",))
        _replace_pack(settings.home.warehouse, policies)
        resources = ("model",)
    run_dbt(settings, FIRST_DATE, end, platforms, on_top=False, resources=resources)


def land(home: Home, markets: Sequence[Market], *, with_products: bool = True) -> None:
    """Write the landing zone of all marketplaces, in files that hold many of them."""
    landed = [e for e in _READ if with_products or e.name not in _OF_PRODUCTS]
    for entity in _READ:
        # A file without rows, so that there is one to find.
        _write_nothing(home.landing / "simulated" / entity.name, entity)
    groups = [markets[begin : begin + _GROUP] for begin in range(0, len(markets), _GROUP)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda group: _land_group(home.landing, landed, *group), enumerate(groups)))


def _write_nothing(folder: Path, entity: Entity) -> None:
    partition = folder / f"report_date={FIRST_DATE}"
    partition.mkdir(parents=True)
    with closing(duckdb.connect()) as connection:
        _make_table(connection, entity)
        connection.execute(
            f"copy (select * exclude (report_date) from {entity.name})"
            f" to '{partition}/source_date=none.parquet' (format parquet)"
        )


def _land_group(
    landing: Path, entities: Sequence[Entity], number: int, markets: Sequence[Market]
) -> None:
    with closing(duckdb.connect()) as connection:
        connection.execute("set threads = 1")  # groups are made side by side
        for entity in entities:
            _make_table(connection, entity)
        for market in markets:
            source = Simulator(market.platform, market.options, TIMEZONE, threads=1)
            for entity in entities:
                _take_in(connection, source, entity)
        for entity in entities:
            connection.execute(
                f"copy {entity.name} to '{landing / 'simulated' / entity.name}'"
                " (format parquet, partition_by (report_date),"
                f" filename_pattern 'source_date=group_{number}_{{i}}', overwrite_or_ignore)"
            )


def _make_table(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    columns = ", ".join(f"{column.name} {SQL_TYPES[column.type]}" for column in entity.columns)
    connection.execute(
        f"create table {entity.name} (platform varchar, {columns}, source_date date,"
        " source_file varchar, report_date date)"
    )


def _take_in(connection: duckdb.DuckDBPyConnection, source: Simulator, entity: Entity) -> None:
    batches = list(source.read(entity, *source.span()))
    if not batches:
        return
    connection.register("delivered", pa.Table.from_batches(batches))
    columns = ", ".join("null" if _is_hidden(column) else column.name for column in entity.columns)
    connection.execute(
        f"insert into {entity.name} select {literal(source.platform)}, {columns}, report_date,"
        f" source_file, report_date from delivered where {_soundness(entity)}"
    )
    connection.unregister("delivered")


def _is_hidden(column: Column) -> bool:
    return column.personal or column.free_text


def _soundness(entity: Entity) -> str:
    """The condition, as SQL, of a row without a fault."""
    tests = ["true"]
    for column in entity.columns:
        if _is_hidden(column):
            continue
        if column.required:
            tests.append(f"{column.name} is not null")
        if column.codes:
            codes = ", ".join(map(literal, column.codes))
            tests.append(f"coalesce({column.name} in ({codes}), true)")
        if column.at_least is not None:
            tests.append(f"coalesce({column.name} >= {column.at_least}, true)")
        if column.at_most is not None:
            tests.append(f"coalesce({column.name} <= {column.at_most}, true)")
    return " and ".join(tests)


def _replace_pack(warehouse: Path, policies: Iterable[Mapping[str, Any]]) -> None:
    with closing(duckdb.connect(str(warehouse))) as connection:
        connection.execute(f"delete from seeds.pack_{PACK}")
        for policy in policies:
            columns = ", ".join(f"${name} as {name}" for name in policy)
            connection.execute(
                f"insert into seeds.pack_{PACK} by name select {columns}", dict(policy)
            )

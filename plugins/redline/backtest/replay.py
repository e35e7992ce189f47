"""Replaying a side: the dbt models that depend on policies, over what the evenings knew.

Each side gets a home of its own with a warehouse that holds nothing but the past, and the same
models are run over it as over the real one, in one pass.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from redline import restating
from redline.backtest.question import Question, Side
from redline.errors import BusyError, RedlineError, SettingError, StorageError
from redline.landing.partitions import partition, report_dates
from redline.policies import asks_buyers
from redline.settings import Home, Settings
from redline.transform import read_nodes, run_dbt

# What the comparison reads.
_WANTED = (
    "fct_policy_evaluations",
    "fct_alerts",
    "fct_warning_records",
    "fct_violation_records",
    "dim_merchants",
    "dim_products",
)
_POLICIES = "dim_policies"

# Of a model that reads policies to save work: what it holds is the same without them.
_SAME = "same_under_any_policies"

_LANDING = "landing"

# The column by which what is kept evening by evening tells its evening.
_EVENING_COLUMNS = ("report_date", "as_of_date", "valid_from")

Nodes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _ScratchHome(Home):
    """A home for one replay; its logs stay where those of the real one are.

    Attributes:
        real: the home that is replayed.
    """

    real: Home

    @property
    def logs(self) -> Path:
        return self.real.logs


@dataclass(frozen=True)
class Replay:
    """Where a side is replayed.

    Attributes:
        side: whose packs.
        settings: those of a run of it.
        project: the dbt project, with its packs among the seeds.
    """

    side: Side
    settings: Settings
    project: Path

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that holds what the side would have said."""
        return self.settings.home.warehouse


@dataclass(frozen=True)
class Chain:
    """What a replay makes, and of what.

    Attributes:
        made: the models that it makes, by name.
        histories: what the warehouse keeps evening by evening, whatever the policies, as
            `schema.table`.
        seeds: the seeds that are read, as `schema.table`.
        landed: the entities whose records are read from the landing zone.
    """

    made: tuple[str, ...]
    histories: tuple[str, ...]
    seeds: tuple[str, ...]
    landed: tuple[str, ...]


def lay_out(folder: Path, side: Side, settings: Settings, project: Path) -> Replay:
    """Make a side's home, and a dbt project of the real one's files and the side's packs."""
    home = _ScratchHome(folder / side.label, settings.home)
    laid = home.root / "project"
    packs = laid / "seeds" / "policies"
    packs.mkdir(parents=True)
    _link(project, laid, but={"seeds", "target", "logs"})
    _link(project / "seeds", laid / "seeds", but={"policies"})
    ours = {f"pack_{name}.csv" for name in side.packs}
    _link(project / "seeds" / "policies", packs, but=ours)
    for name, file in side.packs.items():
        shutil.copyfile(file, packs / f"pack_{name}.csv")
    return Replay(side, replace(settings, home=home, policies=tuple(side.packs)), laid)


def _link(folder: Path, into: Path, but: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name not in but:
            (into / path.name).symlink_to(path)


def find_chain(replays: Sequence[Replay]) -> Chain:
    """What has to be made for the comparison, as the project's graph has it.

    The way up from what is wanted ends at seeds, at the landing zone and at histories: what the
    warehouse keeps evening by evening, the same under any policies. All between is made anew.

    Raises:
        RedlineError: dbt cannot parse the project.
    """
    # Where a pack asks for buyers, models read more than they do otherwise.
    most = max(replays, key=lambda each: asks_buyers(each.side.packs, each.project / "seeds"))
    nodes = read_nodes(most.settings, most.project)
    names = {node["name"]: unique_id for unique_id, node in nodes.items()}
    depends: dict[str, bool] = {}
    made: dict[str, None] = {}
    histories: dict[str, None] = {}
    seeds: dict[str, None] = {}
    landed: dict[str, None] = {}

    def depends_on_policies(unique_id: str) -> bool:
        if unique_id not in depends:
            node = nodes[unique_id]
            depends[unique_id] = node["name"] == _POLICIES or (
                _SAME not in node["tags"] and any(map(depends_on_policies, _parents(nodes, node)))
            )
        return depends[unique_id]

    def visit(unique_id: str) -> None:
        node = nodes[unique_id]
        table = f"{node['schema']}.{node['alias']}"
        if node["resource_type"] == "seed":
            seeds[table] = None
        elif node["config"]["materialized"] == "incremental" and not depends_on_policies(unique_id):
            histories[table] = None
        elif node["name"] not in made:
            made[node["name"]] = None
            if node["name"] == _POLICIES:
                return  # a side's packs are seeds of its own
            for parent in node["depends_on"]["nodes"]:
                if parent.startswith("source."):
                    landed[parent.rpartition(".")[2]] = None
                else:
                    visit(parent)

    for name in _WANTED:
        visit(names[name])
    return Chain(tuple(made), tuple(histories), tuple(seeds), tuple(landed))


def _parents(nodes: Nodes, node: Mapping[str, Any]) -> list[str]:
    return [name for name in node["depends_on"].get("nodes", ()) if name in nodes]


def copy_past(question: Question, chain: Chain, settings: Settings, folder: Path) -> Path:
    """Copy what the last evening knew into a DuckDB file below `folder`; returns it.

    The landing zone's partitions come to lie beside it.

    To be called while the home is held: DuckDB lets nobody read a file while a run writes it.

    Raises:
        SettingError: a restatement of a platform is unfinished, or a metric not yet counted.
        RedlineError: the warehouse lacks a table, or one cannot be cut off.
        BusyError: another process holds the warehouse.
        StorageError: the disk failed.
    """
    for platform in question.platforms:
        restating.check(settings.home, platform, None)
    _link_landing(question, chain, settings.home.landing, folder / _LANDING)
    past, warehouse = folder / "past.duckdb", settings.home.warehouse
    try:
        with duckdb.connect(str(past)) as connection:
            connection.execute("set preserve_insertion_order = false")
            connection.execute(f"attach '{_quoted(warehouse)}' as warehouse (read_only)")
            for table in (*chain.seeds, *chain.histories):
                connection.execute(f"create schema if not exists {table.partition('.')[0]}")
                connection.execute(
                    f"create table {table} as select * from warehouse.{table}"
                    + (_cut_off(connection, table) if table in chain.histories else ""),
                    {"end": question.end, "platforms": list(question.platforms)}
                    if table in chain.histories
                    else {},
                )
            known = connection.execute("select metric from seeds.metrics").fetchall()
            _refuse_unknown_metrics(question, {metric for (metric,) in known})
    except duckdb.CatalogException as error:
        raise RedlineError(
            f"the warehouse was made by another version: {_first_line(error)}",
            str(warehouse),
            "use `make run`, then try again",
        ) from error
    except duckdb.IOException as error:
        if "Could not set lock" in str(error):
            raise BusyError(
                "another process holds the warehouse", str(warehouse), "wait for it to end"
            ) from error
        raise StorageError(
            f"the past cannot be copied: {_first_line(error)}",
            str(folder),
            "make room on the disk, then try again; nothing was changed",
        ) from error
    return past


def _refuse_unknown_metrics(question: Question, known: Collection[str]) -> None:
    """A metric that is new among the seeds is counted from the next run on, for all dates."""
    for side in question.sides:
        for file in side.packs.values():
            with file.open(encoding="utf-8-sig", newline="") as opened:
                for row in csv.DictReader(opened):
                    if row["metric"] not in known:
                        raise SettingError(
                            f"the warehouse does not know the metric {row['metric']} yet",
                            str(file),
                            "use `make run`, then try again",
                        )


def _link_landing(question: Question, chain: Chain, landing: Path, into: Path) -> None:
    """Link the files of every date up to the last evening.

    Files of closed dates are only ever replaced in whole, so a link keeps what is read even if a
    restatement begins meanwhile.
    """
    for platform in question.platforms:
        for entity in chain.landed:
            folder = landing / platform / entity
            for day in report_dates(folder):
                if day <= question.end:
                    linked = partition(into / platform / entity, day)
                    linked.mkdir(parents=True)
                    for file in partition(folder, day).glob("*.parquet"):
                        (linked / file.name).hardlink_to(file)


def _cut_off(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """The condition that a history's rows were known on the last evening."""
    names = [row[0] for row in connection.execute(f"describe warehouse.{table}").fetchall()]
    column = next((name for name in _EVENING_COLUMNS if name in names), None)
    if column is None or "platform" not in names:
        raise RedlineError(
            "it does not tell from which evening on a row was known, and on which platform",
            f"table {table}",
            f"give it one of the columns {', '.join(_EVENING_COLUMNS)}, and platform",
        )
    return f" where {column} <= $end and platform in (select unnest($platforms::varchar[]))"


def run(replay: Replay, question: Question, chain: Chain, past: Path) -> None:
    """Run a side's models over a copy of the past, in one pass.

    Raises:
        RedlineError: a model failed; names it and the log that tells more.
    """
    shutil.copyfile(past, replay.warehouse)
    replay.settings.home.landing.symlink_to(past.with_name(_LANDING))
    run_dbt(
        replay.settings,
        question.replayed_from,
        question.end,
        question.platforms,
        on_top=False,
        select=[*(f"pack_{name}" for name in replay.side.packs), *chain.made],
        project=replay.project,
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""A gate: measure what the suite reads, let Great Expectations judge it, report, stop or pass.

The relations can hold millions of rows. They are measured by aggregates, one pass per table
whatever the number of checks and dates, into a small facts file; only that file is judged.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from redline.errors import GateError
from redline.plan import Plan
from redline.settings import PROJECT, Settings
from redline.validation.suite import Check, Codes, Rows, Suite, Values

if TYPE_CHECKING:
    from redline.validation.engine import Verdict

FACTS = "facts"

_SAMPLES = 3
_QUOTE = '"'
_SHOWN_IN_ERROR = 3


@dataclass(frozen=True)
class Failure:
    """An expectation that did not hold, with all that its message needs."""

    suite: str
    check: Check
    observed: str
    samples: tuple[str, ...]

    def __str__(self) -> str:
        """One line: suite, expectation, table, observed value, limit, sample rows, what to do."""
        samples = f"; for example {' | '.join(self.samples)}" if self.samples else ""
        line = (
            f"{self.suite}.{self.check.name} on {self.check.table}: "
            f"observed {self.observed}, limit {self.check.limit}{samples}; {self.check.todo}"
        )
        return " ".join(line.split())


def load_suite(name: str) -> Suite:
    """Load `SUITE` of `expectations/<name>.py`, which lies beside the package, not on its path."""
    path = PROJECT / "expectations" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"redline_expectations_{name}", path)
    if spec is None or spec.loader is None:
        raise GateError("no such suite", str(path), "restore the file from the project")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite: Suite = module.SUITE
    return suite


def _open_workbench(plan: Plan, settings: Settings, spill: Path) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory with the run's values as variables and a `business_date` macro."""
    con = duckdb.connect()
    con.execute("set temp_directory = $1", [str(spill)])
    con.execute("set preserve_insertion_order = false")
    con.execute("set TimeZone = 'UTC'")
    values = {
        "platform": plan.platform,
        "timezone": settings.timezone,
        "start_date": plan.start,
        "end_date": plan.end,
    }
    for name, value in values.items():
        con.execute(f"set variable {name} = $1", [value])
    con.execute(
        "create macro business_date(t) as "
        "cast((t at time zone 'UTC') at time zone getvariable('timezone') as date)"
    )
    return con


def repeated(table: str, keys: tuple[str, ...]) -> str:
    """SQL for the rows of a table whose keys occur more than once: the keys and `copies`.

    The first pass counts 64-bit hashes, a fraction of the memory of the keys; only keys whose
    hash occurs twice are then counted exactly, so the answer is exact.
    """
    listed = ", ".join(keys)
    return f"""
        select {listed}, count(*) as copies
        from {table}
        where hash({listed}) in (
            select hash({listed}) as hashed from {table} group by hashed having count(*) > 1
        )
        group by all
        having count(*) > 1
    """


def run_stage(
    name: str,
    make_relations: Callable[[duckdb.DuckDBPyConnection, Plan, Settings], dict[str, Any]],
    plan: Plan,
    settings: Settings,
) -> dict[str, Any]:
    """Make a gate's relations, judge its suite over them, and leave the result in the run's folder.

    `name` is that of the suite in `expectations/`; what `make_relations` returns is added to the
    result.

    Raises:
        GateError: the gate did not pass.
    """
    result: dict[str, Any] = {
        "gate": name,
        "passed": True,
        "expectations": 0,
        "warnings": [],
        "failures": [],
        "data_docs": None,
    }
    if plan.has_open_dates:
        suite = load_suite(name)
        spill = plan.folder(settings.home) / f"{name}.spill"
        con = _open_workbench(plan, settings, spill)
        try:
            made = make_relations(con, plan, settings)
            result = {**result, **judge_suite(con, suite, plan, settings), **made}
        finally:
            con.close()
            shutil.rmtree(spill, ignore_errors=True)
    _save(result, plan.folder(settings.home) / f"validate_{name}.json")
    if not result["passed"]:
        raise _stop(result, plan)
    return result


def judge_suite(
    con: duckdb.DuckDBPyConnection, suite: Suite, plan: Plan, settings: Settings
) -> dict[str, Any]:
    """Judge a suite over the relations of a connection and write its Data Docs.

    Returns:
        `passed`, `expectations` (how many), `failures` and `warnings` (messages), `data_docs`.
    """
    from redline.validation import (
        engine,
    )  # takes seconds, so only when a gate really runs

    folder = plan.folder(settings.home)
    folder.mkdir(parents=True, exist_ok=True)
    facts = folder / f"{suite.name}_facts.duckdb"
    docs = settings.home.data_docs / suite.name / plan.platform
    docs.parent.mkdir(parents=True, exist_ok=True)
    try:
        _measure(con, suite, facts)
        verdicts = engine.judge(suite, facts, FACTS, docs)
    finally:
        facts.unlink(missing_ok=True)
    failed = [_failure(con, suite, verdict) for verdict in verdicts if not verdict.passed]
    stops = [str(failure) for failure in failed if failure.check.severity == "stop"]
    return {
        "passed": not stops,
        "expectations": len(suite.checks),
        "failures": stops,
        "warnings": [str(failure) for failure in failed if failure.check.severity == "warn"],
        "data_docs": str(docs / "index.html"),
    }


def _save(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_text(json.dumps(result, indent=2, ensure_ascii=False))
    aside.replace(path)


def _stop(result: dict[str, Any], plan: Plan) -> GateError:
    failures: list[str] = result["failures"]
    more = len(failures) - _SHOWN_IN_ERROR
    return GateError(
        f"the {result['gate']} gate stopped {plan.platform}: "
        + " || ".join(failures[:_SHOWN_IN_ERROR])
        + (f" || and {more} more" if more > 0 else ""),
        f"report dates {plan.start} to {plan.end}",
        f"mend the data and run again; all expectations: {result['data_docs']}",
    )


def create(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Keep an Arrow table as a relation of the workbench."""
    con.register("given", table)
    con.execute(f"create table {name} as select * from given")
    con.unregister("given")


def _measure(con: duckdb.DuckDBPyConnection, suite: Suite, facts: Path) -> None:
    """Write the facts file: one table, one column per check.

    Its rows are of three kinds, told apart by `of`: per table and date how many rows each check
    finds wrong, per judged row its value, per known or unknown code its name. What a row says
    nothing about is null, and null is not judged.
    """
    facts.unlink(missing_ok=True)
    con.execute(f"attach {literal(str(facts))} as facts_file")
    try:
        for number, query in enumerate(_fact_queries(suite)):
            con.execute(f"create temp table measured_{number} as {query}")
        parts = " union all by name ".join(
            f"select * from measured_{part}" for part in range(number + 1)
        )
        con.execute(f"create table facts_file.{FACTS} as {parts}")
    finally:
        con.execute("detach facts_file")


def _fact_queries(suite: Suite) -> Iterator[str]:
    for table in suite.tables:
        counted = [check for check in suite.of(table) if isinstance(check, Rows)]
        if counted:
            yield _profile(table, counted)
        for check in suite.of(table):
            if isinstance(check, Values):
                yield (
                    f'select \'{table}\' as "of", {check.column} as "{check.fact}"'
                    f" from {table} where {check.judged}"
                )
            elif isinstance(check, Codes):
                yield (
                    f"select distinct '{table}' as \"of\","
                    f" coalesce(cast({check.column} as varchar), 'null') as \"{check.fact}\""
                    f" from {table}"
                )


def _profile(table: str, checks: list[Rows]) -> str:
    """One pass: per date, how many rows there are and how many each check finds wrong."""
    by = checks[0].by
    if any(check.by != by for check in checks):
        raise ValueError(f"the checks on {table} are grouped by different columns")
    day = f"cast({by} as date)" if by else "cast(null as date)"
    counts = ", ".join(
        f'cast(count(*) filter (where {check.wrong}) as bigint) as "{check.fact}"'
        for check in checks
    )
    zeros = ", ".join(f'0 as "{check.fact}"' for check in checks)
    # A row of zeros keeps the sums from being null where the table is empty.
    return f"""
        select '{table}' as "of", {day} as day, count(*) as "rows", {counts} from {table} group by 2
        union all by name
        select '{table}' as "of", cast(null as date) as day, 0 as "rows", {zeros}
    """


def literal(text: str) -> str:
    """A text as a SQL literal, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def _failure(con: duckdb.DuckDBPyConnection, suite: Suite, verdict: Verdict) -> Failure:
    check = verdict.check
    if verdict.error is not None:
        return Failure(suite.name, check, f"no answer ({verdict.error})", ())
    columns = ", ".join(check.keys)
    cursor = con.execute(
        f"select {columns} from {check.table} where {check.failing} order by all limit {_SAMPLES}"
    )
    samples = tuple(
        ", ".join(
            f"{key.strip(_QUOTE)}={value}" for key, value in zip(check.keys, row, strict=True)
        )
        for row in cursor.fetchall()
    )
    return Failure(suite.name, check, verdict.observed, samples)

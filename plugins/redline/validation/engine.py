"""Great Expectations on DuckDB: the engine, the data source, and one call that judges a suite.

Importing this module imports Great Expectations, which takes seconds: import it inside a
function, never where Airflow parses DAGs.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import great_expectations as gx
    import sqlalchemy as sa
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
    from great_expectations.execution_engine.sqlalchemy_execution_engine import (
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.expectations.core.expect_column_distinct_values_to_be_in_set import (
        ExpectColumnDistinctValuesToBeInSet,
    )
    from great_expectations.expectations.core.expect_column_sum_to_be_between import (
        ExpectColumnSumToBeBetween,
    )
    from great_expectations.expectations.core.expect_column_values_to_be_between import (
        ExpectColumnValuesToBeBetween,
    )
    from great_expectations.expectations.expectation import Expectation

from redline.validation.pages import make_self_contained
from redline.validation.suite import Check, Codes, Rows, Suite, Values

_SITE = "gate"
_EngineType = type[SqlAlchemyExecutionEngine]  # DuckDBDatasource has a field named `type`
_QUIET = ("great_expectations", "sqlalchemy", "duckdb_sqlalchemy")


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """Holds one connection: the stock engine fetches after it has closed its own."""

    @contextmanager
    def get_connection(self) -> Iterator[sa.Connection]:
        """Yield the one connection and keep it open."""
        if self._connection is None:
            self._connection = self.engine.connect()
        yield self._connection

    def close(self) -> None:
        """Close the connection, which releases the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.engine.dispose()


class DuckDBDatasource(SQLDatasource):
    """A DuckDB file as a data source of Great Expectations."""

    type: Literal["duckdb"] = "duckdb"  # type: ignore[assignment]  # as GX's own data sources do

    @property
    def execution_engine_type(self) -> _EngineType:
        """The engine that holds its connection."""
        return DuckDBExecutionEngine


@dataclass(frozen=True)
class Verdict:
    """What Great Expectations says of one check.

    Attributes:
        observed: the observed value in words.
        error: why it could not be judged, else None.
    """

    check: Check
    passed: bool
    observed: str
    error: str | None = None


def judge(suite: Suite, facts: Path, table: str, docs: Path) -> list[Verdict]:
    """Judge a suite over a facts file and write its Data Docs.

    Args:
        suite: what is expected.
        facts: a DuckDB file, opened read-only.
        table: its table, with a column for each check, named as its `fact`.
        docs: the folder of the static pages, replaced whole; its front page is `index.html`.
    """
    with _quiet():
        return _judge(suite, facts, table, docs)


def _judge(suite: Suite, facts: Path, table: str, docs: Path) -> list[Verdict]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    aside = docs.with_name(f"{docs.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    _declare_site(context, aside)
    source = context.data_sources.add_or_update_sql(
        datasource=DuckDBDatasource(
            name="redline",
            connection_string=f"duckdb:///{facts}",
            create_temp_table=False,
            kwargs={"connect_args": {"read_only": True}},
        )
    )
    asset = source.add_query_asset(suite.name, f"select * from {table}")
    definition = gx.ValidationDefinition(
        name=suite.name,
        data=asset.add_batch_definition_whole_table("all dates"),
        suite=context.suites.add(
            gx.ExpectationSuite(
                name=suite.name, expectations=[_expectation(check) for check in suite.checks]
            )
        ),
    )
    try:
        outcome = context.validation_definitions.add(definition).run(result_format="SUMMARY")
    finally:
        source.get_execution_engine().close()
        source.get_engine().dispose()
    context.build_data_docs(site_names=[_SITE])
    make_self_contained(aside)
    shutil.rmtree(docs, ignore_errors=True)
    aside.replace(docs)

    by_fact = {check.fact: check for check in suite.checks}
    verdicts: dict[str, Verdict] = {}
    for result in outcome.results:
        fact = result.expectation_config.kwargs["column"]  # type: ignore[union-attr]
        verdicts[fact] = _verdict(by_fact[fact], result)
    return [verdicts[check.fact] for check in suite.checks]


def _declare_site(context: EphemeralDataContext, folder: Path) -> None:
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    context.add_data_docs_site(
        site_name=_SITE,
        site_config={
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,  # type: ignore[typeddict-unknown-key]
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(folder),
            },
        },
    )


def _expectation(check: Check) -> Expectation:
    shared: dict[str, Any] = {
        "severity": "critical" if check.severity == "stop" else "warning",
        "description": f"{check.name}: {check.limit} ({check.severity}, {check.owner})",
        "meta": {
            "owner": check.owner,
            "severity": check.severity,
            "todo": check.todo,
        },
    }
    match check:
        case Rows():
            return ExpectColumnSumToBeBetween(
                column=check.fact, min_value=0, max_value=check.at_most, **shared
            )
        case Values():
            return ExpectColumnValuesToBeBetween(
                column=check.fact,
                min_value=check.at_least,
                max_value=check.at_most,
                **shared,
            )
        case Codes():
            return ExpectColumnDistinctValuesToBeInSet(
                column=check.fact, value_set=list(check.known), **shared
            )
    raise TypeError(f"no expectation for a {type(check).__name__}")


def _verdict(check: Check, result: Any) -> Verdict:
    error = _first_error(result.exception_info)
    found: dict[str, Any] = result.result or {}
    if error is not None:
        return Verdict(check, False, "nothing", error)
    match check:
        case Rows():
            observed = f"{int(found.get('observed_value') or 0)} rows"
        case Values():
            values = [v for v in found.get("partial_unexpected_list", []) if v is not None]
            shown = ", ".join(f"{float(value):.4g}" for value in values[:3])
            observed = f"{found.get('unexpected_count', 0)} outside" + (
                f" ({check.column} {shown})" if shown else ""
            )
        case Codes():
            strange = [v for v in found.get("observed_value") or [] if v not in check.known]
            observed = ", ".join(map(str, strange[:5])) or "known values"
        case _:
            raise TypeError(f"no reading for a {type(check).__name__}")
    return Verdict(check, bool(result.success), observed)


def _first_error(info: Any) -> str | None:
    """The message of the first exception; the report is flat or keyed by metric."""
    if not info:
        return None
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    messages = [str(i["exception_message"]) for i in info.values() if i.get("raised_exception")]
    return messages[0].splitlines()[0] if messages else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own logging and warnings out of the task's log."""
    levels = {name: logging.getLogger(name).level for name in _QUIET}
    try:
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

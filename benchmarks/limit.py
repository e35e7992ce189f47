"""The limit of the transform: `limit.sql` on bare DuckDB, and whether the product agrees."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.make_data import PLATFORM, SEEDS, sections
from redline.settings import Home

SCRIPT = Path(__file__).with_name("limit.sql")

# Both sides in one sum: what remains is in one of them only, or in both with other numbers.
DIFFERENCE = """
select count(*) from (
    select {keys}
    from (
        select {keys}, {values}, 1 as side from ({product})
        union all
        select {keys}, {values}, -1 as side from ({limit})
    )
    group by {keys}
    having {sums}
)
"""

LEDGER = DIFFERENCE.format(
    keys="report_date, cohort_date, platform, merchant_id, product_id, component, lag_days",
    values="quantity",
    product="from product.marts.fct_cohort_ledger",
    limit="from limits.ledger",
    sums="sum(side) <> 0 or sum(side * quantity) <> 0 or count(*) <> 2",
)

# The rates marts by the script's tables, and what names an entity in them.
_RATES = {
    "rates": ("fct_merchant_daily_rates", "merchant_id"),
    "product_rates": ("fct_product_daily_rates", "merchant_id, product_id"),
    "category_rates": ("fct_category_daily_rates", "category_id"),
}

DIFFERENCES = {"ledger": LEDGER} | {
    table: DIFFERENCE.format(
        keys=f"platform, {entity}, metric, cohort_date",
        values="numerator, denominator, adjusted_numerator",
        product=f"from product.marts.{mart}",
        limit=f"from limits.{table}",
        sums=(
            "sum(side) <> 0 or sum(side * numerator) <> 0 or sum(side * denominator) <> 0"
            " or sum(side * adjusted_numerator) <> 0 or count(*) <> 2"
        ),
    )
    for table, (mart, entity) in _RATES.items()
}


def database(home: Home) -> Path:
    """Where the script's tables are written."""
    return home.root / "limit.duckdb"


def run(home: Home, last_date: date) -> dict[str, Any]:
    """Run the script over the home's landing zone, into a new database.

    Returns:
        Seconds per section of the script, and rows of the tables it made.
    """
    for suffix in ("", ".wal"):
        Path(f"{database(home)}{suffix}").unlink(missing_ok=True)
    seconds: dict[str, float] = {}
    with duckdb.connect(database(home)) as connection:
        connection.execute("set preserve_insertion_order = false")
        for name, value in {
            "landing": str(home.landing / PLATFORM),
            "platform": PLATFORM,
            "last_date": last_date,
            "reason_codes": str(SEEDS / "reason_codes.csv"),
        }.items():
            # A variable cannot be set from a parameter directly, only through a query.
            connection.execute(f"set variable {name} = (select $1)", [value])
        for name, statements in sections(SCRIPT).items():
            began = time.perf_counter()
            connection.execute(statements)
            seconds[name] = round(time.perf_counter() - began, 2)
        connection.execute("checkpoint")
        rows = {name: _count(connection, name) for name in DIFFERENCES}
    return {"seconds": seconds, "rows": rows}


def compare(home: Home) -> dict[str, Any]:
    """Hold the product's ledger and rates against the script's.

    Returns:
        `ledger` and `rates`: how many keys differ; `ledger_rows` and `rates_rows`: of the product.
    """
    with duckdb.connect() as connection:
        connection.execute("set preserve_insertion_order = false")
        connection.execute(f"attach '{home.warehouse}' as product (read_only)")
        connection.execute(f"attach '{database(home)}' as limits (read_only)")
        differing = {
            name: int(connection.execute(query).fetchall()[0][0])
            for name, query in DIFFERENCES.items()
        }
        rates = [_count(connection, f"product.marts.{mart}") for mart, _ in _RATES.values()]
        return {
            "ledger": differing.pop("ledger"),
            "rates": sum(differing.values()),
            "ledger_rows": _count(connection, "product.marts.fct_cohort_ledger"),
            "rates_rows": sum(rates),
        }


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])

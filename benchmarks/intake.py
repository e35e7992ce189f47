"""Intake: rows a second from files and from PostgreSQL, beside DuckDB's bare COPY of the same data.

The product's side is `redline.landing.land` of the orders, through the source's own module: casts,
faults, pseudonyms, duplicates, sorted Parquet with manifests. The other side is one
`COPY (FROM read_...) TO ... (FORMAT parquet, COMPRESSION zstd)` per file, with the types found by
DuckDB and nothing checked. Between them stands the same COPY with the one thing that intake may not
leave out, HMAC-SHA-256 of every buyer: four blocks of SHA-256 a row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import duckdb
from rich.console import Console
from rich.table import Table

from redline.extensions import load_extension
from redline.landing.pseudonyms import pseudonym_sql, read_key
from redline.plan import Plan
from redline.settings import Home, Settings
from tests.servers.databases import Server, postgres

FIRST_DATE = date(2026, 1, 1)
DATES = 10
FORMATS = ("parquet", "csv")
MOST_FROM_POSTGRES = 1_000_000
TIMEZONE = "Asia/Shanghai"
KEY = "benchmark"

Measure = Callable[..., Any]

_ORDERS = """
    select
        'O' || lpad((i)::varchar, 10, '0') as order_id,
        'M' || lpad((hash(i) % 50000)::varchar, 5, '0') as merchant_id,
        'buyer-' || (hash(i, 1) % 3000000)::varchar as buyer_id,
        ((hash(i, 2) % 50000) / 100)::decimal(18, 2) as amount,
        'CNY' as currency,
        $day::timestamp + to_seconds((i * 7 % 57600)) as paid_at,
        $day::timestamp + to_seconds((i * 7 % 57600)) + interval 2 day as ship_by_at,
        null::timestamp as shipped_at,
        null::timestamp as fulfilled_at,
        case when hash(i, 3) % 50 = 0 then $day::timestamp + interval 15 hour end as cancelled_at,
        case when hash(i, 3) % 50 = 0 then 'changed my mind' end as cancel_reason,
        case when hash(i, 3) % 50 = 0 then 'buyer' end as cancelled_by,
        'active' as status,
        $day::timestamp + to_seconds((i * 7 % 57600)) as updated_at
    from range($first, $last) as numbers(i)
"""


def make_files(folder: str, rows: str) -> dict[str, Any]:
    """Write the orders of DATES dates, once for each format."""
    folders = {form: Path(folder) / form / "orders" for form in FORMATS}
    for each in folders.values():
        each.mkdir(parents=True)
    per_date = int(rows) // DATES
    with duckdb.connect() as con:
        for number, day in enumerate(dates()):
            values = {"day": day, "first": number * per_date, "last": (number + 1) * per_date}
            con.execute(f"create or replace table orders as {_ORDERS}", values)
            for form, each in folders.items():
                con.execute(f"copy orders to '{each / f'{day}.{form}'}' (format {form})")
    return {"rows": per_date * DATES}


def land(source: str, home: str) -> dict[str, Any]:
    """Land the orders of a source, as a run of the DAG does."""
    from redline.landing import land

    first, last = dates()[0], dates()[-1]
    plan = Plan("bench", "bench", source, first, last, None, None, first, last)
    settings = Settings(Home(Path(home)), TIMEZONE, (), 180, 7, KEY)
    return land(plan, settings, "orders")


def copy(folder: str, form: str, target: str, pseudonyms: str = "") -> dict[str, Any]:
    """Copy the files of a format with DuckDB alone; with `pseudonyms`, hide the buyers too."""
    Path(target).mkdir(parents=True)
    replaced, values = "", {}
    if pseudonyms:
        key = read_key(Settings(Home(Path(target)), TIMEZONE, (), 180, 7, KEY))
        replaced = f"replace ({pseudonym_sql('buyer_id::varchar')} as buyer_id)"
        values = {"inner": key.inner, "outer": key.outer}
    rows = 0
    with duckdb.connect() as con:
        for path in sorted((Path(folder) / form / "orders").iterdir()):
            out = Path(target) / f"{path.stem}.parquet"
            rows += con.execute(
                f"copy (select * {replaced} from read_{form}('{path}')) to '{out}'"
                " (format parquet, compression zstd)",
                values or None,
            ).fetchall()[0][0]
    return {"rows": rows}


def copy_postgres(address: str, target: str) -> dict[str, Any]:
    """Copy the orders of a PostgreSQL with DuckDB alone."""
    parts = urlsplit(address)
    login = _login(parts.hostname, parts.port, parts.username, unquote(parts.password or ""))
    Path(target).mkdir(parents=True)
    with duckdb.connect() as con:
        load_extension(con, "postgres_scanner")
        con.execute(f"attach '{login}' as market (type postgres, read_only)")
        rows = con.execute(
            f"copy market.public.orders to '{target}/orders.parquet'"
            " (format parquet, compression zstd)"
        ).fetchall()[0][0]
    return {"rows": rows}


# What `benchmarks.stage` performs, each in a process of its own; arguments are text.
STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "intake_files": make_files,
    "intake_land": land,
    "intake_copy": copy,
    "intake_copy_postgres": copy_postgres,
}


def measure_all(measure: Measure, folder: Path, rows: int) -> dict[str, Any]:
    """Measure both formats.

    Args:
        measure: performs a stage in a process of its own.
        folder: where to make the files.
        rows: of orders in each format.
    """
    market = folder / "market"
    measure("intake_files", market, rows)
    results: dict[str, Any] = {"rows": rows}
    for form in FORMATS:
        results[form] = {
            "copy": measure("intake_copy", market, form, folder / f"copy-{form}"),
            "pseudonyms": measure("intake_copy", market, form, folder / f"hidden-{form}", "yes"),
            "land": measure("intake_land", f"files://{market / form}", folder / f"home-{form}"),
        }
        landed = results[form]["land"].returned["rows_landed"]
        assert landed == results[form]["copy"].returned["rows"], f"{landed:,} rows landed"
    with postgres() as server:
        address = _fill(server, market, min(rows, MOST_FROM_POSTGRES))
        results["postgres"] = {
            "copy": measure("intake_copy_postgres", address, folder / "copy-postgres"),
            "land": measure("intake_land", address, folder / "home-postgres"),
        }
        landed = results["postgres"]["land"].returned["rows_landed"]
        assert landed == results["postgres"]["copy"].returned["rows"], f"{landed:,} rows landed"
    return results


def _fill(server: Server, market: Path, rows: int) -> str:
    """Put orders of the files into a database; its address. Its password is for this run only."""
    with duckdb.connect() as con:
        load_extension(con, "postgres_scanner")
        login = _login("127.0.0.1", server.port, server.user, server.password)
        con.execute(f"attach '{login}' as market (type postgres)")
        con.execute(
            "create table market.public.orders as "
            f"from read_parquet('{market}/parquet/orders/*.parquet') limit {rows}"
        )
        con.execute("call postgres_execute('market', 'create index on orders (updated_at)')")
    login = f"{server.user}:{quote(server.password)}@127.0.0.1:{server.port}"
    return f"postgres://{login}/postgres?platform=bench"


def _login(host: str | None, port: int | None, user: str | None, password: str) -> str:
    return f"host={host} port={port} user={user} password=''{password}'' dbname=postgres"


TITLES = {"copy": "DuckDB's COPY", "pseudonyms": "COPY with pseudonyms", "land": "intake"}


def show(console: Console, results: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        "source", "by", "rows a second", "seconds", "CPU seconds", "peak memory", "x COPY"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for source, measured in results.items():
        if source == "rows":
            continue
        for number, (name, one) in enumerate(measured.items()):
            rows = one.returned.get("rows_landed") or one.returned["rows"]
            table.add_row(
                "" if number else source,
                TITLES[name],
                f"{rows / one.seconds:,.0f}",
                f"{one.seconds:.1f}",
                f"{one.cpu_seconds:.1f}",
                f"{one.peak_bytes / 1e9:.2f} GB",
                f"{one.seconds / measured['copy'].seconds:.2f}",
            )
        table.add_section()
    console.print(f"\nIntake of {results['rows']:,} rows of orders (PostgreSQL: at most 1,000,000)")
    console.print(table)


def dates() -> list[date]:
    """The business dates of the data."""
    return [FIRST_DATE + timedelta(days=number) for number in range(DATES)]

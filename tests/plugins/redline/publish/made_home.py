"""A home with a small hand-made warehouse, as a transform would leave it."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from redline.plan import Plan, days
from redline.publish import publish, published_state
from redline.settings import Home, Settings

FIRST = date(2026, 3, 1)

_CHANGES = {"open", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.rename", "os.remove"}
_MARTS = """
create table marts.dim_merchants (platform varchar, merchant_id varchar, merchant_name varchar,
    category_id varchar, legal_entity_id varchar, opened_at timestamp, is_certified boolean,
    status varchar, valid_from date);
create table marts.dim_products (platform varchar, product_id varchar, merchant_id varchar,
    category_id varchar, title varchar, list_price decimal(18, 2), currency varchar,
    is_certified boolean, status varchar, valid_from date);
create table marts.dim_categories (category_id varchar, category_name varchar);
create table marts.dim_policies (policy_id varchar, platform varchar, metric varchar,
    comparator varchar, violation_threshold double, evaluation_days integer);
create table marts.fct_merchant_daily_rates (platform varchar, merchant_id varchar,
    metric varchar, cohort_date date, numerator bigint, denominator bigint, rate double,
    as_of_date date);
create table marts.fct_cohort_ledger (report_date date, cohort_date date, platform varchar,
    merchant_id varchar, product_id varchar, component varchar, lag_days integer, quantity bigint);
create table marts.fct_policy_evaluations (as_of_date date, policy_id varchar, platform varchar,
    entity_type varchar, entity_id varchar, metric varchar, value double, projected_value double,
    violation_threshold double, status varchar, is_confirmed boolean, projected_lower_80 double,
    projected_upper_80 double, risk_point varchar, numerator bigint, denominator bigint);
create table marts.fct_warning_records (record_id varchar, platform varchar, opened_on date,
    closed_on date);
create table marts.fct_violation_records (record_id varchar, platform varchar, opened_on date,
    closed_on date);
create table marts.fct_alerts (alert_id varchar, as_of_date date, platform varchar,
    record_id varchar, record_type varchar, transition varchar, policy_id varchar,
    entity_type varchar, entity_id varchar, metric varchar, risk_point varchar,
    numerator bigint, denominator bigint, value decimal(9, 4), threshold decimal(9, 4),
    measure varchar);
create table marts.fct_alert_reasons (alert_id varchar, as_of_date date, platform varchar,
    kind varchar, key varchar, quantity bigint, rank integer);
insert into marts.dim_categories values ('beauty', 'Beauty');
insert into marts.dim_policies values ('p1', '*', 'complaint_rate', '>=', 0.03, 7);
"""


def settings_of(root: Path, kept_runs: int = 5) -> Settings:
    """Settings of a home below `root`."""
    return Settings(Home(root), "Asia/Shanghai", ("douyin_laike",), 180, kept_runs)


def transform(settings: Settings, platform: str, start: date, end: date) -> None:
    """Stand in for dbt: facts are appended per evening, dimensions and rates made anew.

    Two tables tell the evening, in `dim_merchants.merchant_name` and in the rates' numerators.
    """
    settings.home.root.mkdir(parents=True, exist_ok=True)
    fresh = not settings.home.warehouse.exists()
    with duckdb.connect(str(settings.home.warehouse)) as warehouse:
        if fresh:
            warehouse.execute("create schema marts")
            warehouse.execute(_MARTS)
        for table in ("dim_merchants", "dim_products", "fct_merchant_daily_rates"):
            warehouse.execute(f"delete from marts.{table} where platform = ?", [platform])
        for table, column in (
            ("fct_cohort_ledger", "report_date"),
            ("fct_policy_evaluations", "as_of_date"),
            ("fct_alerts", "as_of_date"),
            ("fct_alert_reasons", "as_of_date"),
        ):
            warehouse.execute(
                f"delete from marts.{table} where platform = ? and {column} >= ?",
                [platform, start],
            )
        number = (end - FIRST).days
        warehouse.execute(
            """
            insert into marts.dim_merchants
            select $platform, 'm' || i, 'evening ' || $number, 'beauty', null,
                '2020-01-01', true, 'active', '2026-01-01'
            from range(20) as r(i);
            """,
            {"platform": platform, "number": number},
        )
        warehouse.execute(
            """
            insert into marts.fct_merchant_daily_rates
            select $platform, 'm' || i, 'complaint_rate', $end, $number, 100, $number / 100, $end
            from range(20) as r(i)
            """,
            {"platform": platform, "number": number, "end": end},
        )
        for day in days(start, end):
            warehouse.execute(
                """
                insert into marts.fct_cohort_ledger
                select $day, $day - (i % 7)::integer, $platform, 'm' || (i % 20), 'x' || i,
                    'order_paid', 0, 1
                from range(300) as r(i);
                """,
                {"platform": platform, "day": day},
            )
            warehouse.execute(
                """
                insert into marts.fct_policy_evaluations
                select $day, 'p1', $platform, 'merchant', 'm' || i, 'complaint_rate',
                    0.034, 0.04, 0.03, 'violation', true, 0.031, 0.052, 'service', 17, 500
                from range(20) as r(i)
                """,
                {"platform": platform, "day": day},
            )


def change(settings: Settings, statement: str) -> None:
    """Change the warehouse by hand."""
    with duckdb.connect(str(settings.home.warehouse)) as warehouse:
        warehouse.execute(statement)


def make_plan(settings: Settings, platform: str, start: date, end: date, **more: Any) -> Plan:
    """The plan of a run on top of what is published now."""
    state = published_state(settings.home)
    fields = {
        "run_id": f"{platform}-{start}-{end}",
        "platform": platform,
        "source": f"simulator://?platform={platform}",
        "requested_start": start,
        "requested_end": end,
        "published_through": state.as_of.get(platform) if state else None,
        "base_run": state.run_id if state else None,
        "start": start,
        "end": end,
        **more,
    }
    return Plan(**fields)


def run_days(
    settings: Settings, first: int, last: int, platform: str = "sim", **more: Any
) -> dict[str, Any]:
    """Transform and publish evenings, counted from FIRST."""
    start, end = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
    transform(settings, platform, start, end)
    return publish(make_plan(settings, platform, start, end, **more), settings)


def query(settings: Settings, text: str) -> list[Any]:
    """Ask the published file."""
    path = settings.home.published / "redline.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(text).fetchall()


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file's bytes and every symlink's target below a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def publish_and_die(plan: Plan, settings: Settings, step: int) -> None:
    """Publish in this process, which is killed at its `step`-th change of the file system.

    With a step never reached the process ends by itself; its exit code then is 0.
    """
    steps = 0

    home = str(settings.home.root)

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        if event in _CHANGES and any(home in str(argument) for argument in arguments[:2]):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish(plan, settings)


def publish_many(settings: Settings, first: int, last: int) -> None:
    """Publish evening by evening, as a process of its own."""
    for number in range(first, last + 1):
        run_days(settings, number, number)


def read_until_told(path: Path, told: Callable[[], bool], answer: Any) -> None:
    """Open the published file again and again; answer with the evenings seen, or what went wrong.

    Each connection asks twice, in two statements, with all other tables between.
    """
    seen: list[int] = []
    wrong: list[str] = []
    while True:
        last_round = told()
        try:
            with duckdb.connect(str(path), read_only=True) as reader:
                names = reader.execute(
                    "select distinct merchant_name from marts.dim_merchants"
                ).fetchall()
                ledger = reader.execute(
                    "select count(*), count(distinct report_date) from marts.fct_cohort_ledger"
                ).fetchall()
                rates = reader.execute(
                    "select distinct numerator from marts.fct_merchant_daily_rates"
                ).fetchall()
                runs = reader.execute("select count(*) from marts.published_run").fetchall()
            number = rates[0][0]
            expected = ([(f"evening {number}",)], [(300 * (number + 1), number + 1)])
            if (names, ledger) != expected or len(rates) != 1 or runs != [(number + 1,)]:
                wrong.append(f"mixture: {names} {ledger} {rates} {runs}")
            seen.append(number)
        except duckdb.Error as error:
            wrong.append(str(error))
        if last_round:
            answer.put((seen, wrong))
            return

"""Warehouses as replays leave them, with records and alerts written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from redline.backtest.measures import measure
from redline.backtest.question import Question, Side
from redline.backtest.report import Report

START, END = date(2026, 3, 1), date(2026, 3, 31)

_TABLES = """
    create schema marts;
    create table marts.fct_warning_records (record_id varchar, platform varchar,
        policy_line varchar, metric varchar, risk_point varchar, entity_type varchar,
        entity_id varchar, opened_on date, last_at_level_on date, closed_on date, status varchar,
        is_new boolean, policy_id varchar, measure varchar);
    create table marts.fct_violation_records as from marts.fct_warning_records;
    create table marts.fct_alerts (alert_id varchar, as_of_date date, platform varchar,
        record_id varchar, record_type varchar, transition varchar, policy_id varchar,
        entity_type varchar, entity_id varchar, metric varchar, risk_point varchar,
        numerator bigint, denominator bigint, value double, threshold double, measure varchar);
    create table marts.fct_policy_evaluations (as_of_date date, policy_id varchar,
        policy_line varchar, platform varchar, entity_type varchar, entity_id varchar,
        category_id varchar, metric varchar, risk_point varchar, numerator bigint,
        denominator bigint, value double, lower_bound double, projected_value double,
        warning_threshold double, violation_threshold double, status varchar,
        is_confirmed boolean);
    create table marts.dim_merchants (platform varchar, merchant_id varchar,
        merchant_name varchar);
    create table marts.dim_products (platform varchar, product_id varchar, title varchar);
"""

_WHOSE = {"platform": "market", "entity_type": "merchant", "metric": "complaint_rate"}
Row = Mapping[str, Any]


def evening(day: int) -> date:
    """The date that many days after the last of February."""
    return START + timedelta(days=day - 1)


@dataclass
class Replay:
    """What one side would have said; days are those of March, 0 and below are before it."""

    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, table: str, row: Row) -> None:
        """Add a row to a mart."""
        self.tables.setdefault(table, []).append({**_WHOSE, **row})

    def warned(self, entity: str, opened: int, closed: int | None = None, **more: Any) -> None:
        """Add a warning record."""
        self._record("warning", entity, opened, closed, more)

    def violated(self, entity: str, opened: int, closed: int | None = None, **more: Any) -> None:
        """Add a violation record."""
        self._record("violation", entity, opened, closed, more)

    def _record(self, kind: str, entity: str, opened: int, closed: int | None, more: Row) -> None:
        row = {
            "policy_line": "line",
            "entity_id": entity,
            "opened_on": evening(opened),
            "closed_on": closed and evening(closed),
            **more,
        }
        number = sum(map(len, self.tables.values()))
        self.add(f"fct_{kind}_records", {"record_id": f"{kind}-{number}", **row})

    def alerted(
        self, entity: str, day: int, transition: str = "opened", kind: str = "warning", **more: Any
    ) -> None:
        """Add an alert."""
        row = {
            "as_of_date": evening(day),
            "record_type": kind,
            "transition": transition,
            "entity_id": entity,
            **more,
        }
        self.add("fct_alerts", {"alert_id": str(len(self.tables.get("fct_alerts", []))), **row})

    def judged(self, entity: str, day: int, status: str, **more: Any) -> None:
        """Add an evaluation."""
        row = {"as_of_date": evening(day), "entity_id": entity, "status": status, **more}
        self.add("fct_policy_evaluations", row)

    def write(self, path: Path) -> Path:
        """Write it as a DuckDB file."""
        with closing(duckdb.connect(str(path))) as connection:
            connection.execute(_TABLES)
            for table, rows in self.tables.items():
                for row in rows:
                    known = {*_columns(connection, table)}
                    names = [name for name in row if name in known]
                    connection.execute(
                        f"insert into marts.{table} by name select "
                        + ", ".join(f"${name} as {name}" for name in names),
                        {name: row[name] for name in names},
                    )
        return path


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> Iterable[str]:
    return [row[0] for row in connection.execute(f"describe marts.{table}").fetchall()]


def compare(active: Replay, candidate: Replay, folder: Path, **question: Any) -> Report:
    """The report of two replays."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "active": Side("active", {"ours": Path("pack_ours.csv")}),
        "candidate": Side("candidate", {"theirs": Path("pack_theirs.csv")}),
        "start": START,
        "end": END,
        "replayed_from": START - timedelta(days=20),
        "platforms": ("market",),
        "left_out": (),
        "name": "by-hand",
        **question,
    }
    files = [
        replay.write(folder / f"{name}.duckdb")
        for name, replay in (("active", active), ("candidate", candidate))
    ]
    return measure(Question(**asked), folder / "by-hand", files)

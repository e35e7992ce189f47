"""A marketplace in dated files, small enough to run whole, and the stages of a run on it.

As a program (`python -m tests.end_to_end_support HOME SOURCE DAY [FUNCTION:CALL]`) it takes one
date through all stages and, if it is told to, is killed when a function is called that often.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from redline import contract, planning
from redline.alerts import write_alerts
from redline.landing import land
from redline.plan import Plan, days
from redline.publish import publish, published_state
from redline.settings import PROJECT, Home, Settings, read_settings
from redline.transform import transform
from redline.validation import validate_intake, validate_publication

PLATFORM = "shop"
FIRST, CHUNK_END, LAST, NEXT = (date(2026, 3, day) for day in (2, 9, 10, 11))
DAYS = days(FIRST, NEXT)
ONE_DAY = timedelta(days=1)
ANCIENT = FIRST - timedelta(days=400)

Row = dict[str, Any]

# Of each merchant: orders a day, and how many of these bring a complaint on the day after.
MERCHANTS = {"calm": (14, 0), "loud": (20, 3), "rising": (8, 1), "tiny": (1, 0)}

# Planted in the deliveries; none of them may be found in anything that is written.
RAW = {
    "buyer": "RAWBUYER",
    "contact": "Li Lei 13912345678 li.lei@example.com",
    "account": "6222020200112233445",
    "phone": "13812340000",
    "email": "ann.buyer@example.org",
    "identity": "11010519491231002X",
}
SECRETS = (*RAW.values(), "Li Lei", "13912345678", "li.lei@example.com")


def noon(day: date) -> str:
    """Noon of the default business time zone, in UTC."""
    return f"{day}T04:00:00Z"


@dataclass
class Market:
    """What a marketplace delivers, by entity and date."""

    rows: dict[tuple[str, date], list[Row]] = field(default_factory=dict)

    def add(self, entity: str, day: date, *rows: Row) -> None:
        """Deliver more rows of an entity with a date."""
        self.rows.setdefault((entity, day), []).extend(rows)

    def order(self, order_id: str, paid: date, merchant: str, *, on: date | None = None) -> None:
        """Deliver an order and its line with the date it was paid, or a later one."""
        day = on or paid
        self.add("orders", day, _order(order_id, paid, merchant, updated_at=noon(day)))
        self.add("order_items", day, _line(order_id, merchant))

    def write(self, folder: Path) -> Path:
        """Write one file per entity and date: orders as CSV, the rest as JSON Lines."""
        for entity in contract.ENTITIES:
            (folder / entity.name).mkdir(parents=True, exist_ok=True)
            for day in DAYS:
                rows = self.rows.get((entity.name, day), [])
                if entity.name == "orders":
                    write_csv(folder / "orders" / f"{day}.csv", rows)
                else:
                    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                    (folder / entity.name / f"{day}.jsonl").write_text(text)
        return folder


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write orders; the header alone where there are none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, contract.entity("orders").column_names)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _order(order_id: str, paid: date, merchant: str, **more: Any) -> Row:
    return {
        "order_id": order_id,
        "merchant_id": merchant,
        "buyer_id": f"{RAW['buyer']}-{order_id}",
        "amount": "25.00",
        "currency": "CNY",
        "paid_at": noon(paid),
        "status": "active",
        "cancel_reason": f"call {RAW['phone']}",
        **more,
    }


def _line(order_id: str, merchant: str) -> Row:
    return {
        "order_id": order_id,
        "line_no": 1,
        "product_id": f"{merchant}-thing",
        "quantity": 1,
        "unit_price": "25.00",
    }


def complaint(complaint_id: str, order_id: str, day: date, **more: Any) -> Row:
    """A complaint raised and delivered on `day`."""
    return {
        "complaint_id": complaint_id,
        "order_id": order_id,
        "created_at": noon(day),
        "reason_code": "late_delivery",
        "description": f"mail {RAW['email']} or call {RAW['phone']}, id {RAW['identity']}",
        "status": "open",
        "updated_at": noon(day),
        **more,
    }


def make_market() -> Market:
    """Ten dates of four merchants: events, corrections, orphans and, on one date, row faults.

    `loud` is in violation from the eighth date on, `rising` from the tenth.
    """
    market = Market()
    for name in MERCHANTS:
        market.add(
            "merchants",
            FIRST,
            {
                "merchant_id": name,
                "merchant_name": f"The {name} shop",
                "category_id": "home",
                "settlement_account": RAW["account"],
                "contact": RAW["contact"],
                "status": "active",
                "updated_at": noon(FIRST),
            },
        )
        market.add(
            "products",
            FIRST,
            {
                "product_id": f"{name}-thing",
                "merchant_id": name,
                "category_id": "home",
                "title": f"A thing, ask {RAW['email']}",
                "status": "active",
                "updated_at": noon(FIRST),
            },
        )
    for day in DAYS:
        for name, (orders, complaints) in MERCHANTS.items():
            for number in range(orders):
                order_id = f"{name}-{day:%m%d}-{number}"
                market.order(order_id, day, name)
                market.add(
                    "buyers",
                    day,
                    {"buyer_id": f"{RAW['buyer']}-{order_id}", "updated_at": noon(day)},
                )
                if (after := day + ONE_DAY) in DAYS:
                    _happens_after(market, order_id, day, name, after, number < complaints)
    _plant_orphans(market)
    _plant_row_faults(market, FIRST + 3 * ONE_DAY)
    withdrawn_on = FIRST + 6 * ONE_DAY
    market.add(
        "complaints",
        withdrawn_on,
        complaint(
            f"c-loud-{FIRST:%m%d}-0",
            f"loud-{FIRST:%m%d}-0",
            FIRST + ONE_DAY,
            status="withdrawn",
            updated_at=noon(withdrawn_on),
        ),
    )
    return market


def _happens_after(
    market: Market, order_id: str, paid: date, merchant: str, day: date, complains: bool
) -> None:
    """The order is fulfilled and reviewed, and perhaps complained about and refunded."""
    fulfilled = {"shipped_at": noon(paid), "fulfilled_at": noon(day), "updated_at": noon(day)}
    market.add("orders", day, _order(order_id, paid, merchant, **fulfilled))
    market.add("order_items", day, _line(order_id, merchant))
    if order_id.endswith("-1"):
        market.add(
            "reviews",
            day,
            {
                "review_id": f"r-{order_id}",
                "order_id": order_id,
                "rating": 2 if complains else 5,
                "body": f"ask {RAW['phone']}",
                "created_at": noon(day),
                "status": "visible",
                "updated_at": noon(day),
            },
        )
    if complains:
        market.add("complaints", day, complaint(f"c-{order_id}", order_id, day))
        market.add(
            "refunds",
            day,
            {
                "refund_id": f"f-{order_id}",
                "order_id": order_id,
                "requested_at": noon(day),
                "amount": "25.00",
                "kind": "full",
                "reason_code": "late_delivery",
                "status": "requested",
                "updated_at": noon(day),
            },
        )


def _plant_orphans(market: Market) -> None:
    """Events before their order: one order comes on LAST, one never, one is years old."""
    third, sixth = FIRST + 2 * ONE_DAY, FIRST + 5 * ONE_DAY
    market.add("complaints", third, complaint("c-early", "o-slow", third))
    market.order("o-slow", third, "calm", on=LAST)
    market.add("complaints", sixth, complaint("c-lost", "o-lost", sixth))
    market.add("complaints", sixth, complaint("c-given-up", "o-lost-too", sixth))
    given_up = {"status": "withdrawn", "updated_at": noon(CHUNK_END)}
    market.add("complaints", CHUNK_END, complaint("c-given-up", "o-lost-too", sixth, **given_up))
    market.order("o-ancient", ANCIENT, "calm", on=sixth)
    market.add("complaints", sixth, complaint("c-ancient", "o-ancient", sixth))


# The faults that the issue names, under the keys of their rows.
ROW_FAULTS = {
    "bad-date": "not_a_timestamp:paid_at",
    "bad-amount": "below_minimum:amount",
    "bad-twice": "conflicting_duplicate",
    "bad-status": "unknown_code:status",
    "bad-merchant": "missing:merchant_id",
    "bad-future": "future:updated_at",
}


def _plant_row_faults(market: Market, day: date) -> None:
    changes: dict[str, list[Row]] = {
        "bad-date": [{"paid_at": "the day before yesterday"}],
        "bad-amount": [{"amount": "-1.00"}],
        "bad-twice": [{"amount": "1.00"}, {"amount": "2.00"}],
        "bad-status": [{"status": "lost"}],
        "bad-merchant": [{"merchant_id": ""}],
        "bad-future": [{"updated_at": noon(day + 30 * ONE_DAY)}],
    }
    for order_id, rows in changes.items():
        for change in rows:
            row = _order(order_id, day, "calm", updated_at=noon(day)) | change
            market.add("orders", day, row)


# --- running -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shop:
    """A marketplace's folder and the home it is taken into."""

    folder: Path
    home: Home
    platform: str = PLATFORM
    options: str = ""

    @property
    def source(self) -> str:
        """The address of the marketplace."""
        return f"files://{self.folder}?platform={self.platform}{self.options}"

    @property
    def settings(self) -> Settings:
        """The default settings, but for the home."""
        return read_settings({"REDLINE_HOME": str(self.home.root)})

    def copied_to(self, root: Path) -> Shop:
        """A copy of both, to be changed."""
        shutil.copytree(self.folder, root / "market")
        if self.home.root.exists():
            shutil.copytree(self.home.root, root / "home", symlinks=True)
        return Shop(root / "market", Home(root / "home"))

    def plan(self, start: date, end: date | None = None, *, name: str = "run") -> Plan:
        """Plan a run, as its first task does."""
        return planning.make_plan(self.settings, self.source, start, end or start, name)

    def extract(self, plan: Plan) -> None:
        """Land every entity."""
        for entity in contract.ENTITIES:
            land(plan, self.settings, entity.name)

    def run(self, start: date, end: date | None = None, *, name: str = "run") -> Plan:
        """Take dates through all stages, as the two DAGs do."""
        plan = self.plan(start, end, name=name)
        self.extract(plan)
        validate_intake(plan, self.settings)
        transform(plan, self.settings)
        self.finish(plan)
        return plan

    def finish(self, plan: Plan) -> None:
        """What is left to do after the transform."""
        validate_publication(plan, self.settings)
        publish(plan, self.settings)
        write_alerts(self.settings, plan.run_id)

    def make_run(
        self, *arguments: str, airflow: Path | None = None, beside: Shop | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`make run`, through the real Airflow; `airflow` is a home whose metadata it may copy.

        `beside` is another marketplace of the same home, taken in first.
        """
        if airflow is not None:
            shutil.copytree(airflow, self.home.root / "airflow")
        inherited = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
        source = f"{beside.source} {self.source}" if beside else self.source
        return subprocess.run(
            [sys.executable, "-m", "redline.run", "--source", source, *arguments],
            env={**inherited, "PYTHONPATH": "plugins", "REDLINE_HOME": str(self.home.root)},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def dag_states(self) -> list[str]:
        """How Airflow says its runs of the daily DAG ended, in their order."""
        with closing(sqlite3.connect(self.home.root / "airflow" / "airflow.db")) as connection:
            rows = connection.execute(
                "select state from dag_run where dag_id = 'merchant_risk_daily' order by id"
            ).fetchall()
        return [state for (state,) in rows]

    def start_process(self, day: date, name: str, kill_at: str = "") -> subprocess.Popen[bytes]:
        """Start a run of one date in a process group of its own."""
        command = [sys.executable, "-m", __name__, str(self.home.root), self.source, str(day)]
        return subprocess.Popen(
            [*command, name, kill_at],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(["plugins", "."]),
                "DBT_LOG_LEVEL_FILE": "info",  # by which a test sees how far it is
            },
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    # What lies there.

    def visible(self) -> dict[str, str]:
        """Every file that others see, by name: the hash of its bytes, or where a link leads."""
        return files(self.home.published) | files(self.home.alerts)

    def checksums(self) -> dict[str, str]:
        """Of the published tables."""
        state = published_state(self.home)
        assert state is not None
        return state.checksums

    def marts(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the published file."""
        with duckdb.connect(str(self.home.published / "redline.duckdb"), read_only=True) as con:
            return con.execute(sql).fetchall()

    def quarantined(self, pattern: str) -> list[Row]:
        """Rows of quarantine files of the platform."""
        paths = [str(path) for path in (self.home.quarantine / PLATFORM).glob(pattern)]
        if not paths:
            return []
        sql = "from read_parquet($paths, hive_partitioning = false) order by row_key, reason"
        with duckdb.connect() as con:
            cursor = con.execute(sql, {"paths": paths})
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def files(folder: Path) -> dict[str, str]:
    """The files below a folder by name: the hash of their bytes, or where a link leads."""
    return {
        f"{folder.name}/{path.relative_to(folder)}": f"-> {path.readlink()}"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def found_raw(home: Home) -> list[tuple[str, str]]:
    """Planted personal values that some file of the home holds, with its name.

    All bytes are looked through; of DuckDB and Parquet files, which pack them, the values too.
    """
    found = []
    with duckdb.connect() as connection:
        for path in sorted(home.root.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            texts = [path.read_bytes().decode("utf-8", "replace")]
            if path.suffix == ".parquet":
                texts.append(_values(connection, "from read_parquet($path)", {"path": str(path)}))
            if path.suffix == ".duckdb":
                texts.append(_database_values(path))
            name = str(path.relative_to(home.root))
            found += [(name, secret) for secret in SECRETS if any(secret in text for text in texts)]
    return found


def _values(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row) -> str:
    return str(connection.execute(sql, parameters).fetchall())


def _database_values(path: Path) -> str:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where not internal"
        ).fetchall()
        return "".join(
            _values(connection, f'from "{schema}"."{table}"', {}) for schema, table in tables
        )


# --- being killed ------------------------------------------------------------------------------


def _die_at(function: str, call: int) -> None:
    """Replace a function so that the process is killed instead of its `call`-th call."""
    module_name, _, name = function.rpartition(".")
    module = importlib.import_module(module_name)
    original, calls = getattr(module, name), iter(range(1, call + 1))

    def dying(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(module, name, dying)


def _main(root: str, source: str, day: str, name: str, kill_at: str) -> None:
    if kill_at:
        function, _, call = kill_at.partition(":")
        _die_at(function, int(call))
    folder = Path(source.removeprefix("files://").partition("?")[0])
    Shop(folder, Home(Path(root))).run(date.fromisoformat(day), name=name)


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""The simulated marketplace: the same for everyone, and as untidy as a real one."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from redline.contract import ENTITIES, SQL_TYPES, entity
from redline.errors import SourceError
from redline.settings import PROJECT
from redline.sources import open_source
from redline.sources.simulator import Simulator, incidents

ADDRESS = "simulator://?merchants=60&days=45&seed=11"
SMALL = "simulator://?merchants=20&days=40&seed=3"
START, END = date(2026, 1, 1), date(2026, 2, 14)
ARROW_TYPES = {
    "text": pa.string(),
    "timestamp": pa.timestamp("us"),
    "money": pa.decimal128(18, 2),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REDLINE_TIMEZONE", "Asia/Shanghai")
    return tmp_path / "home"


def rows(address: str, name: str, start: date = START, end: date = END) -> pa.Table:
    batches = list(open_source(address).read(entity(name), start, end))
    return pa.Table.from_batches(batches) if batches else pa.table({})


@pytest.fixture(scope="module")
def market(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Everything that ADDRESS delivers, one table per entity, to be asked in SQL."""
    before = dict(os.environ)
    os.environ.update(
        REDLINE_HOME=str(tmp_path_factory.mktemp("home")),
        REDLINE_TIMEZONE="Asia/Shanghai",
    )
    with duckdb.connect() as connection:
        for one in ENTITIES:
            connection.register("delivered", rows(ADDRESS, one.name))
            connection.execute(f"create table {one.name} as from delivered")
        # The state after the last evening, told from the versions without the source's help.
        for name, key in (
            ("orders", "order_id"),
            ("complaints", "complaint_id"),
            ("reviews", "review_id"),
            ("refunds", "refund_id"),
            ("merchants", "merchant_id"),
        ):
            connection.execute(
                f"create table {name}_now as from {name} where {key} is not null"
                " qualify row_number()"
                f" over (partition by {key} order by updated_at desc, report_date desc) = 1"
            )
        yield connection
    os.environ.clear()
    os.environ.update(before)


def one(market: duckdb.DuckDBPyConnection, query: str) -> float:
    """The single number that a query answers."""
    row = market.execute(query).fetchone()
    assert row is not None
    return float(row[0])


CONTENT = """
import hashlib, json, sys
import duckdb
from redline.contract import ENTITIES
from redline.sources import open_source
source = open_source(sys.argv[1])
source._market[0].execute("set threads = " + sys.argv[2])
for entity in ENTITIES:
    digest = hashlib.sha256()
    for batch in source.read(entity, *source.span()):
        for row in batch.to_pylist():
            digest.update(repr(row).encode())
    print(entity.name, digest.hexdigest())
"""


def test_two_processes_with_other_threads_make_the_same_rows_in_the_same_order(
    home: Path,
) -> None:
    def content(threads: int, seed: str) -> str:
        environment = os.environ | {
            "PYTHONPATH": str(PROJECT / "plugins"),
            "PYTHONHASHSEED": seed,
        }
        command = [sys.executable, "-c", CONTENT, SMALL, str(threads)]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert content(1, "1") == content(4, "2")


def test_another_seed_makes_another_market() -> None:
    other = SMALL.replace("seed=3", "seed=4")
    assert not rows(SMALL, "orders").equals(rows(other, "orders"))


@pytest.mark.parametrize("name", [one.name for one in ENTITIES])
def test_a_range_is_a_slice_of_the_whole(name: str) -> None:
    whole = rows(ADDRESS, name)
    days = whole.column("report_date").to_pylist()
    for first, last in ((0, 0), (1, 9), (30, 30), (40, 44)):
        start, end = START + timedelta(days=first), START + timedelta(days=last)
        wanted = whole.filter(pa.array([start <= day <= end for day in days]))
        asked = rows(ADDRESS, name, start, end)
        assert asked.equals(wanted) or asked.num_rows == wanted.num_rows == 0, (
            first,
            last,
        )


@pytest.mark.parametrize("one", ENTITIES, ids=lambda one: one.name)
def test_batches_have_the_contracts_columns_and_types(one) -> None:  # type: ignore[no-untyped-def]
    schema = rows(SMALL, one.name).schema
    assert schema.names == [*one.column_names, "report_date", "source_file"]
    assert {c.name: schema.field(c.name).type for c in one.columns} == {
        c.name: ARROW_TYPES[c.type] for c in one.columns
    }
    assert set(ARROW_TYPES) == set(SQL_TYPES)
    assert schema.field("report_date").type == pa.date32()
    assert set(rows(SMALL, one.name).column("source_file").to_pylist()) == {f"simulator/{one.name}"}


def test_nothing_is_delivered_outside_the_span_or_before_it_happened(
    market: duckdb.DuckDBPyConnection,
) -> None:
    for one_entity in ENTITIES:
        first, last = market.execute(
            f"select min(report_date), max(report_date) from {one_entity.name}"
        ).fetchone() or (None, None)
        assert first is not None and START <= first <= last <= END, one_entity.name
        for column in one_entity.columns:
            # A deadline may lie ahead; nothing else that is told may.
            if column.type == "timestamp" and column.name != "ship_by_at":
                early = f"({column.name} + interval 8 hours)::date > report_date"
                assert not one(market, f"select count(*) from {one_entity.name} where {early}"), (
                    column
                )
    assert not list(
        open_source(ADDRESS).read(entity("orders"), date(2025, 1, 1), date(2025, 12, 31))
    )
    assert not list(
        open_source(ADDRESS).read(entity("orders"), date(2026, 2, 15), date(2026, 3, 31))
    )


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_days_are_those_of_the_business_time_zone(
    timezone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDLINE_TIMEZONE", timezone)
    # New York moves its clock on 2026-03-08, a day of 23 hours.
    address = "simulator://?merchants=60&days=20&start=2026-03-01"
    orders = rows(address, "orders", date(2026, 3, 1), date(2026, 3, 20))
    query = """
        select
            report_date = ((updated_at at time zone 'UTC') at time zone ?)::date as on_time,
            count(*)
        from orders group by all
    """
    counts = dict(duckdb.execute(query, [timezone]).fetchall())
    assert counts[True] > 0.9 * orders.num_rows
    assert not duckdb.execute(
        "select 1 from orders where report_date"
        " < ((updated_at at time zone 'UTC') at time zone ?)::date",
        [timezone],
    ).fetchall()


def test_a_day_carries_one_version_of_a_record_and_sometimes_the_same_row_twice(
    market: duckdb.DuckDBPyConnection,
) -> None:
    for name in ("orders", "complaints", "reviews", "refunds", "appeals", "products"):
        key = entity(name).key[0]
        others = f"select {key}, report_date from {name} where {key} is not null group by all"
        assert not one(
            market,
            f"select count(*) from ({others} having count(distinct updated_at) > 1)",
        )
    assert (
        one(
            market,
            "select count(*) - count(distinct (order_id, report_date)) from orders",
        )
        > 0
    )


def test_records_arrive_late_out_of_order_corrected_withdrawn_and_faulty(
    market: duckdb.DuckDBPyConnection,
) -> None:
    versions = one(market, "select count(*) from orders")
    late = "(updated_at + interval 8 hours)::date < report_date"
    assert 0.01 < one(market, f"select count(*) from orders where {late}") / versions < 0.08
    older = """
        select count(*) from (
            select updated_at < max(updated_at) over (
                partition by order_id order by report_date
                rows between unbounded preceding and 1 preceding
            ) as is_older from orders
        ) where is_older
    """
    assert one(market, older) > 0
    for column in ("paid_at", "amount", "merchant_id"):
        sound = "amount >= 0 and merchant_id is not null and status = 'active'"
        changed = (
            f"select order_id from orders where {sound}"
            f" group by all having count(distinct {column}) > 1"
        )
        assert one(market, f"select count(*) from ({changed})") > 0, column
    for name, status in (
        ("complaints", "withdrawn"),
        ("refunds", "rejected"),
        ("refunds", "withdrawn"),
        ("reviews", "deleted"),
        ("orders", "deleted"),
        ("merchants", "closed"),
        ("appeals", "upheld"),
        ("appeals", "rejected"),
    ):
        assert one(market, f"select count(*) from {name} where status = '{status}'") > 0, status
    for party in ("buyer", "merchant", "platform"):
        assert one(market, f"select count(*) from orders where cancelled_by = '{party}'") > 0
    reversed_ = "select appeal_id from appeals where status in ('upheld', 'rejected') group by all"
    assert (
        one(
            market,
            f"select count(*) from ({reversed_} having count(distinct status) > 1)",
        )
        > 0
    )
    moved = "select 1 from merchants where status = 'active' group by merchant_id"
    assert (
        one(
            market,
            f"select count(*) from ({moved} having count(distinct category_id) > 1)",
        )
        > 0
    )
    faulty = "amount < 0 or merchant_id is null or status not in ('active', 'deleted')"
    assert 0 < one(market, f"select count(*) from orders where {faulty}") / versions < 0.005
    stated = "select count(fault_party) / count(*) from refunds"
    assert 0.2 < one(market, stated) < 0.8


def test_some_events_are_reported_before_their_order(
    market: duckdb.DuckDBPyConnection,
) -> None:
    orders = "select order_id, min(report_date) as known from orders group by all"
    for name in ("refunds", "reviews"):
        early = (
            f"select count(*) from {name} join ({orders}) using (order_id)"
            " where report_date < known"
        )
        assert one(market, early) > 0, name


def test_each_version_of_an_order_brings_its_whole_set_of_lines(
    market: duckdb.DuckDBPyConnection,
) -> None:
    # Amounts are sums of lines, but for those that a correction mends.
    off = """
        select count(*) from (
            select order_id, report_date, any_value(amount) as amount from orders
            where amount >= 0 group by all
        ) left join (
            select order_id, report_date, sum(quantity * unit_price) as lines,
                max(line_no) <= 5 as few
            from (select distinct * from order_items) group by all
        ) using (order_id, report_date)
        where lines is null or not few or amount <> lines
    """
    assert one(market, off) / one(market, "select count(*) from orders") < 0.01
    fewer = """
        select count(*) from (
            select order_id from (
                select order_id, report_date, count(distinct line_no) as lines
                from order_items group by all
            ) group by all having count(distinct lines) > 1
        )
    """
    assert one(market, fewer) > 0


def test_sizes_are_heavy_tailed_and_events_have_their_shares(
    market: duckdb.DuckDBPyConnection,
) -> None:
    sizes = [
        n
        for (n,) in market.execute(
            "select count(*) as n from orders_now where merchant_id is not null"
            " group by merchant_id order by n"
        ).fetchall()
    ]
    assert sizes[0] < 20
    assert sizes[-1] > 1000
    assert sum(sizes[-len(sizes) // 5 :]) > 0.5 * sum(sizes)
    fulfilled = one(market, "select count(fulfilled_at) from orders_now")
    assert 0.25 < one(market, "select count(*) from reviews_now") / fulfilled < 0.42
    delays = """
        select avg((r.created_at <= fulfilled_at + interval 10 days)::int)
        from reviews_now as r join orders_now using (order_id)
    """
    assert one(market, delays) > 0.98
    weekend = """
        select avg(n) filter (isodow(day) >= 6) / avg(n) filter (isodow(day) < 6) from (
            select (paid_at + interval 8 hours)::date as day, count(*) as n from orders_now
            join merchants_now using (merchant_id) where category_id = 'local_dining' group by all
        )
    """
    assert one(market, weekend) > 1.2


def test_personal_values_are_there_to_be_taken_out(
    market: duckdb.DuckDBPyConnection,
) -> None:
    assert one(market, "select count(contact) + count(settlement_account) from merchants") > 0
    for column in ("complaints.description", "reviews.body", "orders.cancel_reason"):
        table, name = column.split(".")
        careless = rf"regexp_matches({name}, '@example\.com|138\d{{8}}|7700 900\d{{3}}')"
        assert one(market, f"select count(*) from {table} where {careless}") > 0, column


def test_incidents_stand_out_in_the_raw_data_and_are_written_beside_it(
    market: duckdb.DuckDBPyConnection, home: Path
) -> None:
    truth = incidents(ADDRESS)
    open_source(ADDRESS)
    (file,) = (home / "simulator").glob("*/incidents.csv")
    with file.open() as lines:
        assert [tuple(row.values()) for row in csv.DictReader(lines)] == [
            (i.merchant_id, i.kind, str(i.start), str(i.end)) for i in truth
        ]
    assert {i.kind for i in truth} == {"bad_batch", "poor_delivery", "wrong_goods"}
    assert any(i.end == END for i in truth) and any(i.end < END for i in truth)
    assert len({i.merchant_id for i in truth}) == len(truth)
    signs = {
        "bad_batch": ("complaints", "paid_at", "true"),
        "poor_delivery": ("reviews", "fulfilled_at", "rating <= 2"),
        "wrong_goods": ("refunds", "paid_at", "reason_code = 'wrong_item'"),
    }
    for incident in truth:
        assert 5 <= (incident.end - incident.start).days + 1 <= 14
        events, cohort, bad = signs[incident.kind]
        query = f"""
            select
                ({cohort} + interval 8 hours)::date between ? and least(?, ?) as is_within,
                count(distinct e.order_id) / count(distinct o.order_id)
            from orders_now as o
            left join (select order_id from {events}_now where {bad}) as e using (order_id)
            where merchant_id = ? and {cohort} is not null group by all
        """
        # Of the last days' orders much is still to be heard.
        settled = END - timedelta(days=4)
        answers = market.execute(
            query, [incident.start, incident.end, settled, incident.merchant_id]
        ).fetchall()
        shares = dict(answers)
        assert shares[True] > 0.06 and shares[True] > 2 * shares.get(False, 0.0), (
            incident,
            shares,
        )


def test_the_truth_of_a_market_is_written_once(home: Path) -> None:
    open_source(SMALL)
    (file,) = (home / "simulator").glob("*/incidents.csv")
    before = file.stat()
    open_source(SMALL)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in file.parent.iterdir()] == ["incidents.csv"]
    assert len(list((home).rglob("*.parquet"))) == 0


def test_as_many_incidents_are_injected_as_asked_for() -> None:
    assert incidents(f"{ADDRESS}&incidents=0") == []
    assert len(incidents(f"{ADDRESS}&incidents=1")) == 1
    assert len(incidents(ADDRESS)) == 5  # one in twelve
    source = open_source(f"{ADDRESS}&incidents=0")
    assert source.span() == (START, END)
    assert sum(batch.num_rows for batch in source.read(entity("orders"), START, END)) > 10_000


@pytest.mark.parametrize("size", ["merchants=1&days=1", "merchants=2&days=3", "merchants=3&days=5"])
def test_a_tiny_market_is_a_market(size: str) -> None:
    source = open_source(f"simulator://?{size}")
    span = source.span()
    assert span is not None
    for one_entity in ENTITIES:
        list(source.read(one_entity, *span))
    assert rows(f"simulator://?{size}", "merchants").num_rows > 0
    assert all(span[0] <= i.start <= i.end <= span[1] for i in incidents(f"simulator://?{size}"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("merchants=0", "merchants"),
        ("merchants=-3", "merchants"),
        ("merchants=many", "merchants"),
        ("days=0", "days"),
        ("days=1e3", "days"),
        ("days=99999999999999999999", "days"),
        ("seed=1.5", "seed"),
        ("start=2026-02-30", "start"),
        ("start=1812-01-01", "start"),
        ("merchant=5", "merchant"),
        ("incidents=none", "incidents"),
        ("incidents=-1", "incidents"),
    ],
)
def test_a_nonsense_option_is_refused_by_name(options: str, named: str) -> None:
    with pytest.raises(SourceError) as refusal:
        open_source(f"simulator://?{options}")
    text = str(refusal.value)
    assert named in text and ("put " in text or "use " in text) and "\n" not in text


def test_a_home_that_cannot_be_written_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file where a folder is due")
    with pytest.raises(SourceError, match="REDLINE_HOME"):
        open_source(SMALL)


def test_a_range_costs_what_it_holds_and_a_large_market_seconds() -> None:
    source = open_source("simulator://?merchants=400&days=60")
    assert isinstance(source, Simulator)
    began = time.process_time()
    table = pa.Table.from_batches(list(source.read(entity("orders"), *source.span())))
    assert len(set(table.column("order_id").to_pylist())) > 180_000
    # Processor seconds, generous, because other tests share the machine.
    assert time.process_time() - began < 15

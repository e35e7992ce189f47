"""Databases as sources, on a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from zoneinfo import ZoneInfo

import duckdb
import psycopg2
import pytest

from redline import landing
from redline.contract import entity
from redline.errors import RedlineError, SourceError, StorageError
from redline.extensions import load_extension
from redline.plan import Plan
from redline.settings import Home, Settings
from redline.sources import DROPPED, open_source
from tests.servers.databases import Server, has_mariadb, mariadb, postgres

pytestmark = pytest.mark.xdist_group("databases")

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)

# The same shop under its own names: local times without a zone, codes of its own.
MAPPING = """\
timezone: Asia/Shanghai
entities:
  orders:
    table: {orders}
    columns:
      order_id: id
      merchant_id: shop
      buyer_id: customer
      amount: total
      currency: {{value: CNY}}
      status: {{column: state, codes: {{"1": active, "0": deleted}}}}
      updated_at: changed
  order_items:
    select: SELECT order_ref, no, sku, n, price FROM {lines} WHERE price >= 0;
    columns: {{order_id: order_ref, line_no: no, product_id: sku, quantity: n, unit_price: price}}
"""


@dataclass(frozen=True)
class Market:
    """An empty database of its own.

    Attributes:
        scheme: of its source.
        server: where it is.
        name: of the database.
        folder: for mappings and homes.
    """

    scheme: str
    server: Server
    name: str
    folder: Path

    def run(self, *statements: str) -> None:
        """Execute statements of the database's own."""
        run(self.scheme, self.server, self.name, *statements)

    def address(self, **options: object) -> str:
        login = f"{self.server.user}:{quote(self.server.password)}"
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"{self.scheme}://{login}@127.0.0.1:{self.server.port}/{self.name}?{query}"

    def mapped(self, text: str | None = None, **options: object) -> str:
        """An address with a mapping."""
        path = self.folder / "mapping.yml"
        path.write_text(text or MAPPING.format(orders="sold", lines="sold_lines"))
        return self.address(mapping=path, **options)

    def rows(self, address: str, name: str, start: date, end: date) -> list[dict[str, Any]]:
        batches = open_source(address).read(entity(name), start, end)
        return [row for batch in batches for row in batch.to_pylist()]

    def extract(self, address: str, start: date, end: date, **changes: Any) -> Home:
        """Land orders and their lines as a run does."""
        home = Home(self.folder / "home")
        settings = Settings(home, "Asia/Shanghai", (), 180, 7, "a key for tests")
        through = changes.get("published_through")
        plan = Plan(f"run-{end}", self.scheme, address, start, end, through, None, start, end)
        source = open_source(address)
        with source.snapshot():  # type: ignore[attr-defined]
            for name in ("orders", "order_items"):
                landing.land(plan, settings, name, source)
        return home

    def landed(self, name: str) -> list[tuple[Any, ...]]:
        """Report date, source date and key of what was landed."""
        path = self.folder / "home/landing" / self.scheme / name / "*/*.parquet"
        with duckdb.connect() as con:
            return con.execute(
                f"select report_date, source_date, order_id from read_parquet('{path}', "
                "hive_types = {report_date: date}) order by all"
            ).fetchall()


def run(scheme: str, server: Server, database: str, *statements: str) -> None:
    """Execute statements, each a transaction of its own."""
    if scheme == "postgres":
        with connected(server, database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return
    with mysql(server, database) as con:
        for statement in statements:
            con.execute(f"call mysql_execute('db', $${statement}$$)")


@contextmanager
def writing(market: Market, *statements: str) -> Iterator[None]:
    """Execute statements in one transaction that is committed at the end."""
    if market.scheme == "postgres":
        with connected(market.server, market.name, autocommit=False) as connection:
            for statement in statements:
                connection.cursor().execute(statement)
            yield
            connection.commit()
        return
    with mysql(market.server, market.name) as con:
        con.execute("begin")
        for statement in statements:
            con.execute(f"call mysql_execute('db', $${statement}$$)")
        yield
        con.execute("commit")


@contextmanager
def connected(server: Server, database: str, *, autocommit: bool = True) -> Iterator[Any]:
    """A client of PostgreSQL."""
    login = {"host": "127.0.0.1", "port": server.port, "dbname": database}
    connection = psycopg2.connect(**login, user=server.user, password=server.password)
    connection.autocommit = autocommit
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def mysql(server: Server, database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A client of MySQL, which is `db` there: our packages hold no other than DuckDB's."""
    with duckdb.connect() as con:
        load_extension(con, "mysql_scanner")
        login = f"host '127.0.0.1', port {server.port}, user '{server.user}'"
        secret = f"{login}, password '{server.password}', database '{database}'"
        con.execute(f"create secret db (type mysql, {secret})")
        con.execute("attach '' as db (type mysql, secret db)")
        yield con


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """The servers, each started when it is first asked for."""
    running: dict[str, tuple[Any, Server]] = {}

    def server(scheme: str) -> Server:
        if scheme not in running:
            context = postgres() if scheme == "postgres" else mariadb()
            running[scheme] = context, context.__enter__()
        return running[scheme][1]

    yield server
    for context, _ in running.values():
        context.__exit__(None, None, None)


@pytest.fixture
def made(
    servers: Callable[[str], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Market]:
    monkeypatch.setenv("REDLINE_TIMEZONE", "Asia/Shanghai")

    def make(scheme: str) -> Market:
        if scheme == "mysql" and not has_mariadb():
            pytest.skip("MariaDB is not installed: apt-get install mariadb-server-core")
        server, name = servers(scheme), f"market_{uuid4().hex[:8]}"
        run(
            scheme,
            server,
            "postgres" if scheme == "postgres" else "mysql",
            f"create database {name}",
        )
        return Market(scheme, server, name, tmp_path)

    return make


@pytest.fixture(params=["postgres", "mysql"])
def market(request: pytest.FixtureRequest, made: Callable[[str], Market]) -> Market:
    """A market in each kind of database."""
    return made(request.param)


@pytest.fixture
def pg(made: Callable[[str], Market]) -> Market:
    return made("postgres")


@pytest.fixture
def my(made: Callable[[str], Market]) -> Market:
    return made("mysql")


def sell(market: Market) -> None:
    """Five orders that changed around the two dates, local times without a zone."""
    time = "timestamp" if market.scheme == "postgres" else "datetime"
    market.run(
        "create table sold (id int primary key, shop varchar(9), customer varchar(9), "
        f"total decimal(9, 2), state smallint, changed {time}, tip int)",
        "create table sold_lines "
        "(order_ref int, no int, sku varchar(9), n int, price decimal(9, 2))",
        "insert into sold values (1, 'm1', 'b1', 10, 1, '2026-02-28 23:59:59', 1), "
        "(2, 'm1', 'b2', 20.5, 1, '2026-03-01 00:00:00', 1), "
        "(3, 'm2', 'b3', 30, 0, '2026-03-01 23:59:59', 1), "
        "(4, 'm2', 'b3', 40, 1, '2026-03-02 00:00:00', 1), (5, 'm2', 'b3', 50, 1, null, 1)",
        "insert into sold_lines select id, 1, 'p1', 2, 5 from sold",
        "insert into sold_lines values (2, 2, 'p2', 1, -1)",
    )


def test_a_days_changes_come_by_the_business_date_of_their_change(market: Market) -> None:
    sell(market)
    address = market.mapped()

    orders = market.rows(address, "orders", DAY, NEXT)
    lines = market.rows(address, "order_items", DAY, DAY)

    assert {(row["order_id"], row["report_date"]) for row in orders} == {
        ("2", DAY),
        ("3", DAY),
        ("4", NEXT),
        ("5", NEXT),  # of no date at all: it comes with the last one, to be refused
    }
    second = next(row for row in orders if row["order_id"] == "2")
    assert second["updated_at"] == datetime(2026, 2, 28, 16)  # midnight in Shanghai, in UTC
    assert (second["currency"], second["status"]) == ("CNY", "active")
    assert next(row for row in orders if row["order_id"] == "3")["status"] == "deleted"
    assert second["source_file"] == "sold"
    # The line that the user's own SELECT leaves out stays out.
    assert {(row["order_id"], row["line_no"]) for row in lines} == {("2", 1), ("3", 1), ("5", 1)}


def test_a_row_without_its_time_is_refused_and_the_others_land(market: Market) -> None:
    sell(market)

    home = market.extract(market.mapped(), DAY, NEXT)

    assert [key for *_, key in market.landed("orders")] == ["2", "3", "4"]
    (refused,) = home.quarantine.glob(f"{market.scheme}/orders/*/*.parquet")
    with duckdb.connect() as con:
        rows = con.execute(f"select row_key, reason from '{refused}'").fetchall()
    assert rows == [("5", "missing:updated_at")]


def test_everything_read_within_a_snapshot_is_of_one_moment(market: Market) -> None:
    sell(market)
    source = open_source(market.mapped())

    def keys(name: str) -> set[str]:
        batches = source.read(entity(name), DAY, NEXT)
        return {str(row["order_id"]) for batch in batches for row in batch.to_pylist()}

    with source.snapshot():  # type: ignore[attr-defined]
        orders = keys("orders")
        market.run(
            "insert into sold values (6, 'm1', 'b6', 6, 1, '2026-03-01 12:00:00', 1)",
            "insert into sold_lines values (6, 1, 'p1', 1, 6), (2, 3, 'p1', 1, 6)",
            "delete from sold_lines where order_ref = 3",
            "update sold set changed = '2026-04-01 00:00:00' where id = 4",
        )
        assert keys("order_items") == orders == {"2", "3", "4", "5"}
        assert keys("orders") == orders
    assert keys("orders") == {"2", "3", "5", "6"}
    assert keys("order_items") == {"2", "5", "6"}


@pytest.mark.parametrize("level", ["read committed", "read uncommitted"])
def test_a_lax_server_is_read_in_one_moment_too_and_never_written_to(
    my: Market, level: str
) -> None:
    sell(my)
    source: Any = open_source(my.mapped())
    my.run(f"set global transaction isolation level {level}")
    try:
        with writing(my, "update sold set shop = 'm9'"), source.snapshot():
            my.run("delete from sold_lines")
            lines, orders = (
                [row for batch in source.read(entity(name), DAY, NEXT) for row in batch.to_pylist()]
                for name in ("order_items", "orders")
            )
            with pytest.raises(duckdb.Error, match="READ ONLY transaction"):
                source._held.execute("call mysql_execute('market', 'delete from sold')")
    finally:
        my.run("set global transaction isolation level repeatable read")
    # Neither what was not committed nor what was committed after the moment.
    assert {row["merchant_id"] for row in orders} == {"m1", "m2"}
    assert len(lines) == len(orders) == 4


def test_a_change_that_was_committed_late_lands_under_the_next_date(market: Market) -> None:
    sell(market)
    address = market.mapped(overlap_days=99999)
    with writing(
        market,
        "insert into sold values (6, 'm1', 'b6', 6, 1, '2026-03-01 23:59:58', 1)",
        "insert into sold_lines values (6, 1, 'p1', 1, 6)",
        "update sold set changed = '2026-03-02 09:00:00' where id = 2",
    ):
        market.extract(address, DAY, DAY)
        before = market.landed("orders")

    market.extract(address, NEXT, NEXT, published_through=DAY)

    assert before == [(DAY, DAY, "2"), (DAY, DAY, "3")]
    # The late order comes with its own date; order 2 has only moved on to the next.
    assert market.landed("orders") == [
        *before,
        (NEXT, DAY, "6"),
        (NEXT, NEXT, "2"),
        (NEXT, NEXT, "4"),
    ]
    assert (NEXT, DAY, "6") in market.landed("order_items")


def test_older_dates_are_not_asked_for_again(market: Market) -> None:
    sell(market)
    near, far = open_source(market.mapped(overlap_days=99999)), open_source(market.mapped())

    assert near.fingerprint(entity("orders"), DAY) is not None
    assert far.fingerprint(entity("orders"), DAY) is None


def test_the_span_is_from_the_oldest_change_to_yesterday(market: Market) -> None:
    sell(market)

    span = open_source(market.mapped()).span()

    assert span is not None
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    assert (span[0], span[1]) == (date(2026, 2, 28), today - timedelta(1))


def test_columns_that_nobody_asked_for_are_told(market: Market) -> None:
    sell(market)

    (batch, *_) = open_source(market.mapped()).read(entity("orders"), DAY, NEXT)

    assert batch.schema.metadata[DROPPED] == b'["tip"]'


def test_what_the_contract_leaves_open_may_be_absent(market: Market) -> None:
    for address in (market.address(), market.mapped()):
        assert market.rows(address, "buyers", DAY, NEXT) == []
        assert open_source(address).fingerprint(entity("appeals"), NEXT) is None


AWKWARD = """\
create type state as enum ('active', 'deleted');
create table orders (order_id uuid, merchant_id text, buyer_id jsonb, amount numeric,
    currency char(3), paid_at timestamptz, shipped_at date, cancel_reason text, status state,
    updated_at timestamptz);
insert into orders values
    ('00000000-0000-0000-0000-000000000001', '商家 😀', '{"id": 1}', 10.005, 'CNY',
     '2026-03-01 10:00+08', '2026-03-01', E'line\\nbreak', 'active', '2026-03-01 12:00+08'),
    ('00000000-0000-0000-0000-000000000002', 'm', '{}', 'NaN', 'CNY', null, null, null,
     'active', '2026-03-01 12:00+08'),
    ('00000000-0000-0000-0000-000000000003', 'm', '{}', 1, 'CNY', 'infinity', null, null,
     'active', '2026-03-01 12:00+08'),
    ('00000000-0000-0000-0000-000000000004', 'm', '{}', 1, 'CNY', '0001-01-01', null, null,
     'active', '2026-03-01 12:00+08'),
    ('00000000-0000-0000-0000-000000000005', 'm', '{}', 1, 'CNY', null, null, null,
     'active', 'infinity'),
    ('00000000-0000-0000-0000-000000000006', 'm', '{}', 1, 'CNY', null, null, null,
     'active', '-infinity');
create table order_items (order_id uuid, line_no int, product_id text, quantity int,
    unit_price numeric(38, 10));
"""


def test_awkward_values_land_or_are_refused_with_their_reason(pg: Market) -> None:
    pg.run(*AWKWARD.split(";\n")[:-1])

    home = pg.extract(pg.address(), DAY, DAY)

    with duckdb.connect() as con:
        landed = con.execute(
            "select order_id[-1], merchant_id, amount, shipped_at, cancel_reason from "
            f"read_parquet('{home.landing}/postgres/orders/*/*.parquet')"
        ).fetchall()
        refused = con.execute(
            "select row_key[-1], reason from "
            f"read_parquet('{home.quarantine}/postgres/orders/*/*.parquet') order by 1"
        ).fetchall()
    assert [(key, name, reason) for key, name, _, _, reason in landed] == [
        ("1", "商家 😀", "line\nbreak")
    ]
    assert landed[0][3] == datetime(2026, 3, 1)
    assert refused == [
        ("2", "not_a_number:amount"),
        ("3", "not_a_timestamp:paid_at"),
        ("4", "not_a_timestamp:paid_at"),
        ("5", "not_a_timestamp:updated_at"),
        ("6", "not_a_timestamp:updated_at"),
    ]


AWKWARD_MYSQL = """\
set session sql_mode = '', time_zone = '+00:00';
create table orders (order_id int, merchant_id varchar(20) character set utf8mb4, buyer_id json,
    amount decimal(30, 4), currency char(3) character set latin1, paid_at datetime(6) null,
    shipped_at date null, cancel_reason text character set utf8mb4 collate utf8mb4_bin,
    status enum('active', 'deleted'), updated_at timestamp(3) null);
insert into orders values
    (1, '商家 😀', '{"id": 1}', 1234567890123456.785, 'CNY', '2026-03-01 10:00:00.123456',
     '2026-03-01', 'line\\nbreak 😀', 'active', '2026-03-01 12:00:00.125'),
    (2, 'm', '{}', 1, 'CNY', 0, 0, null, 'active', '2026-03-01 12:00:00'),
    (3, 'm', '{}', null, 'CNY', null, null, null, 'active', '2026-03-01 12:00:00'),
    (4, 'm', '{}', 1, 'CNY', '9999-12-31 23:59:59', null, null, 'active', '2026-03-01 12:00:00'),
    (5, 'm', '{}', 1, 'CNY', null, null, null, 'active', 0),
    (6, 'm', '{}', 1, 'CNY', null, null, null, 'active', null),
    (7, 'm', '{}', 1, 'CNY', null, null, null, 'new', '2026-03-01 12:00:00');
create table order_items (order_id int, line_no tinyint(1), product_id varbinary(9),
    quantity bigint unsigned, unit_price double);
insert into order_items select order_id, 3, 'p1', 2, 0.1 from orders where order_id = 1;
create table buyers (buyer_id int, registered_at date, is_verified tinyint(1), updated_at datetime);
insert into buyers values (1, null, 1, '2026-03-01'), (2, null, 0, '2026-03-01'),
    (3, null, 7, '2026-03-01'), (4, null, null, '2026-03-01');
create table merchants (merchant_id int, merchant_name text, category_id int, is_certified bit(1),
    status tinyint(1), updated_at datetime);
insert into merchants values (1, 'a', 1, b'1', 1, '2026-03-01'), (2, 'b', 1, b'0', 2, '2026-03-01')
"""


def test_awkward_values_of_mysql_land_or_are_refused_with_their_reason(my: Market) -> None:
    with mysql(my.server, my.name) as con:
        con.execute("begin")
        for statement in AWKWARD_MYSQL.split(";\n"):
            con.execute(f"call mysql_execute('db', $${statement}$$)")
        con.execute("commit")
    status = '{column: status, codes: {"1": active, "2": closed}}'
    address = my.mapped(
        "entities: {orders: {table: orders}, order_items: {table: order_items}, "
        f"buyers: {{table: buyers}}, merchants: {{columns: {{status: {status}}}}}}}"
    )

    home = my.extract(address, DAY, DAY)

    with duckdb.connect() as con:
        landed = con.execute(
            "select order_id, merchant_id, amount::varchar, currency, paid_at, shipped_at, "
            "cancel_reason, updated_at from "
            f"read_parquet('{home.landing}/mysql/orders/*/*.parquet') order by 1"
        ).fetchall()
        refused = con.execute(
            "select row_key, reason from "
            f"read_parquet('{home.quarantine}/mysql/orders/*/*.parquet') order by 1"
        ).fetchall()
    assert landed == [
        (
            "1",
            "商家 😀",
            "1234567890123456.79",
            "CNY",
            datetime(2026, 3, 1, 10, 0, 0, 123456),
            datetime(2026, 3, 1),
            "line\nbreak 😀",
            datetime(2026, 3, 1, 12, 0, 0, 125000),
        ),
        # A zero date is a time that is not known.
        ("2", "m", "1.00", "CNY", None, None, None, datetime(2026, 3, 1, 12)),
    ]
    assert refused == [
        ("3", "missing:amount"),
        ("4", "not_a_timestamp:paid_at"),
        ("5", "missing:updated_at"),
        ("6", "missing:updated_at"),
        ("7", "missing:status"),  # it is no value of the enum
    ]

    source: Any = open_source(address)
    assert source.span()[0] == DAY  # not the zero date

    def values(name: str, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(map(row.get, columns)) for row in my.rows(address, name, DAY, DAY)]

    assert values("order_items", "line_no", "product_id", "quantity", "unit_price") == [
        (3, "p1", 2, 0.1)
    ]
    assert values("merchants", "is_certified", "status") == [(True, "active"), (False, "closed")]
    # What is neither true nor false is for the door to refuse.
    assert values("buyers", "is_verified") == [("true",), ("false",), ("7",), (None,)]


def test_a_date_without_a_month_stops_its_entity_of_mysql(my: Market) -> None:
    with mysql(my.server, my.name) as con:
        con.execute("begin")
        for statement in (
            "set session sql_mode = ''",
            "create table sold (id int, changed datetime, shipped date)",
            "insert into sold values (1, '2026-03-01', '2026-00-00')",
        ):
            con.execute(f"call mysql_execute('db', $${statement}$$)")
        con.execute("commit")
    columns = INDEXED.replace("{order_id", "{shipped_at: shipped, order_id")
    address = my.mapped(f"entities: {{orders: {{table: sold, columns: {columns}}}}}")

    with pytest.raises(SourceError, match=r"2026-0-0.*orders in MySQL.*line 1"):
        my.rows(address, "orders", DAY, DAY)


def test_what_mysql_holds_in_memory_is_bounded_and_all_of_it_comes(my: Market) -> None:
    sell(my)
    whole: Any = open_source(my.mapped())
    few = replace(whole, engine=replace(whole.engine, at_once=2))
    start, end = date(2026, 2, 20), date(2026, 3, 20)

    def read(source: Any, name: str) -> tuple[list[int], list[Any]]:
        batches = list(source.read(entity(name), start, end))
        rows = [row for batch in batches for row in batch.to_pylist()]
        return [batch.num_rows for batch in batches], sorted(rows, key=lambda row: row["order_id"])

    for name in ("orders", "order_items"):
        (all_at_once, rows), (sizes, again) = read(whole, name), read(few, name)
        assert (all_at_once, sizes) == ([5], [1, 2, 2])
        # The one without a date comes with the last date, once.
        assert again == rows
        assert [row["order_id"] for row in rows] == ["1", "2", "3", "4", "5"]
        assert rows[-1]["report_date"] == end


def test_a_table_that_is_altered_meanwhile_may_be_tried_again(my: Market) -> None:
    sell(my)
    source: Any = open_source(my.mapped())

    with source.snapshot():
        my.run("alter table sold_lines force")
        with pytest.raises(StorageError, match="run again"):
            list(source.read(entity("order_items"), DAY, DAY))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("alter table sold drop column customer", "expects the column 'customer'"),
        ("alter table sold alter total type boolean using true", "expects money; found BOOLEAN"),
        ("alter table sold alter changed type text", "expects a timestamp; found VARCHAR"),
        ("drop table sold", 'relation "sold" does not exist'),
        ("alter table sold_lines drop column sku", 'column "sku" does not exist'),
    ],
)
def test_drift_stops_the_entity_and_names_the_line_of_the_mapping(
    pg: Market, change: str, said: str
) -> None:
    sell(pg)
    pg.run(change)
    address = pg.mapped()
    name = "order_items" if "lines" in change else "orders"

    with pytest.raises(SourceError) as refused:
        pg.rows(address, name, DAY, DAY)

    line = str(refused.value)
    assert said in line and f"{pg.folder / 'mapping.yml'}, line " in line and "\n" not in line


def test_what_cannot_be_reached_or_refuses_us_is_told_in_one_line(
    pg: Market, market: Market
) -> None:
    sell(pg)
    run(
        "postgres",
        pg.server,
        pg.name,
        "drop role if exists peeper",
        "create role peeper login password 'peep'",
    )
    good = market.address()
    port = f":{market.server.port}/"
    cases: list[tuple[str, type[RedlineError], str]] = [
        (good.replace("s3cret%20word", "wr0ng%20word"), SourceError, "(?i)redline"),
        (good.replace(market.name, "nowhere"), SourceError, "nowhere"),
        (good.replace(port, ":1/"), StorageError, "cannot be reached"),
        (good.replace("127.0.0.1", "host.invalid"), StorageError, "cannot be reached"),
        (good, SourceError, "refunds"),
    ]
    if market.scheme == "postgres":
        peeper = pg.mapped().replace("redline:s3cret%20word", "peeper:peep")
        cases.append((peeper, SourceError, "permission denied"))
    for address, kind, said in cases:
        with pytest.raises(kind, match=said) as refused:
            market.rows(address, "orders" if "peeper" in address else "refunds", DAY, DAY)

        line = str(refused.value)
        assert "\n" not in line and "3cret" not in line and "wr0ng" not in line and len(line) < 600


def test_a_connection_to_mysql_that_is_lost_may_be_tried_again(my: Market) -> None:
    sell(my)
    source: Any = open_source(my.mapped())

    with source.snapshot():
        assert list(source.read(entity("order_items"), DAY, DAY))
        with mysql(my.server, my.name) as con:
            ((ours,),) = con.execute(
                "from mysql_query('db', 'select id from information_schema.processlist "
                "where db = database() and id <> connection_id()')"
            ).fetchall()
            con.execute(f"call mysql_execute('db', 'kill {ours}')")
        with pytest.raises(StorageError, match="cannot be reached"):
            list(source.read(entity("orders"), DAY, DAY))
    assert list(source.read(entity("orders"), DAY, DAY))


def test_a_connection_that_is_lost_midway_may_be_tried_again(pg: Market) -> None:
    pg.run(
        "create table orders (order_id text, merchant_id text, buyer_id text, amount int, "
        "currency text, status text, updated_at timestamptz)",
        "insert into orders select repeat('x', 500) || i, 'm', 'b', 1, 'CNY', 'active', "
        "'2026-03-01 12:00+08' from generate_series(1, 300000) as i",
    )
    batches = open_source(pg.address()).read(entity("orders"), DAY, DAY)
    next(batches)
    run(
        "postgres",
        pg.server,
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'redline' and pid <> pg_backend_pid()",
    )

    with pytest.raises(StorageError, match="cannot be reached"):
        list(batches)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgres://host/", "no host, port or database"),
        ("postgres:///shop", "no host, port or database"),
        ("postgresql://host:99999/shop", "no host, port or database"),
        ("mysql://host/shop?maping=/x", "unknown option 'maping'"),
        ("mysql://host/shop?overlap_days=-1", "'-1' is not a count"),
        ("postgres://host/shop?mapping=/nowhere.yml", "the mapping cannot be read"),
    ],
)
def test_an_address_that_means_nothing_is_refused(address: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(address)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(market: Market) -> None:
    sell(market)
    asked = {"sslmode": "require"} if market.scheme == "postgres" else {"ssl_mode": "required"}

    with pytest.raises((SourceError, StorageError), match=r"(?i)ssl"):
        market.rows(market.mapped(**asked), "orders", DAY, DAY)
    eased = {"sslmode": "disable"} if market.scheme == "postgres" else {"ssl_mode": "disabled"}
    assert len(market.rows(market.mapped(**eased), "orders", DAY, DAY)) == 3
    with pytest.raises(SourceError, match="no word or path"):
        open_source(market.address(**{next(iter(asked)): "a'b"}))


def test_a_password_is_in_no_picture_of_a_source() -> None:
    source = open_source("postgres://me:hush@host/shop")

    assert "hush" not in repr(source)
    assert source.platform == "postgres"


def test_a_mapping_with_both_a_table_and_a_select_is_refused(pg: Market) -> None:
    text = "entities:\n  orders:\n    table: a\n    select: SELECT 1\n"

    with pytest.raises(SourceError, match=r"names a table and a select.*line 4"):
        pg.rows(pg.mapped(text), "orders", DAY, DAY)


def test_batches_are_bounded(pg: Market) -> None:
    pg.run(
        "create table orders as select i::text as order_id, 'm' as merchant_id, 'b' as buyer_id, "
        "1 as amount, 'CNY' as currency, 'active' as status, "
        "timestamptz '2026-03-01 12:00+08' as updated_at from generate_series(1, 250000) as i"
    )

    sizes = [b.num_rows for b in open_source(pg.address()).read(entity("orders"), DAY, DAY)]

    assert sum(sizes) == 250_000
    assert max(sizes) <= 200_000


def test_a_range_of_dates_is_served_by_an_index(pg: Market) -> None:
    address = pg.mapped(f"entities: {{orders: {{table: sold, columns: {INDEXED}}}}}")
    pg.run(
        "create table sold (id text, changed timestamptz)",
        "insert into sold select i, timestamptz '2026-01-01' + i * interval '5 minutes' "
        "from generate_series(1, 20000) i",
        "create index on sold (changed)",
        "analyze sold",
    )
    source = open_source(address)
    relation_query = []
    original = type(source)._query  # type: ignore[attr-defined]

    def noted(self: Any, sql: str) -> str:
        relation_query.append(sql)
        return str(original(self, sql))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(source), "_query", noted)
        assert sum(batch.num_rows for batch in source.read(entity("orders"), DAY, DAY)) == 288
    login = {"user": pg.server.user, "password": pg.server.password, "dbname": pg.name}
    connection = psycopg2.connect(host="127.0.0.1", port=pg.server.port, **login)
    try:
        cursor = connection.cursor()
        cursor.execute(f"explain {relation_query[-1]}")
        plan = " ".join(line for (line,) in cursor.fetchall())
    finally:
        connection.close()
    assert "Seq Scan" not in plan
    assert "Index" in plan


def test_a_day_costs_mysql_what_the_day_brought(my: Market) -> None:
    lines = "{order_id: ref, line_no: no, product_id: no, quantity: no, unit_price: no}"
    address = my.mapped(
        f"timezone: Asia/Shanghai\nentities:\n  orders: {{table: sold, columns: {INDEXED}}}\n"
        f"  order_items: {{select: select * from sold_lines where no > 0, columns: {lines}}}\n"
    )
    my.run(
        "create table sold (id int primary key, changed datetime(6), index (changed))",
        "insert into sold select seq, '2026-01-01' + interval seq * 5 minute from seq_1_to_20000",
        "create table sold_lines (ref int, no int, primary key (ref, no))",
        "insert into sold_lines select id, 1 from sold",
        "analyze table sold, sold_lines",
    )

    with slow_log(my) as examined:
        assert len(my.rows(address, "orders", DAY, DAY)) == 288
        assert len(my.rows(address, "order_items", DAY, DAY)) == 288

    # 288 orders; and their lines with an order each.
    assert {"sold_lines" in sql: rows for sql, rows in examined if rows} == {False: 288, True: 576}


@contextmanager
def slow_log(market: Market) -> Iterator[list[tuple[str, int]]]:
    """What is asked of a database of MySQL meanwhile, with the rows that it looked at."""
    found: list[tuple[str, int]] = []
    setting = "set global slow_query_log = {}, global long_query_time = {}, global log_output = {}"
    market.run(setting.format(1, 0, "'TABLE'"))
    try:
        yield found
    finally:
        market.run(setting.format(0, 10, "'FILE'"))
    query = (
        "select convert(sql_text using utf8mb4), rows_examined from mysql.slow_log "
        "where db = database() and sql_text like 'select%updated_at%'"
    )
    with mysql(market.server, market.name) as con:
        found += con.execute(f"from mysql_query('db', $${query}$$)").fetchall()


INDEXED = (
    "{order_id: id, merchant_id: id, buyer_id: id, amount: {value: '1'}, currency: {value: CNY}, "
    "status: {value: active}, updated_at: changed}"
)


@pytest.mark.parametrize("kind", ["timestamp", "datetime"])
def test_mysqls_times_are_on_one_clock_and_its_bytewise_text_is_text(
    made: Callable[[str], Market], kind: str
) -> None:
    my = made("mysql")
    moment = "from_unixtime(1772294400)" if kind == "timestamp" else "'2026-03-01 00:00:00'"
    zoned = "timezone: Asia/Shanghai\n"
    address = my.mapped(f"{zoned}entities: {{orders: {{table: sold, columns: {INDEXED}}}}}")
    my.run(
        f"create table sold (id varchar(9) collate utf8mb4_bin, changed {kind} null)",
        f"insert into sold values ('\u00e9', {moment})",
    )
    (row,) = my.rows(address, "orders", DAY, DAY)
    assert (row["order_id"], row["updated_at"]) == ("\u00e9", datetime(2026, 2, 28, 16))


def test_a_select_may_end_in_a_comment_and_its_failure_quotes_no_row(pg: Market) -> None:
    pg.run("create type state as enum ('a')", "create table sold (id text, changed timestamptz)")
    pg.run("insert into sold values ('private words', '2026-03-01 12:00+08')")
    text = (
        "entities:\n  orders:\n    select: |\n      SELECT {} FROM sold -- ours\n    columns: {}\n"
    )
    assert len(pg.rows(pg.mapped(text.format("*", INDEXED)), "orders", DAY, DAY)) == 1
    address = pg.mapped(text.format("id::state as id, changed", INDEXED))
    with pytest.raises(SourceError, match="invalid input value for enum") as caught:
        pg.rows(address, "orders", DAY, DAY)
    assert "private" not in str(caught.value)

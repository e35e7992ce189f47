"""Which events are listed as waiting for their order, on a warehouse of a few rows."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from redline.plan import Plan
from redline.settings import Home, Settings
from redline.transform.waiting import list_waiting

TODAY = date(2026, 3, 31)
HORIZON = 30


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(Home(tmp_path), "Asia/Shanghai", ("douyin_laike",), HORIZON, 7)
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute("create schema intermediate")
        connection.execute(
            "create table intermediate.int_events_versioned (platform varchar, event_key varchar, "
            "event_kind varchar, event_id varchar, valid_from date, order_id varchar, "
            "is_counted boolean)"
        )
        connection.execute(
            "create table intermediate.int_orders_versioned "
            "(platform varchar, order_id varchar, valid_from date)"
        )
        # Of the orders that a run touched; the stand-in is of all.
        connection.execute(
            "create view intermediate.int_orders_touched as "
            "select distinct platform, order_id from intermediate.int_orders_versioned"
        )
        connection.execute(
            "insert into intermediate.int_orders_versioned values "
            "('shop', 'known', $old), ('shop', 'tomorrow', $tomorrow), ('mall', 'theirs', $old)",
            {"old": ago(500), "tomorrow": ago(-1)},
        )
    return settings


def deliver(settings: Settings, *events: tuple[str, str, int, str, bool]) -> None:
    """Add versions of events: kind, id, days ago, order, whether it stands."""
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.executemany(
            "insert into intermediate.int_events_versioned values ('shop', ?, ?, ?, ?, ?, ?)",
            [
                (f"{kind}:{key}", kind, key, ago(days), order, stands)
                for kind, key, days, order, stands in events
            ],
        )


def listed(
    settings: Settings, day: date = TODAY, published_through: date | None = None
) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
    plan = Plan("run-1", "shop", "files:///x", day, day, published_through, None, day, day)
    counts = list_waiting(plan, settings)
    rows: list[tuple[Any, ...]] = []
    for path in sorted((settings.home.quarantine / "shop").glob("*/waiting.parquet")):
        with duckdb.connect() as connection:
            rows += connection.execute("from read_parquet($path)", {"path": str(path)}).fetchall()
    assert not list(settings.home.quarantine.rglob("*.tmp"))
    return counts, rows


def row(entity: str, key: str, order: str, days: int) -> tuple[Any, ...]:
    return ("shop", entity, key, "waiting:order", order, ago(days), TODAY)


def test_an_event_is_listed_under_its_entity_while_its_platform_knows_no_such_order(
    settings: Settings,
) -> None:
    deliver(
        settings,
        ("complaint", "c1", 3, "unknown", True),
        ("complaint", "c2", 3, "known", True),
        ("review", "r1", 2, "theirs", True),
        ("refund", "f1", 1, "tomorrow", True),
    )
    counts, rows = listed(settings)
    assert counts == {"complaints": 1, "reviews": 1, "refunds": 1}
    assert rows == [
        row("complaints", "c1", "unknown", 3),
        row("refunds", "f1", "tomorrow", 1),
        row("reviews", "r1", "theirs", 2),
    ]


def test_the_newest_version_speaks_and_the_first_says_since_when(settings: Settings) -> None:
    deliver(
        settings,
        ("complaint", "again", 9, "unknown", True),
        ("complaint", "again", 4, "unknown", True),
        ("complaint", "moved-here", 9, "known", True),
        ("complaint", "moved-here", 4, "unknown", True),
        ("complaint", "moved-away", 9, "unknown", True),
        ("complaint", "moved-away", 4, "known", True),
        ("complaint", "withdrawn", 9, "unknown", True),
        ("complaint", "withdrawn", 4, "unknown", False),
    )
    assert listed(settings)[1] == [
        row("complaints", "again", "unknown", 9),
        row("complaints", "moved-here", "unknown", 4),
    ]


def test_what_is_older_than_the_horizon_waits_for_nothing(settings: Settings) -> None:
    deliver(
        settings,
        ("complaint", "young", HORIZON - 1, "unknown", True),
        ("complaint", "old", HORIZON, "unknown", True),
        ("complaint", "of-an-old-order", 3, "refused-as-old", True),
        ("complaint", "of-a-faulty-order", 3, "refused-as-faulty", True),
    )
    folder = settings.home.quarantine / "shop" / "orders" / f"report_date={ago(5)}"
    folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select * from (values ('refused-as-old', 'beyond_horizon'), "
            "('refused-as-faulty', 'missing:merchant_id')) as t(row_key, reason)) to $path",
            {"path": str(folder / f"source_date={ago(5)}.parquet")},
        )
    assert listed(settings)[1] == [
        row("complaints", "of-a-faulty-order", "refused-as-faulty", 3),
        row("complaints", "young", "unknown", HORIZON - 1),
    ]


def test_the_list_is_replaced_whole_and_gone_when_nothing_waits(settings: Settings) -> None:
    deliver(settings, ("complaint", "c1", 3, "unknown", True))
    assert listed(settings)[0] == {"complaints": 1}
    assert listed(settings)[0] == {"complaints": 1}
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute(
            "insert into intermediate.int_orders_versioned values ('shop', 'unknown', $today)",
            {"today": TODAY},
        )
    assert listed(settings) == ({}, [])
    assert list(settings.home.quarantine.rglob("waiting.parquet")) == []


def test_a_list_on_top_of_yesterdays_is_that_of_a_list_from_nothing(settings: Settings) -> None:
    yesterday = ago(1)
    deliver(
        settings,
        ("complaint", "stays", 9, "unknown", True),
        ("complaint", "joins", 9, "tomorrow", True),
        ("complaint", "ages-out", HORIZON, "unknown", True),
        ("complaint", "is-withdrawn", 9, "unknown", True),
        ("complaint", "is-told-again", 9, "unknown", True),
    )
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute(
            "update intermediate.int_orders_versioned set valid_from = $today "
            "where order_id = 'tomorrow'",
            {"today": TODAY},
        )
    assert listed(settings, yesterday)[0] == {"complaints": 5}
    deliver(
        settings,
        ("complaint", "is-withdrawn", 0, "unknown", False),
        ("complaint", "is-told-again", 0, "unknown", True),
        ("review", "new", 0, "unknown", True),
        ("review", "new-and-joined", 0, "known", True),
    )
    on_top = listed(settings, TODAY, published_through=yesterday)
    assert on_top[1] == [
        row("complaints", "is-told-again", "unknown", 9),
        row("complaints", "stays", "unknown", 9),
        row("reviews", "new", "unknown", 0),
    ]
    # The lists are today's now: a second attempt begins from nothing, and ends the same.
    assert listed(settings, TODAY, published_through=yesterday) == on_top


def test_a_failed_attempt_does_not_make_the_next_one_forget(settings: Settings) -> None:
    yesterday = ago(1)
    deliver(settings, ("complaint", "c1", 3, "unknown", True))
    listed(settings, yesterday)
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute(
            "insert into intermediate.int_orders_versioned values ('shop', 'unknown', $today)",
            {"today": TODAY},
        )
    assert listed(settings, TODAY, published_through=yesterday) == ({}, [])
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute(
            "delete from intermediate.int_orders_versioned where order_id = 'unknown'"
        )
    assert listed(settings, TODAY, published_through=yesterday)[0] == {"complaints": 1}

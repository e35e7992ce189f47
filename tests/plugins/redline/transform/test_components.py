"""New components and newly asked metrics reach back over the dates that are published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from redline.errors import SettingError
from redline.plan import ONE_DAY, Plan
from redline.settings import Settings
from redline.transform import components, transform
from tests import support
from tests.histories import TIMEZONE

PLATFORM = "simulator"
FIRST = date(2026, 1, 1)
EVE, LAST = FIRST + timedelta(days=19), FIRST + timedelta(days=20)
SOURCE = f"simulator://?merchants=12&days=21&seed=11&start={FIRST}"


def run(settings: Settings, start: date, end: date) -> dict[str, Any]:
    """The transform of a run over these dates, what lies before them being published."""
    plan = Plan(
        run_id=f"{PLATFORM}-{end}",
        platform=PLATFORM,
        source=SOURCE,
        requested_start=start,
        requested_end=end,
        published_through=start - ONE_DAY if start > FIRST else None,
        base_run="before" if start > FIRST else None,
        start=start,
        end=end,
    )
    plan.save(settings.home)
    return transform(plan, settings)


def rows(settings: Settings, query: str) -> Counter[Any]:
    with closing(duckdb.connect(str(settings.home.warehouse), read_only=True)) as connection:
        return Counter(connection.execute(query).fetchall())


def change(settings: Settings, *statements: str) -> None:
    with closing(duckdb.connect(str(settings.home.warehouse))) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("components")
    with pytest.MonkeyPatch.context() as environment:  # a source reads its own settings
        environment.setenv("REDLINE_HOME", str(root))
        environment.setenv("REDLINE_TIMEZONE", TIMEZONE)
        yield root


@pytest.fixture(scope="module")
def published(root: Path) -> support.Warehouse:
    """A home on the evening before the last date of its source, every date landed."""
    settings = support.settings_of(root / "published", TIMEZONE)
    support.land_dates(settings, PLATFORM, SOURCE, FIRST, LAST)
    run(settings, FIRST, EVE)
    return support.Warehouse(settings, (PLATFORM,))


@pytest.fixture
def home(published: support.Warehouse, tmp_path: Path) -> Settings:
    """A copy of it."""
    return copy_of(published, tmp_path / "home")


@pytest.fixture(scope="module")
def untouched(published: support.Warehouse, root: Path) -> Settings:
    """Another, with its last date on top."""
    settings = published.copied_to(root / "untouched").settings
    run(settings, LAST, LAST)
    return settings


@pytest.fixture(scope="module")
def asked_from_the_start(published: support.Warehouse, root: Path) -> support.Warehouse:
    """The same evening under one pack more, which asks metrics that no other does."""
    settings = support.settings_of(root / "asked", TIMEZONE)
    settings = replace(settings, policies=("douyin_laike", "walmart"))
    settings.home.landing.symlink_to(published.settings.home.landing)
    run(settings, FIRST, EVE)
    return support.Warehouse(settings, (PLATFORM,))


def copy_of(warehouse: support.Warehouse, root: Path) -> Settings:
    """A copy of a home, to be brought on."""
    settings = warehouse.copied_to(root).settings
    remembered = warehouse.settings.home.root / components.FILE
    (settings.home.root / components.FILE).write_bytes(remembered.read_bytes())
    return settings


LEDGER = "select * from marts.fct_cohort_ledger"
DEVELOPMENT = "select * from intermediate.int_category_development"
RATES = "select * from marts.fct_{}_daily_rates"


def test_a_new_component_is_filled_for_all_report_dates_in_one_pass(
    home: Settings, untouched: Settings
) -> None:
    """As if the seeds had gained two components since the last run."""
    gained = ("refunded_orders", "merchant_cancels")
    path = home.home.root / components.FILE
    known = json.loads(path.read_text())
    for component in gained:
        del known[PLATFORM][component]
        change(home, f"delete from marts.fct_cohort_ledger where component like '{component}%'")
    change(
        home,
        "delete from intermediate.int_category_development where metric = 'refund_rate'",
    )
    path.write_text(json.dumps(known))

    run(home, LAST, LAST)

    ledger = rows(untouched, LEDGER)
    assert {row[5] for row in ledger} >= {*gained, "refunded_orders_adjusted"}
    assert rows(home, LEDGER) == ledger
    assert rows(home, DEVELOPMENT) == rows(untouched, DEVELOPMENT)


def test_a_component_that_means_something_else_is_refused(home: Settings) -> None:
    path = home.home.root / components.FILE
    known = json.loads(path.read_text())
    known[PLATFORM]["complaints"] = "another meaning"
    path.write_text(json.dumps(known))
    before = home.home.warehouse.read_bytes()

    with pytest.raises(SettingError, match="the component complaints means something else"):
        run(home, LAST, LAST)

    assert home.home.warehouse.read_bytes() == before


def test_a_metric_that_a_policy_names_at_last_is_rated_for_every_cohort(
    home: Settings, asked_from_the_start: support.Warehouse, tmp_path: Path
) -> None:
    packs = asked_from_the_start.settings.policies
    asking = replace(home, policies=packs)
    run(asking, LAST, LAST)

    from_the_start = copy_of(asked_from_the_start, tmp_path / "from the start")
    from_the_start = replace(from_the_start, policies=packs)
    run(from_the_start, LAST, LAST)
    for entity in ("merchant", "product", "category"):
        expected = rows(from_the_start, RATES.format(entity))
        assert any("merchant_cancel_rate" in row for row in expected)
        assert rows(asking, RATES.format(entity)) == expected


def test_a_metric_that_no_policy_names_any_more_leaves_no_stale_rate(
    asked_from_the_start: support.Warehouse, tmp_path: Path, untouched: Settings
) -> None:
    settings = copy_of(asked_from_the_start, tmp_path / "home")
    settings = replace(settings, policies=untouched.policies)
    run(settings, LAST, LAST)
    assert rows(settings, RATES.format("merchant")) == rows(untouched, RATES.format("merchant"))

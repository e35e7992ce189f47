"""The real marketplace's rates, row by row, against the oracle."""

from __future__ import annotations

from contextlib import closing
from datetime import date

import duckdb
import pytest

from tests import olist_oracle, oracle, support

FIRST_DATE, LAST_DATE = date(2016, 9, 1), olist_oracle.LAST_DATE

pytestmark = [
    pytest.mark.skipif(
        not olist_oracle.folder().is_dir(),
        reason="the Olist dataset may not be distributed; set REDLINE_OLIST_DIR to its folder",
    ),
    pytest.mark.xdist_group("olist_rates"),
    pytest.mark.timeout(900),
    pytest.mark.olist,
]


@pytest.fixture(scope="module")
def history() -> oracle.History:
    return olist_oracle.history(olist_oracle.folder())


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> support.Warehouse:
    settings = support.settings_of(tmp_path_factory.mktemp("olist"), "UTC")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("REDLINE_TIMEZONE", "UTC")  # the source asks for it
        source = f"olist://{olist_oracle.folder()}"
        support.land_dates(settings, olist_oracle.PLATFORM, source, FIRST_DATE, LAST_DATE)
    made = support.Warehouse(settings, (olist_oracle.PLATFORM,))
    made.seed()
    with closing(duckdb.connect(str(settings.home.warehouse))) as connection:
        connection.execute("update seeds.metrics set computed = 'always'")
    made.run(FIRST_DATE, LAST_DATE, on_top=False)
    return made


def test_every_merchants_rates_equal_the_oracles(
    history: oracle.History, warehouse: support.Warehouse
) -> None:
    expected = support.expected_rates(oracle.merchant_rates(history, LAST_DATE))
    actual = warehouse.rates("fct_merchant_daily_rates", "merchant_id")[olist_oracle.PLATFORM]
    assert {metric for _, metric, _ in expected} == oracle.METRICS.keys()
    assert actual == expected, support.differences(actual, expected)


def test_every_products_and_categorys_rates_equal_the_oracles(
    history: oracle.History, warehouse: support.Warehouse
) -> None:
    for mart, columns, count in (
        ("fct_product_daily_rates", "(merchant_id, product_id)", oracle.product_rates),
        ("fct_category_daily_rates", "category_id", oracle.category_rates),
    ):
        expected = support.expected_rates(count(history, LAST_DATE))
        actual = warehouse.rates(mart, columns)[olist_oracle.PLATFORM]
        assert actual == expected, support.differences(actual, expected)


def test_the_ledger_ends_in_the_state_of_the_last_evening(
    history: oracle.History, warehouse: support.Warehouse
) -> None:
    ledger = warehouse.ledgers()[olist_oracle.PLATFORM]
    actual = support.running_sums(ledger, LAST_DATE)
    expected = oracle.state(history, LAST_DATE)
    assert actual == expected, support.differences(actual, expected)

"""The publication gate, on a warehouse made by hand with faults planted in it.

One warehouse holds a fault for every expectation, each in rows of its own; each test asks the
gate's one answer about one of them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from expectations.publication import SUITE
from redline.contract import entity
from redline.errors import GateError
from redline.validation import validate_publication
from tests.plugins.redline.validation import landed
from tests.plugins.redline.validation.landed import FIRST, LAST, PLATFORM, plan_of, settings_of
from tests.plugins.redline.validation.warehouse import change, make_warehouse

ONE_DAY = timedelta(days=1)


def answer_of(root: Path, **plan: Any) -> dict[str, Any]:
    """What the gate leaves in the run's folder, whether it passed or not."""
    plan_ = plan_of(**plan)
    with contextlib.suppress(GateError):
        validate_publication(plan_, settings_of(root))
    path = plan_.folder(settings_of(root).home) / "validate_publication.json"
    answer: dict[str, Any] = json.loads(path.read_text())
    return answer


def message_of(answer: dict[str, Any], table: str, name: str) -> str:
    """The message of a failed expectation, or an empty text."""
    start = f"publication.{name} on {table}: "
    found = [m for m in answer["failures"] + answer["warnings"] if m.startswith(start)]
    return found[0] if found else ""


def publish(root: Path) -> None:
    """Publish the warehouse as it is."""
    run = root / "published" / "runs" / "yesterday"
    run.mkdir(parents=True)
    shutil.copy(root / "warehouse.duckdb", run / "redline.duckdb")
    (root / "published" / "current").symlink_to("runs/yesterday")


@pytest.fixture(scope="module")
def sound_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landing zone and a warehouse that agree."""
    root = tmp_path_factory.mktemp("sound")
    landed.make_landing(root)
    make_warehouse(root / "warehouse.duckdb")
    return root


@pytest.fixture
def home(sound_root: Path, tmp_path: Path) -> Path:
    """A copy of the sound home, to plant faults in."""
    shutil.copytree(sound_root, tmp_path / "home")
    return tmp_path / "home"


def entry(fields: str) -> str:
    """SQL that adds a changed copy of one entry of the ledger."""
    return (
        f"insert into marts.fct_cohort_ledger select * replace ({fields})"
        " from marts.fct_cohort_ledger where component = 'orders_paid' order by all limit 1"
    )


def rate(entity_: str, fields: str) -> str:
    """SQL that adds a changed copy of one rate, of a cohort of its own."""
    table = f"marts.fct_{entity_}_daily_rates"
    cohort = "" if "as cohort_date" in fields else ", cohort_date + 1 as cohort_date"
    return (
        f"insert into {table} select * replace ({fields}{cohort})"
        f" from {table} where is_mature and denominator > 0 order by all limit 1"
    )


def evaluation(number: int, fields: str) -> str:
    """SQL that adds a changed copy of one evaluation, of an entity of its own."""
    return (
        "insert into marts.fct_policy_evaluations"
        f" select * replace ('x{number}' as entity_id, {fields})"
        " from marts.fct_policy_evaluations where entity_id = 'm0' order by all limit 1"
    )


def alert(number: int, fields: str) -> str:
    """SQL that adds a changed copy of one alert."""
    return (
        f"insert into marts.fct_alerts select * replace ('b{number}' as alert_id, {fields})"
        " from marts.fct_alerts where alert_id = 'a1'"
    )


# (table, expectation): (the fault, what its message must show)
RATE_FAULTS = {
    "keys_are_present": ("null as metric", "metric=None"),
    "numerators_are_not_negative": ("-3 as numerator, -3 as adjusted_numerator", "numerator=-3"),
    "denominators_are_not_negative": ("-4 as denominator", "denominator=-4"),
    "adjusted_numerators_are_not_above_raw": ("99 as adjusted_numerator", "numerator="),
    "rates_are_numerator_by_denominator": ("0.77 as rate", "rate=0.77"),
    "rates_are_null_without_denominator": ("0 as denominator, 0.5 as rate", "denominator=0"),
    "maturity_follows_from_the_window": ("not is_mature as is_mature", "cohort_date="),
    "dates_are_not_after_the_evening": (
        "date '2027-01-01' as cohort_date, false as is_mature",
        "cohort_date=2027-01-01",
    ),
}

FAULTS: dict[tuple[str, str], tuple[str, str]] = {
    ("marts.fct_cohort_ledger", "keys_are_present"): (
        entry("null as product_id"),
        "product_id=None",
    ),
    ("marts.fct_cohort_ledger", "quantities_are_not_zero"): (
        entry("0 as quantity, 5 as lag_days"),
        "quantity=0",
    ),
    ("marts.fct_cohort_ledger", "cohorts_are_not_in_the_future"): (
        entry("report_date + 1 as cohort_date, 6 as lag_days"),
        "lag_days=6",
    ),
    ("marts.fct_cohort_ledger", "components_are_known"): (
        entry("'moonshine' as component"),
        "component=moonshine",
    ),
    ("publication.repeated", "one_row_per_grain"): (
        (
            "insert into marts.fct_policy_evaluations"
            " select * from marts.fct_policy_evaluations where entity_id = 'm0'"
        ),
        "mart=marts.fct_policy_evaluations, grain=2026-03-04 merchant m0 complaint_rate service",
    ),
    ("publication.reconciliation", "ledger_reconciles_with_landed_records"): (
        (
            "update marts.fct_cohort_ledger set quantity = quantity + 7"
            " where component = 'complaints'"
            f" and merchant_id = 'm1' and product_id = 'p1' and report_date = date '{FIRST}'"
        ),
        "component=complaints, merchant_id=m1, cohort_date=2026-03-01, landed=3, ledger=10",
    ),
    ("publication.balances", "no_cell_falls_below_zero"): (
        entry("'complaints_adjusted' as component, -2 as quantity"),
        "component=complaints_adjusted, lag_days=0, balance=-2",
    ),
    ("publication.merchant_sums", "products_add_up_to_their_merchant"): (
        (
            "update marts.fct_product_daily_rates set numerator = numerator + 50,"
            " adjusted_numerator = adjusted_numerator + 50, rate = (numerator + 50) / denominator,"
            " adjusted_rate = (adjusted_numerator + 50) / denominator"
            " where metric = 'complaint_rate'"
            f" and merchant_id = 'm0' and product_id = 'p2' and cohort_date = date '{FIRST}'"
        ),
        (
            "merchant_id=m0, metric=complaint_rate, cohort_date=2026-03-01, numerator=3,"
            " product_numerator=53"
        ),
    ),
    ("publication.lost_merchants", "no_merchant_is_lost"): (
        "delete from marts.dim_merchants where merchant_id = 'm5'",
        "missing_from=marts.dim_merchants, merchant_id=m5",
    ),
    ("publication.rated_merchants", "rated_merchants_are_known"): (
        rate("merchant", "'stranger' as merchant_id"),
        "merchant_id=stranger",
    ),
    ("publication.missing_evaluations", "every_entity_with_a_denominator_is_evaluated"): (
        "delete from marts.fct_policy_evaluations where entity_id = 'm1'",
        "entity_id=m1, metric=complaint_rate, risk_point=service, denominator=12",
    ),
    ("marts.fct_policy_evaluations", "statuses_are_known"): (
        evaluation(1, "'fine' as status"),
        "status=fine",
    ),
    ("marts.fct_policy_evaluations", "keys_are_present"): (
        evaluation(2, "null as risk_point"),
        "risk_point=None",
    ),
    ("marts.fct_policy_evaluations", "policies_are_active"): (
        evaluation(3, "'gone' as policy_id"),
        "policy_id=gone",
    ),
    ("marts.fct_policy_evaluations", "counts_are_not_negative"): (
        evaluation(4, "-1 as numerator, -0.1 as value, -0.2 as lower_bound"),
        "numerator=-1",
    ),
    ("marts.fct_policy_evaluations", "values_are_numerator_by_denominator"): (
        evaluation(5, "0.9 as value"),
        "value=0.9",
    ),
    ("marts.fct_policy_evaluations", "thresholds_are_in_order"): (
        evaluation(6, "3.0 as warning_threshold"),
        "entity_id=x6",
    ),
    ("marts.fct_policy_evaluations", "bounds_are_not_above_values"): (
        evaluation(7, "1.5 as lower_bound"),
        "entity_id=x7",
    ),
    ("marts.fct_policy_evaluations", "violations_reach_their_threshold"): (
        evaluation(8, "'violation' as status, 3 as numerator, 30 as denominator, 0.1 as value"),
        "entity_id=x8",
    ),
    ("marts.fct_policy_evaluations", "what_reaches_its_threshold_is_a_violation"): (
        evaluation(9, "'pass' as status, 40 as numerator, 40 as denominator"),
        "entity_id=x9",
    ),
    ("marts.fct_alerts", "records_of_alerts_exist"): (
        alert(1, "'r9' as record_id"),
        "record_id=r9",
    ),
    ("marts.fct_alerts", "alerts_are_not_after_the_evening"): (
        alert(2, "date '2027-01-01' as as_of_date"),
        "as_of_date=2027-01-01",
    ),
    ("marts.fct_alerts", "transitions_are_known"): (
        alert(3, "'vanished' as transition"),
        "transition=vanished",
    ),
    **{
        (f"marts.fct_{of}_daily_rates", name): (rate(of, fields), sample)
        for of in ("merchant", "product", "category")
        for name, (fields, sample) in RATE_FAULTS.items()
    },
}
JUDGED_ELSEWHERE = {"tables_do_not_shrink", "tables_do_not_jump_within_a_day"}


@pytest.fixture(scope="module")
def faulty_root(sound_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound home, published, and then with every fault."""
    root = tmp_path_factory.mktemp("faulty") / "home"
    shutil.copytree(sound_root, root)
    publish(root)
    change(root / "warehouse.duckdb", *(fault for fault, _ in FAULTS.values()))
    return root


@pytest.fixture(scope="module")
def faulty(faulty_root: Path) -> dict[str, Any]:
    """The answer for the warehouse full of faults."""
    return answer_of(faulty_root)


def test_a_sound_warehouse_passes_every_expectation(home: Path) -> None:
    publish(home)
    answer = answer_of(home)
    assert answer["failures"] == []
    assert answer["warnings"] == []
    assert answer["passed"]
    assert answer["expectations"] == len(SUITE.checks)
    assert answer["row_counts"]["marts.dim_merchants"] == 6


def test_there_is_a_fault_for_every_expectation() -> None:
    judged = {(c.table, c.name) for c in SUITE.checks if c.name not in JUDGED_ELSEWHERE}
    assert judged == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=".".join)
def test_a_planted_fault_fails_its_expectation(
    fault: tuple[str, str], faulty: dict[str, Any]
) -> None:
    message = message_of(faulty, *fault)
    assert FAULTS[fault][1] in message
    assert "observed " in message
    assert "limit " in message


def test_only_an_unknown_merchant_is_a_warning_among_them(faulty: dict[str, Any]) -> None:
    assert [message.split(" ")[0] for message in faulty["warnings"]] == [
        "publication.rated_merchants_are_known"
    ]


def test_the_counts_are_those_of_sql_written_by_hand(
    faulty: dict[str, Any], faulty_root: Path
) -> None:
    counts = {
        ("marts.fct_merchant_daily_rates", "denominators_are_not_negative"): "denominator < 0",
        ("marts.fct_cohort_ledger", "quantities_are_not_zero"): "quantity = 0",
        ("marts.fct_policy_evaluations", "bounds_are_not_above_values"): "lower_bound > value",
    }
    with duckdb.connect(str(faulty_root / "warehouse.duckdb"), read_only=True) as con:
        for (table, name), wrong in counts.items():
            row = con.execute(f"select count(*) from {table} where {wrong}").fetchone()
            assert row is not None
            assert row[0] > 0
            assert f"observed {row[0]} rows" in message_of(faulty, table, name)


def test_the_pages_name_what_failed_and_the_error_is_one_line(
    faulty: dict[str, Any], faulty_root: Path
) -> None:
    front = Path(faulty["data_docs"])
    pages = "".join(page.read_text() for page in front.parent.rglob("*.html"))
    assert "ledger_reconciles_with_landed_records" in pages
    with pytest.raises(GateError) as stopped:
        validate_publication(plan_of(), settings_of(faulty_root))
    assert "\n" not in str(stopped.value)
    assert str(front) in str(stopped.value)


def day_on_top(home: Path) -> None:
    """The fifth day brings a corrected order, a withdrawn complaint and a late, older version."""
    orders, complaints = entity("orders"), entity("complaints")
    day = LAST + ONE_DAY
    landed.make_landing(
        home, day, day, changes={(name, day): [] for name in ("order_items", "reviews", "refunds")}
    )
    paid_elsewhere = {
        **landed.records(orders, FIRST, 1)[0],
        "merchant_id": "m1",
        "updated_at": landed.noon(day),
    }
    stale = {
        **landed.records(orders, FIRST, 2)[1],
        "status": "deleted",
        "updated_at": landed.noon(FIRST) - ONE_DAY,
    }
    withdrawn = {
        **landed.records(complaints, FIRST, 4)[3],
        "status": "withdrawn",
        "updated_at": landed.noon(day),
    }
    landed.land(home, orders, day, [paid_elsewhere, stale])
    landed.land(home, complaints, day, [withdrawn])


def test_corrections_and_stale_versions_of_a_day_on_top_are_reconciled(home: Path) -> None:
    """Order 0 moves with all that hangs on it, order 3 loses its complaint, order 1 stays."""
    day_on_top(home)
    day = LAST + ONE_DAY
    moves = [
        *(
            (merchant, "p0", component, sign)
            for merchant, sign in (("m0", -1), ("m1", 1))
            for component in ("orders_paid", "orders_fulfilled", "complaints", "review_rated_1")
        ),
        ("m1", "p0", "complaints", -1),
    ]
    with duckdb.connect(str(home / "warehouse.duckdb")) as con:
        for merchant, product, component, quantity in moves:
            con.execute(
                "insert into marts.fct_cohort_ledger values ($1, $2, $3, $4, $5, $6, 0, $7)",
                [day, FIRST, PLATFORM, merchant, product, component, quantity],
            )
    plan = {"start": day, "end": day, "published": LAST}
    name = "ledger_reconciles_with_landed_records"
    assert not message_of(answer_of(home, **plan), "publication.reconciliation", name)

    change(
        home / "warehouse.duckdb",
        "delete from marts.fct_cohort_ledger where component = 'complaints' and quantity = -1"
        " and merchant_id = 'm1'",
    )
    message = message_of(answer_of(home, **plan), "publication.reconciliation", name)
    assert (
        "component=complaints, merchant_id=m1, cohort_date=2026-03-01, landed=0, ledger=1"
        in message
    )


def test_a_contribution_that_begins_in_silence_is_reconciled(home: Path) -> None:
    """An order landed on the fourth day says that it was fulfilled on the fifth."""
    day = LAST + ONE_DAY
    rows = landed.records(entity("orders"), LAST)
    rows[4]["fulfilled_at"] = landed.noon(day)
    landed.land(home, entity("orders"), LAST, rows)
    landed.make_landing(home, day, day, changes={(of.name, day): [] for of in landed.ENTITIES})
    with duckdb.connect(str(home / "warehouse.duckdb")) as con:
        for component in ("orders_fulfilled", "review_rated_5"):
            con.execute(
                "insert into marts.fct_cohort_ledger values ($1, $1, $2, 'm0', 'p1', $3, 0, 1)",
                [day, PLATFORM, component],
            )
    plan = {"start": day, "end": day, "published": LAST}
    name = "ledger_reconciles_with_landed_records"
    assert not message_of(answer_of(home, **plan), "publication.reconciliation", name)

    change(
        home / "warehouse.duckdb",
        f"delete from marts.fct_cohort_ledger where report_date = date '{day}'",
    )
    message = message_of(answer_of(home, **plan), "publication.reconciliation", name)
    assert "component=orders_fulfilled, merchant_id=m0, cohort_date=2026-03-05, landed=1" in message


def test_a_table_that_shrinks_or_jumps_warns(home: Path) -> None:
    publish(home)
    change(
        home / "warehouse.duckdb",
        "insert into marts.dim_products select platform, 'q' || range, category_id"
        " from marts.dim_products, range(100)",
    )
    shutil.copy(
        home / "warehouse.duckdb", home / "published" / "runs" / "yesterday" / "redline.duckdb"
    )
    change(home / "warehouse.duckdb", "delete from marts.dim_products where product_id > 'q5'")
    shrunk = answer_of(home)
    message = message_of(shrunk, "publication.row_counts", "tables_do_not_shrink")
    assert "mart=marts.dim_products" in message
    assert shrunk["passed"]

    change(
        home / "warehouse.duckdb",
        "insert into marts.dim_products select platform, 's' || range, category_id"
        " from marts.dim_products, range(9)",
    )
    name = "tables_do_not_jump_within_a_day"
    message = message_of(answer_of(home, start=LAST), "publication.row_counts", name)
    assert "mart=marts.dim_products" in message


def test_a_missing_warehouse_or_mart_is_one_clear_line(home: Path) -> None:
    change(home / "warehouse.duckdb", "drop table marts.fct_alerts")
    with pytest.raises(GateError, match=r"the warehouse lacks marts\.fct_alerts"):
        validate_publication(plan_of(), settings_of(home))
    (home / "warehouse.duckdb").unlink()
    with pytest.raises(GateError, match="there is no warehouse to judge"):
        validate_publication(plan_of(), settings_of(home))

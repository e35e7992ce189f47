"""The publication gate, on a warehouse made by hand with faults planted in it.

One warehouse holds a fault for every expectation, each in rows of its own; each test asks the
gate's one answer about one of them.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from expectations.publication import SUITE
from redline.contract import entity
from redline.errors import GateError
from redline.settings import PROJECT
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
        f" from marts.fct_policy_evaluations where entity_id = 'm0' and as_of_date = date '{LAST}'"
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
            "insert into marts.fct_policy_evaluations select * from marts.fct_policy_evaluations"
            f" where entity_id = 'm0' and as_of_date = date '{LAST}'"
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
        entry("'complaints_adjusted' as component, -2 as quantity, 3 as lag_days"),
        "component=complaints_adjusted, lag_days=3, balance=-2",
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
        (
            "as_of_date=2026-03-01, entity_type=merchant, entity_id=m1, metric=complaint_rate,"
            " risk_point=service, denominator=3"
        ),
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
    assert not re.search(r"""<(script|img)[^>]*src=.https?:|<link[^>]*href=.https?:""", pages)
    (result,) = re.findall(r"url=([^']+)", front.read_text())
    assert "ledger_reconciles_with_landed_records" in (front.parent / result).read_text()
    with pytest.raises(GateError) as stopped:
        validate_publication(plan_of(), settings_of(faulty_root))
    assert "\n" not in str(stopped.value)
    assert str(front) in str(stopped.value)


def twins(*components: str) -> list[str]:
    """Components and their adjusted twins."""
    return [name for component in components for name in (component, f"{component}_adjusted")]


def enter(home: Path, day: date, component: str, merchant: str, cohort: date, by: int = 1) -> None:
    """Write one entry of some report date into the ledger."""
    with duckdb.connect(str(home / "warehouse.duckdb")) as con:
        con.execute(
            "insert into marts.fct_cohort_ledger values ($1, $2, $3, $4, 'p0', $5, 0, $6)",
            [day, cohort, PLATFORM, merchant, component, by],
        )


# What an order counts for by a refund for which the merchant is at fault.
OF_A_MERCHANT_FAULT_REFUND = ("merchant_fault_return_orders", "refunded_orders", "defective_orders")

MISSING = ("publication.missing_evaluations", "every_entity_with_a_denominator_is_evaluated")
LOST = ("publication.lost_merchants", "no_merchant_is_lost")
RECONCILED = ("publication.reconciliation", "ledger_reconciles_with_landed_records")


def test_a_policy_speaks_on_its_last_evening_and_is_silent_on_the_next(home: Path) -> None:
    """Nothing was evaluated on the last two evenings; the policies end on the first of them."""
    last = LAST - ONE_DAY
    change(
        home / "warehouse.duckdb",
        f"update marts.dim_policies set effective_to = date '{last}'",
        f"delete from marts.fct_policy_evaluations where as_of_date >= date '{last}'",
        "update marts.fct_warning_records set opened_on = date '2026-05-01'",
        "update marts.fct_violation_records set opened_on = date '2026-05-01'",
    )
    message = message_of(answer_of(home), *MISSING)
    assert "observed 2 rows" in message
    assert f"as_of_date={last}" in message
    assert f"as_of_date={LAST}" not in message


@pytest.mark.parametrize(("older", "newer"), [(7, 1), (1, 7)])
def test_of_equally_specific_policies_the_latest_speaks(home: Path, older: int, newer: int) -> None:
    """On the last evening a window of seven days holds something, that of one day nothing."""
    change(
        home / "warehouse.duckdb",
        "delete from marts.dim_policies where policy_id = 'any'",
        f"update marts.dim_policies set category_id = '*', evaluation_days = {newer}",
        f"insert into marts.dim_policies select * replace ('older' as policy_id, {older} as"
        " evaluation_days, date '1999-01-01' as effective_from) from marts.dim_policies",
        f"delete from marts.fct_cohort_ledger where cohort_date >= date '{LAST - ONE_DAY}'",
        f"delete from marts.fct_policy_evaluations where as_of_date = date '{LAST}'",
        "delete from marts.fct_warning_records",
        "delete from marts.fct_violation_records",
    )
    message = message_of(answer_of(home), *MISSING)
    assert ("observed 2 rows" in message) == (newer == 7)


def test_an_evening_within_the_range_is_judged_too(home: Path) -> None:
    evening = FIRST + ONE_DAY
    change(
        home / "warehouse.duckdb",
        "delete from marts.fct_policy_evaluations"
        f" where as_of_date = date '{evening}' and entity_id = 'm1'",
    )
    message = message_of(answer_of(home), *MISSING)
    assert "observed 1 rows" in message
    assert f"as_of_date={evening}, entity_type=merchant, entity_id=m1" in message


def test_an_open_record_is_evaluated_although_nothing_is_left_to_count(home: Path) -> None:
    """`m5` sold nothing; its record is open on the second and third evening."""
    change(
        home / "warehouse.duckdb",
        "insert into marts.fct_warning_records select * replace ('r3' as record_id,"
        f" 'm5' as entity_id, date '{FIRST + ONE_DAY}' as opened_on,"
        f" date '{LAST - ONE_DAY}' as closed_on) from marts.fct_warning_records",
    )
    message = message_of(answer_of(home), *MISSING)
    assert "observed 2 rows" in message
    assert f"as_of_date={FIRST + ONE_DAY}, entity_type=merchant, entity_id=m5" in message
    assert "denominator=0" in message


def test_a_merchant_whose_orders_were_all_corrected_away_is_not_lost(home: Path) -> None:
    """Without rates it is lost only while the ledger still holds something of it."""
    publish(home)
    without = "delete from marts.fct_merchant_daily_rates where merchant_id = 'm1'"
    change(home / "warehouse.duckdb", without)
    message = message_of(answer_of(home), *LOST)
    assert "missing_from=marts.fct_merchant_daily_rates, merchant_id=m1" in message

    corrected = (
        "insert into marts.fct_cohort_ledger select * replace (-quantity as quantity)"
        " from marts.fct_cohort_ledger where merchant_id = 'm1'"
    )
    change(home / "warehouse.duckdb", corrected)
    assert not message_of(answer_of(home), *LOST)


def on_top(home: Path, day: date = LAST + ONE_DAY, **changes: list[landed.Row]) -> dict[str, Any]:
    """Land a day, the fifth by default, with nothing but `changes`; return the plan of its run."""
    landed.make_landing(
        home, day, day, changes={(of.name, day): changes.get(of.name, []) for of in landed.ENTITIES}
    )
    return {"start": day, "end": day, "published": day - ONE_DAY}


def test_every_component_of_the_ledger_is_reconciled(home: Path) -> None:
    """One entry of each that nothing landed stands behind is found."""
    with (PROJECT / "dbt_project" / "seeds" / "components.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["counts"] != "buyers"]
    names = [
        name
        for row in rows
        for name in (twins(row["component"]) if row["is_event"] == "true" else [row["component"]])
    ]
    for name in names:
        enter(home, LAST, name, "m5", FIRST)
    assert f"observed {len(names)} rows" in message_of(answer_of(home), *RECONCILED)


def test_a_shipping_deadline_that_passes_in_silence_is_reconciled(home: Path) -> None:
    """An order of the second day was never shipped: it is late 72 hours after it was paid."""
    day, paid = LAST + ONE_DAY, FIRST + ONE_DAY
    rows = landed.records(entity("orders"), paid)
    rows[0] |= {"ship_by_at": None, "shipped_at": None}
    landed.land(home, entity("orders"), paid, rows)
    plan = on_top(home)
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert (
        f"component=late_shipments, merchant_id=m0, cohort_date={paid}, landed=1, ledger=0"
        in message
    )
    enter(home, day, "late_shipments", "m0", paid)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


def test_a_merchants_cancellation_before_shipping_that_the_ledger_lost_is_found(
    home: Path,
) -> None:
    """On the fifth day the merchant cancels order 0; order 1 ends as was announced before.

    Its buyer cancels order 2, and order 3 was shipped an hour before.
    """
    day, paid = LAST + ONE_DAY, FIRST + ONE_DAY
    rows = landed.records(entity("orders"), paid)
    for row in rows:
        row |= {"ship_by_at": landed.noon(day + ONE_DAY), "shipped_at": None, "cancelled_at": None}
    cancelled = [
        {**row, "cancelled_at": landed.noon(day), "cancelled_by": "merchant"} for row in rows[:4]
    ]
    rows[1] = cancelled.pop(1)
    for row in cancelled:
        row["updated_at"] = landed.noon(day)
    cancelled[1]["cancelled_by"] = "buyer"
    cancelled[2]["shipped_at"] = landed.noon(day) - timedelta(hours=1)
    landed.land(home, entity("orders"), paid, rows)
    plan = on_top(home, orders=cancelled)
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 2 rows" in message
    for merchant in ("m0", "m1"):
        assert (
            f"component=merchant_cancels, merchant_id={merchant}, cohort_date={paid},"
            " landed=1, ledger=0" in message
        )
        enter(home, day, "merchant_cancels", merchant, paid)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


def test_a_complaint_whose_reason_code_changes_its_meaning_is_reconciled(home: Path) -> None:
    """From the fifth day on `broken` is the carrier's fault.

    Three complaints of the first day give that reason. That on order 0 states whose fault it is,
    and order 1 is still returned by the merchant's fault. Order 4 is returned by its buyer's, and
    no longer defective.
    """
    day = LAST + ONE_DAY
    complaints = landed.records(entity("complaints"), FIRST)
    refunds = landed.records(entity("refunds"), FIRST)
    for number, stated in ((0, "merchant"), (1, None), (4, None)):
        complaints[number] |= {"fault_party": stated, "reason_code": "broken"}
    refunds[4]["fault_party"] = "buyer"
    landed.land(home, entity("complaints"), FIRST, complaints)
    landed.land(home, entity("refunds"), FIRST, refunds)
    for component in twins("merchant_fault_return_orders"):
        enter(home, FIRST, component, "m0", FIRST, -1)
    change(
        home / "warehouse.duckdb",
        "insert into seeds.reason_codes values ('*', 'broken', date '2000-01-01', 'merchant'),"
        f" ('*', 'broken', date '{day}', 'carrier')",
    )
    assert not message_of(answer_of(home), *RECONCILED)

    plan = on_top(home)
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 6 rows" in message
    assert (
        f"component=defective_orders, merchant_id=m0, cohort_date={FIRST}, landed=-1, ledger=0"
        in message
    )
    for component in twins("defective_orders"):
        enter(home, day, component, "m0", FIRST, -1)
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 4 rows" in message
    for merchant in ("m0", "m1"):
        assert (
            f"component=merchant_fault_complaints, merchant_id={merchant}, cohort_date={FIRST},"
            " landed=-1, ledger=0" in message
        )
        for component in twins("merchant_fault_complaints"):
            enter(home, day, component, merchant, FIRST, -1)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


def test_merchant_fault_returns_are_reconciled_by_the_fault_of_their_reason(home: Path) -> None:
    """Orders count once: one has a second refund, another's fault follows from its reason.

    From the fifth day on the platform's own row blames the carrier for `broken`, which any
    platform's row, though later, does not change.
    """
    day = LAST + ONE_DAY
    refunds = landed.records(entity("refunds"), LAST)
    refunds[1] |= {"fault_party": None, "reason_code": "broken"}
    landed.land(home, entity("refunds"), LAST, refunds)
    change(
        home / "warehouse.duckdb",
        "insert into seeds.reason_codes values ('*', 'broken', date '2000-01-01', 'merchant'),"
        f" ('{PLATFORM}', 'broken', date '{day}', 'carrier'),"
        f" ('*', 'broken', date '{day}', 'merchant')",
    )
    assert not message_of(answer_of(home), *RECONCILED)

    second = {**landed.records(entity("refunds"), day)[0], "order_id": refunds[0]["order_id"]}
    plan = on_top(home, refunds=[second])
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 2 rows" in message
    assert (
        f"component=merchant_fault_return_orders, merchant_id=m1, cohort_date={LAST},"
        " landed=-1, ledger=0" in message
    )
    for component in twins("merchant_fault_return_orders"):
        enter(home, day, component, "m1", LAST, -1)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


def test_a_refund_that_moves_leaves_an_order_that_has_another_counted(home: Path) -> None:
    """Order 0 of the first day has two refunds; one turns out to belong to a new order."""
    day = LAST + ONE_DAY
    refunds = landed.records(entity("refunds"), FIRST)
    refunds.append({**refunds[0], "refund_id": "another"})
    landed.land(home, entity("refunds"), FIRST, refunds)
    order = landed.records(entity("orders"), day, 1)
    moved = {**refunds[-1], "order_id": order[0]["order_id"], "updated_at": landed.noon(day)}
    plan = on_top(home, orders=order, refunds=[moved])
    for component in ("orders_paid", "orders_fulfilled", *twins(*OF_A_MERCHANT_FAULT_REFUND)):
        enter(home, day, component, "m0", day)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


def test_an_upheld_appeal_ends_the_adjusted_twin_only(home: Path) -> None:
    day = LAST + ONE_DAY
    appeal = landed.records(entity("appeals"), day, 1)[0]
    complaint = landed.records(entity("complaints"), FIRST, 2)[1]["complaint_id"]
    appeal |= {"subject_type": "complaint", "subject_id": complaint, "status": "upheld"}
    plan = on_top(home, appeals=[appeal])
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 2 rows" in message
    for component in ("complaints_adjusted", "merchant_fault_complaints_adjusted"):
        assert (
            f"component={component}, merchant_id=m1, cohort_date={FIRST}, landed=-1, ledger=0"
            in message
        )
        enter(home, day, component, "m1", FIRST, -1)
    assert not message_of(answer_of(home, **plan), *RECONCILED)


@pytest.mark.parametrize("appealed", [("review", "refund"), ("refund", "review")], ids="-".join)
def test_a_defective_order_counts_once_and_its_twin_stands_while_one_of_two_reasons_does(
    home: Path, appealed: tuple[str, str]
) -> None:
    """Order 0 of the fifth day has a review of two stars and a merchant-fault refund.

    Order 1 has one of three stars only, which is no defect. On the sixth day an appeal against
    one of the two reasons is upheld, on the seventh day one against the other.
    """
    day = LAST + ONE_DAY
    orders = landed.records(entity("orders"), day, 2)
    reviews = landed.records(entity("reviews"), day, 2)
    refunds = landed.records(entity("refunds"), day, 1)
    reviews[0]["rating"], reviews[1]["rating"] = 2, 3
    plan = on_top(home, orders=orders, reviews=reviews, refunds=refunds)
    counted = ("orders_paid", "orders_fulfilled")
    for component in (*counted, *twins("review_rated_2", *OF_A_MERCHANT_FAULT_REFUND)):
        enter(home, day, component, "m0", day)
    for component in (*counted, *twins("review_rated_3")):
        enter(home, day, component, "m1", day)
    assert not message_of(answer_of(home, **plan), *RECONCILED)

    # Counted for each of its reasons it would be two.
    enter(home, day, "defective_orders", "m0", day)
    message = message_of(answer_of(home, **plan), *RECONCILED)
    assert "observed 1 rows" in message
    assert (
        f"component=defective_orders, merchant_id=m0, cohort_date={day}, landed=1, ledger=2"
        in message
    )

    ids = {"review": reviews[0]["review_id"], "refund": refunds[0]["refund_id"]}
    falling = {
        "review": ("review_rated_2",),
        "refund": ("merchant_fault_return_orders", "refunded_orders"),
    }
    first, last = appealed
    for evening, subject_type, fallen in (
        (day + ONE_DAY, first, falling[first]),
        (day + 2 * ONE_DAY, last, (*falling[last], "defective_orders")),
    ):
        appeal = landed.records(entity("appeals"), evening, 1)[0]
        appeal |= {"subject_type": subject_type, "subject_id": ids[subject_type]}
        plan = on_top(home, evening, appeals=[{**appeal, "status": "upheld"}])
        message = message_of(answer_of(home, **plan), *RECONCILED)
        assert f"observed {len(fallen)} rows" in message
        for component in fallen:
            assert (
                f"component={component}_adjusted, merchant_id=m0, cohort_date={day},"
                " landed=-1, ledger=0" in message
            )
            enter(home, evening, f"{component}_adjusted", "m0", day, -1)
        assert not message_of(answer_of(home, **plan), *RECONCILED)


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
    """Order 0 moves with all that hangs on it, order 3 loses its complaint, order 1 stays.

    Order 3 was returned by the merchant's fault as well: it remains defective.
    """
    day_on_top(home)
    day = LAST + ONE_DAY
    moves = [
        *(
            (merchant, "p0", component, sign)
            for merchant, sign in (("m0", -1), ("m1", 1))
            for component in (
                "orders_paid",
                "orders_fulfilled",
                *twins(
                    "complaints",
                    "merchant_fault_complaints",
                    "review_rated_1",
                    *OF_A_MERCHANT_FAULT_REFUND,
                ),
            )
        ),
        *(
            ("m1", "p0", component, -1)
            for component in twins("complaints", "merchant_fault_complaints")
        ),
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
        for component in ("orders_fulfilled", *twins("review_rated_5")):
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

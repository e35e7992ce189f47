"""The intake gate, on landing zones made by hand with faults planted in them.

One zone holds a fault for every expectation about rows and files; each test asks the gate's one
answer about one of them. Great Expectations is imported once, and runs a handful of times.
"""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from expectations.intake import SUITE
from redline.contract import ENTITIES, Column, entity
from redline.errors import GateError
from redline.validation import validate_intake
from redline.validation.suite import Rows
from tests.plugins.redline.validation import landed
from tests.plugins.redline.validation.landed import FIRST, LAST, PLATFORM, Row, plan_of, settings_of

ONE_DAY = timedelta(days=1)
DAYS = [FIRST + ONE_DAY * offset for offset in range(4)]


def answer_of(root: Path, **plan: Any) -> dict[str, Any]:
    """What the gate leaves in the run's folder, whether it passed or not."""
    plan_ = plan_of(**plan)
    with contextlib.suppress(GateError):
        validate_intake(plan_, settings_of(root))
    path = plan_.folder(settings_of(root).home) / "validate_intake.json"
    answer: dict[str, Any] = json.loads(path.read_text())
    return answer


def message_of(answer: dict[str, Any], table: str, name: str) -> str:
    """The message of a failed expectation, or an empty text."""
    start = f"intake.{name} on {table}: "
    found = [m for m in answer["failures"] + answer["warnings"] if m.startswith(start)]
    return found[0] if found else ""


def spoil(column: Column, rule: str) -> Any:
    """A value that breaks one rule of a column."""
    if rule.endswith("_is_present"):
        return None
    if rule.endswith("_is_known"):
        return "never_heard_of"
    if "_is_at_least_" in rule:
        return (column.at_least or 0) - 1
    return (column.at_most or 0) + 1


def row_checks() -> list[Rows]:
    """The expectations about landed rows, entity by entity."""
    tables = {f"landing.{of.name}" for of in ENTITIES}
    return [c for c in SUITE.checks if isinstance(c, Rows) and c.table in tables]


def spoiled_rows(of_name: str) -> list[Row]:
    """Six sound records and, for each expectation about a row, one that breaks it."""
    of = entity(of_name)
    rows = landed.records(of, FIRST)
    for number, check in enumerate(c for c in row_checks() if c.table == f"landing.{of_name}"):
        row = dict(landed.records(of, FIRST, 1)[0])
        for key in of.key:
            kind = next(column.type for column in of.columns if column.name == key)
            row[key] = 100 + number if kind == "integer" else f"spoiled-{number}"
        if check.name == "platform_is_the_runs":
            row["platform"] = "another"
        elif check.name == "source_date_is_not_after_report_date":
            row["source_date"] = LAST + ONE_DAY
        elif check.name == "updated_at_is_not_in_the_future":
            row["updated_at"] = landed.noon(FIRST + ONE_DAY)
        else:
            column = next(c for c in of.columns if check.name.startswith(f"{c.name}_is_"))
            row[column.name] = spoil(column, check.name)
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer for a landing zone without faults."""
    root = tmp_path_factory.mktemp("sound")
    landed.make_landing(root)
    return answer_of(root)


@pytest.fixture(scope="module")
def faulty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landing zone with a fault for every expectation about rows, files and keys."""
    root = tmp_path_factory.mktemp("faulty")
    changes = {(of.name, FIRST): spoiled_rows(of.name) for of in ENTITIES}
    twice = landed.records(entity("reviews"), DAYS[1])
    changes["reviews", DAYS[1]] = [*twice, {**twice[2], "rating": 5}]
    landed.make_landing(root, changes=changes)

    (landed.file_of(root, "merchants", DAYS[1]).parent / "manifest.json").unlink()
    landed.file_of(root, "products", DAYS[1]).unlink()
    landed.enter(landed.file_of(root, "complaints", DAYS[1]), rows_read=9)
    landed.enter(landed.file_of(root, "complaints", DAYS[2]), rows_read=5, rows_landed=5)
    landed.enter(landed.file_of(root, "refunds", DAYS[1]), sha256="0" * 64)
    damaged = landed.file_of(root, "refunds", DAYS[2])
    damaged.write_bytes(damaged.read_bytes()[:-40])
    landed.enter(damaged)
    other_type = landed.file_of(root, "orders", DAYS[2])
    with duckdb.connect() as con:
        con.execute(
            f"copy (select * replace (cast(amount as double) as amount) from '{other_type}')"
            f" to '{other_type}.new' (format parquet)"
        )
    other_type.with_name(f"{other_type.name}.new").replace(other_type)
    landed.enter(other_type)
    return root


@pytest.fixture(scope="module")
def faulty(faulty_root: Path) -> dict[str, Any]:
    """The answer for the zone full of faults."""
    return answer_of(faulty_root)


def test_a_sound_landing_zone_passes_every_expectation(sound: dict[str, Any]) -> None:
    assert sound["passed"]
    assert sound["failures"] == []
    assert sound["warnings"] == []
    assert sound["expectations"] == len(SUITE.checks)
    assert sound["rows_read"]["orders"] == 24


@pytest.mark.parametrize("check", row_checks(), ids=lambda check: check.fact)
def test_a_row_that_breaks_the_contract_stops(check: Rows, faulty: dict[str, Any]) -> None:
    message = message_of(faulty, check.table, check.name)
    assert "limit at most 0 rows" in message
    assert "for example " in message
    assert check.todo in message


FILE_FAULTS = {
    "every_date_has_a_manifest": ("partitions", "entity=merchants, report_date=2026-03-02"),
    "every_date_has_its_own_file": ("partitions", "entity=products, report_date=2026-03-02"),
    "columns_have_the_contracts_types": ("columns", "name=amount, found=DOUBLE"),
    "files_can_be_read": ("files", "entity=refunds, report_date=2026-03-03"),
    "files_and_manifests_name_each_other": ("files", "entity=products, report_date=2026-03-02"),
    "files_hold_the_rows_of_their_manifest": ("files", "rows_landed=5, parquet_rows=6"),
    "files_have_the_checksum_of_their_manifest": ("files", "sha256=0000000"),
    "every_row_read_is_accounted_for": ("files", "rows_read=9, rows_landed=6"),
}


@pytest.mark.parametrize("name", FILE_FAULTS)
def test_a_fault_of_a_file_stops(name: str, faulty: dict[str, Any]) -> None:
    table, sample = FILE_FAULTS[name]
    assert sample in message_of(faulty, f"intake.{table}", name)


def test_a_key_that_occurs_twice_in_a_delivery_stops(faulty: dict[str, Any]) -> None:
    message = message_of(faulty, "landing.repeated", "keys_are_unique")
    assert "observed 1 rows" in message
    assert "entity=reviews, key=review_id-02-2 2026-03-02 04:00:00" in message


def test_the_counts_are_those_of_sql_written_by_hand(
    faulty: dict[str, Any], faulty_root: Path
) -> None:
    folder = faulty_root / "landing" / PLATFORM / "orders"
    with duckdb.connect() as con:
        wrong = {
            "amount_is_at_least_0": "amount < 0",
            "merchant_id_is_present": "merchant_id is null",
            "status_is_known": "status not in ('active', 'deleted')",
        }
        for name, condition in wrong.items():
            row = con.execute(
                f"select count(*) from read_parquet('{folder}/*/*.parquet') where {condition}"
            ).fetchone()
            assert row is not None
            assert row[0] > 0
            assert f"observed {row[0]} rows" in message_of(faulty, "landing.orders", name)


def test_a_failed_gate_raises_one_line_and_writes_pages_that_name_the_expectation(
    faulty_root: Path, faulty: dict[str, Any]
) -> None:
    front = Path(faulty["data_docs"])
    assert front.is_file()
    assert front.is_relative_to(faulty_root / "data_docs" / "intake")
    pages = "".join(page.read_text() for page in front.parent.rglob("*.html"))
    assert "amount_is_at_least_0" in pages
    with pytest.raises(GateError) as stopped:
        validate_intake(plan_of(), settings_of(faulty_root))
    text = str(stopped.value)
    assert "\n" not in text
    assert "intake." in text
    assert "more" in text
    assert faulty["data_docs"] in text


def test_nothing_but_the_pages_and_the_answer_is_left_behind(
    faulty_root: Path, faulty: dict[str, Any]
) -> None:
    assert not faulty["passed"]
    left = {path.name for path in (faulty_root / "runs").rglob("*") if path.is_file()}
    assert left == {"validate_intake.json"}


def many(name: str, count: int, **fields: Any) -> list[Row]:
    """Sound records of one entity for FIRST, with some fields set on all of them."""
    return [{**row, **fields} for row in landed.records(entity(name), FIRST, count)]


def test_shares_are_judged_over_the_range_and_only_when_there_is_enough(tmp_path: Path) -> None:
    """Of 330 orders 30 refused is too many; of 11 products nothing is said."""
    landed.make_landing(
        tmp_path,
        FIRST,
        FIRST,
        changes={
            ("orders", FIRST): many("orders", 300, merchant_id="m0"),
            ("complaints", FIRST): many("complaints", 120, order_id="not_there"),
            ("reviews", FIRST): [*many("reviews", 90), *many("reviews", 3, order_id="no_order")],
        },
    )
    reviews = landed.file_of(tmp_path, "reviews", FIRST)
    for name, read, refused in (("orders", 330, 30), ("merchants", 7, 1), ("products", 11, 5)):
        landed.enter(
            landed.file_of(tmp_path, name, FIRST),
            rows_read=read,
            rows_quarantined=refused,
            quarantined_by_reason={"missing:merchant_id": refused},
        )
    assert reviews.exists()
    answer = answer_of(tmp_path, start=FIRST, end=FIRST)
    refused = message_of(answer, "intake.refusals", "few_orders_are_refused")
    assert "refused_share 0.09091" in refused
    assert "rows_refused=30" in refused
    assert "missing:merchant_id 30" in refused
    assert not message_of(answer, "intake.refusals", "few_products_are_refused")
    assert not message_of(answer, "intake.refusals", "few_products_of_a_small_batch_are_refused")
    most = message_of(answer, "intake.references", "not_most_references_are_unknown")
    assert "complaints.order_id" in most
    assert "reviews.order_id" not in most
    assert answer["quarantined"] == {"merchants": 1, "orders": 30, "products": 5}


def test_a_small_batch_that_is_mostly_refused_stops(tmp_path: Path) -> None:
    landed.make_landing(tmp_path, FIRST, FIRST)
    landed.enter(landed.file_of(tmp_path, "orders", FIRST), rows_read=24, rows_quarantined=18)
    answer = answer_of(tmp_path, start=FIRST, end=FIRST)
    name = "few_orders_of_a_small_batch_are_refused"
    assert "refused_share 0.75" in message_of(answer, "intake.refusals", name)


def test_what_a_source_is_known_to_refuse_goes_by_its_scheme_not_its_platform(
    tmp_path: Path,
) -> None:
    landed.make_landing(tmp_path, FIRST, FIRST)
    landed.enter(landed.file_of(tmp_path, "orders", FIRST), rows_read=300, rows_quarantined=60)
    plan = {"start": FIRST, "end": FIRST}
    strict = message_of(answer_of(tmp_path, **plan), "intake.refusals", "few_orders_are_refused")
    assert "refused_share 0.2" in strict
    known = answer_of(tmp_path, **plan, source="olist:///somewhere?platform=made")
    assert not message_of(known, "intake.refusals", "few_orders_are_refused")


def test_an_optional_entity_may_be_left_out_but_not_for_some_dates_only(tmp_path: Path) -> None:
    landed.make_landing(tmp_path)
    for name, days in (("buyers", DAYS), ("appeals", DAYS[1:2])):
        for day in days:
            folder = landed.file_of(tmp_path, name, day).parent
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    message = message_of(answer_of(tmp_path), "intake.partitions", "every_date_has_a_manifest")
    assert "entity=appeals" in message
    assert "observed 1 rows" in message


def test_empty_partitions_pass(tmp_path: Path) -> None:
    changes: dict[Any, list[Row]] = {(of.name, FIRST): [] for of in ENTITIES}
    landed.make_landing(tmp_path, FIRST, FIRST, changes=changes)
    assert answer_of(tmp_path, start=FIRST, end=FIRST)["passed"]


def test_a_run_without_open_dates_has_nothing_to_judge(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, start=LAST, end=FIRST)
    assert answer["passed"]
    assert answer["expectations"] == 0

"""The check of a source: what it reports, and when it says that a run could not take it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from redline.check_source import SourceReport, check_source, main
from redline.contract import ENTITIES, entity
from redline.errors import SettingError, SourceError

DAY = date(2024, 3, 5)
MORNING = f"{DAY} 01:00:00"

GOOD = {
    "merchants": {"merchant_id": "m1", "merchant_name": "Noodles", "category_id": "food"},
    "products": {"product_id": "p1", "merchant_id": "m1", "category_id": "food", "title": "Soup"},
    "orders": {"order_id": "o1", "merchant_id": "m1", "buyer_id": "b1", "amount": "9.50"},
    "order_items": {"order_id": "o1", "line_no": "1", "product_id": "p1", "quantity": "1"},
    "complaints": {"complaint_id": "c1", "order_id": "o1", "reason_code": "late"},
    "reviews": {"review_id": "r1", "order_id": "o1", "rating": "2"},
    "refunds": {"refund_id": "f1", "order_id": "o1", "amount": "9.50", "kind": "full"},
}
FILLED = {
    "currency": "CNY",
    "unit_price": "9.50",
    "reason_code": "late",
    "created_at": MORNING,
    "requested_at": MORNING,
    "updated_at": MORNING,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("REDLINE_TIMEZONE", raising=False)  # Asia/Shanghai: evening is 16:00 UTC
    return tmp_path / "home"


def good_row(name: str, **changes: str) -> dict[str, str]:
    row = dict(GOOD[name])
    for column in entity(name).columns:
        if column.required and column.name not in row:
            row[column.name] = column.codes[0] if column.codes else FILLED[column.name]
    return row | changes


def put(root: Path, name: str, *rows: dict[str, str], day: date = DAY) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(row.values()) for row in rows]
    (folder / f"{day}.csv").write_text("\n".join([",".join(rows[0]), *lines, ""]))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name in GOOD:
        put(tmp_path / "shop", name, good_row(name))
    return tmp_path / "shop"


def reasons(report: SourceReport, name: str) -> dict[str, int]:
    (found,) = (each for each in report.entities if each.entity == name)
    return {fault.reason: fault.rows for fault in found.faults}


def test_a_source_that_fits_the_contract_is_usable(
    shop: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check_source(f"files://{shop}?settle=0")
    assert (report.start, report.end, report.platform) == (DAY, DAY, "files")
    assert {each.entity: each.rows for each in report.entities} == {
        each.name: int(not each.optional) for each in ENTITIES
    }
    assert not any(each.faults or each.batch_fault for each in report.entities)
    assert main([f"files://{shop}?settle=0"]) == 0
    assert "every row fits the contract" in capsys.readouterr().out
    assert not home.exists()


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("orders", {"merchant_id": ""}, "missing:merchant_id"),
        ("orders", {"paid_at": "2024-13-01"}, "not_a_timestamp:paid_at"),
        ("orders", {"amount": "ten"}, "not_a_number:amount"),
        ("orders", {"amount": "-0.01"}, "below_minimum:amount"),
        ("orders", {"status": "lost"}, "unknown_code:status"),
        ("orders", {"updated_at": f"{DAY} 16:00:00"}, "future:updated_at"),
        ("orders", {"updated_at": f"{DAY} 15:59:59"}, None),
        ("orders", {"cancelled_by": ""}, None),
        ("reviews", {"rating": "6"}, "above_maximum:rating"),
        ("reviews", {"rating": "2"}, None),
        ("merchants", {"is_certified": "perhaps"}, "not_a_boolean:is_certified"),
    ],
)
def test_a_row_fault_is_counted_with_a_sample(
    shop: Path, name: str, changes: dict[str, str], reason: str | None
) -> None:
    key = entity(name).key[0]
    good = dict.fromkeys(changes, "") | good_row(name)
    put(shop, name, good, good | changes | {key: "odd"})
    report = check_source(f"files://{shop}?settle=0")
    assert reasons(report, name) == ({reason: 1} if reason else {})
    assert report.is_usable
    for each in report.entities:
        for fault in each.faults:
            assert (fault.sample_key, fault.sample_file) == ("odd", f"{name}/{DAY}.csv")


def test_versions_and_identical_duplicates_are_no_conflict(shop: Path) -> None:
    order = good_row("orders")
    put(shop, "orders", order, order, order | {"updated_at": f"{DAY} 02:00:00", "amount": "1"})
    assert reasons(check_source(f"files://{shop}?settle=0"), "orders") == {}
    put(shop, "orders", order, order | {"amount": "1"}, good_row("orders", order_id="o2"))
    assert reasons(check_source(f"files://{shop}?settle=0"), "orders") == {
        "conflicting_duplicate": 2
    }


def test_personal_keys_are_not_shown(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(shop, "buyers", {"buyer_id": "13800138000", "updated_at": "never"})
    assert main([f"files://{shop}?settle=0"]) == 1
    shown = "".join(capsys.readouterr())
    assert "not_a_timestamp:updated_at" in shown
    assert "13800138000" not in shown


def test_columns_left_out_or_outside_the_contract_are_listed(shop: Path) -> None:
    put(shop, "reviews", good_row("reviews", body="fine", mood="calm"))
    (found,) = (
        each
        for each in check_source(f"files://{shop}?settle=0").entities
        if each.entity == "reviews"
    )
    assert found.left_out == ("product_id",)
    assert found.extra == ("mood",)


def test_a_batch_fault_fails_the_check_in_one_line(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "reviews" / f"{DAY}.csv").write_text("")
    (shop / "refunds" / f"{DAY}.csv").unlink()
    assert main([f"files://{shop}?settle=0"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: reviews: the file is empty where a header is due")
    assert lines[1].startswith(f"error: refunds: no file of refunds for {DAY}")


def test_an_entity_without_one_good_row_fails_the_check(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shop, "orders", good_row("orders", merchant_id=""), good_row("orders", amount="-1"))
    assert main([f"files://{shop}?settle=0"]) == 1
    assert "all 2 rows of orders would be refused" in capsys.readouterr().err


def test_a_long_range_is_checked_in_parts(tmp_path: Path) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(100)]
    for day in days:
        for name in GOOD:
            put(
                tmp_path,
                name,
                good_row(name, merchant_id="") if name == "orders" else good_row(name),
                day=day,
            )
    report = check_source(f"files://{tmp_path}?settle=0", days[1])
    (orders,) = (each for each in report.entities if each.entity == "orders")
    assert (orders.rows, orders.dates, orders.refused) == (99, 99, 99)


def test_an_address_or_range_that_means_nothing_fails_in_one_line(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError):
        check_source("ftp://somewhere")
    with pytest.raises(SettingError):
        check_source(f"files://{shop}?settle=0", DAY, DAY - timedelta(days=1))
    for arguments, says in (
        (["ftp://somewhere"], "names no source"),
        (
            [f"files://{shop}?settle=0", "2024-03-05", "2024-03-04"],
            "END 2024-03-04 is before START",
        ),
        ([f"files://{shop}?settle=0", "yesterday"], "'yesterday' is not a date"),
        ([f"files://{shop / 'nowhere'}"], "no such folder"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1

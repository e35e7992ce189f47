from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redline import landing
from redline.contract import ENTITIES
from redline.errors import SettingError, SourceError
from redline.landing import quarantine_summary
from redline.landing.pseudonyms import scrub_sql
from redline.settings import Home, Settings
from tests.plugins.redline.landing.shop import DAY, Shop, row

CLEAN = None

FAULTS: list[tuple[str, dict[str, Any], str | None]] = [
    ("orders", {}, CLEAN),
    ("orders", {"order_id": ""}, "missing:order_id"),
    ("orders", {"order_id": " \t\u3000 "}, "missing:order_id"),
    ("orders", {"merchant_id": None}, "missing:merchant_id"),
    ("orders", {"buyer_id": "  "}, "missing:buyer_id"),
    ("orders", {"amount": ""}, "missing:amount"),
    ("orders", {"amount": "ten"}, "not_a_number:amount"),
    ("orders", {"amount": "nan"}, "not_a_number:amount"),
    ("orders", {"amount": "inf"}, "not_a_number:amount"),
    ("orders", {"amount": "1e40"}, "not_a_number:amount"),
    ("orders", {"amount": "-0.01"}, "below_minimum:amount"),
    ("orders", {"amount": "0"}, CLEAN),
    ("orders", {"paid_at": "2026-02-30"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": "infinity"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": "0001-01-01T00:00:00"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": "9999-12-31T23:59:59+14:00"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": "294247-01-10 04:00:54.775807"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": "yesterday"}, "not_a_timestamp:paid_at"),
    ("orders", {"paid_at": ""}, CLEAN),
    ("orders", {"status": "gone"}, "unknown_code:status"),
    ("orders", {"status": "Active"}, "unknown_code:status"),
    ("orders", {"cancelled_by": "ghost"}, "unknown_code:cancelled_by"),
    # the evening of 1 March in Shanghai ends at 16:00 UTC
    ("orders", {"updated_at": "2026-03-01T15:59:59.999999"}, CLEAN),
    ("orders", {"updated_at": "2026-03-01T16:00:00"}, "future:updated_at"),
    ("orders", {"updated_at": "2026-03-01T23:59:59+08:00"}, CLEAN),
    ("orders", {"updated_at": "2026-03-02T00:00:00+08:00"}, "future:updated_at"),
    # 180 days before 1 March is 2 September, which begins at 16:00 UTC the day before
    ("orders", {"paid_at": "2025-09-01T16:00:00Z"}, CLEAN),
    ("orders", {"paid_at": "2025-09-01T15:59:59Z"}, "beyond_horizon"),
    ("orders", {"fulfilled_at": "2025-09-01T15:59:59Z"}, "beyond_horizon"),
    (
        "orders",
        {"paid_at": "2025-08-01T00:00:00Z", "fulfilled_at": "2025-09-02T00:00:00Z"},
        CLEAN,
    ),
    ("order_items", {"line_no": "one"}, "not_a_number:line_no"),
    ("order_items", {"line_no": ""}, "missing:line_no"),
    ("order_items", {"quantity": "-1"}, "below_minimum:quantity"),
    ("order_items", {"quantity": "1.5"}, "not_a_number:quantity"),
    ("order_items", {"quantity": "3000000000"}, "not_a_number:quantity"),
    ("order_items", {"quantity": "2.0"}, CLEAN),
    ("reviews", {"rating": "0"}, "below_minimum:rating"),
    ("reviews", {"rating": "6"}, "above_maximum:rating"),
    ("reviews", {"rating": "4.6"}, "not_a_number:rating"),
    ("merchants", {"is_certified": "perhaps"}, "not_a_boolean:is_certified"),
    ("merchants", {"is_certified": "true"}, CLEAN),
    ("appeals", {"status": "upheld"}, "missing:decided_at"),
    ("appeals", {"status": "rejected", "decided_at": "2026-03-01"}, CLEAN),
    ("appeals", {"subject_type": "dream"}, "unknown_code:subject_type"),
]


def test_every_fault_is_refused_with_its_reason_and_nothing_else_is(shop: Shop) -> None:
    expected: dict[str, list[tuple[str, str | None]]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, (entity, values, reason) in enumerate(FAULTS):
        made = row(entity, f"k{number}", **values)
        rows.setdefault(entity, []).append(made)
        key = next(each for each in ENTITIES if each.name == entity).key
        name = "/".join(str(made[column] or "") for column in key)
        blank = not name.strip(" \t\u3000")
        expected.setdefault(entity, []).append(("" if blank else name, reason))
    for entity, delivered in rows.items():
        shop.deliver(entity, DAY, *delivered)
        report = shop.land(entity)
        wanted = [each for each in expected[entity] if each[1] is not None]
        found = [(row["row_key"], row["reason"]) for row in shop.refused(entity)]
        assert Counter(found) == Counter(wanted)
        assert report["rows_landed"] == len(delivered) - len(wanted) == len(shop.landed(entity))
        assert report["quarantined_by_reason"] == Counter(reason for _, reason in wanted)


def test_times_with_an_offset_become_utc_and_naive_ones_are_utc(shop: Shop) -> None:
    texts = {
        "a": "2026-03-01T08:00:00+08:00",
        "b": "2026-03-01T00:00:00Z",
        "c": "2026-03-01 00:00:00",
        "d": " 2026-02-28T21:00:00-03:00 ",
        "e": "2026-03-01",
    }
    shop.deliver("orders", DAY, *(row("orders", k, paid_at=v) for k, v in texts.items()))
    shop.land("orders")
    assert {row["paid_at"] for row in shop.landed("orders")} == {datetime(2026, 3, 1)}
    assert len(shop.landed("orders")) == len(texts)


def test_typed_columns_land_like_text_and_odd_values_are_faults(shop: Shop) -> None:
    nan, inf = float("nan"), float("inf")
    zoned = pa.timestamp("s", "Asia/Shanghai")
    noon = datetime(2026, 3, 1, 12)
    columns = {
        "order_id": pa.array([1, 2, 3, 4], pa.int64()),
        "merchant_id": pa.array(["m"] * 4).dictionary_encode(),
        "buyer_id": pa.array([b"b"] * 4, pa.binary()),
        "amount": pa.array([1.25, nan, inf, 1e300], pa.float64()),
        "currency": pa.array(["CNY"] * 4, pa.large_string()),
        "paid_at": pa.array([noon.timestamp()] * 4, pa.float64()).cast(pa.int64()).cast(zoned),
        "shipped_at": pa.array([2**62] * 4, pa.int64()).cast(pa.timestamp("s")),
        "cancelled_at": pa.nulls(4),
        "status": pa.array(["active"] * 4),
        "updated_at": pa.array([noon.replace(hour=2)] * 4, pa.timestamp("ns")),
        "report_date": pa.array([DAY] * 4),
        "source_file": pa.nulls(4),
    }
    late = dict(columns, shipped_at=pa.nulls(4))
    shop.batches = [pa.RecordBatch.from_pydict(columns), pa.RecordBatch.from_pydict(late)]
    report = shop.land("orders")
    assert report["quarantined_by_reason"] == {
        "not_a_number:amount": 6,
        "not_a_timestamp:shipped_at": 1,
    }
    (one,) = shop.landed("orders")
    assert (one["order_id"], one["amount"], one["updated_at"]) == (
        "1",
        Decimal("1.25"),
        datetime(2026, 3, 1, 2),
    )
    schema = pq.read_schema(next(shop.partition("orders").glob("*.parquet")))
    assert schema.field("amount").type == pa.decimal128(18, 2)
    assert schema.field("paid_at").type == pa.timestamp("us")
    assert "surprise" not in schema.names


def test_nullable_columns_that_are_not_delivered_are_null(shop: Shop) -> None:
    required = ("merchant_id", "merchant_name", "category_id", "status", "updated_at")
    made = row("merchants", "m1")
    columns = {name: pa.array([made[name]]) for name in required}
    columns |= {"report_date": pa.array([DAY]), "source_file": pa.array(["m.csv"])}
    shop.batches = [pa.RecordBatch.from_pydict(columns)]
    shop.land("merchants")
    (one,) = shop.landed("merchants")
    assert (one["merchant_name"], one["contact"], one["opened_at"]) == ("Tea house", None, None)


def test_identical_copies_collapse_contradictions_are_refused_and_versions_stay(shop: Shop) -> None:
    shop.deliver(
        "orders",
        DAY,
        row("orders", "same", source_file="b.csv"),
        row("orders", "same", source_file="a.csv"),
        row("orders", "torn", amount="1"),
        row("orders", "torn", amount="2"),
        row("orders", "torn", amount="2"),
        row("orders", "twice", updated_at="2026-03-01T01:00:00Z"),
        row("orders", "twice", updated_at="2026-03-01T02:00:00Z"),
        row("orders", "half", amount="-1"),
        row("orders", "half"),
    )
    report = shop.land("orders")
    assert [(row["order_id"], row["source_file"]) for row in shop.landed("orders")] == [
        ("half", "orders.csv"),
        ("same", "a.csv"),
        ("twice", "orders.csv"),
        ("twice", "orders.csv"),
    ]
    assert report["rows_collapsed"] == 1
    assert report["quarantined_by_reason"] == {
        "conflicting_duplicate": 3,
        "below_minimum:amount": 1,
    }
    torn = [r for r in shop.refused("orders") if r["reason"] == "conflicting_duplicate"]
    assert sorted(json.loads(row["row"])["amount"] for row in torn) == ["1.00", "2.00", "2.00"]


def test_order_lines_without_a_version_conflict_by_key(shop: Shop) -> None:
    shop.deliver(
        "order_items",
        DAY,
        row("order_items", "o", quantity="1"),
        row("order_items", "o", quantity="2"),
        row("order_items", "o", line_no="2"),
    )
    report = shop.land("order_items")
    assert report["quarantined_by_reason"] == {"conflicting_duplicate": 2}
    assert [row["line_no"] for row in shop.landed("order_items")] == [2]


def test_a_pseudonym_is_the_hmac_that_python_calculates(shop: Shop) -> None:
    for key in ("short", "k" * 64, "long" * 40, None):
        shop.settings = Settings(shop.home, "Asia/Shanghai", (), 180, 7, key)
        values = ["b1", "买家", "a\0b", "x" * 500]
        shop.deliver("orders", DAY, *(row("orders", v, buyer_id=v) for v in values))
        if key is None:
            for path in shop.home.landing.rglob("report_date=*/*"):
                path.unlink()
            for path in shop.home.landing.rglob("report_date=*"):
                path.rmdir()
        shop.land("orders")
        secret = key or (shop.home.root / "pseudonym.key").read_text().strip()
        assert {row["order_id"]: row["buyer_id"] for row in shop.landed("orders")} == {
            v: hmac.new(secret.encode(), v.encode(), hashlib.sha256).hexdigest() for v in values
        }


def test_the_key_file_is_private_kept_and_refused_when_others_can_read_it(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    shop.land("orders")
    path = shop.home.root / "pseudonym.key"
    assert path.stat().st_mode & 0o777 == 0o600
    first = shop.landed("orders")
    shop.land("orders")
    assert shop.landed("orders") == first
    path.chmod(0o640)
    with pytest.raises(SettingError, match="chmod 600"):
        shop.land("orders")
    path.unlink()
    with pytest.raises(SettingError, match="put the key file back"):
        shop.land("orders")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("打我电话13812345678谢谢", "打我电话[phone]谢谢"),
        ("tel13812345678,", "tel[phone],"),
        ("+86 138-1234-5678 or 008613812345678", "[phone] or [phone]"),
        ("13812345678 13912345678", "[phone] [phone]"),
        ("ligue (11) 98765-4321", "ligue [phone]"),
        ("11987654321 / 11 98765-4321", "[phone] / [phone]"),
        ("+55 11 98765-4321", "[phone]"),
        ("+44 20 7946 0958 now", "[phone] now"),
        ("010-12345678", "[phone]"),
        ("a.b+c@example.co.uk!", "[email]!"),
        ("身份证11010519491231002X号", "身份证[id]号"),
        ("110105194912310021", "[id]"),
        ("cpf 529.982.247-25", "cpf [id]"),
        ("nothing 2026-03-01 10:00 and 12.50", "nothing 2026-03-01 10:00 and 12.50"),
        ("Tea 500 g, 2 boxes", "Tea 500 g, 2 boxes"),
    ],
)
def test_free_text_is_scrubbed(text: str, masked: str) -> None:
    sql = f"SELECT {scrub_sql('$text::VARCHAR')}"
    assert duckdb.execute(sql, {"text": text}).fetchall() == [(masked,)]


def test_no_personal_value_is_in_any_file_of_the_home(shop: Shop) -> None:
    planted = ["PLANTED-BUYER-7", "PLANTED-CONTACT-7", "PLANTED-BANK-7", "13800001111"]
    planted += ["plant@example.com", "110105194912310021"]
    note = "call 13800001111 or plant@example.com, 110105194912310021"
    both = [{}, {"status": "nonsense"}, {"updated_at": "2027-01-01"}, {"updated_at": "soon"}]
    shop.deliver(
        "orders",
        DAY,
        *(
            row("orders", f"o{i}", buyer_id=planted[0], cancel_reason=note, **values)
            for i, values in enumerate(both)
        ),
        row("orders", "torn", buyer_id=planted[0], cancel_reason=note, amount="1"),
        row("orders", "torn", buyer_id=planted[0], cancel_reason=note, amount="2"),
    )
    shop.deliver(
        "merchants",
        DAY,
        *(
            row("merchants", f"m{i}", contact=planted[1], settlement_account=planted[2], **v)
            for i, v in enumerate(both)
        ),
    )
    shop.deliver(
        "buyers", DAY, *(row("buyers", planted[0], updated_at=t) for t in ("soon", "", DAY))
    )
    for entity in ("orders", "merchants", "buyers"):
        shop.delivered[(entity, DAY)] = [
            {k: str(v) if v else v for k, v in row.items()} for row in shop.delivered[(entity, DAY)]
        ]
        shop.land(entity)
        assert shop.landed(entity) and shop.refused(entity)
    files = [path for path in shop.home.root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in files)
    for path in files:
        held = path.read_bytes()
        if path.suffix == ".parquet":
            held += json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str).encode()
        assert not [value for value in planted if value.encode() in held], path
    assert any("[phone]" in row["row"] for row in shop.refused("orders"))


def test_a_missing_required_column_stops_and_names_both_sides(shop: Shop) -> None:
    wrong = {"order_no": ["1"], "report_date": [DAY], "source_file": ["orders-0301.csv"]}
    shop.batches = [pa.RecordBatch.from_pydict(wrong)]
    with pytest.raises(SourceError) as error:
        shop.land("orders")
    text = str(error.value)
    assert "orders-0301.csv" in text and "merchant_id" in text
    assert "found report_date, source_file and 1 unknown column" in text
    assert "\n" not in text
    assert not list(shop.home.landing.rglob("report_date=*"))


def test_a_row_for_a_date_that_was_not_asked_for_stops(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    list_of = list(shop.read(next(e for e in ENTITIES if e.name == "orders"), DAY, DAY))
    shop.batches = list_of
    with pytest.raises(SourceError, match=r"orders\.csv"):
        shop.land("orders", DAY + timedelta(days=1))


def test_text_that_is_not_utf8_stops(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    (good,) = shop.read(next(e for e in ENTITIES if e.name == "orders"), DAY, DAY)
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")]
    )
    names = good.schema.names
    shop.batches = [good.set_column(names.index("currency"), "currency", broken)]
    with pytest.raises(SourceError, match="UTF"):
        shop.land("orders")


def test_the_summary_tells_what_was_refused_and_where(shop: Shop) -> None:
    shop.deliver(
        "orders",
        DAY,
        row("orders", "o2", amount="-1", source_file="b.csv"),
        row("orders", "o1", amount="-2", source_file="a.csv"),
        row("orders", "o3", status="lost"),
    )
    shop.deliver("reviews", DAY, row("reviews", "r1", rating="9"))
    shop.land("orders")
    shop.land("reviews")
    assert quarantine_summary(shop.home, shop.plan()) == [
        ("orders", "below_minimum:amount", 2, "o1", "a.csv"),
        ("orders", "unknown_code:status", 1, "o3", "orders.csv"),
        ("reviews", "above_maximum:rating", 1, "r1", "reviews.csv"),
    ]
    assert quarantine_summary(shop.home, shop.plan(DAY + timedelta(days=1))) == []


nasty = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "\x00",
            "nan",
            "-inf",
            "1e999",
            "0x1F",
            "1_0",
            "\u0661",
            "\xbd",
            "9" * 60,
            "0001-01-01",
            "9999-12-31T23:59:59Z",
            "infinity",
            "epoch",
            "2026-03-01T00:00:60Z",
            "\u202e",
            "'",
            '"',
            "290308-12-22 (BC) 00:00:00",
            "2026-03-01 12:00:00 Europe/Nowhere",
            "true",
            "active",
            "2026-03-01",
            "294247-01-10T04:00:54.775807",
            "-99999999999999999999-01-01",
            "+5",
            "\\",
        ]
    ),
    st.floats().map(str),
    st.datetimes().map(str),
    st.integers().map(str),
)


@given(st.data(), st.sampled_from(ENTITIES))
@settings(max_examples=40, deadline=None)
def test_every_row_is_landed_or_refused_or_collapsed_whatever_it_holds(
    data: st.DataObject, entity: Any
) -> None:
    rows = [
        row(entity.name, "k", **values)
        for values in data.draw(
            st.lists(
                st.dictionaries(st.sampled_from(entity.column_names), nasty, max_size=4),
                max_size=12,
            )
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        shop = Shop(home, Settings(home, "America/Sao_Paulo", (), 180, 7, "key"))
        shop.deliver(entity.name, DAY, *rows)
        with mock.patch.object(landing, "open_source", return_value=shop):
            report = shop.land(entity.name)
        landed, refused = shop.landed(entity.name), shop.refused(entity.name)
        assert report["rows_read"] == len(rows)
        assert len(landed) == report["rows_landed"]
        assert len(refused) == report["rows_quarantined"]
        assert len(rows) == len(landed) + len(refused) + report["rows_collapsed"]
        # what is landed fulfils the contract, as Python reads it
        for made in landed:
            for column in entity.columns:
                value = made[column.name]
                assert value is not None or not column.required
                assert value is None or not column.codes or value in column.codes
                if value is not None and column.at_least is not None:
                    assert value >= column.at_least
        assert all(json.loads(made["row"]).keys() == set(entity.column_names) for made in refused)

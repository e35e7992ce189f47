"""A mapping says which of a user's columns is which of the contract's, or which line is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from redline.contract import entity
from redline.errors import SourceError
from redline.sources.mapping import NO_MAPPING, SourceMapping, read_mapping, select

ORDERS = """\
timezone: America/Sao_Paulo
entities:
  orders:
    table: shop.orders
    columns:
      order_id: 'id "of" order'
      merchant_id: shop
      buyer_id: customer
      amount: total
      currency: {value: it's BRL}
      paid_at: paid
      shipped_at: sent_text
      fulfilled_at: {column: done, epoch: milliseconds}
      status: {column: state, codes: {PAID: active, "0": deleted}}
      updated_at: changed
"""


def written(folder: Path, text: str) -> SourceMapping:
    path = folder / "mapping.yml"
    path.write_text(text)
    return read_mapping(str(path), ("table", "select"))


def selected(mapping: SourceMapping, relation: str) -> list[dict[str, Any]]:
    """Rows of a relation as the contract names them."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        described = con.execute(f"describe ({relation})").fetchall()
        found = {name: kind for name, kind, *_ in described}
        chosen = select(mapping, entity("orders"), found, "shop.orders").expressions
        columns = ", ".join(f"{sql} as {name}" for name, sql in chosen.items())
        return con.execute(f"select {columns} from ({relation})").to_arrow_table().to_pylist()


def test_columns_codes_constants_zones_and_epochs_become_the_contracts(tmp_path: Path) -> None:
    relation = """
        select
            7 as 'id "of" order', 's1' as shop, 'c1' as customer, 1.50::decimal(9, 2) as total,
            timestamp '2026-01-31 23:30:00' as paid, '2026-02-01 00:15:00' as sent_text,
            1769990400000 as done, 'PAID' as state,
            timestamptz '2026-02-02 10:00:00+08' as changed, 'x' as note
    """
    relation = relation.replace("""'id "of" order'""", '"id ""of"" order"')

    (row,) = selected(written(tmp_path, ORDERS), relation)

    def utc(*local: int) -> datetime:
        zone = ZoneInfo("America/Sao_Paulo")
        return datetime(*local, tzinfo=zone).astimezone(UTC).replace(tzinfo=None)  # type: ignore[misc]

    assert row["order_id"] == "7"
    assert row["currency"] == "it's BRL"
    assert row["status"] == "active"
    assert row["paid_at"] == utc(2026, 1, 31, 23, 30)
    assert datetime.fromisoformat(row["shipped_at"]) == utc(2026, 2, 1, 0, 15)
    assert datetime.fromisoformat(row["fulfilled_at"]) == datetime(2026, 2, 2)
    assert row["updated_at"] == datetime(2026, 2, 2, 2)


def test_what_is_no_time_or_code_reaches_the_door_as_it_is(tmp_path: Path) -> None:
    relation = """
        select 7 as "id ""of"" order", 's1' as shop, 'c1' as customer, 1 as total, null as paid,
            '2026-02-01 00:15:00+02:00' as sent_text, 'soon' as done, 'odd' as state,
            'never' as changed
    """

    (row,) = selected(written(tmp_path, ORDERS), relation.replace("null as", "null::date as"))

    assert (row["fulfilled_at"], row["status"], row["updated_at"]) == ("soon", "odd", "never")
    assert row["shipped_at"] == "2026-02-01 00:15:00+02:00"  # its own offset says when it was
    assert row["paid_at"] is None


def test_new_columns_are_told_apart_and_absent_optional_ones_are_null() -> None:
    required = {c.name: "VARCHAR" for c in entity("orders").columns if c.required}

    chosen = select(NO_MAPPING, entity("orders"), {**required, "tip": "DOUBLE"}, "a file")

    assert chosen.dropped == ("tip",)
    assert set(chosen.expressions) == set(required)
    assert "paid_at" in chosen.absent


def test_a_missing_or_changed_column_is_told_with_its_line(tmp_path: Path) -> None:
    mapping = written(tmp_path, ORDERS)
    path = tmp_path / "mapping.yml"
    found = {
        'id "of" order': "BIGINT",
        "shop": "VARCHAR",
        "customer": "VARCHAR",
        "total": "DECIMAL(9,2)",
        "state": "VARCHAR",
        "changed": "TIMESTAMP",
    }
    cases = [
        ({k: v for k, v in found.items() if k != "customer"}, "expects the column 'customer'", 8),
        ({**found, "total": "BOOLEAN"}, "expects money; found BOOLEAN in 'total'", 9),
        ({**found, "changed": "BIGINT"}, "expects timestamp; found BIGINT", 15),
        ({**found, "shop": "VARCHAR[]"}, "expects text; found VARCHAR[]", 7),
    ]
    for columns, what, line in cases:
        with pytest.raises(SourceError) as refused:
            select(mapping, entity("orders"), columns, "shop.orders")

        assert what in str(refused.value)
        assert f"{path}, line {line}" in str(refused.value)
        assert "shop.orders" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("entities: {orders: {tabel: x}}", "'tabel' means nothing in orders", 1),
        ("entities:\n  order: {}", "'order' means nothing in entities", 2),
        ("entities:\n  orders:\n    columns:\n      id: x", "'id' means nothing", 4),
        (
            "entities:\n  orders:\n    columns:\n      status: {codes: {a: b}}",
            "column or a value",
            4,
        ),
        (
            "entities:\n  orders:\n    columns:\n      status: {column: s, codes: {a: b}}",
            "'b' is no code of orders.status",
            4,
        ),
        (
            "entities:\n  orders:\n    columns:\n      paid_at: {column: s, epoch: days}",
            "unknown epoch 'days'",
            4,
        ),
        ("timezone: Mars/Olympus\nentities: {orders: {}}", "unknown time zone", 1),
        ("entities:\n  orders: {}\n  orders: {}", "'orders' stands twice", 3),
        ("entities: [", "not YAML", 1),
        ("entities: {}", "names no entity", None),
        ("", "the file is not a list of names", None),
        ("entities: {orders: {columns: {order_id: !!python/object:os.system x}}}", "", None),
    ],
)
def test_a_mapping_that_means_nothing_is_refused_with_its_line(
    tmp_path: Path, text: str, what: str, line: int | None
) -> None:
    if "!!python" in text:
        # A tag makes nothing: the node's text is taken as the column's name.
        assert written(tmp_path, text).entities["orders"].column("order_id").column == "x"
        return
    with pytest.raises(SourceError) as refused:
        written(tmp_path, text)

    assert what in str(refused.value)
    assert str(tmp_path / "mapping.yml") in str(refused.value)
    assert line is None or f"line {line}" in str(refused.value)


def test_a_mapping_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("entities: é".encode("latin-1"))
    for name, what in [("none.yml", "No such file"), ("latin", "not UTF-8")]:
        with pytest.raises(SourceError, match=what):
            read_mapping(str(tmp_path / name), ())
    with pytest.raises(SourceError, match="absolute"):
        read_mapping("mapping.yml", ())

"""Which key pseudonyms are of, how it is rotated, and what a refused row may hold."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from redline.errors import SettingError
from tests.plugins.redline.landing.shop import DAY, Shop, row

NEXT = date(2026, 3, 2)
PHONE, EMAIL = "13812345678", "li.lei@example.com"


def keyed(shop: Shop, key: str) -> Shop:
    shop.settings = replace(shop.settings, pseudonym_key=key)
    return shop


def buyers(shop: Shop) -> set[str]:
    return {each["buyer_id"] for each in shop.landed("orders")}


def pseudonym(key: str, value: str) -> str:
    return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()


def test_another_key_is_refused_while_records_carry_the_old_ones(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    for name in ("order_items", "orders"):
        keyed(shop, "old").land(name)
    shop.deliver("orders", NEXT, row("orders", "o2", updated_at="2026-03-02T02:00:00Z"))
    before = shop.bytes_of("orders")

    with pytest.raises(SettingError, match=f"make restate FROM={DAY}"):
        keyed(shop, "new").land("orders", NEXT, published_through=DAY)

    assert shop.bytes_of("orders") == before
    keyed(shop, "old").land("orders", NEXT, published_through=DAY)
    assert buyers(shop) == {pseudonym("old", "b1")}


def test_a_restatement_of_everything_rotates_the_key(shop: Shop) -> None:
    for day, name in ((DAY, "o1"), (NEXT, "o2")):
        shop.deliver("orders", day, row("orders", name, updated_at=f"{day}T02:00:00Z"))
        shop.deliver("buyers", day, row("buyers", "b1", updated_at=f"{day}T02:00:00Z"))
    for name in ("orders", "buyers"):
        keyed(shop, "old").land(name, DAY, NEXT)
    closed = {"published_through": NEXT}

    with pytest.raises(SettingError, match="put the old key back, or rotate it"):
        keyed(shop, "new").land("orders", NEXT, **closed, restated_from=NEXT)  # not all of it
    for name in ("orders", "buyers"):
        shop.land(name, DAY, NEXT, **closed, restated_from=DAY)

    assert buyers(shop) == {pseudonym("new", "b1")}
    assert {each["buyer_id"] for each in shop.landed("buyers")} == buyers(shop)
    with pytest.raises(SettingError, match="not the one"):
        keyed(shop, "old").land("orders", NEXT, published_through=DAY)


def test_what_is_written_of_a_key_tells_nothing_of_it(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    keyed(shop, "a guess").land("orders")

    written = (shop.home.landing / shop.platform / "pseudonym_key.json").read_text()

    assert "a guess" not in written
    assert hashlib.sha256(b"a guess").hexdigest()[:16] not in written


def test_personal_values_in_the_wrong_columns_are_on_no_disk(shop: Shop) -> None:
    # One column too many: what was free text stands in a typed column, a code and a time.
    shop.deliver(
        "complaints",
        DAY,
        row("complaints", "c1", status=f"call {PHONE}"),
        row("complaints", "c2", created_at=f"write to {EMAIL}"),
        row("complaints", "c3", reason_code=f"{PHONE}", status="unheard of"),
        row("complaints", "c4", resolved_at=PHONE),
    )

    shop.land("complaints")

    refused = {each["row_key"]: each["row"] for each in shop.refused("complaints")}
    assert set(refused) == {"c1", "c2", "c3", "c4"}
    assert not any(secret in text for secret in (PHONE, EMAIL) for text in refused.values())
    assert "[phone]" in refused["c1"] and "[email]" in refused["c2"]
    assert not any(
        secret.encode() in Path(path).read_bytes()
        for path in shop.home.root.rglob("*.json")
        for secret in (PHONE, EMAIL)
    )

"""Rows in are rows landed, quarantined or collapsed: the gate counts them per source file."""

from __future__ import annotations

from pathlib import Path

import pytest

from redline import landing
from redline.contract import ENTITIES
from redline.errors import GateError
from redline.settings import Home, Settings
from redline.validation import validate_intake
from tests.plugins.redline.landing.shop import DAY, Shop, row


def test_a_row_of_a_file_that_is_nowhere_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    shop = Shop(home, Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7, "key"))
    monkeypatch.setattr(landing, "open_source", lambda address: shop)
    shop.deliver("merchants", DAY, row("merchants", "m1"))
    shop.deliver(
        "orders",
        DAY,
        *(row("orders", f"o{i}", source_file="a.csv") for i in range(30)),
        row("orders", "o3", source_file="a.csv"),  # a copy
        row("orders", "bad", source_file="b.csv", amount="-1"),
        row("orders", "good", source_file="b.csv"),
    )
    for entity in ENTITIES:
        shop.land(entity.name)

    assert validate_intake(shop.plan(), shop.settings)["passed"]

    (refused,) = home.quarantine.glob("shop/orders/*/*.parquet")
    refused.unlink()
    with pytest.raises(GateError) as stopped:
        validate_intake(shop.plan(), shop.settings)
    line = str(stopped.value)
    assert "no_row_of_a_source_file_is_lost" in line and "observed 1 rows" in line
    assert "source_file=b.csv, rows_read=2, rows_landed=1, rows_quarantined=0" in line

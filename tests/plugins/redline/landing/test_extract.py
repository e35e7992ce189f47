"""All entities of a run in one go: one snapshot, every failure told, dropped columns told once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from redline import landing
from redline.contract import ENTITIES, Entity
from redline.errors import RedlineError, SourceError, StorageError
from redline.sources import DROPPED
from tests.plugins.redline.landing.shop import DAY, Shop, row


@dataclass
class Held(Shop):
    """A shop that can hold still, and that may fail where it is asked for an entity."""

    held: bool = False
    asked_while_held: tuple[str, ...] = ()
    faults: dict[str, RedlineError] | None = None
    metadata: dict[bytes, bytes] | None = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.held = True
        yield
        self.held = False

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        if self.held:
            self.asked_while_held += (entity.name,)
        if self.faults and entity.name in self.faults:
            raise self.faults[entity.name]
        for each in super().read(entity, start, end):
            yield each.replace_schema_metadata(self.metadata)


@pytest.fixture
def held(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Held:
    made = Held(shop.home, shop.settings)
    monkeypatch.setattr(landing, "open_source", lambda address: made)
    made.deliver("orders", DAY, row("orders", "o1"))
    return made


def extract(shop: Shop, **changes: Any) -> dict[str, Any]:
    return landing.extract(shop.plan(**changes), shop.settings)


def test_all_entities_are_read_within_one_snapshot(held: Held) -> None:
    report = extract(held)

    names = tuple(each["entity"] for each in report["entities"])
    assert {*names} == {entity.name for entity in ENTITIES}
    assert held.asked_while_held == names
    assert names.index("order_items") < names.index("orders")
    assert not held.held
    assert [each["order_id"] for each in held.landed("orders")] == ["o1"]


def test_an_entity_that_fails_keeps_no_other_from_landing(held: Held) -> None:
    held.faults = {
        "merchants": StorageError("the mount is gone", "merchants", "mount it"),
        "products": SourceError("no file", "products", "deliver it"),
        "reviews": SourceError("cut short", "reviews", "deliver it again"),
    }

    with pytest.raises(SourceError) as failed:
        extract(held)

    # What waiting does not mend goes first: a retry would only fail again.
    assert str(failed.value) == (
        "products: no file (products): deliver it (merchants, reviews failed too: see the log)"
    )
    assert len(held.landed("orders")) == 1


def test_what_may_mend_itself_is_tried_again(held: Held) -> None:
    held.faults = {"orders": StorageError("the mount is gone", "orders", "mount it")}

    with pytest.raises(StorageError, match=r"^orders: the mount is gone"):
        extract(held)


def test_a_new_column_is_dropped_and_told_once(held: Held) -> None:
    def told(**changes: Any) -> list[str]:
        (orders,) = (e for e in extract(held, **changes)["entities"] if e["entity"] == "orders")
        columns: list[str] = orders["new_columns"]
        return columns

    day_2, day_3 = date(2026, 3, 2), date(2026, 3, 3)
    held.deliver("orders", day_2, row("orders", "o2"))
    held.deliver("orders", day_3, row("orders", "o3"))

    assert told() == ["surprise"]
    assert told() == ["surprise"]  # not published yet
    held.metadata = {DROPPED: b'["tip", "13800138000", "a@b.example"]'}
    assert told(start=day_2, published_through=DAY) == ["a column whose name may be a value", "tip"]
    assert told(start=day_3, published_through=day_2) == []
    files = [path.read_text() for path in held.home.root.rglob("*.json")]
    assert not any("13800138000" in text or "a@b.example" in text for text in files)

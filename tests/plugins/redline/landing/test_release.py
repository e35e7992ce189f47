"""What waits in quarantine, what leaves it by itself, and what a release lands."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest

from redline import quarantine
from redline.contract import entity
from redline.landing import release
from redline.landing.waiting import find_waiting
from redline.publish.state import PublishedState
from redline.settings import Settings
from tests.plugins.redline.landing.shop import DAY, Row, Shop, row

NEXT, THIRD = date(2026, 3, 2), date(2026, 3, 3)


def order(key: str, day: date = DAY, **values: object) -> Row:
    return row("orders", key, updated_at=f"{day}T02:00:00Z", **values)


def line(key: str, number: int = 1, **values: object) -> Row:
    return row("order_items", key, **{"line_no": str(number), **values})


def waiting(shop: Shop, name: str = "orders") -> list[tuple[str, str]]:
    with duckdb.connect() as con:
        folders = (top / shop.platform / name for top in (shop.home.landing, shop.home.quarantine))
        find_waiting(con, *folders, entity(name), date(2025, 9, 1))
        return con.execute("select row_key, reason from waiting order by all").fetchall()


@pytest.fixture
def closed(shop: Shop) -> Shop:
    """A published date on which one order, and a line of another, were refused."""
    shop.deliver("orders", DAY, order("o1"), order("o2", status="paid"), order("o3"))
    shop.deliver(
        "order_items", DAY, line("o1"), line("o2"), line("o3"), line("o3", 2, quantity="two")
    )
    for name in ("order_items", "orders"):
        shop.fingerprints[name, DAY] = "as it was"
        shop.land(name)
    return shop


def land_next(shop: Shop, day: date = NEXT, through: date = DAY) -> dict[str, int]:
    return {
        name: shop.land(name, day, published_through=through, run_id=f"run-{day}")["late_rows"]
        for name in ("order_items", "orders")
    }


def test_a_row_that_comes_fixed_leaves_by_itself(closed: Shop) -> None:
    assert waiting(closed) == [("o2", "unknown_code:status")]
    closed.deliver("orders", NEXT, order("o2", NEXT))

    land_next(closed)

    assert waiting(closed) == []
    assert len(closed.refused("orders")) == 1  # closed partitions are never edited


def test_a_release_lands_what_has_become_clean_with_its_whole_order(closed: Shop) -> None:
    # The mapping was mended: the files, and so what is said of them, are what they were.
    closed.deliver("orders", DAY, order("o1"), order("o2"), order("o3"))
    closed.deliver(
        "order_items", DAY, line("o1"), line("o2"), line("o3"), line("o3", 2, quantity="2")
    )
    assert land_next(closed) == {"order_items": 0, "orders": 0}

    release.request(closed.home, {closed.platform: DAY})
    again = [land_next(closed) for _ in range(2)]

    # Order 3 comes with both of its lines; what was landed before is not landed twice.
    assert again == [{"order_items": 3, "orders": 2}] * 2
    late = [each for each in closed.landed("orders") if each["report_date"] == NEXT]
    assert {(each["order_id"], each["source_date"]) for each in late} == {("o2", DAY), ("o3", DAY)}
    assert waiting(closed) == waiting(closed, "order_items") == []


def test_a_release_is_for_the_next_publication_only(closed: Shop) -> None:
    release.request(closed.home, {closed.platform: DAY})
    land_next(closed)
    read = len(closed.reads)

    land_next(closed, THIRD, NEXT)

    assert all(start == THIRD for _, start, _ in closed.reads[read:])


def test_rows_that_are_still_wrong_stay_and_are_not_kept_twice(closed: Shop) -> None:
    release.request(closed.home, {closed.platform: DAY})

    assert land_next(closed) == {"order_items": 0, "orders": 0}

    assert waiting(closed) == [("o2", "unknown_code:status")]
    assert len(closed.refused("orders")) == 1


def test_the_command_lists_what_waits_and_asks_for_its_release(
    closed: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = PublishedState(
        "run", {closed.platform: DAY}, closed.platform, DAY, DAY, None, None, "", {}, {}, {}, {}, {}
    )
    monkeypatch.setattr(quarantine, "published_state", lambda home: state)
    monkeypatch.setattr(quarantine, "read_settings", lambda: closed.settings)
    monkeypatch.setenv("COLUMNS", "160")

    assert quarantine.main(["--release"]) == 0

    told = capsys.readouterr().out
    assert "orders" in told and "unknown_code:status" in told and "o2" in told
    assert "order_items" in told and "not_a_number:quantity" in told and "o3/2" in told
    assert "unknown_code: map the code to one of the contract's." in told
    assert "asks the source again for the dates of these 2 rows" in told
    assert release.released_dates(
        closed.plan(NEXT, published_through=DAY), closed.settings, [entity("orders")]
    ) == {DAY}
    assert quarantine.main(["--platform", "nowhere"]) == 1
    assert f"there are {closed.platform}" in capsys.readouterr().out


def test_without_anything_published_there_is_nothing_to_list(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: Settings = shop.settings
    monkeypatch.setattr(quarantine, "read_settings", lambda: settings)

    assert quarantine.main([]) == 1
    assert capsys.readouterr().out.startswith("Error: nothing is published yet (")

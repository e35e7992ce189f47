"""Which dates are gaps, whatever the chunks in which they are published."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from redline.plan import Plan, days
from redline.publish.gaps import gaps, told
from redline.settings import Home
from redline.sources import MISSING
from tests.plugins.redline.publish.made_home import FIRST

Delivery = tuple[int, int, str | None]  # source date, rows, fingerprint


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def deliver(home: Home, entity: str, number: int, *files: Delivery) -> None:
    """Leave the manifest of a report date."""
    folder = home.landing / "shop" / entity / f"report_date={day(number)}"
    folder.mkdir(parents=True)
    listed = [
        {"source_date": str(day(source)), "rows_landed": rows, "fingerprint": fingerprint}
        for source, rows, fingerprint in files
    ]
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))


def publish(home: Home, lasts: Iterable[int]) -> list[dict[str, str]]:
    """The gaps after runs that end on these dates, each on top of the one before."""
    base, start, found = None, 0, []
    for last in lasts:
        plan: Any = Plan("run", "shop", "x", day(0), day(last), None, None, day(start), day(last))
        found = gaps(home, plan, base)
        base = SimpleNamespace(as_of={"shop": day(last)}, gaps={"shop": found})  # type: ignore[assignment]
        start = last + 1
    return found


def numbers(found: list[dict[str, str]], entity: str) -> set[int]:
    return {
        (each - FIRST).days
        for gap in found
        if gap["entity"] == entity
        for each in days(date.fromisoformat(gap["from"]), date.fromisoformat(gap["to"]))
    }


def deliver_all(home: Home, entity: str, pattern: Iterable[bool]) -> None:
    for number, is_filled in enumerate(pattern):
        deliver(home, entity, number, (number, int(is_filled), None))


# Mostly deliveries, with silences of all lengths.
PATTERN = st.lists(
    st.tuples(st.booleans(), st.integers(1, 12)).map(lambda run: [run[0]] * run[1])
    | st.integers(5, 30).map(lambda length: [True] * length),
    min_size=2,
    max_size=5,
).map(lambda runs: [each for run in runs for each in run])


@settings(max_examples=25, deadline=None)
@given(PATTERN, st.data())
def test_day_by_day_in_chunks_or_at_once_the_gaps_are_the_same(
    pattern: list[bool], data: st.DataObject
) -> None:
    last = len(pattern) - 1
    chunks = {*data.draw(st.lists(st.integers(0, last))), last}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        deliver_all(home, "orders", pattern)
        deliver_all(home, "reviews", pattern)
        at_once = publish(home, [last])
        assert publish(home, range(last + 1)) == at_once
        assert publish(home, sorted(chunks)) == at_once
    quiet = {number for number, is_filled in enumerate(pattern) if not is_filled}
    assert numbers(at_once, "orders") == quiet
    assert numbers(at_once, "reviews") <= quiet


def test_a_silence_is_a_gap_where_quiet_dates_do_not_explain_it(tmp_path: Path) -> None:
    cases = {
        "reviews": [True] * 28 + [False],  # never quiet before
        "refunds": ([True] * 9 + [False]) * 3 + [True] * 2 + [False],  # one date in ten is quiet
        "complaints": ([True] * 9 + [False]) * 3 + [True] * 2 + [False] * 2,  # but never two
        "appeals": [True, False, False] * 11 + [False] * 9,  # quiet on most dates
        "products": [True] + [False] * 41,  # all at once, then only changes
        "buyers": [True] * 28 + [False] * 14,  # nobody new, nobody changed
        "order_items": [True] * 10 + [False] * 32,  # one that goes on and on
    }
    found = {}
    for entity, pattern in cases.items():
        home = Home(tmp_path / entity)
        deliver_all(home, entity, pattern)
        found[entity] = numbers(publish(home, range(9, len(pattern))), entity)
    assert found == {
        "reviews": {28},
        "refunds": set(),
        "complaints": {32, 33},
        "appeals": set(),
        "products": set(),
        "buyers": set(),
        "order_items": set(range(10, 42)),
    }


def test_a_date_without_a_delivery_is_a_gap_until_it_has_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    deliver(home, "merchants", 0, (0, 5, "v"))
    deliver(home, "merchants", 1, (1, 0, MISSING))
    deliver(home, "merchants", 2, (2, 0, MISSING))
    deliver(home, "merchants", 3, (3, 0, "without rows"))  # which is an answer
    deliver(home, "merchants", 4, (4, 0, MISSING), (1, 2, "late"))
    deliver(home, "merchants", 5, (5, 0, "v"), (2, 0, "late, without rows"))
    deliver(home, "merchants", 60, (60, 0, "v"), (4, 1, "very late"))
    seen = [numbers(publish(home, range(last + 1)), "merchants") for last in (2, 3, 4, 5, 59, 60)]
    assert seen == [{1, 2}, {1, 2}, {2, 4}, {4}, {4}, set()]


def test_gaps_are_told_in_one_line_per_entity() -> None:
    ranges = [("orders", 1, 3), ("orders", 5, 5), ("reviews", 2, 2)]
    found = [{"entity": e, "from": str(day(a)), "to": str(day(b))} for e, a, b in ranges]
    assert told(found) == [
        "orders: no data for 4 dates (2026-03-02 to 2026-03-04, 2026-03-06)",
        "reviews: no data for 1 date (2026-03-03)",
    ]
    many = [{"entity": "orders", "from": str(day(n)), "to": str(day(n))} for n in (1, 3, 5, 7)]
    assert told(many) == [
        "orders: no data for 4 dates (earlier ones, 2026-03-04, 2026-03-06, 2026-03-08)"
    ]

"""The checksum of a table's content: any cell counts, order does not."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from redline.plan import Plan
from redline.publish import content

DAY = date(2026, 3, 1)
PLAN = Plan("r", "none", "", DAY, DAY, None, None, DAY, DAY)
COLUMNS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "name": ("varchar", st.sampled_from(["", "a", "b", "ab", "\x00", "商家", "NULL", "x" * 40])),
    "other": ("varchar", st.sampled_from(["", "a", "b", "ab", "1", "true"])),
    "day": ("date", st.dates(date(2026, 1, 1), date(2026, 1, 3))),
    "count": ("bigint", st.integers(-2, 2)),
    "rate": ("double", st.floats(allow_nan=False).map(lambda value: value + 0.0)),
    "flag": ("boolean", st.booleans()),
}
CELLS = [st.none() | values for _, values in COLUMNS.values()]
Row = tuple[Any, ...]
CONNECTION = duckdb.connect()
CONNECTION.execute("create schema marts; set threads = 2")


def checksums(*variants: list[Row]) -> list[str]:
    """The checksum of each variant of a table, told apart by an owner that is no part of it."""
    columns = tuple((name, kind) for name, (kind, _) in COLUMNS.items())
    declared = ", ".join(f"{name} {kind}" for name, kind in columns)
    CONNECTION.execute(f"create or replace table marts.t (platform varchar, {declared})")
    rows = [(str(n), *row) for n, variant in enumerate(variants) for row in variant]
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(rows))
    CONNECTION.execute(
        f"insert into marts.t values {places}", [value for row in rows for value in row]
    )
    table = content.Table("t", columns, has_owner=True)
    found = {share.owner: share.checksum for share in content.shares(CONNECTION, table, PLAN)}
    return [found.get(str(n), found["none"]) for n in range(len(variants))]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(*CELLS), min_size=1, max_size=6), data=st.data())
def test_a_checksum_changes_with_every_cell_and_with_no_reordering(
    rows: list[Row], data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, len(rows) - 1))
    shuffled = data.draw(st.permutations(rows))
    variants = [rows, [*rows, rows[n]], [*rows, rows[n], rows[n]], rows[:n] + rows[n + 1 :]]
    for place, values in enumerate(CELLS):
        value = data.draw(values)
        if repr(value) != repr(rows[n][place]):
            changed = (*rows[n][:place], value, *rows[n][place + 1 :])
            variants.append([*rows[:n], changed, *rows[n + 1 :]])

    original, reordered, *others = checksums(rows, shuffled, *variants[1:])

    assert reordered == original
    assert len({original, *others}) == len(variants)


def test_values_that_change_places_change_the_checksum() -> None:
    rest = (None, 1, 0.5, True)
    original = [("a", "b", *rest), ("b", "a", *rest)]
    swapped = [("b", "b", *rest), ("a", "a", *rest)]
    joined = [("ab", "", *rest), ("ba", "", *rest)]
    assert len(set(checksums(original, swapped, joined))) == 3

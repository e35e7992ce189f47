"""A folder in which a date's file is missing: by default a refusal, if asked for a gap."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from redline import planning
from redline.contract import entity
from redline.errors import SettingError, SourceError
from redline.sources import MISSING, open_source

DAY = date(2024, 3, 5)
NEXT = DAY + timedelta(days=1)
LINES, BUYERS = entity("order_items"), entity("buyers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One date of order lines; of the date after there is no file."""
    path = tmp_path / "order_items" / f"{DAY}.csv"
    path.parent.mkdir()
    path.write_text("order_id,line_no,product_id,quantity,unit_price\no1,1,p1,1,2\n")
    return tmp_path


def test_a_missing_date_is_answered_with_no_rows_and_told_as_missing(folder: Path) -> None:
    source = open_source(f"files://{folder}?missing=gap")
    assert sum(batch.num_rows for batch in source.read(LINES, DAY, NEXT)) == 1
    assert source.fingerprint(LINES, NEXT) == MISSING
    assert source.fingerprint(LINES, DAY) not in (None, MISSING)
    # What is left out as a whole is not waited for.
    assert source.fingerprint(BUYERS, DAY) is None


@pytest.mark.parametrize("option", ["", "?missing=stop"])
def test_otherwise_it_stops_the_run(folder: Path, option: str) -> None:
    source = open_source(f"files://{folder}{option}")
    with pytest.raises(SourceError, match=f"no file of order_items for {NEXT}"):
        list(source.read(LINES, DAY, NEXT))
    assert source.fingerprint(LINES, NEXT) is None


def test_a_folder_that_is_missing_is_no_gap(folder: Path) -> None:
    source = open_source(f"files://{folder}?missing=gap")
    with pytest.raises(SourceError, match="no folder of orders"):
        list(source.read(entity("orders"), DAY, NEXT))


def test_a_run_for_a_date_after_the_last_orders_is_refused_all_the_same(folder: Path) -> None:
    (folder / "orders").mkdir()
    (folder / "orders" / f"{DAY}.csv").write_text("order_id\n")
    source = open_source(f"files://{folder}?missing=gap")
    planning.check_span(source, DAY, NEXT)
    with pytest.raises(SettingError, match=f"the source has nothing from {NEXT} to {NEXT}"):
        planning.check_span(source, NEXT, NEXT)


def test_a_word_that_means_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"missing=ignore.*missing=stop or missing=gap"):
        open_source(f"files://{folder}?missing=ignore")

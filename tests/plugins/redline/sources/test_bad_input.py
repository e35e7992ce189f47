"""Whatever comes is landed right, quarantined with its reason, or stops the entity in one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from redline import landing
from redline.errors import SourceError
from redline.plan import Plan
from redline.settings import Home, Settings
from tests.plugins.redline.landing.shop import DAY, Shop
from tests.plugins.redline.sources.bad_input import CASES, Case


def test_there_are_at_least_sixty_kinds_each_named_once() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_landed_right_or_quarantined_or_stops_its_entity(
    tmp_path: Path, case: Case
) -> None:
    root = tmp_path / "delivery"
    folder = root / case.entity
    root.mkdir()
    for name, content in case.files.items():
        folder.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)
    home = Home(tmp_path / "home")
    settings = Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7)
    shop = Shop(home, settings, "files")
    source = f"files://{root}?settle=0&{case.options}"
    plan = Plan("run-1", "files", source, DAY, DAY, None, None, DAY, DAY)

    if case.stops is not None:
        with pytest.raises(SourceError) as refused:
            landing.land(plan, settings, case.entity)
        line = str(refused.value)
        assert case.stops in line
        assert "\n" not in line and len(line) < 600
        assert str(folder) in line
        assert shop.landed(case.entity) == shop.refused(case.entity) == []
        return

    report = landing.land(plan, settings, case.entity)

    landed, quarantined = shop.landed(case.entity), shop.refused(case.entity)
    assert Counter(row["reason"] for row in quarantined) == case.refused
    assert {row["order_id"] for row in landed} == {*case.lands}
    for row in landed:
        expected = case.lands[row["order_id"]]
        assert {name: row[name] for name in expected} == expected
    assert report["rows_collapsed"] == case.collapsed
    assert report["rows_read"] == len(landed) + len(quarantined) + case.collapsed

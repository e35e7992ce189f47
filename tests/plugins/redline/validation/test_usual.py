"""A day beside the like days before it, landed by the real door and judged by the real gate."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from redline import landing
from redline.contract import ENTITIES
from redline.errors import SettingError
from redline.settings import Home, Settings
from redline.validation import validate_intake
from redline.validation.limits import read_limits
from tests.plugins.redline.landing.shop import Row, Shop, row

FIRST = date(2026, 1, 5)  # a Monday
WEEKS = 6
LAST = FIRST + timedelta(days=7 * WEEKS - 1)


def usual_orders(day: date, chance: random.Random) -> list[Row]:
    """A seeded day: half as many orders at weekends, more cancelled ones there."""
    weekend = day.weekday() >= 5
    return [
        row(
            "orders",
            f"o{day:%m%d}-{i}",
            updated_at=f"{day}T02:00:00Z",
            paid_at=f"{day}T01:00:00Z",
            cancelled_by="buyer" if chance.random() < (0.6 if weekend else 0.2) else None,
            currency=chance.choices(["CNY", "USD", "EUR"], [6, 3, 1])[0],
        )
        for i in range(chance.randint(280, 320) // (2 if weekend else 1))
    ]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Callable[[list[Row]], list[Row]]], Any]:
    """Lands six weeks, of which a function changes the last day, and judges that day."""

    def make(change: Callable[[list[Row]], list[Row]]) -> Any:
        home = Home(tmp_path_factory.mktemp("usual"))
        settings = Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7, "key")
        shop, chance = Shop(home, settings), random.Random(7)
        for number in range(7 * WEEKS):
            day = FIRST + timedelta(days=number)
            shop.deliver("merchants", day, row("merchants", "m1", updated_at=f"{day}T02:00:00Z"))
            orders = usual_orders(day, chance)
            shop.deliver("orders", day, *(change(orders) if day == LAST else orders))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(landing, "open_source", lambda address: shop)
            for start, end, through in (
                (FIRST, LAST - timedelta(days=1), None),
                (LAST, LAST, LAST - timedelta(days=1)),
            ):
                for entity in ENTITIES:
                    shop.land(entity.name, start, end, published_through=through)
        plan = shop.plan(LAST, published_through=LAST - timedelta(days=1), run_id=f"run-{LAST}")
        return validate_intake(plan, settings)

    return make


def warnings(answer: Any) -> list[str]:
    return [each for each in answer["warnings"] if "as_usual" in each]


def test_a_day_like_those_of_its_weekday_passes(made: Any) -> None:
    answer = made(lambda rows: rows)

    assert answer["passed"]
    assert warnings(answer) == []
    assert answer["notes"] == []


def test_half_the_rows_less_warn_although_the_weekday_before_was_larger(made: Any) -> None:
    (warning,) = warnings(made(lambda rows: rows[: len(rows) // 3]))

    assert "volume_is_as_usual" in warning
    assert "entity=orders" in warning and f"report_date={LAST}" in warning


def test_a_column_that_comes_without_values_warns(made: Any) -> None:
    (warning,) = warnings(made(lambda rows: [each | {"paid_at": None} for each in rows]))

    assert "nulls_is_as_usual" in warning
    assert "of_column=paid_at, found=1.0, usual=0.0, deviation=1.0" in warning


def test_a_category_that_vanishes_warns(made: Any) -> None:
    answer = made(lambda rows: [each for each in rows if each["currency"] != "USD"])

    (warning,) = (each for each in warnings(answer) if "mix_is_as_usual" in each)
    assert "of_column=currency USD, found=0.0, usual=0." in warning


def test_the_first_weeks_are_too_early_to_say(tmp_path: Path) -> None:
    home = Home(tmp_path)
    settings = Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7, "key")
    shop, chance = Shop(home, settings), random.Random(7)
    last = FIRST + timedelta(days=21)  # three like days before it
    for number in range(22):
        day = FIRST + timedelta(days=number)
        shop.deliver("merchants", day, row("merchants", "m1", updated_at=f"{day}T02:00:00Z"))
        rows = usual_orders(day, chance)
        shop.deliver("orders", day, *(rows[:9] if day == last else rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "open_source", lambda address: shop)
        for entity in ENTITIES:
            shop.land(entity.name, FIRST, last)

    answer = validate_intake(shop.plan(FIRST, last), settings)

    assert warnings(answer) == []
    (note,) = answer["notes"]
    assert note.startswith("as usual: too early to say of ") and "orders" in note


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("orders,volumes,1,2,4,1,warn", "measure 'volumes'"),
        ("order,volume,1,2,4,1,warn", "entity 'order'"),
        ("orders,volume,one,2,4,1,warn", "low 'one'"),
        ("orders,volume,,,4,1,warn", "neither low nor high"),
        ("orders,volume,1,2,-4,1,warn", "from_dates '-4'"),
        ("orders,volume,1,2,4,1,shout", "severity 'shout'"),
        ("*,volume,1,2,4,1,warn", "a second limit of volume"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_with_its_line(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "limits.csv"
    path.write_text(
        f"entity,measure,low,high,from_dates,from_rows,severity\n*,volume,1,2,4,1,warn\n{line}\n"
    )

    with pytest.raises(SettingError) as refused:
        read_limits(path)

    assert said in str(refused.value) and f"{path}, line 3" in str(refused.value)

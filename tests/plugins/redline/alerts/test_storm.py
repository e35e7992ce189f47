"""What counts as a storm, and the table that a person decides by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from redline.alerts.rules import read_rules
from redline.alerts.storm import Evening, StormLimits, table, weigh
from redline.errors import SettingError
from tests.plugins.redline.alerts.receivers import ALERT

LIMITS = StormLimits(multiple=5, share=0.2, at_least=20)


def evening(
    count: int, usual: int, merchants: int = 1000, per_merchant: int = 1, **more: Any
) -> Evening:
    alerts = tuple(
        {
            **ALERT,
            "alert_id": f"a{number}",
            "merchant_id": f"m{number // per_merchant}",
            "merchant_name": f"Shop {number // per_merchant}",
        }
        for number in range(count)
    )
    past = {"complaint_rate": [usual] * 15, "negative_review_rate": [0] * 15}
    return Evening("sim", "2026-03-01", alerts, past, merchants, **more)


@pytest.mark.parametrize(
    ("found", "is_storm"),
    [
        (evening(100, usual=20), False),  # five times as many are not more than five times
        (evening(101, usual=20), True),
        (evening(19, usual=0), False),  # a few are never a storm
        (evening(20, usual=0), True),
        (evening(40, usual=20, merchants=200), False),  # a fifth is not more than a fifth
        (evening(41, usual=20, merchants=200), True),
        (evening(80, usual=20, merchants=200, per_merchant=4), False),
        (evening(80, usual=20, merchants=0), False),  # no merchant was evaluated: no share
    ],
)
def test_a_storm_is_beyond_a_multiple_of_the_usual_or_a_share_of_the_merchants(
    found: Evening, is_storm: bool
) -> None:
    assert (weigh([found], LIMITS) is not None) is is_storm


def test_the_usual_number_is_that_of_whole_evenings_and_no_outlier_moves_it() -> None:
    past = {"a": [1, 0, 2, 90, 1], "b": [1, 3, 0, 0, 1]}
    assert Evening("sim", "2026-03-01", (), past, 10).usual == 2
    assert Evening("sim", "2026-03-01", (), {}, 10).usual == 0


def test_one_storm_keeps_everything_back_and_says_which_it_is() -> None:
    storm = weigh([evening(10, usual=9), evening(60, usual=1)], LIMITS)
    assert storm is not None
    assert storm.count == 70
    assert storm.line == "70 new alerts: sim 2026-03-01 has 60, usual are 1"


def test_the_file_of_alerts_says_where_a_storm_begins(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    channel = "channels: {a: {kind: slack, token: '${T}'}}\n"
    path.write_text(channel)
    assert read_rules(path).storm == StormLimits(5, 0.2, 20, 8)
    path.write_text(channel + "storm: {multiple: 3.5, share: 1, at_least: 7, answer_hours: 0.5}\n")
    assert read_rules(path).storm == StormLimits(3.5, 1, 7, 0.5)


@pytest.mark.parametrize(
    "said",
    ["multiple: 0", "share: 20%", "share: 1.5", "at_least: 0", "answer_hours: 21", "often: 2"],
)
def test_a_limit_that_means_nothing_is_refused_with_its_line(tmp_path: Path, said: str) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(f"channels: {{a: {{kind: slack, token: '${{T}}'}}}}\nstorm:\n  {said}\n")
    with pytest.raises(SettingError, match=r"alerts.yml, line 3"):
        read_rules(path)


def rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose first heading that is."""
    lines = text.split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line:
            return found
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def test_the_table_says_by_metric_what_is_new_what_is_usual_and_whom_it_is_about() -> None:
    found = evening(30, usual=2, merchants=50, per_merchant=2)
    changed = [dict(alert) for alert in found.alerts]
    for alert in changed[:4]:
        alert.update(record_type="warning", metric="negative_review_rate", value=None)
    changed[4].update(transition="resolved", known_gaps=["orders: no data for 1 date (2026-02-28)"])
    storm = weigh(
        [
            Evening(
                "sim",
                "2026-03-01",
                tuple(changed),
                found.past,
                50,
                (("orders_paid", 12, 400.0), ("complaints", 90, 0.0)),
            )
        ],
        LIMITS,
    )
    assert storm is not None

    text = table(storm)

    assert rows(text, "platform") == [
        ["sim", "2026-03-01", "complaint\\_rate", "25", "0", "1", "2", "13 (26.0%)"],
        ["sim", "2026-03-01", "negative\\_review\\_rate", "0", "4", "0", "0", "2 (4.0%)"],
    ]
    merchants = rows(text, "merchant")
    assert len(merchants) == 10
    assert merchants[0] == ["Shop 10 (m10)", "2", "2", "3.4%"]
    assert rows(text, "component") == [
        ["orders\\_paid", "12", "400", "-97%"],
        ["complaints", "90", "0", ""],
    ]
    assert "orders: no data for 1 date (2026-02-28)" in text
    assert "Nothing has gone out" in text


def test_a_merchants_name_is_shown_as_it_is_and_changes_nothing_of_the_table() -> None:
    found = evening(30, usual=0, merchants=50)
    name = "a | b\n**bold** [x](http://evil) <img src=x> {{ 1 }} " + "long" * 90
    named = tuple({**alert, "merchant_name": name} for alert in found.alerts)
    storm = weigh([Evening("sim", "2026-03-01", named, {}, 50)], LIMITS)
    assert storm is not None

    (cells, *_) = rows(table(storm), "merchant")

    assert len(cells) == 4
    assert cells[0].startswith(
        "a \\| b \\*\\*bold\\*\\* \\[x\\](http://evil) \\<img src=x\\> \\{\\{ 1 \\}\\} long"
    )
    assert len(cells[0]) < 200

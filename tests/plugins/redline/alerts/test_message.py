"""What an alert says, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from redline.alerts.message import LANGUAGES, message
from tests.plugins.redline.alerts.receivers import ALERT


def test_an_alert_tells_what_happened_how_sure_what_follows_and_on_what_it_rests() -> None:
    said = message(ALERT, "en", appeal="write to appeals@example.com", appeal_days=7)

    assert said.title == "Violation: Lotus 莲花 (beauty), Complaint rate"
    assert said.parts == (
        (
            "What happened",
            (
                "3.4% (17 of 500 orders), threshold ≥ 3.0%, cohorts 2026-02-17 to 2026-02-23; "
                "since 2026-03-01"
            ),
        ),
        (
            "How sure",
            (
                "not confirmed: over the threshold, the 95% lower bound is not; "
                "heading for 4.1% (80%: 3.1% to 5.2%)"
            ),
        ),
        (
            "What follows",
            "measure: Promotion restricted; appeal by 2026-03-08; write to appeals@example.com",
        ),
        ("Rests on", "evening 2026-03-01 of sim, policy p1, run run-1, alert a1"),
    )


def test_an_alert_says_the_same_in_chinese() -> None:
    said = message({**ALERT, "is_confirmed": True}, "zh", appeal_days=7)

    assert said.title == "违规：Lotus 莲花 (beauty)，投诉率"
    assert [label for label, _ in said.parts] == ["发生了什么", "确定程度", "后续措施", "数据依据"]
    assert said.parts[0][1] == (
        "3.4%（500 单中 17 单），红线 ≥ 3.0%，统计 2026-02-17 至 2026-02-23；自 2026-03-01 起"
    )
    assert said.parts[1][1].startswith("已确认")
    assert said.parts[2][1] == "措施：限制营销活动；申诉截止 2026-03-08"


@pytest.mark.parametrize(
    ("changes", "told", "untold"),
    [
        (
            {"record_type": "warning", "threshold": 0.04, "measure": None},
            ["Warning: ", "threshold 4.0%", "becomes a violation at 3.0%"],
            ["≥", "confirmed", "measure:"],
        ),
        (
            {"transition": "resolved", "opened_on": "2026-02-20", "as_of_date": "2026-03-09"},
            ["Violation resolved", "since 2026-02-20", "closed on 2026-03-09"],
            ["measure:", "confirmed", "appeal"],
        ),
        (
            {"value": None, "numerator": None, "denominator": None, "projected_value": None},
            ["no orders to judge"],
            ["None", "heading for"],
        ),
        (
            {"comparator": ">", "value": 0.03, "metric": "mine", "measure": "ban"},
            ["mine", "threshold 3.0%", "measure: ban"],
            [">", "≥"],
        ),
        (
            {"entity_type": "product", "product_title": "Soap"},
            ["product Soap of Lotus 莲花 (beauty)"],
            [],
        ),
        (
            {"entity_type": "category", "merchant_name": None, "merchant_id": None},
            ["category m1"],
            ["(beauty)", " of "],
        ),
    ],
)
def test_a_message_says_only_what_is_true(
    changes: dict[str, Any], told: list[str], untold: list[str]
) -> None:
    said = message({**ALERT, **changes}, "en")
    told_part = "\n".join([said.title, *(text for _, text in said.parts[:-1])])
    happened = "\n".join([said.title, *(text for _, text in said.parts[1:-1])])

    assert not [words for words in told if words not in told_part]
    where = happened if " of " in untold else told_part
    assert not [words for words in untold if words in where]


def test_dates_that_were_never_delivered_are_told_with_the_data() -> None:
    said = message({**ALERT, "known_gaps": ["2026-02-20 to 2026-02-21"]}, "en")
    assert said.parts[-1][1].endswith("; never delivered: 2026-02-20 to 2026-02-21")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_cannot_break_a_line(language: Any) -> None:
    said = message({**ALERT, "merchant_name": "A\r\nBcc: x\u2028\x00B"}, language)
    for text in (said.title, *(text for _, text in said.parts)):
        assert text.isprintable()

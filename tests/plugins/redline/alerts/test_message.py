"""What an alert says, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from redline.alerts.message import DIGEST, LANGUAGES, digest, message, reminded
from tests.plugins.redline.alerts.receivers import ALERT, made_alert

PAGE = "https://risk.example.com/redline/"
TOLD: dict[str, Any] = {
    **ALERT,
    "why": [
        {"kind": "product", "key": "P1", "name": "Soap", "quantity": 3},
        {"kind": "product", "key": "P2", "name": None, "quantity": -1},
        {"kind": "reason", "key": "quality_defect", "name": "quality defect", "quantity": 2},
        {"kind": "reason", "key": "rated_1", "name": "1-star reviews", "quantity": 1},
    ],
    "before": {"value": 0.028, "numerator": 14, "denominator": 500},
    "history": [["2026-02-26", None], ["2026-02-27", 0.01], ["2026-03-01", 0.034]],
}


def test_an_alert_tells_what_happened_how_sure_why_what_follows_and_on_what_it_rests() -> None:
    said = message(TOLD, "en", appeal="write to appeals@example.com", appeal_days=7)

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
            "Why",
            (
                "2.8% (14 of 500 orders) the evening before; products: Soap (+3), P2 (-1); "
                "reasons: quality defect (+2), 1-star reviews (+1)"
            ),
        ),
        (
            "What follows",
            "measure: Promotion restricted; appeal by 2026-03-08; write to appeals@example.com",
        ),
        ("More", "make explain RECORD=r1"),
        ("Rests on", "evening 2026-03-01 of sim, policy p1, run run-1, alert a1"),
    )


def test_an_alert_says_the_same_in_chinese() -> None:
    said = message({**TOLD, "is_confirmed": True}, "zh", appeal_days=7)

    assert said.title == "违规：Lotus 莲花 (beauty)，投诉率"
    assert [label for label, _ in said.parts] == [
        *("发生了什么", "确定程度", "变化原因", "后续措施", "详情", "数据依据"),
    ]
    assert said.parts[0][1] == (
        "3.4%（500 单中 17 单），红线 ≥ 3.0%，统计 2026-02-17 至 2026-02-23；自 2026-03-01 起"
    )
    assert said.parts[1][1].startswith("已确认")
    assert said.parts[2][1] == (
        "前一日 2.8%（500 单中 14 单）；商品：Soap (+3)，P2 (-1)；"
        "原因：质量问题 (+2)，1 星评价 (+1)"
    )
    assert said.parts[3][1] == "措施：限制营销活动；申诉截止 2026-03-08"


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


def test_a_link_to_its_page_takes_the_place_of_the_command_that_tells_more() -> None:
    said = message(TOLD, "en", page=PAGE)
    assert said.link == "https://risk.example.com/redline/records/r1"
    assert "More" not in dict(said.parts)


def test_an_alert_of_a_file_from_before_tells_no_reasons_and_shows_no_chart() -> None:
    said = message(ALERT, "en")
    assert "Why" not in dict(said.parts)
    assert said.chart is None


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (
            TOLD["before"],
            "2.8% (14 of 500 orders) the evening before; as many cases of each product",
        ),
        (
            {"value": 0.016, "numerator": 17, "denominator": 1040},
            (
                "1.6% (17 of 1040 orders) the evening before; "
                "as many cases of each product, but its orders changed"
            ),
        ),
        (None, "not judged the evening before; as many cases of each product"),
        (
            {"value": None, "numerator": 0, "denominator": 0},
            "not judged the evening before; as many cases of each product",
        ),
    ],
)
def test_an_alert_whose_cases_are_the_same_as_the_evening_before_says_so(
    before: Any, told: str
) -> None:
    said = message({**TOLD, "why": [], "before": before}, "en")
    assert dict(said.parts)["Why"] == told


def test_a_warning_that_only_its_projection_makes_tells_which_cohorts_moved() -> None:
    projected = {**TOLD, "record_type": "warning", "threshold": 0.04}
    moved = "in cohorts still open: products: Soap (+3)"
    assert moved in dict(message(projected, "en").parts)["Why"]
    for official in ({"threshold": 0.034}, {"transition": "resolved"}):
        assert "still open" not in dict(message({**projected, **official}, "en").parts)["Why"]


def test_a_chart_is_one_line_of_characters_too() -> None:
    chart = message(TOLD, "en").chart
    assert chart is not None
    assert chart.line == "·▃█ 1.0% → 3.4%"
    assert chart.told == (
        "Complaint rate, the last 3 evenings: from 1.0% to 3.4%; the line is the threshold, 3.0%"
    )
    assert (chart.threshold, chart.opened) == (0.03, "2026-03-01")


# What an operator is told and a merchant must not be.
INTERNAL = ("policy", "策略", "run-1", "运行", "r1", "make ", "sim", "http", "lower bound", "置信")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"record_type": "warning", "threshold": 0.02, "known_gaps": ["orders: none on 2026-02-20"]},
        {"transition": "resolved"},
        {"entity_type": "product", "entity_id": "P1", "product_title": "Soap"},
        {"transition": "escalated", "is_confirmed": True, "category_percentile": 0.987654},
    ],
)
def test_a_merchant_is_told_its_own_figures_and_nothing_internal(
    changes: dict[str, Any], language: Any
) -> None:
    alert = {**TOLD, **changes}
    said = message(alert, language, "write to us", 7, page=PAGE, audience="merchant")
    told = "\n".join([said.title, *(text for _, text in said.parts)])

    assert "Lotus 莲花" in said.title
    assert ("your" if language == "en" else "您") in told
    assert "3.4%" in told and "a1" in told
    assert said.link is None
    for internal in (*INTERNAL, "beauty", "0.98", "98.", "orders: none"):
        assert internal not in told


def test_a_merchant_is_spoken_to_politely_in_both_languages() -> None:
    said = message(TOLD, "en", "write to us", 7, audience="merchant")
    assert said.title == "Violation notice for Lotus 莲花: your complaint rate"
    assert dict(said.parts)["What happened"] == (
        "3.4% (17 of 500 orders), limit 3.0%, orders of 2026-02-17 to 2026-02-23; since 2026-03-01"
    )
    assert dict(said.parts)["What follows"] == (
        "measure: Promotion restricted; you can appeal until 2026-03-08; write to us"
    )
    assert message(TOLD, "zh", audience="merchant").title == "违规通知：Lotus 莲花，您的投诉率"


def test_a_merchant_is_told_of_nobody_else() -> None:
    of_category = {**ALERT, "entity_type": "category", "merchant_id": None, "merchant_name": None}
    other = {**ALERT, "merchant_id": "m2"}
    with pytest.raises(ValueError, match="own"):
        message(of_category, "en", audience="merchant")
    for alerts in ([ALERT, other], [ALERT, of_category], [{**ALERT, "merchant_id": None}]):
        with pytest.raises(ValueError, match="own"):
            digest(alerts, "en", audience="merchant")


def test_a_digest_tells_the_worst_first() -> None:
    alerts = [
        {**ALERT, "alert_id": "6", "transition": "resolved", "value": 0.2},
        {**ALERT, "alert_id": "5", "record_type": "warning", "threshold": 0.01},
        {**ALERT, "alert_id": "4", "denominator": 300},
        {**ALERT, "alert_id": "3"},
        {**ALERT, "alert_id": "2", "value": 0.05},
        {**ALERT, "alert_id": "1", "is_confirmed": True},
    ]
    shown = [{**alert, "record_id": alert["alert_id"]} for alert in alerts]
    said = digest(shown, "en", page=PAGE, appeal="write to us", appeal_days=7)

    assert said.title == "4 violations, 1 warning, 1 resolved: sim, 2026-03-01"
    assert [link and link.rpartition("/")[2] for link in said.links] == [*"123456", None]
    assert said.kinds == (*["violation"] * 4, "warning", "resolved", None)
    assert said.severity == "violation"
    assert said.link == PAGE.rstrip("/")
    assert said.parts[1] == (
        "Violation: Lotus 莲花 (beauty), Complaint rate",
        "5.0% (17 of 500 orders), threshold ≥ 3.0%; since 2026-03-01",
    )
    assert said.parts[-1] == ("What follows", "appeal by 2026-03-08; write to us")
    assert digest(shown[::-1], "en", page=PAGE, appeal="write to us", appeal_days=7) == said


def test_a_digest_counts_what_it_does_not_show() -> None:
    alerts = [made_alert(n) for n in range(DIGEST + 30)]
    alerts += [{**made_alert(n), "transition": "resolved"} for n in range(100, 107)]
    said = digest(alerts, "en")
    assert said.title == "70 violations, 7 resolved: sim, 2026-03-01"
    assert said.parts[-1] == ("and 37 more", "30 violations, 7 resolved")
    assert len(said.parts) == len(said.links) == len(said.kinds) == DIGEST + 1
    assert said.shorter is not None
    assert said.shorter(1).parts[1:] == (("and 76 more", "69 violations, 7 resolved"),)
    assert digest(alerts, "zh").title == "70 项违规，7 项解除：sim，2026-03-01"


def test_a_merchants_digest_names_the_merchant_and_nothing_internal() -> None:
    alerts = [{**TOLD, "alert_id": str(n), "record_id": f"r1{n}"} for n in range(3)]
    said = digest(alerts, "en", page=PAGE, audience="merchant")
    told = "\n".join([said.title, *(text for part in said.parts for text in part)])
    assert said.title == "3 violations: Lotus 莲花, 2026-03-01"
    assert set(said.links) == {None} and said.link is None
    assert not [internal for internal in INTERNAL if internal in told]


def test_a_digest_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no alerts"):
        digest([], "en")


def test_a_reminder_says_for_how_long_nobody_has_acknowledged() -> None:
    said = message(ALERT, "en")
    assert reminded(said, 4, "en").title == f"Not acknowledged for 4 h: {said.title}"
    assert reminded(said, 1.5, "zh").title == f"已 1.5 小时未确认：{said.title}"
    assert reminded(said, 4, "en").parts == said.parts

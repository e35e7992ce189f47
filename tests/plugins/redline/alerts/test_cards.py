"""Cards with links, charts and digests: what each platform is sent, and that it takes that much."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from redline.alerts.channels.cards import PLATFORMS, card
from redline.alerts.message import DIGEST, LANGUAGES, digest, message
from tests.plugins.redline.alerts.receivers import ALERT

PAGE = "https://risk.example.com/redline"
RECORD = f"{PAGE}/records/r1"
TOLD: dict[str, Any] = {
    **ALERT,
    "why": [{"kind": "product", "key": "P1", "name": "Soap", "quantity": 3}],
    "history": [["2026-02-28", 0.01], ["2026-03-01", 0.034]],
}
EVIL = "A <at id=all></at> <!channel> [x](http://y) `B` @all " + "长" * 60


def _texts(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(map(_texts, value.values()))
    return "\n".join(map(_texts, value)) if isinstance(value, list) else str(value)


def _bytes(body: Any) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())


# What the platforms' pages say that they take at most.
LIMITS: dict[str, tuple[Callable[[Any], int], int]] = {
    "feishu": (_bytes, 20_000),
    "lark": (_bytes, 20_000),
    "dingtalk": (_bytes, 20_000),
    "wecom": (lambda body: len(body["markdown"]["content"].encode()), 4096),
    "slack": (lambda body: len(body["blocks"]), 50),
    "teams": (_bytes, 28_000),
}
LINKS: dict[str, Callable[[Any], Any]] = {
    "feishu": lambda body: body["card"]["elements"][-1]["actions"][0],
    "lark": lambda body: body["card"]["elements"][-1]["actions"][0],
    "dingtalk": lambda body: body["markdown"]["text"].rpartition("\n")[2],
    "wecom": lambda body: body["markdown"]["content"].rpartition("\n")[2],
    "slack": lambda body: body["blocks"][-1]["text"],
    "teams": lambda body: body["attachments"][0]["content"]["actions"],
}
BUTTON = {
    "tag": "button",
    "text": {"tag": "plain_text", "content": "Open its page"},
    "type": "primary",
    "url": RECORD,
}
EXPECTED: dict[str, Any] = {
    "feishu": BUTTON,
    "lark": BUTTON,
    "dingtalk": f"[Open its page]({RECORD})",
    "wecom": f"[Open its page]({RECORD})",
    "slack": {"type": "mrkdwn", "text": f"<{RECORD}|Open its page>"},
    "teams": [{"type": "Action.OpenUrl", "title": "Open its page", "url": RECORD}],
}


def many(count: int = 77, **more: Any) -> list[dict[str, Any]]:
    """Alerts of many merchants, some of them only warned."""
    return [
        {
            **ALERT,
            "alert_id": f"{n:03d}",
            "record_id": f"r{n}",
            "merchant_name": f"Iris Trading {n}",
            "record_type": "warning" if n % 3 else "violation",
            "value": 0.03 + n / 1000,
            **more,
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", PLATFORMS)
def test_a_card_leads_to_the_records_page_in_the_platforms_own_way(kind: str) -> None:
    body = card(PLATFORMS[kind], message(TOLD, "en", page=PAGE))
    assert LINKS[kind](body) == EXPECTED[kind]
    without = _texts(card(PLATFORMS[kind], message(TOLD, "en", page=PAGE, audience="merchant")))
    assert "http://r" not in without and RECORD not in without


@pytest.mark.parametrize("kind", PLATFORMS)
def test_a_card_shows_why_and_the_last_evenings_in_one_line(kind: str) -> None:
    said = _texts(card(PLATFORMS[kind], message(TOLD, "zh", page=PAGE)))
    assert "▃█ 1.0% → 3.4%" in said.replace("▂", "▃")
    assert "商品：Soap (+3)" in said


def test_an_address_cannot_end_a_link_early() -> None:
    told = message({**TOLD, "record_id": "r) [x](y|>"}, "en", page=PAGE + "/(a)")
    assert "](https://risk.example.com/redline/%28a%29/records/r%29%20%5Bx%5D%28y%7C%3E)" in _texts(
        card(PLATFORMS["dingtalk"], told)
    )
    assert "<https://risk.example.com/redline/%28a%29/records/r%29%20%5Bx%5D%28y%7C%3E|" in _texts(
        card(PLATFORMS["slack"], told)
    )


@pytest.mark.parametrize("kind", PLATFORMS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["Iris 鸢尾", EVIL])
def test_a_digest_fits_and_tells_of_all_that_it_does_not_show(
    kind: str, language: Any, name: str
) -> None:
    alerts = many(merchant_name=name)
    told = digest(alerts, language, page=PAGE, appeal="write to us", appeal_days=7)
    body = card(PLATFORMS[kind], told)
    size, limit = LIMITS[kind]

    assert size(body) <= limit
    said = _texts(body)
    shown = said.count("🔴") + said.count("🟠")
    assert 5 <= shown <= DIGEST
    assert {"en": f"and {77 - shown} more", "zh": f"另有 {77 - shown} 项"}[language] in said
    assert "write to us" in said
    assert said.index("🔴") < said.index("🟠" if "🟠" in said else "write")
    assert "r75" in said  # the worst of them, as a link
    for mention in ("<at", "<!channel>", "](http://y"):
        assert mention not in said
    # Nothing more would have fitted, if not all that a digest shows is there.
    assert told.shorter is not None
    if shown < DIGEST:
        assert size(PLATFORMS[kind].template(told.shorter(shown + 1))) > limit


@pytest.mark.parametrize("kind", PLATFORMS)
def test_a_digest_of_few_shows_them_all(kind: str) -> None:
    said = _texts(card(PLATFORMS[kind], digest(many(3), "en", page=PAGE)))
    assert [said.count(f"records/r{n}") for n in range(3)] == [1, 1, 1]
    assert "more" not in said


@pytest.mark.parametrize("kind", PLATFORMS)
def test_an_alert_of_endless_names_still_fits(kind: str) -> None:
    endless = "长" * 20_000
    why = [{"kind": "product", "key": str(n), "name": endless, "quantity": 1} for n in range(3)]
    alert = {**TOLD, "why": why, "measure": endless, "merchant_name": endless}
    body = card(PLATFORMS[kind], message(alert, "zh", page=PAGE))
    size, limit = LIMITS[kind]
    assert size(body) <= limit
    assert "records/r1" in _texts(body)


def test_slack_makes_no_links_or_mentions_of_what_data_says() -> None:
    blocks = card(PLATFORMS["slack"], digest(many(3, merchant_name=EVIL), "en"))["blocks"]
    told = [block["text"] for block in blocks if block["type"] == "section"]
    assert {(text["type"], text.get("verbatim")) for text in told} == {("mrkdwn", True)}
    assert not [text for text in told if "<" in text["text"]]

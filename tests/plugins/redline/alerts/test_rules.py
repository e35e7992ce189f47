"""Routes: which channel gets which alert in which form, and the line of every fault."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from redline.alerts.outbox import Entry
from redline.alerts.routing import addressed
from redline.alerts.rules import Rules, read_rules
from redline.errors import SettingError
from tests.plugins.redline.alerts.receivers import ALERT

CHANNELS = """\
channels:
  team: {kind: email, host: h, from: a@example.com, to: team@example.com}
  head: {kind: email, host: h, from: a@example.com, to: head@example.com}
  tickets: {kind: webhook, url: "${URL}", secret: "${SECRET}"}
  shops: {kind: email, host: h, from: a@example.com, to: "{merchant_id}@shops.example.com"}
"""
ROUTES = """\
routes:
  - to: [team]
    when: {category: [beauty, food], severity: violation}
    send: at_once
  - to: [team, tickets]
    when: {platform: sim}
    send: digest
    escalate: {after_hours: 4, to: [head]}
  - to: shops
    audience: merchant
digest_at: "08:30"
operators: [head]
page: https://risk.example.com/redline/
"""
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAWN = datetime(2026, 3, 2, 2, tzinfo=UTC)


def rules(folder: Path, text: str = CHANNELS + ROUTES) -> Rules:
    path = folder / "alerts.yml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def forms(found: Rules, now: datetime = NOON, **changes: Any) -> dict[str, tuple[str, str]]:
    return {
        entry.channel: (entry.form, entry.audience)
        for entry in addressed(found, {**ALERT, **changes}, now)
    }


def test_the_first_route_that_names_a_channel_and_matches_decides(tmp_path: Path) -> None:
    found = rules(tmp_path)
    shops = ("alert", "merchant")
    assert forms(found) == {
        "team": ("alert", "operator"),
        "tickets": ("alert", "operator"),  # a system reads one alert at a time
        "shops": shops,
    }
    assert forms(found, category_id="toys") == {
        "team": ("digest", "operator"),
        "tickets": ("alert", "operator"),
        "shops": shops,
    }
    assert forms(found, category_id="toys", platform="other") == {"shops": shops}
    assert forms(found, record_type="warning")["team"] == ("digest", "operator")


def test_by_severity_tells_what_is_severe_at_once_and_the_rest_in_a_digest(tmp_path: Path) -> None:
    found = rules(tmp_path, CHANNELS + "routes:\n  - to: team\n")
    assert forms(found)["team"][0] == "alert"
    assert forms(found, transition="escalated")["team"][0] == "alert"
    assert forms(found, transition="resolved")["team"][0] == "digest"
    assert forms(found, record_type="warning")["team"][0] == "digest"


def test_a_category_has_no_merchant_to_tell(tmp_path: Path) -> None:
    assert "shops" not in forms(rules(tmp_path), entity_type="category", merchant_id=None)


def test_without_routes_every_channel_gets_each_alert_at_once(tmp_path: Path) -> None:
    found = rules(tmp_path, CHANNELS[: CHANNELS.index("  shops")])
    assert forms(found, record_type="warning") == dict.fromkeys(
        ("team", "head", "tickets"), ("alert", "operator")
    )


def test_a_digest_waits_for_its_time_of_day_unless_that_has_passed(tmp_path: Path) -> None:
    found = rules(tmp_path)

    def when(now: datetime) -> float:
        entries: dict[str, Entry] = {
            each.channel: each for each in addressed(found, {**ALERT, "category_id": "x"}, now)
        }
        assert entries["shops"].not_before == 0
        return entries["team"].not_before

    assert when(NOON) == 0
    assert when(DAWN) == datetime(2026, 3, 2, 8, 30, tzinfo=UTC).timestamp()


def test_the_rest_of_the_file_means_what_it_says(tmp_path: Path) -> None:
    found = rules(tmp_path)
    assert found.operators == ("head",)
    assert found.page == "https://risk.example.com/redline"
    escalation = found.routes[1].escalate
    assert escalation is not None
    assert (escalation.after_hours, escalation.to) == (4, ("head",))


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        (("  - to: [team]", "  - too: [team]"), 7, "'too' means nothing in a route"),
        (("    when: {cat", "    to: x\n    when: {cat"), 8, "'to' stands twice"),
        (("to: [team]", "to: [teem]"), 7, "no channel is named 'teem'"),
        (("to: [team]", "to: []"), 7, "to is empty"),
        (("  - to: [team]\n    when", "  - when"), 7, "the route leads nowhere"),
        (("category: [beauty, food]", "shop: x"), 8, "'shop' means nothing in when"),
        (("severity: violation", "severity: bad"), 8, "unknown severity 'bad'"),
        (("category: [beauty, food]", "metric: rate"), 8, "unknown metric 'rate'"),
        (("send: at_once", "send: soon"), 9, "unknown send 'soon'"),
        (("after_hours: 4, ", ""), 13, "the escalation is incomplete"),
        (("after_hours: 4", "after_hours: 1000"), 13, "after_hours is over 168"),
        (("to: [head]}", "to: [shops]}"), 13, "channel shops is merchants'"),
        (("    audience: merchant\n", ""), 14, "{merchant_id} in its address"),
        (("audience: merchant", "audience: all"), 15, "unknown audience 'all'"),
        (('"08:30"', '"8:30"'), 16, "digest_at is no time of day"),
        (("operators: [head]", "operators: [boss]"), 17, "no channel is named 'boss'"),
        (("page: https", "page: ftp"), 18, "page is no web address"),
        ((ROUTES, "routes: {}\n"), 6, "routes is not a list"),
    ],
)
def test_a_fault_is_named_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, told: str
) -> None:
    text = CHANNELS + ROUTES
    assert text.count(change[0]) == 1
    with pytest.raises(SettingError) as refused:
        rules(tmp_path, text.replace(*change))
    assert told in str(refused.value)
    assert f"alerts.yml, line {line})" in str(refused.value)

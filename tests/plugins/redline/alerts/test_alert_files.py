"""Alert files: one per evening that a run added, the same bytes however often."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest

from redline.alerts import write_alerts
from redline.alerts.text import sentence
from redline.publish import publish
from redline.settings import PROJECT, Settings
from tests.plugins.redline.publish import made_home
from tests.plugins.redline.publish.made_home import FIRST, change, make_plan, run_days


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return made_home.settings_of(tmp_path / "home", kept_runs=2)


def publish_with_alerts(
    settings: Settings, first: int, last: int, alerts: list[tuple[str, int]], platform: str = "sim"
) -> str:
    """Publish evenings whose marts hold alerts, given as (alert id, evening); the run's id."""
    start, end = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
    made_home.transform(settings, platform, start, end)
    for alert_id, number in alerts:
        add_alert(settings, alert_id, FIRST + timedelta(days=number), platform)
    run_id: str = publish(make_plan(settings, platform, start, end), settings)["run_id"]
    return run_id


def add_alert(settings: Settings, alert_id: str, day: date, platform: str = "sim") -> None:
    change(
        settings,
        f"""
        insert into marts.fct_alerts values ('{alert_id}', '{day}', '{platform}',
            'r-{alert_id}', 'violation', 'opened', 'p1', 'merchant', 'm3', 'complaint_rate',
            'service', 17, 500, 0.034, 0.03, 'restrict_promotion');
        insert into marts.fct_violation_records
        values ('r-{alert_id}', '{platform}', '{day}', null);
        """,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_evening_has_a_file_and_every_alert_says_what_to_do(settings: Settings) -> None:
    publish_with_alerts(settings, 0, 2, [("b", 1), ("a", 1)])

    files = write_alerts(settings)

    assert [path.name for path in files] == [f"2026-03-0{n}.jsonl" for n in (1, 2, 3)]
    assert [[line["alert_id"] for line in lines(path)] for path in files] == [[], ["a", "b"], []]
    alert = lines(files[1])[0]
    assert alert["text"] == (
        "evening 2 (beauty): complaint_rate 3.4% (17 of 500 orders) >= 3.0%; "
        "violation opened 2026-03-02; measure: restrict_promotion"
    )
    assert (alert["as_of_date"], alert["value"], alert["merchant_name"]) == (
        "2026-03-02",
        0.034,
        "evening 2",
    )
    assert list(alert) == sorted(alert)


def test_an_alert_names_the_gaps_among_the_dates_that_its_numbers_rest_on(
    settings: Settings, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    duckdb.sql("select timestamp '2026-03-01 05:00' as updated_at").write_parquet(str(rows))
    for number in range(26):
        day = FIRST + timedelta(days=number)
        folder = settings.home.landing / "sim" / "orders" / f"report_date={day}"
        folder.mkdir(parents=True)
        landed = 0 if number in (1, 18, 19) else 1
        file = {"name": str(rows), "source_date": str(day), "rows_landed": landed}
        (folder / "manifest.json").write_text(json.dumps({"files": [file]}))
    publish_with_alerts(settings, 0, 25, [("a", 13), ("b", 14), ("c", 25)])

    # Seven cohort dates that end six dates before the evening, and those that are still moving.
    told = {alert["alert_id"]: alert for path in write_alerts(settings) for alert in lines(path)}
    assert told["a"]["known_gaps"] == ["orders: no data for 1 date (2026-03-02)"]
    assert told["b"]["known_gaps"] == []
    assert told["c"]["known_gaps"] == ["orders: no data for 2 dates (2026-03-19 to 2026-03-20)"]
    assert told["c"]["text"].endswith(f"; {told['c']['known_gaps'][0]}")


def test_writing_the_same_run_again_changes_no_byte_even_after_later_runs(
    settings: Settings,
) -> None:
    first = publish_with_alerts(settings, 0, 1, [("a", 0), ("b", 1)])
    write_alerts(settings, first)
    was = made_home.fingerprint(settings.home.alerts)

    assert len(write_alerts(settings)) == 2
    assert made_home.fingerprint(settings.home.alerts) == was
    publish_with_alerts(settings, 2, 2, [("c", 2)])
    write_alerts(settings, first)
    assert made_home.fingerprint(settings.home.alerts) == was
    write_alerts(settings)
    now = made_home.fingerprint(settings.home.alerts)
    assert now.keys() - was.keys() == {"2026-03-03.jsonl"}
    assert {name: now[name] for name in was} == was


def test_platforms_share_the_file_of_an_evening(settings: Settings) -> None:
    one = publish_with_alerts(settings, 0, 0, [("b", 0)], "sim")
    two = publish_with_alerts(settings, 0, 0, [("a", 0)], "other")
    for order in ([one, two], [two, one, two]):
        for run_id in order:
            (path,) = write_alerts(settings, run_id)
        assert [line["platform"] for line in lines(path)] == ["other", "sim"]


def test_a_restated_run_writes_none(settings: Settings) -> None:
    first = publish_with_alerts(settings, 0, 1, [("a", 0), ("b", 1)])
    write_alerts(settings, first)
    was = made_home.fingerprint(settings.home.alerts)
    change(settings, "delete from marts.fct_alerts where alert_id = 'b'")
    day = FIRST + timedelta(days=1)
    publish(make_plan(settings, "sim", day, day, run_id="re", restated_from=day), settings)

    assert write_alerts(settings) == []
    write_alerts(settings, first)  # what was sent stays what was sent
    assert made_home.fingerprint(settings.home.alerts) == was


def test_a_run_that_was_not_published_writes_none(settings: Settings) -> None:
    assert write_alerts(settings) == []
    publish_with_alerts(settings, 0, 0, [("a", 0)])
    (settings.home.published / "runs" / "half").mkdir()
    assert write_alerts(settings, "half") == []
    assert not settings.home.alerts.exists()


def test_a_published_run_that_is_no_longer_kept_still_writes_its_alerts(settings: Settings) -> None:
    first = publish_with_alerts(settings, 0, 0, [("a", 0)])
    for number in (1, 2, 3):
        run_days(settings, number, number)
    assert not (settings.home.published / "runs" / first).exists()

    (path,) = write_alerts(settings, first)

    assert [line["alert_id"] for line in lines(path)] == ["a"]


def test_evenings_that_a_killed_run_left_without_a_file_are_made_up_for(settings: Settings) -> None:
    publish_with_alerts(settings, 0, 0, [("a", 0)])
    first = write_alerts(settings)
    was = made_home.fingerprint(settings.home.alerts)
    publish_with_alerts(settings, 1, 2, [("b", 2)])
    write_alerts(settings, "unknown")
    assert made_home.fingerprint(settings.home.alerts) == was
    publish_with_alerts(settings, 3, 3, [("c", 3)])

    files = write_alerts(settings)

    assert [[line["alert_id"] for line in lines(path)] for path in files] == [[], ["b"], ["c"]]
    now = made_home.fingerprint(settings.home.alerts)
    assert {name: now[name] for name in was} == was
    assert files == sorted(set(settings.home.alerts.glob("*.jsonl")) - set(first))
    assert write_alerts(settings) == files[-1:]
    assert made_home.fingerprint(settings.home.alerts) == now


def test_another_platforms_file_does_not_hide_an_evening_that_was_never_written(
    settings: Settings,
) -> None:
    publish_with_alerts(settings, 0, 1, [("a", 1)], "sim")
    other = publish_with_alerts(settings, 0, 1, [("b", 1)], "other")
    write_alerts(settings, other)
    write_alerts(settings)
    assert [line["alert_id"] for line in lines(settings.home.alerts / "2026-03-02.jsonl")] == [
        "a",
        "b",
    ]


def test_evenings_are_made_up_for_after_a_restatement_as_they_were_before_it(
    settings: Settings,
) -> None:
    publish_with_alerts(settings, 0, 1, [("a", 0), ("b", 1)])
    change(settings, "delete from marts.fct_alerts where alert_id = 'b'")
    day = FIRST + timedelta(days=1)
    publish(make_plan(settings, "sim", day, day, run_id="re", restated_from=day), settings)
    files = write_alerts(settings)
    assert [[line["alert_id"] for line in lines(path)] for path in files] == [["a"], ["b"]]


def test_an_alert_tells_what_moved_it_and_the_values_of_the_last_evenings(
    settings: Settings,
) -> None:
    day = FIRST + timedelta(days=34)
    made_home.transform(settings, "sim", FIRST, day)
    change(
        settings,
        f"""
        delete from marts.fct_policy_evaluations where as_of_date = date '{day}' - 2;
        update marts.fct_policy_evaluations set value = 0.01 where as_of_date = date '{day}' - 1;
        update marts.fct_policy_evaluations set value = null where as_of_date = date '{day}' - 3;
        insert into marts.fct_policy_evaluations
        select * replace ('p2' as policy_id, 'another' as risk_point, 0.9 as value)
        from marts.fct_policy_evaluations;
        insert into marts.dim_products (platform, product_id, title)
        values ('sim', 'x1', 'Soap'), ('other', 'x2', 'Lamp');
        insert into marts.fct_alert_reasons values
            ('b', '{day}', 'sim', 'reason', 'quality_defect', 2, 1),
            ('b', '{day}', 'sim', 'reason', 'rated_1', -1, 2),
            ('b', '{day}', 'sim', 'product', 'x2', -1, 2),
            ('b', '{day}', 'sim', 'product', 'x1', 3, 1);
        """,
    )
    for alert_id in ("a", "b"):
        add_alert(settings, alert_id, day)
    publish(make_plan(settings, "sim", FIRST, day), settings)

    a, b = lines(write_alerts(settings)[-1])

    assert a["why"] == []
    assert a["before"] == {"value": 0.01, "numerator": 17, "denominator": 500}
    assert b["why"] == [
        {"kind": "product", "key": "x1", "name": "Soap", "quantity": 3},
        {"kind": "product", "key": "x2", "name": None, "quantity": -1},
        {"kind": "reason", "key": "quality_defect", "name": "quality defect", "quantity": 2},
        {"kind": "reason", "key": "rated_1", "name": "1-star reviews", "quantity": -1},
    ]
    evenings = [str(day - timedelta(days=29 - n)) for n in range(30)]
    assert [evening for evening, _ in b["history"]] == evenings
    assert [value for _, value in b["history"]] == [0.034] * 26 + [None, None, 0.01, 0.034]
    schema = json.loads((PROJECT / "plugins/redline/alerts/alert.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate({**b, "run_id": "r"})


def test_marts_from_before_reasons_were_published_make_alerts_that_tell_none(
    settings: Settings,
) -> None:
    made_home.transform(settings, "sim", FIRST, FIRST)
    change(settings, "drop table marts.fct_alert_reasons")
    add_alert(settings, "a", FIRST)
    publish(make_plan(settings, "sim", FIRST, FIRST), settings)
    (path,) = write_alerts(settings)
    assert "why" not in lines(path)[0]
    assert lines(path)[0]["before"] is None


ALERT = {
    "entity_type": "merchant",
    "entity_id": "m1",
    "merchant_name": "Lotus",
    "category_id": "beauty",
    "metric": "complaint_rate",
    "value": 0.021,
    "numerator": 21,
    "denominator": 1000,
    "threshold": 0.025,
    "record_type": "warning",
    "transition": "opened",
    "opened_on": "2026-03-01",
    "as_of_date": "2026-03-01",
    "measure": None,
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"projected_value": 0.0312, "violation_threshold": 0.03},
            (
                "Lotus (beauty): complaint_rate 2.1% (21 of 1000 orders), heading for 3.12%"
                " >= 3.0%; warning opened 2026-03-01"
            ),
        ),
        (
            {"transition": "resolved", "as_of_date": "2026-03-09", "measure": "audit"},
            (
                "Lotus (beauty): complaint_rate 2.1% (21 of 1000 orders), threshold 2.5%;"
                " warning open since 2026-03-01 resolved 2026-03-09; measure: audit"
            ),
        ),
        (
            {"value": None, "transition": "resolved", "as_of_date": "2026-03-09"},
            (
                "Lotus (beauty): complaint_rate has no value this evening;"
                " warning open since 2026-03-01 resolved 2026-03-09"
            ),
        ),
        (
            {
                "entity_type": "product",
                "product_title": "Soap",
                "value": 0.025,
                "comparator": ">",
                "record_type": "violation",
                "transition": "escalated",
            },
            (
                "product Soap of Lotus (beauty): complaint_rate 2.5% (21 of 1000 orders),"
                " threshold 2.5%; escalated to violation 2026-03-01"
            ),
        ),
    ],
)
def test_the_sentence_says_only_what_is_true(changes: dict[str, Any], text: str) -> None:
    assert sentence({**ALERT, **changes}) == text


def test_dates_are_written_as_iso_text(settings: Settings) -> None:
    publish_with_alerts(settings, 0, 0, [("a", 0)])
    (path,) = write_alerts(settings)
    assert date.fromisoformat(lines(path)[0]["opened_on"]) == FIRST

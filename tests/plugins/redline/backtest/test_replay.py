"""A replay against what the evenings themselves said."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from redline.backtest import question as questions
from tests.dbt_project.simulated import COOLDOWN_DAYS, FIRST, LAST, MIDDLE
from tests.plugins.redline.backtest.made_homes import NEW_VERSIONS_FROM, Homes, Replayed

pytestmark = [
    pytest.mark.xdist_group("backtest"),  # one worker builds the homes
    pytest.mark.timeout(900),  # of which the first test pays for all
]

START = date(2026, 1, 12)
TABLES = (
    "fct_policy_evaluations",
    "fct_alerts",
    "fct_warning_records",
    "fct_violation_records",
)


def rows(database: Path, sql: str, *parameters: Any) -> Counter[tuple[Any, ...]]:
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        return Counter(connection.execute(sql, list(parameters)).fetchall())


def test_replaying_the_packs_in_force_gives_what_the_evenings_said(
    homes: Homes, replayed: Replayed
) -> None:
    replay = replayed(homes.went_on, START, LAST)

    assert replay.question.replayed_from == FIRST
    assert START < NEW_VERSIONS_FROM < MIDDLE < LAST
    for table in TABLES:
        said = rows(homes.went_on.home.warehouse, f"select * from marts.{table}")
        assert len(said) > 10
        assert rows(replay.warehouse, f"select * from marts.{table}") == said
    transitions = rows(replay.warehouse, "select distinct transition from marts.fct_alerts")
    assert {*transitions} == {("opened",), ("escalated",), ("resolved",)}


def test_histories_are_read_and_only_what_policies_say_is_made_anew(
    homes: Homes, replayed: Replayed
) -> None:
    replay = replayed(homes.went_on, START, LAST)

    nodes = json.loads((replay.warehouse.parent / "dbt" / "manifest.json").read_text())["nodes"]
    kept = {
        node["name"] for node in nodes.values() if node["config"]["materialized"] == "incremental"
    }
    # Another one here must either say the same under any policies, and be tagged so, or be right
    # when it is made from a later evening on.
    assert kept & {*replay.chain.made} == {
        "fct_policy_evaluations",
        "int_policy_breaches",
        "fct_alerts",
        "fct_record_transitions",
    }
    assert {
        "marts.fct_cohort_ledger",
        "intermediate.int_category_development",
        "intermediate.int_orders_versioned",
    } <= {*replay.chain.histories}
    assert replay.chain.landed == ("orders",)  # for their buyers


def test_a_replay_that_begins_late_says_the_same_of_its_evenings(
    homes: Homes, replayed: Replayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "WARM_UP_DAYS", COOLDOWN_DAYS + 1)
    start = MIDDLE - timedelta(days=8)
    replay = replayed(homes.went_on, start, MIDDLE)

    assert replay.question.replayed_from == start - timedelta(days=COOLDOWN_DAYS + 1) > FIRST
    between = "where as_of_date between $1 and $2"
    evaluations = f"select * from marts.fct_policy_evaluations {between}"
    # A record that had opened before the replay has another opening in it, so another name.
    alerts = f"select * exclude (alert_id, record_id) from marts.fct_alerts {between}"
    for sql in (evaluations, alerts):
        said = rows(homes.went_on.home.warehouse, sql, start, MIDDLE)
        assert len(said) > 10
        assert rows(replay.warehouse, sql, start, MIDDLE) == said


def test_what_came_later_changes_nothing(homes: Homes, replayed: Replayed) -> None:
    ended, went_on = (
        replayed(settings, START, MIDDLE) for settings in (homes.ended, homes.went_on)
    )

    assert ended.question == went_on.question
    later = "select count(*) from marts.fct_cohort_ledger where report_date > $1"
    assert rows(homes.went_on.home.warehouse, later, MIDDLE) != Counter([(0,)])
    tables = "select schema_name || '.' || table_name from duckdb_tables() order by all"
    names = rows(ended.warehouse, tables)
    assert rows(went_on.warehouse, tables) == names
    assert ("intermediate.int_category_development",) in names
    for (name,) in names:
        assert rows(went_on.warehouse, f"from {name}") == rows(ended.warehouse, f"from {name}"), (
            name
        )

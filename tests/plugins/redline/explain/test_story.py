"""The stories of a simulated marketplace's records, held against queries of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from redline import lock
from redline.errors import RedlineError, SettingError
from redline.explain import Story, open_records, story
from redline.explain.model import Evening
from redline.settings import PROJECT, Home, Settings
from tests import support
from tests.dbt_project.simulated import LAST, NEW_VERSIONS_FROM
from tests.plugins.redline.publish import made_home

pytestmark = [
    pytest.mark.xdist_group("told"),  # one worker makes the home
    pytest.mark.timeout(600),  # of which the first test pays for it
]

ADJUSTED = "_adjusted"
RECORDS = (
    "(select record_id, entity_type, entity_id, metric, policy_line, opened_on, closed_on "
    "from marts.fct_warning_records union all select record_id, entity_type, entity_id, metric, "
    "policy_line, opened_on, closed_on from marts.fct_violation_records)"
)


def official_window(told: Story, evening: Evening) -> tuple[date, date]:
    """The mature cohort dates that the policy looked at."""
    (days,) = {p.evaluation_days for p in told.policies if p.policy_id == evening.policy_id}
    last = evening.as_of_date - timedelta(days=told.window_days - 1)
    return last - timedelta(days=days - 1), last


def known_sum(told: Story, evening: date, first: date, last: date) -> int:
    """What the entries reported by an evening say of some cohorts."""
    return sum(
        entry.quantity
        for entry in told.entries
        if entry.report_date <= evening
        and first <= entry.cohort_date <= last
        and told.has_member(entry.merchant_id, evening)
    )


# --- is it worth telling -----------------------------------------------------------------------


def test_the_marketplace_has_records_of_every_kind(stories: dict[str, Story]) -> None:
    kinds = Counter((told.record.entity_type, told.record.metric) for told in stories.values())
    assert {"merchant", "product", "category"} == {entity_type for entity_type, _ in kinds}
    assert len({metric for _, metric in kinds}) == 9
    assert any(told.record.closed_on for told in stories.values())
    bases = {policy.basis for told in stories.values() for policy in told.policies}
    assert bases == {"raw", "adjusted"}
    keys = [key for told in stories.values() for entry in told.entries for key in entry.keys or ()]
    reasons = {key.why for key in keys}
    assert {None, "withdrawn", "overturned", "stands again", "shipped in time after all"} <= reasons
    assert {key.event_kind for key in keys} == {None, "complaint", "review", "refund"}


# --- numbers -----------------------------------------------------------------------------------


def test_an_evenings_numerator_is_the_sum_of_the_entries_told(stories: dict[str, Story]) -> None:
    compared = 0
    for told in stories.values():
        for evening in told.evenings:
            if evening.is_of_line and evening.as_of_date >= told.record.opened_on:
                window = official_window(told, evening)
                summed = known_sum(told, evening.as_of_date, *window)
                assert summed == evening.numerator, (told.record, evening)
                compared += evening.numerator > 0
    assert compared > 500
    assert any(told.moves for told in stories.values()), "no merchant changed its category"


def test_the_keys_of_every_entry_add_up_to_its_quantity(stories: dict[str, Story]) -> None:
    for told in stories.values():
        assert told.keys_missing is None
        for entry in told.entries:
            assert entry.keys, (told.record, entry)
            assert sum(key.quantity for key in entry.keys) == entry.quantity, (told.record, entry)
            assert entry.adds_up


def test_the_entries_told_are_those_of_the_ledger(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    """Of a merchant, a product and a category: component by component, over the whole reach."""
    for entity_type, column in (("merchant", "merchant_id"), ("product", "product_id")):
        one = next(s for s in stories.values() if s.record.entity_type == entity_type and s.entries)
        expected = told.rows(
            f"""
            select report_date, cohort_date, component, lag_days, sum(quantity)
            from marts.fct_cohort_ledger
            where {column} = ? and list_contains(?, component) and lag_days < ?
                and cohort_date > ? and report_date <= ?
            group by all having sum(quantity) <> 0 order by all
            """,
            one.record.entity_id,
            sorted({entry.component for entry in one.entries}),
            one.window_days,
            one.record.opened_on
            - timedelta(days=one.window_days - 1 + max(p.evaluation_days for p in one.policies)),
            one.last_evening,
        )
        assert [
            (e.report_date, e.cohort_date, e.component, e.lag_days, e.quantity) for e in one.entries
        ] == [row for row in expected if row[1] <= one.last_evening]


def test_evenings_and_what_came_are_those_of_the_evaluations(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    evaluations = {
        tuple(key): tuple(row)
        for *key, row in told.rows(
            "select policy_line, entity_type, entity_id, as_of_date, [numerator, denominator, "
            "value, lower_bound, projected_value, violation_threshold, minimum_counted] "
            "from marts.fct_policy_evaluations"
        )
    }
    projected = 0
    for one in stories.values():
        record = one.record
        line = (record.policy_line, record.entity_type, record.entity_id)
        days = [evening.as_of_date for evening in one.evenings if evening.is_of_line]
        expected = [
            day
            for offset in range((one.last_evening - record.opened_on).days + 4)
            if (*line, day := record.opened_on + timedelta(days=offset - 3)) in evaluations
        ]
        assert days == expected
        for evening in one.evenings:
            assert evaluations[(*line, evening.as_of_date)] == (
                evening.numerator,
                evening.denominator,
                evening.value,
                evening.lower_bound,
                evening.projected_value,
                evening.violation_threshold,
                evening.minimum_counted,
            )
        for projection in one.projections:
            assert record.opened_on <= projection.made_on <= one.last_evening
            assert (projection.came_on - projection.made_on).days == one.window_days - 1
            assert projection.came_on <= LAST
            assert projection.value == evaluations[(*line, projection.came_on)][2]
            assert projection.projected_value == evaluations[(*line, projection.made_on)][4]
            projected += 1
    assert projected > 300


def test_a_policy_that_changes_in_mid_episode_is_told_in_both_versions(
    stories: dict[str, Story],
) -> None:
    one = next(
        told
        for told in stories.values()
        if told.record.opened_on < NEW_VERSIONS_FROM < told.last_evening
        and told.record.risk_point != "told"
    )
    old, new = one.policies
    assert (old.effective_to, new.effective_from) == (
        NEW_VERSIONS_FROM - timedelta(days=1),
        NEW_VERSIONS_FROM,
    )
    before, after = (
        one.evening(NEW_VERSIONS_FROM - timedelta(days=1)),
        one.evening(NEW_VERSIONS_FROM),
    )
    assert before and after
    assert before.warning_threshold == old.warning_threshold < new.warning_threshold
    assert after.warning_threshold == new.warning_threshold
    assert one.policy(NEW_VERSIONS_FROM) == new


def test_products_of_a_merchant_and_merchants_of_a_category_add_up(
    stories: dict[str, Story],
) -> None:
    compared = Counter[str]()
    for told in stories.values():
        peak = told.evening(told.record.last_at_level_on)
        if told.record.entity_type == "product":
            assert told.contributors == ()
        elif peak is not None and not told.is_projected(peak.as_of_date):
            assert sum(part.numerator for part in told.contributors) == peak.numerator
            assert sum(part.denominator for part in told.contributors) <= peak.denominator
            compared[told.record.entity_type] += bool(told.contributors)
    assert min(compared["merchant"], compared["category"]) >= 3


# --- appeals, transitions, alerts ------------------------------------------------------------


def test_an_overturned_event_leaves_an_adjusted_rate_and_stays_in_a_raw_one(
    stories: dict[str, Story],
) -> None:
    left = stayed = 0
    for told in stories.values():
        upheld = {
            (appeal.subject_type, appeal.subject_id)
            for appeal in told.appeals or ()
            if appeal.status == "upheld"
        }
        for entry in told.entries:
            for key in entry.keys or ():
                subject = (key.event_kind, key.event_id)
                if key.why == "overturned":
                    assert entry.component.endswith(ADJUSTED) and key.quantity == -1
                    assert any(
                        (appeal.subject_type, appeal.subject_id) == subject
                        and any(verdict.status == "upheld" for verdict in appeal.verdicts)
                        for appeal in told.appeals or ()
                    )
                    left += 1
                if key.overturned_on is not None:
                    assert subject in upheld
                    stayed += not entry.component.endswith(ADJUSTED)
    assert left > 10 and stayed > 3


def test_a_reversed_decision_is_told_step_by_step(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    rows = told.rows(
        "select appeal_id, list(status order by valid_from) "
        "from intermediate.int_appeals_versioned group by all having count(distinct status) > 2"
    )
    reversed_appeals = dict(rows)
    seen = 0
    for one in stories.values():
        for appeal in one.appeals or ():
            if appeal.appeal_id in reversed_appeals:
                statuses = [verdict.status for verdict in appeal.verdicts]
                assert statuses == reversed_appeals[appeal.appeal_id]
                seen += 1
    assert seen


def test_an_appeal_against_a_violation_is_told_with_its_record(stories: dict[str, Story]) -> None:
    appealed = {
        appeal.appeal_id: told
        for told in stories.values()
        for appeal in told.appeals or ()
        if appeal.subject_type == "violation"
    }
    assert {*appealed} == {"against-upheld", "against-rejected"}
    assert appealed["against-upheld"].record.is_overturned
    assert not appealed["against-rejected"].record.is_overturned
    assert "appeal_rejected" in {t.transition for t in appealed["against-rejected"].transitions}


def test_transitions_and_alerts_are_those_of_the_marts(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    expected = Counter(
        told.rows(
            "select t.record_id, t.as_of_date, t.transition, t.to_status, t.value, t.measure, "
            "a.alert_id from marts.fct_record_transitions as t "
            "left join marts.fct_alerts as a on a.alert_id = t.transition_id"
        )
    )
    actual = Counter(
        (record_id, t.as_of_date, t.transition, t.to_status, t.value, t.measure, t.alert_id)
        for record_id, one in stories.items()
        for t in one.transitions
    )
    assert actual == expected
    assert any(alert_id is None for *_, alert_id in expected)


def test_an_escalation_names_the_warning_behind_it(stories: dict[str, Story]) -> None:
    escalated = [
        told for told in stories.values() if "escalated" in {t.transition for t in told.transitions}
    ]
    assert escalated
    for told in escalated:
        warnings = [other for other in told.related if other.record_type == "warning"]
        assert any(other.opened_on < told.record.opened_on for other in warnings)


# --- which record -----------------------------------------------------------------------------


def test_a_record_is_found_by_the_beginning_of_its_id_or_of_an_alerts(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    record_id, one = next(iter(stories.items()))
    alert_id = next(t.alert_id for t in one.transitions if t.alert_id)
    for given in (record_id, record_id[:8], f" {record_id[:8].upper()} ", alert_id, alert_id[:8]):
        assert story(told.settings, given).record == one.record


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "'' is too short to name a record"),
        ("abcde", "give at least 6 characters"),
        ("zzzzzz", "no record or alert has an id that begins with 'zzzzzz'"),
        ("%%%%%%%%", "no record or alert has an id that begins with '%%%%%%%%'"),
    ],
)
def test_an_id_that_names_nothing_is_refused(
    told: support.Warehouse, given: str, said: str
) -> None:
    with pytest.raises(SettingError) as refused:
        story(told.settings, given)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_an_ambiguous_id_lists_some_of_those_it_names(
    told: support.Warehouse, tmp_path: Path
) -> None:
    settings = doctored(
        told,
        tmp_path,
        "update marts.fct_violation_records set record_id = 'abcdef' || record_id",
    )
    with duckdb.connect(str(settings.home.published / "redline.duckdb")) as connection:
        (count,) = connection.execute(
            "select count(*) from marts.fct_violation_records"
        ).fetchall()[0]
        ids = connection.execute(
            "select record_id from marts.fct_violation_records order by 1"
        ).fetchall()
    with pytest.raises(SettingError) as refused:
        story(settings, "abcdef")
    line = str(refused.value)
    assert f"'abcdef' names {count} records" in line and f"and {count - 5} more" in line
    assert line.count("abcdef") == 6 and "violation of " in line
    candidate = line.split("give more of the id: ")[1].split(" (")[0]
    assert story(settings, candidate).record.record_id == ids[0][0]


# --- what cannot be told ------------------------------------------------------------------------


@contextmanager
def another_process(code: str, *arguments: str) -> Iterator[None]:
    """A process that has said that it is ready, and lives as long as the block."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "plugins")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


def without_keys(one: Story) -> Story:
    """The same story without what only the warehouse tells."""
    entries = tuple(replace(entry, keys=None) for entry in one.entries)
    return replace(one, entries=entries, appeals=None)


RUNNING = (
    "import sys, pathlib; from redline import lock; from redline.settings import Home\n"
    "with lock.hold(Home(pathlib.Path(sys.argv[1])), 'make run'):\n"
    "    print('ready', flush=True); sys.stdin.read()"
)
WRITING = (
    "import sys, duckdb; connection = duckdb.connect(sys.argv[1])\n"
    "print('ready', flush=True); sys.stdin.read()"
)


def test_while_a_run_is_at_work_the_story_is_told_without_keys(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    record_id, one = next(iter(stories.items()))
    home = told.settings.home
    with another_process(RUNNING, str(home.root)):
        assert lock.is_held(home)
        busy = story(told.settings, record_id)
    assert not lock.is_held(home)
    assert busy.keys_missing is not None and "a run is at work" in busy.keys_missing
    assert replace(busy, keys_missing=None) == without_keys(one)


def test_while_the_warehouse_is_locked_the_story_is_told_without_keys(
    told: support.Warehouse, stories: dict[str, Story]
) -> None:
    record_id, one = next(iter(stories.items()))
    with another_process(WRITING, str(told.settings.home.warehouse)):
        busy = story(told.settings, record_id)
    assert busy.keys_missing is not None and "holds the warehouse" in busy.keys_missing
    assert replace(busy, keys_missing=None) == without_keys(one)
    assert story(told.settings, record_id) == one


def doctored(told: support.Warehouse, tmp_path: Path, *statements: str) -> Settings:
    """A home with a changed copy of what is published, and no warehouse."""
    settings = replace(told.settings, home=Home(tmp_path / "home"))
    settings.home.published.mkdir(parents=True)
    copy = settings.home.published / "redline.duckdb"
    shutil.copy(told.settings.home.published / "redline.duckdb", copy)
    copy.chmod(0o644)
    with duckdb.connect(str(copy)) as connection:
        for statement in statements:
            connection.execute(statement)
    return settings


def test_without_a_warehouse_the_story_is_told_without_keys(
    told: support.Warehouse, stories: dict[str, Story], tmp_path: Path
) -> None:
    record_id, one = next(iter(stories.items()))
    alone = story(doctored(told, tmp_path), record_id)
    assert alone.keys_missing is not None and "there is no warehouse" in alone.keys_missing
    assert replace(alone, keys_missing=None) == without_keys(one)


def test_keys_that_do_not_add_up_are_told_as_such(
    told: support.Warehouse, stories: dict[str, Story], tmp_path: Path
) -> None:
    """As after a restatement that has rewritten the warehouse and is not published yet."""
    settings = doctored(
        told, tmp_path, "update marts.fct_cohort_ledger set quantity = quantity + 1"
    )
    settings.home.warehouse.symlink_to(told.settings.home.warehouse)
    one = next(s for s in stories.values() if s.entries)
    changed = story(settings, one.record.record_id)
    assert changed.entries and not any(entry.adds_up for entry in changed.entries)


def test_a_merchant_that_changes_category_is_told_in_the_categorys_story(
    told: support.Warehouse, stories: dict[str, Story], tmp_path: Path
) -> None:
    one = next(
        s
        for s in stories.values()
        if s.record.entity_type == "category"
        and s.entries
        and s.record.last_at_level_on > s.record.opened_on
    )
    merchant_id = one.entries[0].merchant_id
    left_on = one.record.opened_on + timedelta(days=1)
    settings = doctored(
        told,
        tmp_path,
        "update marts.fct_policy_evaluations set category_id = 'travel' where entity_type = "
        f"'merchant' and entity_id = '{merchant_id}' and as_of_date >= '{left_on}'",
    )
    changed = story(settings, one.record.record_id)
    (move,) = changed.moves
    assert (move.merchant_id, move.joined) == (merchant_id, False) and move.as_of_date >= left_on
    assert merchant_id in {entry.merchant_id for entry in changed.entries}
    assert merchant_id not in {part.entity_id for part in changed.contributors}


def test_nothing_published_is_said_in_one_line(told: support.Warehouse, tmp_path: Path) -> None:
    settings = replace(told.settings, home=Home(tmp_path))
    for ask in (lambda: story(settings, "abcdef"), lambda: open_records(settings)):
        with pytest.raises(RedlineError, match=r"nothing is published .*: run `make run` first"):
            ask()


def test_marts_of_another_version_are_refused_in_one_line(tmp_path: Path) -> None:
    settings = made_home.settings_of(tmp_path)
    made_home.run_days(settings, 0, 0)
    with pytest.raises(RedlineError, match="another version of Redline published the marts"):
        open_records(settings)


def test_a_policy_whose_pack_is_no_longer_active_is_said_to_be_missing(
    told: support.Warehouse, stories: dict[str, Story], tmp_path: Path
) -> None:
    record_id, one = next(iter(stories.items()))
    alone = story(doctored(told, tmp_path, "delete from marts.dim_policies"), record_id)
    assert (alone.policies, alone.entries) == ((), ())
    assert alone.keys_missing is not None and "no version of its policy" in alone.keys_missing
    assert (alone.evenings, alone.transitions) == (one.evenings, one.transitions)


def test_alerts_of_before_transitions_were_kept_are_told_with_their_deliveries(
    told: support.Warehouse, stories: dict[str, Story], tmp_path: Path
) -> None:
    record_id, one = next(iter(stories.items()))
    alert_ids = [each.alert_id for each in one.transitions if each.alert_id]
    settings = doctored(
        told,
        tmp_path,
        "delete from marts.fct_record_transitions",
        "insert into marts.fct_alert_deliveries by name select "
        f"'{alert_ids[0]}' as alert_id, 'webhook' as channel, 'delivered' as status, "
        "2 as attempts, timestamp '2026-02-05 00:10:00' as delivered_at",
    )
    alone = story(settings, alert_ids[0])
    assert alone.record.record_id == record_id
    assert [each.alert_id for each in alone.transitions] == alert_ids
    (delivery,) = alone.transitions[0].deliveries
    assert (delivery.channel, delivery.status, delivery.attempts) == ("webhook", "delivered", 2)


# --- the open ones -------------------------------------------------------------------------------


def test_open_records_are_listed_worst_first(told: support.Warehouse) -> None:
    records = open_records(told.settings)
    expected = told.rows(f"select record_id from {RECORDS} where closed_on is null")
    assert sorted(each.record.record_id for each in records) == sorted(row[0] for row in expected)
    levels = [each.record.record_type for each in records]
    assert levels == sorted(levels, key=lambda level: level != "violation")
    worst: list[Any] = [
        each.reading / each.threshold
        for each in records
        if each.record.record_type == "violation" and each.reading is not None and each.threshold
    ]
    assert worst == sorted(worst, reverse=True)


def test_reading_a_story_writes_nothing(told: support.Warehouse, stories: dict[str, Story]) -> None:
    home = told.settings.home

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in sorted(home.root.rglob("*"))
        }

    before = state()
    story(told.settings, next(iter(stories)))
    assert state() == before

"""Nothing leaves that did not pass: every order of runs, failed gates, retries and backfills."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redline.alerts import deliver, delivery, go_on, write_alerts
from redline.alerts.outbox import open_outbox
from redline.publish import publish
from tests.plugins.redline.alerts.receivers import http_receiver
from tests.plugins.redline.alerts.test_alert_files import publish_with_alerts
from tests.plugins.redline.publish import made_home

# Evenings before this one are long past, so a run that publishes them is a backfill.
FRESH = 1


class Evenings(RuleBasedStateMachine):
    """A platform's evenings: published, failed, restated, told and told again in any order."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.receiver = self.stack.enter_context(http_receiver())
        names = {"A_URL": self.receiver.base, "A_SECRET": "s3cret"}
        self.stack.enter_context(patch.dict(os.environ, names))
        today = datetime.now(ZoneInfo("Asia/Shanghai")).date()  # as the home tells it
        since_first = today - made_home.FIRST
        self.stack.enter_context(patch.object(delivery, "FRESH_DAYS", since_first.days - FRESH))
        file = self.folder / "alerts.yml"
        file.write_text(
            "channels: {one: {kind: webhook, url: '${A_URL}', secret: '${A_SECRET}',"
            " allow_private: true}}"
        )
        home = made_home.settings_of(self.folder / "home", kept_runs=3)
        self.settings = replace(home, alerts=file)
        self.evenings = 0
        self.runs: list[str] = []
        self.to_be_told: set[str] = set()
        self.asked_for: set[str] = set()

    @rule(count=st.integers(1, 3))
    def a_run_passes_both_gates(self, count: int) -> None:
        numbers = range(self.evenings, self.evenings + count)
        alerts = [(f"good-{number}", number) for number in numbers]
        run_id = publish_with_alerts(self.settings, numbers[0], numbers[-1], alerts)
        if self.runs:  # what a first publication has to tell is held
            self.to_be_told |= {name for name, number in alerts if number >= FRESH}
        self.runs.append(run_id)
        self.evenings += count

    @rule()
    def a_run_fails_its_publication_gate(self) -> None:
        """Its alerts are in the warehouse, which nobody publishes."""
        day = made_home.FIRST + timedelta(self.evenings)
        made_home.transform(self.settings, "sim", day, day)
        made_home.change(
            self.settings,
            f"""
            insert into marts.fct_alerts values ('bad-{self.evenings}', '{day}', 'sim', 'r-bad',
                'violation', 'opened', 'p1', 'merchant', 'm3', 'complaint_rate', 'service',
                17, 500, 0.034, 0.03, 'restrict_promotion');
            """,
        )

    @precondition(lambda self: self.runs)
    @rule()
    def closed_dates_are_restated(self) -> None:
        day = made_home.FIRST + timedelta(self.evenings - 1)
        made_home.transform(self.settings, "sim", day, day)
        made_home.change(
            self.settings,
            f"""
            insert into marts.fct_alerts values ('re-{len(self.runs)}', '{day}', 'sim', 'r-re',
                'violation', 'opened', 'p1', 'merchant', 'm3', 'complaint_rate', 'service',
                17, 500, 0.034, 0.03, 'restrict_promotion');
            """,
        )
        run_id = f"re-{len(self.runs)}"
        # What was published but never written is another evening's story now.
        write_alerts(self.settings)
        plan = made_home.make_plan(self.settings, "sim", day, day, run_id=run_id, restated_from=day)
        publish(plan, self.settings)
        self.runs.append(run_id)

    @rule(
        way=st.sampled_from(["run", "run of", "no run", "clear", "due"]), choice=st.integers(0, 9)
    )
    def alerts_are_told(self, way: str, choice: int) -> None:
        """By the DAG's own run, by hand for any run, by a cleared task, or by what is due."""
        match way:
            case "run":
                deliver(self.settings, write_alerts(self.settings))
            case "run of":
                run_id = self.runs[choice % len(self.runs)] if self.runs else "none"
                deliver(self.settings, write_alerts(self.settings, run_id))
            case "no run":
                deliver(self.settings, write_alerts(self.settings, "never-published"))
            case "clear":
                deliver(self.settings)
            case "due":
                go_on(self.settings)

    @rule()
    def somebody_asks_for_what_is_held(self) -> None:
        outbox = open_outbox(self.settings)
        held = outbox.deliveries(("held",))
        self.asked_for |= {alert["alert_id"] for each in held for alert in each.alerts}
        outbox.release("held")
        outbox.close()

    @invariant()
    def only_what_passed_has_left_and_once(self) -> None:
        told = Counter(request.json["alert_id"] for request in self.receiver.requests)
        assert set(told) <= self.to_be_told | self.asked_for
        assert not [name for name in told if not name.startswith("good-")]
        assert set(told.values()) <= {1}

    def teardown(self) -> None:
        try:
            deliver(self.settings, write_alerts(self.settings))
            told = {request.json["alert_id"] for request in self.receiver.requests}
            assert told == self.to_be_told | self.asked_for
        finally:
            self.stack.close()
            shutil.rmtree(self.folder)


Evenings.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestOnlyWhatPassed = pytest.mark.xdist_group("outbox")(Evenings.TestCase)

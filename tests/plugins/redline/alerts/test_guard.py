"""The storm guard, from published evenings to a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from redline.alerts import __main__ as command
from redline.alerts import deliver, guard, write_alerts
from redline.alerts.marks import Mark, save
from redline.alerts.outbox import WAITING, open_outbox
from redline.publish import publish
from redline.settings import Settings
from tests.plugins.redline.alerts.receivers import HttpReceiver, hooks, http_receiver
from tests.plugins.redline.publish import made_home
from tests.plugins.redline.publish.made_home import change, make_plan

pytestmark = pytest.mark.xdist_group("outbox")

TODAY = datetime.now(ZoneInfo("Asia/Shanghai")).date()  # as the home of made_home tells it
YES = {"chosen_options": ["Approve"], "params_input": {}, "responded_by_user": {"name": "Mei"}}
NO = {
    "chosen_options": ["Reject"],
    "params_input": {"reason": "a feed\nwas cut short"},
    "responded_by_user": {"name": "Mei"},
}
LATE = {"chosen_options": ["Reject"], "params_input": {"reason": ""}, "responded_by_user": None}


@dataclass
class Market:
    """A published marketplace and where its alerts go."""

    settings: Settings
    receiver: HttpReceiver

    def publish(self, start: date, end: date, *alerts: int) -> list[Path]:
        """Publish evenings in one run, the last ones with so many alerts; the files written."""
        made_home.transform(self.settings, "sim", start, end)
        for back, count in enumerate(reversed(alerts)):
            day = end - timedelta(back)
            change(
                self.settings,
                f"""
                insert into marts.fct_alerts
                select '{day}-' || i, '{day}', 'sim', 'r{day}-' || i, 'violation', 'opened', 'p1',
                    'merchant', 'm' || (i % 20), 'complaint_rate', 'service', 17, 500, 0.034, 0.03,
                    'restrict_promotion'
                from range({count}) as r(i)
                """,
            )
        publish(make_plan(self.settings, "sim", start, end), self.settings)
        return write_alerts(self.settings)

    def states(self) -> dict[str, set[str | None]]:
        """The states of messages that are not sent, and why."""
        outbox = open_outbox(self.settings)
        found: dict[str, set[str | None]] = {}
        for each in outbox.deliveries():
            found.setdefault(each.state, set()).add(each.response)
        outbox.close()
        return found

    def arrived(self) -> int:
        """How many different alerts the receiver was sent, each once."""
        told = [request.json["alert_id"] for request in self.receiver.requests]
        assert len(told) == len({*told})
        return len(told)


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    """Nine evenings with two alerts each, up to the day before yesterday."""
    monkeypatch.setenv("A_SECRET", "s3cret-key")
    with http_receiver() as receiver:
        path = hooks(tmp_path, monkeypatch, team=receiver.base)
        settings = replace(made_home.settings_of(tmp_path / "home", kept_runs=2), alerts=path)
        made = Market(settings, receiver)
        first, last = TODAY - timedelta(10), TODAY - timedelta(2)
        deliver(settings, made.publish(first, last, *([2] * 9)))
        assert made.arrived() == 0  # a first publication is held
        yield made


def yesterday(market: Market, count: int) -> list[Path]:
    day = TODAY - timedelta(1)
    return market.publish(day, day, count)


def test_an_ordinary_evening_goes_out_unasked(market: Market) -> None:
    files = yesterday(market, 9)
    assert guard.look(market.settings, files, asks=True) is None
    deliver(market.settings, files)
    assert market.arrived() == 9


def test_a_storm_is_held_before_anybody_is_asked_and_goes_out_once_it_is_approved(
    market: Market,
) -> None:
    files = yesterday(market, 30)

    found = guard.look(market.settings, files, asks=True)

    assert found is not None
    assert found.is_asked
    assert found.line == f"30 new alerts: sim {TODAY - timedelta(1)} has 30, usual are 2"
    assert (
        f"| sim | {TODAY - timedelta(1)} | complaint\\_rate | 30 | 0 | 0 | 2 | 20 (100.0%) |"
        in (found.table)
    )
    assert "| order\\_paid | 300 | 300 | +0% |" in found.table
    # Whatever else sends meanwhile, the storm stays.
    deliver(market.settings)
    outbox = open_outbox(market.settings)
    assert outbox.release("held") == 18  # what is held for other reasons is free to go
    outbox.close()
    assert market.arrived() == 0
    assert market.states()["held"] == {WAITING}

    done = guard.settle(market.settings, YES)

    assert (done.messages, done.sent, done.line) == (30, True, "30 messages: approved by Mei")
    assert market.arrived() == 48
    # Cleared and run again from the start: not asked again, not sent again.
    assert guard.look(market.settings, files, asks=True) is None
    deliver(market.settings, files)
    assert guard.settle(market.settings, NO).messages == 0
    assert market.arrived() == 48


def test_a_rejected_storm_is_held_with_name_and_reason_until_somebody_asks_for_it(
    market: Market,
) -> None:
    files = yesterday(market, 30)
    guard.look(market.settings, files, asks=True)

    done = guard.settle(market.settings, NO)

    reason = "held: a storm, rejected by Mei: a feed was cut short"
    assert (done.is_answered, done.sent, done.line) == (True, False, f"30 messages: {reason}")
    assert reason in market.states()["held"]
    assert guard.look(market.settings, files, asks=True) is None
    deliver(market.settings, files)
    assert market.arrived() == 0

    outbox = open_outbox(market.settings)
    assert outbox.release(f"{TODAY - timedelta(1)}-") == 30
    outbox.close()
    deliver(market.settings)
    assert market.arrived() == 30


@pytest.mark.parametrize("answer", [LATE, None])
def test_a_storm_without_an_answer_stays_held(market: Market, answer: Any) -> None:
    files = yesterday(market, 30)
    guard.look(market.settings, files, asks=True)
    # Cleared before anybody answered, it is asked again.
    assert guard.look(market.settings, files, asks=True) is not None

    done = guard.settle(market.settings, answer)

    assert (done.messages, done.is_answered, done.sent) == (30, False, False)
    assert "nobody had answered by" in done.line
    assert guard.look(market.settings, files, asks=True) is None
    deliver(market.settings, files)
    assert market.arrived() == 0


def test_without_a_scheduler_a_storm_is_held_at_once_and_says_so(market: Market) -> None:
    files = yesterday(market, 30)

    found = guard.look(market.settings, files, asks=False)

    assert found is not None
    assert not found.is_asked
    assert market.states()["held"] >= {
        f"held: a storm, and nobody is asked by this run: {found.line}"
    }
    deliver(market.settings, files)
    assert market.arrived() == 0


def test_the_command_sends_nothing_that_was_not_weighed(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday(market, 30)
    monkeypatch.setattr(command, "read_settings", lambda: market.settings)

    assert command.main(["--retry", "held"]) == 0

    assert market.arrived() == 18  # the first publication's, which were asked for


def test_nobody_is_asked_of_a_backfill(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two nights in one run are many, by this measure.
    monkeypatch.setattr(guard, "FRESH_DAYS", 1)
    files = market.publish(TODAY - timedelta(1), TODAY, 10, 40)

    found = guard.look(market.settings, files, asks=True)

    assert found is not None
    assert not found.is_asked
    deliver(market.settings, files)
    assert market.arrived() == 0


def test_what_nobody_would_be_sent_makes_no_storm(market: Market) -> None:
    files = yesterday(market, 21)
    alerts = [alert for path in files for alert in guard.read_alerts(market.settings.home, path)]
    outbox = open_outbox(market.settings)
    save(outbox.store, Mark(alerts[0], TODAY + timedelta(5), "Mei", "known"), TODAY)
    outbox.close()
    # Of two alerts of merchant m0 both are snoozed.
    assert guard.look(market.settings, files, asks=True) is None

    path = market.settings.alerts
    assert path is not None
    path.write_text(path.read_text() + "\nroutes:\n  - {to: team, when: {platform: other}}\n")
    assert guard.look(market.settings, market.publish(TODAY, TODAY, 90), asks=True) is None


def test_without_channels_nothing_is_weighed(market: Market) -> None:
    files = yesterday(market, 300)
    assert guard.look(replace(market.settings, alerts=None), files, asks=True) is None

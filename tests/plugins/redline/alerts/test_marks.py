"""Acknowledged, snoozed, escalated: what people say of alerts, and what follows if they do not."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from redline.alerts import __main__ as command
from redline.alerts import deliver, delivery, escalation, marks
from redline.alerts.outbox import open_outbox
from redline.errors import SettingError
from redline.settings import PROJECT, Settings
from tests.plugins.redline.alerts.receivers import ALERT, HttpReceiver, http_receiver

pytestmark = pytest.mark.xdist_group("outbox")

TODAY = datetime.now(UTC).date()


def alert(number: int, **changes: Any) -> dict[str, Any]:
    made = {**ALERT, "alert_id": f"{number:05d}", "record_id": f"r{number}", "run_id": None}
    return {**made, "as_of_date": str(TODAY), **changes}


def write(settings: Settings, *alerts: dict[str, Any], evening: date = TODAY) -> None:
    path = settings.home.alerts / f"{evening}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in alerts))


def escalating(
    stored: Settings,
    folder: Path,
    team: HttpReceiver,
    head: HttpReceiver,
    patch: pytest.MonkeyPatch,
) -> Settings:
    """Settings by which the head hears after two hours."""
    for name, url in {"TEAM": team.base, "HEAD": head.base, "WORD": "s3cret"}.items():
        patch.setenv(name, url)
    path = folder / "alerts.yml"
    path.write_text(
        "channels:\n"
        "  team: {kind: webhook, url: '${TEAM}', secret: '${WORD}', allow_private: true}\n"
        "  head: {kind: webhook, url: '${HEAD}', secret: '${WORD}', allow_private: true}\n"
        "routes:\n"
        "  - to: team\n"
        "    escalate: {after_hours: 2, to: head}\n"
    )
    return replace(stored, alerts=path)


def hours_later(patch: pytest.MonkeyPatch, hours: float) -> None:
    now = time.time() + 3600 * hours
    patch.setattr(escalation.time, "time", lambda: now)


def told(receiver: HttpReceiver) -> list[str]:
    return [request.json["alert_id"] for request in receiver.requests]


def test_who_is_to_hear_if_nobody_acknowledges_hears_once_of_what_is_still_open(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as team, http_receiver() as head:
        settings = escalating(stored, tmp_path, team, head, monkeypatch)
        over = alert(5, record_id="r3", transition="resolved")
        write(settings, *(alert(n) for n in range(4)), over)
        assert deliver(settings).sent == 5
        assert sorted(told(team)) == [f"{n:05d}" for n in (0, 1, 2, 3, 5)]
        marks.say(settings, "00001", "ana", "calling the merchant")
        with monkeypatch.context() as patch:
            hours_later(patch, 1.9)
            assert delivery.go_on(settings).sent == 0
        with monkeypatch.context() as patch:
            hours_later(patch, 2.1)
            assert delivery.go_on(settings).sent == 2
            assert delivery.go_on(settings).sent == 0
        # Of 1 somebody took care, and the record of 3 is over.
        assert told(head) == ["00000", "00002"]
        assert [request.json["reminder"] for request in head.requests] == [{"hours": 2}] * 2
        schema = json.loads((PROJECT / "plugins/redline/alerts/alert.schema.json").read_text())
        for request in head.requests:
            # Of a file that no run has published, it names none.
            jsonschema.validate({**request.json, "run_id": "r"}, schema)
        keys = {request.headers["Idempotency-Key"] for request in team.requests + head.requests}
        assert len(keys) == 7


def test_a_violation_asks_again_though_its_warning_was_acknowledged(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as team, http_receiver() as head:
        settings = escalating(stored, tmp_path, team, head, monkeypatch)
        write(settings, alert(1, record_type="warning"), evening=TODAY - timedelta(1))
        deliver(settings)
        marks.say(settings, "00001", "ana", "seen")
        write(settings, alert(2, record_id="r1", transition="escalated"))
        deliver(settings)
        with monkeypatch.context() as patch:
            hours_later(patch, 3)
            delivery.go_on(settings)
        assert told(head) == ["00002"]


def test_a_snooze_keeps_back_what_is_not_worse_until_its_end(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as team, http_receiver() as head:
        settings = escalating(stored, tmp_path, team, head, monkeypatch)
        write(settings, alert(1, record_type="warning"))
        deliver(settings)
        until = TODAY + timedelta(2)
        done = marks.say(settings, "0000", "ana", "they are mending it", until)
        assert done == f"alert 00001 of record r1: snoozed until {until} by ana"
        again = marks.say(settings, "0000", "ana", "they are mending it", until)
        assert again.endswith("as was said before")

        write(
            settings,
            alert(2, record_type="warning", transition="resolved"),
            alert(3, record_type="warning", metric="negative_review_rate"),
            alert(4, record_type="warning", entity_id="m2"),
            alert(5),  # a violation of the same
        )
        assert deliver(settings).held == 1
        assert sorted(told(team)) == ["00001", "00003", "00004", "00005"]
        (held,) = open_outbox(settings).deliveries()
        assert held.response == f"snoozed until {until} by ana: they are mending it"

        box = open_outbox(settings)
        same = alert(6, record_type="warning")
        assert marks.snoozed(box.store, [same], until)
        assert not marks.snoozed(box.store, [same], until + timedelta(1))
        marks.say(settings, "00005", "ana", "all of it", until)
        assert marks.snoozed(box.store, [alert(7)], TODAY)


def test_the_command_acknowledges_and_snoozes_and_says_what_it_lacks(
    stored: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with http_receiver() as team, http_receiver() as head:
        settings = escalating(stored, tmp_path, team, head, monkeypatch)
        write(settings, alert(1))
        deliver(settings)
    monkeypatch.setattr(command, "read_settings", lambda: settings)
    assert command.main(["--acknowledge", "0000", "--reason", "seen", "--by", "ana"]) == 0
    assert capsys.readouterr().out == "alert 00001 of record r1: acknowledged by ana\n"
    asked = ["--snooze", "00001", "--reason", "why", "--until"]
    assert command.main([*asked, str(TODAY + timedelta(9))]) == 0
    assert "snoozed until" in capsys.readouterr().out
    for arguments, told_ in (
        ([*asked, "soon"], "a snooze needs its end (UNTIL=soon): write YYYY-MM-DD"),
        ([*asked, "2020-01-01"], "a snooze ends today or later (2020-01-01)"),
        (["--acknowledge", "00001"], "the reason is missing"),
        (["--acknowledge", "zzz", "--reason", "x"], "the outbox has no such alert (zzz)"),
    ):
        assert command.main(arguments) == 1
        assert told_ in capsys.readouterr().err


def test_a_mark_needs_a_reason_of_bearable_length(stored: Settings) -> None:
    outbox = open_outbox(stored)
    with pytest.raises(SettingError, match="longer than 500"):
        marks.save(outbox.store, marks.Mark(alert(1), None, "ana", "x" * 501), TODAY)

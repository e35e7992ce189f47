"""Services that apprise speaks to, against a real HTTP server."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from redline.alerts import channels
from redline.alerts.channels import longtail
from redline.alerts.channels.outcome import Outcome
from redline.alerts.letter import of_one
from redline.alerts.message import digest, message
from redline.alerts.rules import read_rules
from tests.plugins.redline.alerts.receivers import ALERT, Answer, HttpReceiver, http_receiver
from tests.plugins.redline.alerts.test_cards import PAGE, TOLD, many


def address(receiver: HttpReceiver, more: str = "") -> str:
    return f"json://user:s3cret@{receiver.base.removeprefix('http://')}/s3cret-path{more}"


def test_a_message_is_taken_with_all_that_is_to_be_said() -> None:
    with http_receiver() as receiver:
        told = message(TOLD, "zh", "请发邮件", 7, page=PAGE)
        assert longtail.send(told, url=address(receiver), allow_private=True) == Outcome(
            "sent", "taken by JSON"
        )
        (request,) = receiver.requests
    assert request.path == "/s3cret-path"
    assert request.json["title"] == told.title
    assert request.json["type"] == "failure"
    for text in (*(text for _, text in told.parts), f"{PAGE}/records/r1", "▃█ 1.0% → 3.4%"):
        assert text in request.json["message"]


@pytest.mark.parametrize(
    "answer", [(500, {}, b"s3cret"), (401, {}, b""), (302, {"Location": "/else"}, b""), "die"]
)
def test_what_is_not_taken_may_be_later_and_no_address_is_told_or_logged(
    answer: Answer | str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with http_receiver(lambda _: answer) as receiver:
        outcome = longtail.send(message(ALERT, "en"), url=address(receiver), allow_private=True)
        assert {request.path for request in receiver.requests} == {"/s3cret-path"}
    assert outcome == Outcome("later", "not taken by JSON")
    assert "s3cret" not in caplog.text
    assert "s3cret" not in "".join(capfd.readouterr())


def test_a_service_that_hangs_is_not_waited_for() -> None:
    with http_receiver(lambda _: "hang") as receiver:
        outcome = longtail.send(
            message(ALERT, "en"), url=address(receiver, "?rto=1"), allow_private=True, seconds=3
        )
    assert outcome.verdict == "later"


@pytest.mark.parametrize("url", ["nowhere://s3cret", "s3cret", "json://", "mailto://s3cret"])
def test_an_address_that_apprise_does_not_know_is_refused(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = longtail.send(message(ALERT, "en"), url=url, allow_private=True)
    assert outcome == Outcome("refused", "apprise knows no service by that address")
    assert "s3cret" not in caplog.text


def test_one_address_is_one_service_whatever_stands_in_it() -> None:
    with http_receiver() as receiver:
        url = address(receiver, f"?x=1, {address(receiver)}")
        longtail.send(message(ALERT, "en"), url=url, allow_private=True)
        assert len(receiver.requests) <= 1


def test_a_digest_is_as_long_as_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.custom_json import NotifyJSON

    monkeypatch.setattr(NotifyJSON, "body_maxlen", 1000)
    with http_receiver() as receiver:
        longtail.send(digest(many(), "en", page=PAGE), url=address(receiver), allow_private=True)
        (request,) = receiver.requests
    assert len(request.json["message"]) <= 1000
    assert "and 72 more" in request.json["message"]


def test_the_kind_apprise_asks_for_an_address_that_stands_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(
        "channels:\n  one:\n    kind: apprise\n    url: ${AN_ADDRESS}\n    allow_private: true\n"
    )
    (channel,) = read_rules(path).channels
    with http_receiver() as receiver:
        monkeypatch.setenv("AN_ADDRESS", address(receiver))
        assert channels.send(channel, of_one(ALERT), "k").verdict == "sent"
    assert "s3cret" not in repr(channel)


def test_a_host_on_a_private_address_is_refused_unless_allowed() -> None:
    with http_receiver() as receiver:
        for url in (address(receiver), address(receiver).replace("127.0.0.1", "localhost")):
            outcome = longtail.send(message(ALERT, "en"), url=url)
            assert outcome.verdict == "refused"
            assert "private address" in outcome.response
        assert receiver.requests == []


def test_apprise_is_not_imported_until_it_is_needed() -> None:
    import subprocess
    import sys

    seen = subprocess.run(
        [sys.executable, "-c", "import sys, redline.alerts; print('apprise' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "plugins"},
    )
    assert seen.stdout == "False\n"

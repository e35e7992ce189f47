"""Notices to the operators: what they say, to whom they go, and that they never get in the way."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from redline.alerts import outbox
from redline.alerts.channels import http
from redline.alerts.delivery import go_on
from redline.alerts.message import LANGUAGES
from redline.alerts.notices import Kind, Notice, notice_message
from redline.alerts.operators import notify
from redline.alerts.outbox import open_outbox
from redline.settings import PROJECT, Settings
from tests.plugins.redline.alerts.receivers import (
    OK,
    hooks,
    http_receiver,
    made_alert,
    smtp_receiver,
)

pytestmark = pytest.mark.xdist_group("outbox")

NOTICE = Notice(
    kind="failed_gate",
    title="merchant_risk_daily.validate_intake",
    what="12 % of complaints\nname no known order",
    where="intake suite, complaints",
    todo="open the Data Docs",
    run_id="scheduled__2026-03-01",
    dag_id="merchant_risk_daily",
    task_id="validate_intake",
    platform="douyin",
    log_url="http://127.0.0.1:8080/dags/merchant_risk_daily",
    happened_at="2026-03-01T18:05:00+00:00",
    try_number=1,
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret-key")


def test_the_same_failure_is_one_notice_and_another_try_is_another() -> None:
    def again(**changed: object) -> str:
        return dataclasses.replace(NOTICE, **changed).notice_id  # type: ignore[arg-type]

    same = [
        again(),
        again(happened_at="2026-03-02T00:00:00+00:00", log_url=None),
        # The DAG processor does not know what failed.
        again(kind="failed_task", what="it was ended from outside"),
    ]
    others = [
        again(try_number=2),
        again(task_id="extract"),
        again(run_id="manual"),
        again(map_index=1),
        again(kind="late_run"),
    ]
    assert len({*same}) == 1
    assert len({*same, *others}) == 1 + len(others)


def test_nobody_takes_a_notice_for_a_merchants_alert_in_either_language() -> None:
    said = {language: notice_message(NOTICE, language) for language in LANGUAGES}

    assert said["en"].title == (
        "[Redline operations] Gate failed: merchant_risk_daily.validate_intake"
    )
    assert said["zh"].title.startswith("「Redline 运维」数据检查未通过")
    for message in said.values():
        assert message.severity == "operations"
        texts = [text for _, text in message.parts]
        assert texts[:3] == [
            "12 % of complaints name no known order",
            "intake suite, complaints",
            "open the Data Docs",
        ]
        assert message.link == NOTICE.log_url
        assert all("\n" not in text for text in texts)


def test_every_kind_of_notice_has_its_words_in_both_languages() -> None:
    from typing import get_args

    from redline.alerts.notices import Kind

    for kind in get_args(Kind):
        titles = {
            notice_message(dataclasses.replace(NOTICE, kind=kind), language).title
            for language in LANGUAGES
        }
        assert len(titles) == 2


def test_operators_hear_of_it_once_and_the_others_never(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver, smtp_receiver() as mails:
        urls = {"oncall": f"{receiver.base}/oncall", "merchants": f"{receiver.base}/merchants"}
        path = hooks(tmp_path, monkeypatch, **urls)
        mail = (
            "\n  mail: {kind: email, host: 127.0.0.1, security: none, from: r@example.com,"
            f" to: [ops@example.com], port: {mails.server_address[1]}}}"
            "\noperators: [oncall, mail]\n"
        )
        path.write_text(path.read_text() + mail)
        settings = dataclasses.replace(stored, alerts=path)

        assert [notify(settings, NOTICE) for _ in range(3)] == [True, False, False]

    (request,) = receiver.requests
    assert request.path == "/oncall"
    assert request.json == {"notice": dataclasses.asdict(NOTICE)}
    (mail_sent,) = mails.mails
    assert mail_sent["Subject"] == notice_message(NOTICE, "en").title


def test_a_receiver_that_hangs_costs_seconds_and_the_notice_goes_with_a_later_delivery(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_WAIT", 0.5)
    real = http.post
    monkeypatch.setattr(http, "post", lambda *given, **more: real(*given, **{**more, "seconds": 2}))
    with http_receiver(lambda _: "hang") as receiver:
        path = hooks(tmp_path, monkeypatch, oncall=receiver.base)
        path.write_text(path.read_text() + "\noperators: oncall\n")
        settings = dataclasses.replace(stored, alerts=path)
        began = time.monotonic()

        assert notify(settings, NOTICE, seconds=0.2)

        assert time.monotonic() - began < 1.5  # it did not wait for the receiver
        while not receiver.requests:
            time.sleep(0.05)
        receiver.behave = lambda _: OK
        opened = open_outbox(settings)
        while opened.deliveries(["claimed"]):
            time.sleep(0.1)
        opened.close()
        go_on(settings)
    assert [request.json["notice"]["what"] for request in receiver.requests] == [NOTICE.what] * 2


def test_a_notice_is_sent_past_alerts_and_takes_none_of_them_along(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redline.alerts.outbox import Entry

    with http_receiver() as receiver:
        path = hooks(tmp_path, monkeypatch, oncall=receiver.base)
        path.write_text(path.read_text() + "\noperators: oncall\n")
        settings = dataclasses.replace(stored, alerts=path)
        opened = open_outbox(settings)
        opened.add([Entry(made_alert(number, number), "oncall") for number in range(150)])
        opened.close()

        notify(settings, NOTICE)

        (request,) = receiver.requests
        schema = json.loads((PROJECT / "plugins/redline/alerts/notice.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(request.json)
        assert {*schema["properties"]["notice"]["properties"]} == {*request.json["notice"]}
        kinds = schema["properties"]["notice"]["properties"]["kind"]["enum"]
        assert sorted(kinds) == sorted(get_args(Kind))
        go_on(settings)
        assert len(receiver.requests) == 151


def test_nothing_that_goes_wrong_with_telling_is_raised_or_tells_a_secret(
    stored: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "alerts.yml"

    assert notify(stored, NOTICE) is False  # no file of alerts
    path.write_text("channels: {a: {kind: slack, token: sesame}}\n")
    assert notify(dataclasses.replace(stored, alerts=path), NOTICE) is False
    path.write_text("channels: {a: {kind: slack, token: '${NO_SUCH_VARIABLE}'}}\n")
    assert notify(dataclasses.replace(stored, alerts=path), NOTICE) is False  # no operators
    broken = dataclasses.replace(stored, alerts=path, outbox="postgresql://u:sesame@127.0.0.1:1/d")
    path.write_text(path.read_text() + "operators: a\n")
    assert notify(broken, NOTICE) is False

    assert "sesame" not in caplog.text
    assert [record.levelname for record in caplog.records if record.name == "redline"] == [
        "ERROR",
        "INFO",
        "ERROR",
    ]

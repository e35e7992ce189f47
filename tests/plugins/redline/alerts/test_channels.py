"""Channels, each against a real receiver on loopback that checks what it is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from redline.alerts import channels
from redline.alerts.channels import Channel, Outcome, http
from redline.alerts.channels.cards import PLATFORMS
from redline.alerts.letter import of_one
from redline.alerts.rules import read_rules
from redline.settings import PROJECT
from tests.plugins.redline.alerts.receivers import (
    ALERT,
    OK,
    Answer,
    Request,
    http_receiver,
    smtp_receiver,
)

SCHEMA = json.loads((PROJECT / "plugins/redline/alerts/alert.schema.json").read_text())
SECRET, TOKEN = "s3cret-key", "s3cret-token"
Configured = Callable[[str], Channel]


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Makes a channel of the lines of its file; the usual secrets are set."""
    monkeypatch.setenv("A_SECRET", SECRET)
    monkeypatch.setenv("A_TOKEN", TOKEN)

    def make(lines: str) -> Channel:
        path = tmp_path / "alerts.yml"
        path.write_text("channels:\n  one:\n" + lines)
        return read_rules(path).channels[0]

    return make


def webhook(configured: Configured, monkeypatch: pytest.MonkeyPatch, url: str) -> Channel:
    monkeypatch.setenv("A_URL", url)
    return configured(
        "    kind: webhook\n    url: ${A_URL}\n    secret: ${A_SECRET}\n    allow_private: true\n"
    )


# --- the signed webhook -------------------------------------------------------------------------


def test_a_webhook_can_be_verified_and_follows_its_schema(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        channel = webhook(configured, monkeypatch, f"{receiver.base}/hook?a=b")
        assert channels.send(channel, of_one(ALERT), "the-key") == Outcome("sent", "HTTP 200")
        (request,) = receiver.requests

    assert request.path == "/hook?a=b"
    jsonschema.Draft202012Validator(
        SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(request.json)
    assert request.json == ALERT
    stamp = request.headers["X-Redline-Timestamp"]
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256)
    assert request.headers["X-Redline-Signature"] == f"sha256={expected.hexdigest()}"
    assert abs(time.time() - int(stamp)) < 5
    assert request.headers["Idempotency-Key"] == "the-key"


@pytest.mark.parametrize(
    ("answer", "verdict", "told", "retry_after"),
    [
        ((500, {}, b"x"), "later", "HTTP 500", None),
        ((429, {"Retry-After": "7"}, b""), "later", "HTTP 429", 7.0),
        ((503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""), "later", "HTTP 503", 0.0),
        ((503, {"Retry-After": "whenever"}, b""), "later", "HTTP 503", None),
        ((401, {}, SECRET.encode()), "refused", "HTTP 401", None),
        ((302, {"Location": "http://169.254.169.254/"}, b""), "refused", "HTTP 302", None),
        ("die", "later", "the connection broke: IncompleteRead", None),
        ("hang", "later", "no answer in time", None),
        ("drip", "later", "no answer in time", None),
    ],
)
def test_a_receiver_that_does_not_take_a_message_is_told_apart(
    answer: Answer | str,
    verdict: str,
    told: str,
    retry_after: float | None,
    configured: Configured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = http.post

    def post(*given: Any, **more: Any) -> Any:
        return real(*given, **{**more, "seconds": 0.5})

    monkeypatch.setattr(http, "post", post)
    with http_receiver(lambda _: answer) as receiver:
        channel = webhook(configured, monkeypatch, f"{receiver.base}/{TOKEN}")
        began = time.monotonic()
        outcome = channels.send(channel, of_one(ALERT), "k")
    assert outcome.verdict == verdict
    assert outcome.response.startswith(told)
    assert outcome.retry_after == retry_after
    assert "s3cret" not in repr(outcome)
    assert time.monotonic() - began < 3


def test_private_addresses_are_refused_unless_they_are_allowed(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        port = receiver.server_address[1]
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
            monkeypatch.setenv("A_URL", f"http://{host}:{port}/{TOKEN}")
            channel = configured("    kind: webhook\n    url: ${A_URL}\n    secret: ${A_SECRET}\n")
            outcome = channels.send(channel, of_one(ALERT), "k")
            assert outcome.verdict == "refused", host
            assert "s3cret" not in repr(outcome)
        assert receiver.requests == []


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_what_is_public_is_told_from_what_is_not(address: str, is_public: bool) -> None:
    assert http.is_public(address) is is_public


def test_a_name_that_changes_its_address_after_the_check_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_ups: list[str] = []
    with http_receiver() as receiver:
        port = receiver.server_address[1]
        real = socket.getaddrinfo

        def rebinding(host: Any, *given: Any, **more: Any) -> Any:
            if host != "rebinding.example":
                return real(host, *given, **more)
            look_ups.append(host)
            address = "203.0.113.9" if len(look_ups) > 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = f"http://rebinding.example:{port}/"
        reply = http.post(url, b"{}", {}, allow_private=True, seconds=2)
        assert isinstance(reply, http.Reply)
        assert len(look_ups) == 1  # so what was checked is what was spoken to
        assert receiver.requests[0].headers["Host"] == f"rebinding.example:{port}"

    def both(host: Any, *given: Any, **more: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("8.8.8.8", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    refused = http.post("https://mixed.example/", b"", {}, allow_private=False)
    assert isinstance(refused, Outcome)
    assert refused.verdict == "refused"


@pytest.mark.parametrize("url", ["ftp://x/", "x", "http://", "http://[", "http://a:b/", ""])
def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    outcome = http.post(url, b"", {}, allow_private=True)
    assert isinstance(outcome, Outcome)
    assert outcome.verdict == "refused"


# --- cards --------------------------------------------------------------------------------------


def _sign_of_feishu(request: Request) -> bool:
    body = request.json
    key = f"{body['timestamp']}\n{SECRET}".encode()
    expected = base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()
    return bool(body["sign"] == expected)


def _sign_of_dingtalk(request: Request) -> bool:
    query = parse_qs(urlsplit(request.path).query)
    (stamp,), (sign,) = query["timestamp"], query["sign"]
    told = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    is_milliseconds = abs(time.time() * 1000 - int(stamp)) < 5000
    return is_milliseconds and sign == base64.b64encode(told).decode()


PATHS = {
    "feishu": f"/open-apis/bot/v2/hook/{TOKEN}",
    "lark": f"/open-apis/bot/v2/hook/{TOKEN}",
    "dingtalk": f"/robot/send?access_token={TOKEN}",
    "wecom": f"/cgi-bin/webhook/send?key={TOKEN}",
    "slack": f"/services/{TOKEN}",
}
SIGNED = {"feishu": _sign_of_feishu, "lark": _sign_of_feishu, "dingtalk": _sign_of_dingtalk}

# What the platforms answer: sent, not now, never.
ANSWERS: dict[str, dict[str, bytes]] = {
    "feishu": {
        "sent": b'{"StatusCode": 0, "StatusMessage": "success", "code": 0, "msg": "success"}',
        "later": b'{"code": 11232, "msg": "frequency limited s3cret"}',
        "refused": b'{"code": 19021, "msg": "sign match fail s3cret"}',
    },
    "dingtalk": {
        "sent": b'{"errcode": 0, "errmsg": "ok"}',
        "later": b'{"errcode": 130101, "errmsg": "send too fast"}',
        "refused": b'{"errcode": 310000, "errmsg": "sign not match s3cret"}',
    },
    "wecom": {
        "sent": b'{"errcode": 0, "errmsg": "ok"}',
        "later": b'{"errcode": 45009, "errmsg": "api freq out of limit"}',
        "refused": b'{"errcode": 93000, "errmsg": "invalid webhook url s3cret"}',
    },
    "slack": {"sent": b"ok", "later": b"<html>a proxy</html>"},
    "teams": {
        "sent": b"1",
        "later": b"Webhook message delivery failed with error: HTTP error 429 s3cret",
    },
}
ANSWERS["lark"] = ANSWERS["feishu"]


def _texts(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(map(_texts, value.values()))
    return "\n".join(map(_texts, value)) if isinstance(value, list) else str(value)


def _card(kind: str, base: str, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> Channel:
    lines = (
        f"    kind: {kind}\n    language: zh\n    token: ${{A_TOKEN}}\n    allow_private: true\n"
    )
    if kind == "teams":
        monkeypatch.setenv("A_TOKEN", f"{base}/{TOKEN}")
        return configured(lines)
    secret = "    secret: ${A_SECRET}\n" if kind in SIGNED else ""
    return configured(f"{lines}{secret}    base: {base}\n")


@pytest.mark.parametrize("kind", PLATFORMS)
def test_a_card_reaches_its_platform_signed_and_with_all_that_is_to_be_said(
    kind: str, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = {**ALERT, "merchant_name": "A <at id=all></at> <!channel> [x](http://y) `B`"}
    with http_receiver(lambda _: (200, {}, ANSWERS[kind]["sent"])) as receiver:
        channel = _card(kind, receiver.base, configured, monkeypatch)
        assert channels.send(channel, of_one(alert), "k").verdict == "sent"
        (request,) = receiver.requests

    assert request.path.startswith(PATHS.get(kind, f"/{TOKEN}"))
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert SIGNED.get(kind, lambda _: True)(request)
    said = _texts(request.json)
    places = [said.index(words) for words in ("发生了什么", "确定程度", "后续措施", "数据依据")]
    assert places == sorted(places)
    assert "3.4%（500 单中 17 单）" in said
    if kind in ("dingtalk", "wecom", "teams"):  # all of their text is markup
        assert "<at" not in said
        assert "](http" not in said
    if kind == "slack":
        assert "<!channel>" not in request.json["text"]
        assert {block["text"]["type"] for block in request.json["blocks"] if "text" in block} == {
            "plain_text"
        }
    if kind in ("feishu", "lark"):
        elements = request.json["card"]["elements"]
        assert not [e for e in elements if "<at" in e["fields"][0]["text"]["content"]]
        assert {e["fields"][1]["text"]["tag"] for e in elements} == {"plain_text"}


@pytest.mark.parametrize(
    ("kind", "verdict"), [(k, v) for k in PLATFORMS for v in ANSWERS[k] if v != "sent"]
)
def test_a_200_that_tells_of_a_failure_is_a_failure(
    kind: str, verdict: str, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver(lambda _: (200, {}, ANSWERS[kind][verdict])) as receiver:
        channel = _card(kind, receiver.base, configured, monkeypatch)
        outcome = channels.send(channel, of_one(ALERT), "k")
    assert outcome.verdict == verdict
    assert "s3cret" not in repr(outcome)


@pytest.mark.parametrize("kind", PLATFORMS)
def test_a_platform_that_asks_for_quiet_is_heard(
    kind: str, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver(lambda _: (429, {"Retry-After": "30"}, b"")) as receiver:
        channel = _card(kind, receiver.base, configured, monkeypatch)
        assert channels.send(channel, of_one(ALERT), "k") == Outcome("later", "HTTP 429", 30.0)


# --- e-mail -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of `localhost`, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    crt = path.with_suffix(".crt")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    subprocess.run(
        [*words.split(), "subjectAltName=DNS:localhost", "-keyout", path, "-out", crt],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + crt.read_text())
    return path


def _mail(configured: Configured, port: int, more: str) -> Channel:
    return configured(
        f"    kind: email\n    host: localhost\n    port: {port}\n"
        "    from: Redline <redline@example.com>\n    to: [a@example.com, b@example.com]\n" + more
    )


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_mail_says_the_same_in_html_and_text_over_a_checked_connection(
    configured: Configured, certificate: Path
) -> None:
    login = ("redline", SECRET)
    with smtp_receiver(_tls(certificate), login) as receiver:
        channel = _mail(
            configured,
            receiver.server_address[1],
            f"    user: redline\n    password: ${{A_SECRET}}\n    ca_file: {certificate}\n",
        )
        alert = {**ALERT, "merchant_name": "<b>L</b>\r\nBcc: evil@example.com"}
        assert channels.send(channel, of_one(alert), "the-key") == Outcome("sent", "SMTP 250")
        assert receiver.was_encrypted
        (mail,) = receiver.mails
        assert len(receiver.recipients) == 2

    assert mail["Message-ID"] == "<the-key@example.com>"
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Violation: <b>L</b> Bcc: evil@example.com (beauty), Complaint rate"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and html is not None
    for part in ("3.4% (17 of 500 orders)", "not confirmed", "Promotion restricted", "run-1"):
        assert part in text.get_content()
        assert part in html.get_content()
    assert "<b>L" not in html.get_content()
    assert 'name="viewport"' in html.get_content()


@pytest.mark.parametrize(
    ("replies", "more", "expected"),
    [
        ({"DATA": "451 not now"}, "", Outcome("later", "SMTP 451")),
        ({"DATA": "554 spam s3cret"}, "", Outcome("refused", "SMTP 554")),
        ({"RCPT": "450 busy"}, "", Outcome("later", "SMTP 450: no recipient is taken")),
        ({"RCPT": "550 unknown"}, "", Outcome("refused", "SMTP 550: no recipient is taken")),
        ({"QUIT": "421 gone"}, "", Outcome("sent", "SMTP 250")),
    ],
)
def test_a_mail_server_that_does_not_take_a_mail_is_told_apart(
    replies: dict[str, str], more: str, expected: Outcome, configured: Configured
) -> None:
    with smtp_receiver() as receiver:
        receiver.replies = replies
        channel = _mail(configured, receiver.server_address[1], "    security: none\n" + more)
        assert channels.send(channel, of_one(ALERT), "k") == expected


def test_a_mail_is_not_sent_in_the_clear_or_to_whom_it_does_not_know(
    configured: Configured, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with smtp_receiver() as receiver:
        outcome = channels.send(
            _mail(configured, receiver.server_address[1], ""), of_one(ALERT), "k"
        )
        assert outcome.verdict == "refused"
    with smtp_receiver(_tls(certificate)) as receiver:
        outcome = channels.send(
            _mail(configured, receiver.server_address[1], ""), of_one(ALERT), "k"
        )
        assert outcome == Outcome("later", "the server's certificate is not valid")
    monkeypatch.setenv("A_SECRET", "another")
    with smtp_receiver(_tls(certificate), ("redline", SECRET)) as receiver:
        login = f"    user: redline\n    password: ${{A_SECRET}}\n    ca_file: {certificate}\n"
        outcome = channels.send(
            _mail(configured, receiver.server_address[1], login), of_one(ALERT), "k"
        )
        assert outcome == Outcome("refused", "SMTP 535: user and password are not taken")
        assert receiver.mails == []
    closed = channels.send(_mail(configured, 1, "    security: none\n"), of_one(ALERT), "k")
    assert closed == Outcome("later", "the connection broke: ConnectionRefusedError")


def test_a_message_that_is_ok_is_sent_over_tls_to_the_name_that_was_checked(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver(lambda _: OK) as receiver:
        receiver.socket = _tls(certificate).wrap_socket(receiver.socket, server_side=True)
        url = f"https://localhost:{receiver.server_address[1]}/"
        unknown = http.post(url, b"{}", {}, allow_private=True)
        assert unknown == Outcome("later", "the host's certificate is not valid")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        reply = http.post(url, b"{}", {}, allow_private=True)
        assert isinstance(reply, http.Reply)
        assert reply.status == 200

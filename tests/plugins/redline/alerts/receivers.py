"""Real receivers on loopback: an HTTP server that can misbehave, and an SMTP server."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pytest

Server = TypeVar("Server", bound=socketserver.BaseServer)

ALERT: dict[str, Any] = {
    "alert_id": "a1",
    "as_of_date": "2026-03-01",
    "platform": "sim",
    "record_id": "r1",
    "record_type": "violation",
    "transition": "opened",
    "policy_id": "p1",
    "entity_type": "merchant",
    "entity_id": "m1",
    "metric": "complaint_rate",
    "risk_point": "service",
    "numerator": 17,
    "denominator": 500,
    "value": 0.034,
    "threshold": 0.03,
    "measure": "restrict_promotion",
    "merchant_id": "m1",
    "merchant_name": "Lotus 莲花",
    "product_title": None,
    "category_id": "beauty",
    "opened_on": "2026-03-01",
    "is_confirmed": False,
    "projected_value": 0.041,
    "projected_lower_80": 0.031,
    "projected_upper_80": 0.052,
    "violation_threshold": 0.03,
    "comparator": ">=",
    "evaluation_days": 7,
    "known_gaps": [],
    "run_id": "run-1",
    "text": "Lotus: complaint_rate 3.4%",
}


def made_alert(number: int, merchant: int = 0) -> dict[str, Any]:
    """One of many alerts; of a merchant they are in the order of their numbers."""
    return {**ALERT, "alert_id": f"{number:05d}", "merchant_id": f"m{merchant}"}


def hooks(folder: Path, monkeypatch: pytest.MonkeyPatch, **urls: str) -> Path:
    """A file of webhooks by name, signed with the variable A_SECRET."""
    lines = ["channels:"]
    for name, url in urls.items():
        monkeypatch.setenv(f"URL_{name}", url)
        lines += [f"  {name}:", "    kind: webhook", f"    url: ${{URL_{name}}}"]
        lines += ["    secret: ${A_SECRET}", "    allow_private: true"]
    path = folder / "alerts.yml"
    path.write_text("\n".join(lines))
    return path


@dataclass(frozen=True)
class Request:
    """What a receiver was sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


# What to do with a request: an answer (status, headers, body), or "hang", "die" or "drip".
Answer = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[Request], Answer | str]
OK: Answer = (200, {}, b"ok")


class HttpReceiver(ThreadingHTTPServer):
    """Notes what it is sent and answers as it is told."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.behave = behave

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the other side broke."""


class _Handler(BaseHTTPRequestHandler):
    server: HttpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, dict(self.headers), body, time.time())
        self.server.requests.append(request)
        answer = self.server.behave(request)
        if answer == "hang":
            time.sleep(30)
        elif answer == "die":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of i")
            self.close_connection = True
        elif answer == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(300):
                self.wfile.write(b"x")
                time.sleep(0.1)
        else:
            status, headers, content = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def http_receiver(behave: Behaviour = lambda _: OK) -> Iterator[HttpReceiver]:
    """A receiver that serves while the block runs."""
    with _served(HttpReceiver(behave)) as server:
        yield server


class SmtpReceiver(socketserver.ThreadingTCPServer):
    """As much SMTP as a client needs: EHLO, STARTTLS, AUTH PLAIN, a mail.

    Attributes:
        replies: code and text instead of 250, by command.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None, login: tuple[str, str] | None) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.tls, self.login = tls, login
        self.replies: dict[str, str] = {}
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.was_encrypted = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the other side broke."""


class _Smtp(socketserver.StreamRequestHandler):
    server: SmtpReceiver

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self) -> None:
        self.say("220 here")
        encrypted = False
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb in self.server.replies:
                self.say(self.server.replies[verb])
            elif verb == "EHLO":
                offers = ["here"]
                offers += ["STARTTLS"] if self.server.tls and not encrypted else []
                offers += ["AUTH PLAIN"] if self.server.login else []
                for offer in offers[:-1]:
                    self.say(f"250-{offer}")
                self.say(f"250 {offers[-1]}")
            elif verb == "STARTTLS" and self.server.tls:
                self.say("220 go on")
                self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", 0)  # type: ignore[assignment]
                self.server.was_encrypted = encrypted = True
            elif verb == "AUTH":
                _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                is_right = (user, password) == self.server.login
                self.say("235 welcome" if is_right else f"535 not {password}")
            elif verb == "RCPT":
                self.server.recipients.append(line)
                self.say("250 ok")
            elif verb == "DATA":
                self.say("354 go on")
                lines = []
                while (read := self.rfile.readline()) != b".\r\n":
                    lines.append(read.removeprefix(b"."))
                mail = message_from_bytes(b"".join(lines), policy=policy.default)
                assert isinstance(mail, EmailMessage)
                self.server.mails.append(mail)
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


@contextmanager
def smtp_receiver(
    tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
) -> Iterator[SmtpReceiver]:
    """A mail server that serves while the block runs."""
    with _served(SmtpReceiver(tls, login)) as server:
        yield server


@contextmanager
def _served(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

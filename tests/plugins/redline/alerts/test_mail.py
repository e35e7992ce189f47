"""Mails: the chart within them, the link, and what a phone shows of them."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from redline.alerts.channels import mail
from redline.alerts.chart import Chart, png
from redline.alerts.message import digest, message
from tests.plugins.redline.alerts.receivers import ALERT
from tests.plugins.redline.alerts.test_cards import EVIL, PAGE, RECORD, TOLD, many

HISTORY = [[f"2026-02-{day:02d}", 0.001 * day if day != 9 else None] for day in range(1, 29)]
ALERT_IN_MAIL: dict[str, Any] = {**TOLD, "history": HISTORY, "opened_on": "2026-02-20"}
BLUE, RED, GREY = (46, 117, 214), (217, 65, 50), (134, 142, 156)


def sent(told: Any) -> EmailMessage:
    """A mail as its receiver reads it."""
    made = mail.compose(told, "k", "Redline <redline@example.com>", ["a@example.com"])
    read = message_from_bytes(made.as_bytes(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def body(read: EmailMessage, kind: str) -> str:
    part = read.get_body((kind,))
    assert part is not None
    return str(part.get_content())


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_chart_is_within_the_mail_and_told_to_those_who_cannot_see_it() -> None:
    read = sent(message(ALERT_IN_MAIL, "en", page=PAGE))

    assert read.get_content_type() == "multipart/alternative"
    (image,) = _Elements(body(read, "html")).of("img")
    (picture,) = [part for part in read.walk() if part.get_content_type() == "image/png"]
    assert image["src"] == "cid:" + picture["Content-ID"].strip("<>")
    assert picture.get_content_disposition() == "inline"
    assert image["alt"] == (
        "Complaint rate, the last 28 evenings: from 0.1% to 2.8%; the line is the threshold, 3.0%"
    )
    assert "█ 0.1% → 2.8%" in body(read, "plain")
    assert "█" not in body(read, "html")


def test_a_mail_without_a_history_has_no_picture() -> None:
    read = sent(message(ALERT, "en"))
    assert not [part for part in read.walk() if part.get_content_maintype() == "image"]
    assert not _Elements(body(read, "html")).of("img")


def test_the_link_stands_before_what_the_alert_rests_on() -> None:
    read = sent(message(ALERT_IN_MAIL, "en", page=PAGE))
    text, html = body(read, "plain"), body(read, "html")
    (link,) = _Elements(html).of("a")
    assert link["href"] == RECORD
    assert text.index("What follows") < text.index(RECORD) < text.index("Rests on")
    assert html.index("What follows") < html.index(RECORD) < html.index("Rests on")


def test_a_digest_links_each_alert_and_escapes_what_data_says() -> None:
    read = sent(digest([*many(2), *many(1, merchant_name=f'"><b>{EVIL}')], "en", page=PAGE))
    links = [link["href"] for link in _Elements(body(read, "html")).of("a")]
    assert links == [*(f"{PAGE}/records/r{n}" for n in (0, 0, 1)), PAGE]
    assert "<at" not in body(read, "html")
    assert body(read, "plain").count(f"{PAGE}/records/") == 3


def _chart(history: list[list[Any]], **more: Any) -> Chart:
    chart = message({**ALERT, "history": history, **more}, "en").chart
    assert chart is not None
    return chart


def _near(chart: Chart, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """Where a chart shows a colour, in its points."""
    image = Image.open(BytesIO(png(chart))).convert("RGBA")
    pixels = image.load()
    assert pixels is not None
    return {
        (x, y)
        for x in range(image.width)
        for y in range(image.height)
        for pixel in [pixels[x, y]]
        if isinstance(pixel, tuple)
        and pixel[3] > 200
        and all(abs(a - b) < 12 for a, b in zip(pixel[:3], colour, strict=True))
    }


def test_the_chart_draws_values_threshold_and_opening_where_they_belong() -> None:
    chart = _chart([[f"2026-02-{day:02d}", 0.01] for day in range(1, 29)], opened_on="2026-02-14")
    plot = range(12, 540)  # what is right of it are numbers
    line = {y for x, y in _near(chart, BLUE) if x in plot}
    limit = {y for x, y in _near(chart, RED) if x in plot}
    # From 0 at the bottom (y = 168) to 3.24% at the top (y = 20): 1% and 3%.
    assert min(line) >= 115 and max(line) <= 130
    assert min(limit) >= 26 and max(limit) <= 36
    upright = {x for x, y in _near(chart, GREY) if 45 < y < 110 and x in plot}
    assert upright and abs(sum(upright) / len(upright) - (12 + 536 * 13 / 27)) < 3
    assert not {x for x, y in _near(_chart(HISTORY[:3]), GREY) if 45 < y < 110}


@pytest.mark.parametrize(
    ("history", "more"),
    [
        ([["2026-02-27", 0.0], ["2026-02-28", 0.0]], {"threshold": None}),
        ([["2026-02-26", 0.0], ["2026-02-27", None], ["2026-02-28", 0.0]], {}),
        ([["2026-02-26", 1.5], ["2026-02-27", 2.0], ["2026-02-28", None]], {"threshold": 0.0}),
        (HISTORY, {"threshold": 0.028}),
    ],
)
def test_any_history_makes_a_picture(history: list[list[Any]], more: dict[str, Any]) -> None:
    made = png(_chart(history, **more))
    width, height = struct.unpack(">II", made[16:24])
    assert made.startswith(b"\x89PNG") and (width, height) == (640, 208)
    assert len(made) < 20_000


def test_a_chart_takes_milliseconds() -> None:
    chart = _chart(HISTORY)
    png(chart)
    began = time.process_time()
    for _ in range(50):
        png(chart)
    assert (time.process_time() - began) / 50 < 0.030


@pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed: apt-get install chromium"
)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("what", ["alert", "digest", "merchant"])
def test_a_mail_is_no_wider_than_a_phone(language: Any, what: str, tmp_path: Path) -> None:
    told = {
        "alert": lambda: message({**ALERT_IN_MAIL, "run_id": "r" * 90}, language, page=PAGE),
        "digest": lambda: digest(many(5, merchant_name="M" * 80), language, page=PAGE),
        "merchant": lambda: message(ALERT_IN_MAIL, language, "x" * 90, 7, audience="merchant"),
    }[what]()
    (tmp_path / "mail.html").write_text(mail.html(told, "p" if told.chart else None))
    # A browser's window has a least width that is more than a phone's: the mail goes in a frame.
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" src="mail.html" width="360" height="900"></iframe><script>'
        "onload = () => document.title = document.getElementById('f')"
        ".contentDocument.documentElement.scrollWidth</script>"
    )
    seen = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--dump-dom"),
            *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
            str(tmp_path / "frame.html"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "<title>360</title>" in seen, seen

"""The page and the terminal's tables."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from redline.backtest.page import MOST_CHANGES, page
from redline.backtest.report import Report
from redline.backtest.terminal import SHOWN, show
from tests.plugins.redline.backtest.hand_made import Replay, compare

_VOID = {"meta", "br", "hr", "img", "input", "link"}


class Seen(HTMLParser):
    """What a page consists of; fails where elements are not closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def of(self, tag: str, name: str) -> list[str]:
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]

    def all_closed(self) -> bool:
        return not self._open


def read(html: str) -> Seen:
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert seen.all_closed()
    return seen


@pytest.fixture
def report(tmp_path: Path) -> Report:
    active, candidate = Replay(), Replay()
    for number in range(3):
        candidate.alerted(f"m{number}", 6 + number)
        candidate.judged(
            f"m{number}", 6 + number, "warning", value=0.03, numerator=3, denominator=99
        )
        candidate.add(
            "dim_merchants", {"merchant_id": f"m{number}", "merchant_name": "<b>Tea & Co"}
        )
        candidate.warned(f"m{number}", 6 + number)
        candidate.violated(f"m{number}", 12 + 10 * number)
    active.alerted("lost", 4, metric="refund_rate")
    return compare(active, candidate, tmp_path)


def test_the_page_needs_nothing_from_elsewhere(report: Report) -> None:
    html = page(report)
    seen = read(html)

    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(seen.tags)
    assert not [a for a in seen.attributes if a[1] == "src"]
    # Within an SVG parts refer to each other by name.
    refers = [value for _, name, value in seen.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in refers)
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html


def test_the_page_can_be_read_by_whoever_reads_it(report: Report) -> None:
    seen = read(page(report))

    assert seen.of("html", "lang") == ["en"]
    assert seen.tags.count("h1") == seen.tags.count("main") == 1
    assert seen.tags.count("svg") == seen.tags.count("figcaption") == 3
    assert seen.of("svg", "role") == ["img"] * 3
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len({*ids})
    for names in seen.of("svg", "aria-labelledby"):
        assert {*names.split()} <= {*ids}
    assert seen.tags.count("table") == seen.tags.count("caption") == 2
    assert {*seen.of("th", "scope")} == {"row", "col"}
    assert seen.tags.count("text") > 20  # words of the plots are words, not outlines


def test_names_from_the_data_are_text(report: Report) -> None:
    html = page(report)

    assert "<b>" not in html
    assert "<b>Tea & Co (m1)" in read(html).words


def test_the_page_says_what_was_asked_and_how_it_is_counted(report: Report) -> None:
    words = read(page(report)).words

    assert "Backtest of theirs, 2026-03-01 to 2026-03-31" in words
    assert "3 gain an alert and 1 lose theirs" in words
    for measure in report.measures:
        assert measure.label in words
        assert measure.meaning in words
    assert "warning, 3.00% (3/99)" in words


def test_the_same_report_gives_the_same_page(report: Report) -> None:
    assert page(report) == page(report)


def test_a_page_without_alerts_says_so(tmp_path: Path) -> None:
    seen = read(page(compare(Replay(), Replay(), tmp_path)))

    assert "svg" not in seen.tags
    assert "Nobody gains or loses an alert." in seen.words


def test_a_long_list_ends_with_where_the_rest_is(tmp_path: Path) -> None:
    candidate = Replay()
    for number in range(MOST_CHANGES + 1):
        candidate.alerted(f"m{number}", 6)
    seen = read(page(compare(Replay(), candidate, tmp_path)))

    assert (
        f"The first {MOST_CHANGES} of {MOST_CHANGES + 1}; all are in changes.parquet." in seen.words
    )


def test_platforms_that_are_left_out_are_named(tmp_path: Path) -> None:
    report = compare(Replay(), Replay(), tmp_path, left_out=("olist",))

    told = "Left out, as not all of these evenings are published for them: olist."
    assert told in read(page(report)).words
    assert told in shown(report)


def shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_tells_the_measures_and_some_of_each_change(tmp_path: Path) -> None:
    active, candidate = Replay(), Replay()
    for number in range(SHOWN + 2):
        candidate.alerted(f"[m{number}]", 6)
    active.alerted("lost", 4)
    active.warned("lost", 4)

    text = shown(compare(active, candidate, tmp_path))

    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert f"Alerts an evening 0.03 1 in all {(SHOWN + 2) / 31:.2f} 6 in all +0.16" in lines
    assert "Precision of warnings 0.0% 0 of 1 – 0 of 0 –" in lines
    assert [line for line in lines if line.startswith("gains an alert [m")] == [
        f"gains an alert [m{number}] active not judged" for number in range(SHOWN)
    ]
    assert "loses its alerts lost active not judged" in lines
    assert "2 more on the page." in lines
    assert any(line.endswith("by-hand/report.html") for line in lines)

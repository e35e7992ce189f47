"""What `make explain` prints, and how it ends."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from redline.explain import Story
from redline.explain.__main__ import main
from redline.explain.terminal import ENTRIES_SHOWN, EVENINGS_SHOWN, KEYS_SHOWN, show
from tests import support
from tests.histories import TIMEZONE

pytestmark = [
    pytest.mark.xdist_group("told"),  # one worker makes the home
    pytest.mark.timeout(600),  # of which the first test pays for it
]

WIDTH = 100

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    told: support.Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command on the told home: its exit code, what it prints and what it complains."""

    def run(*arguments: str, home: Path = told.settings.home.root) -> tuple[int, str, str]:
        monkeypatch.setenv("REDLINE_HOME", str(home))
        monkeypatch.setenv("REDLINE_TIMEZONE", TIMEZONE)
        return main(arguments), *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def pages(stories: dict[str, Story]) -> list[str]:
    """Every story, whole."""
    return [printed(one, everything=True) for one in stories.values()]


def printed(one: Story, *, everything: bool = False) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    show(one, console, everything=everything)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_record_the_open_ones_are_listed_with_ids_to_copy(
    run: Run, stories: dict[str, Story]
) -> None:
    code, page, complaint = run()
    assert (code, complaint) == (0, "")
    ids = re.findall(r"^([0-9a-f]{12}) ", page, re.MULTILINE)
    open_ids = [id_ for id_, one in stories.items() if one.record.closed_on is None]
    assert len(ids) == 20 and f"(and {len(open_ids) - 20} more; ALL=1 tells them)" in page
    assert all(any(full.startswith(id_) for full in open_ids) for id_ in ids)
    assert f"make explain RECORD={ids[0]}" in page
    assert len(re.findall(r"^([0-9a-f]{12}) ", run("--all")[1], re.MULTILINE)) == len(open_ids)
    assert run(ids[0])[0] == 0


def test_a_record_that_does_not_exist_ends_with_1_and_one_line(run: Run) -> None:
    code, page, complaint = run("zzzzzzzz")
    assert (code, page) == (1, "")
    assert complaint.count("\n") == 1
    assert complaint.startswith("error: no record or alert has an id that begins with 'zzzzzzzz'")


def test_an_empty_home_ends_with_1_and_one_line(run: Run, tmp_path: Path) -> None:
    for arguments in ((), ("abcdef",)):
        code, page, complaint = run(*arguments, home=tmp_path)
        assert (code, page) == (1, "")
        assert complaint.count("\n") == 1 and "run `make run` first" in complaint


@pytest.mark.parametrize("entity_type", ["merchant", "product", "category"])
def test_a_page_says_who_what_why_and_what_became_of_it(
    run: Run, stories: dict[str, Story], entity_type: str
) -> None:
    record_id, one = next(
        (id_, one)
        for id_, one in stories.items()
        if one.record.entity_type == entity_type and one.record.closed_on is not None
    )
    code, page, _ = run(record_id[:10])
    assert code == 0
    record = one.record
    title, *lines = page.splitlines()
    assert title.startswith(f"{record.record_type.capitalize()} of ")
    assert f"({record.entity_id})" in title and title.endswith(record.metric)
    assert record_id in lines[0]
    assert f"{record.opened_on} to {record.closed_on}; resolved; " in lines[1]
    for heading in (f"Policy {record.policy_line}", "Day by day", "Ledger: ", "What happened"):
        assert f"\n{heading}" in page
    assert one.policies[0].policy_id in page
    assert all(f"\n{evening.as_of_date}  " in page for evening in one.evenings)
    for transition in one.transitions:
        said = transition.transition.replace("_", " ")
        assert f"{transition.as_of_date}  {said}" in page
        assert transition.alert_id is None or f"told by alert {transition.alert_id}" in page


def test_every_story_fits_its_width_and_shows_nothing_personal(
    told: support.Warehouse, pages: list[str]
) -> None:
    landing = told.settings.home.landing
    personal = {
        value
        for entity, column in (
            ("orders", "buyer_id"),
            ("complaints", "description"),
            ("reviews", "body"),
            ("merchants", "contact"),
            ("merchants", "settlement_account"),
        )
        for (value,) in told.rows(
            f"select distinct {column} from read_parquet('{landing}/*/{entity}/*/*.parquet') "
            f"where {column} is not null"
        )
    }
    assert len(personal) > 1000
    words: set[str] = set()
    for page in pages:
        tables = page.split("\nDay by day")[1].split("\nLedger: ")[0]
        assert max(map(len, tables.splitlines())) <= WIDTH
        words |= {*page.split(), *page.splitlines()}
    assert not words & personal


def test_an_overturned_event_is_shown_as_such(stories: dict[str, Story], pages: list[str]) -> None:
    page = "\n".join(pages)
    assert re.search(r"^    - \w+ \S+, order \S+, .*: overturned$", page, re.MULTILINE)
    assert re.search(r"^    \+ .*: overturned since \d{4}-\d\d-\d\d$", page, re.MULTILINE)
    assert re.search(r"against complaint \S+: submitted \S+, upheld \S+", page)
    overturned = next(one for one in stories.values() if one.record.is_overturned)
    page = printed(overturned)
    assert "overturned by an appeal" in re.sub(r"\s+", " ", page)
    assert "against-upheld against this violation: submitted" in page


def test_what_is_too_long_is_counted_unless_all_is_asked_for(
    run: Run, stories: dict[str, Story]
) -> None:
    lengthy = max(stories.values(), key=lambda one: len(one.entries))
    entries = len(lengthy.entries)
    assert entries > ENTRIES_SHOWN and any(len(e.keys or ()) > KEYS_SHOWN for e in lengthy.entries)
    record_id = lengthy.record.record_id
    short, whole = run(record_id)[1], run(record_id, "--all")[1]
    assert f"(and {entries - ENTRIES_SHOWN} reported earlier; ALL=1 tells them)" in short
    assert len(re.findall(r", cohort \S+, lag ", short)) == ENTRIES_SHOWN
    assert len(re.findall(r", cohort \S+, lag ", whole)) == entries
    keys = sum(len(entry.keys or ()) for entry in lengthy.entries)
    assert len(re.findall(r"^    [+-] ", whole, re.MULTILINE)) == keys
    assert " more" not in whole.split("\nDay by day")[1]


def test_a_long_record_shows_its_first_and_last_evenings(stories: dict[str, Story]) -> None:
    one = max(stories.values(), key=lambda one: len(one.evenings))
    assert len(one.evenings) > EVENINGS_SHOWN
    page = printed(one)
    assert re.search(r"^\(\d+ more\)", page, re.MULTILINE)
    for evening in (one.evenings[0], one.evenings[-1]):
        assert f"\n{evening.as_of_date}  " in page
    whole = printed(one, everything=True)
    assert all(f"\n{evening.as_of_date}  " in whole for evening in one.evenings)


def test_a_minimum_of_another_component_is_told_evening_by_evening(
    stories: dict[str, Story],
) -> None:
    one = next(one for one in stories.values() if one.policies[0].min_component)
    page = printed(one)
    assert "and 20 orders fulfilled in 14 days" in page
    assert len(re.findall(r"^\d{4}-\d\d-\d\d +\S+ +\d+/\d+ +\d+/20 ", page, re.MULTILINE)) >= 3


def test_a_story_without_keys_says_why_in_one_line(stories: dict[str, Story]) -> None:
    one = next(iter(stories.values()))
    page = printed(replace(one, appeals=None, keys_missing="a run is at work (home): ask again"))
    assert "\n  Event keys and appeals are left out: a run is at work (home): ask again\n" in page
    assert "\nAppeals" not in page

"""A backtest from its question to its report."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from redline import lock, restating
from redline.backtest import Report, backtest
from redline.backtest.__main__ import main
from redline.backtest.question import ask
from redline.errors import BusyError, PackError, RedlineError, SettingError
from redline.publish.state import locked
from redline.settings import Home, Settings
from tests.dbt_project.simulated import FIRST, LAST, MIDDLE, PLATFORM
from tests.plugins.redline.backtest.made_homes import Homes

pytestmark = [
    pytest.mark.xdist_group("backtest"),  # one worker builds the homes
    pytest.mark.timeout(900),  # of which the first test pays for all
]

START = "2026-01-12"


def contents(home: Home) -> dict[str, str]:
    """A digest of every file that a run may write, by its path."""
    return {
        str(path.relative_to(home.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.root.rglob("*")
        if path.is_file()
        and path.relative_to(home.root).parts[0] not in ("backtests", "logs", "run.lock")
    }


@pytest.fixture(scope="module")
def before(homes: Homes) -> dict[str, str]:
    return contents(homes.went_on.home)


@pytest.fixture(scope="module")
def report(homes: Homes, before: dict[str, str]) -> Report:
    """A report, made in place of an older one, while a run extracted."""
    settings, asked = homes.went_on, (str(homes.loose), START, str(MIDDLE))
    older = settings.home.backtests / ask(settings, *asked, homes.project).name
    older.mkdir(parents=True)
    (older / "older.html").touch()
    with lock.hold(settings.home, "extract orders", shared=True):
        return backtest(settings, *asked, project=homes.project)


def test_a_backtest_leaves_a_page_and_tables(homes: Homes, report: Report) -> None:
    assert report.folder.parent == homes.went_on.home.root / "backtests"
    assert report.folder.name.startswith(f"{START}_{MIDDLE}_loose_")
    assert sorted(path.name for path in report.folder.iterdir()) == [
        "alerts.parquet",
        "changes.parquet",
        "measures.parquet",
        "report.html",
    ]
    assert report.page.read_text().startswith("<!doctype html>")
    sides = pq.read_table(report.folder / "alerts.parquet")["side"].to_pylist()
    # The candidate's thresholds are higher: it cannot warn more often.
    assert sides.count("active") > sides.count("candidate") > 0
    directions = {change.direction for change in report.changes}
    assert "lost" in directions and "gained" not in directions


def test_nothing_but_the_report_is_written(
    homes: Homes, before: dict[str, str], report: Report
) -> None:
    assert "warehouse.duckdb" in before
    assert contents(homes.went_on.home) == before
    assert {path.name for path in report.folder.parent.iterdir()} == {
        ".lock",
        ".matplotlib",
        report.folder.name,
    }


def test_another_question_has_another_name(homes: Homes, tmp_path: Path) -> None:
    edited = tmp_path / "pack_loose.csv"
    edited.write_text(homes.loose.read_text().replace(",restrict_promotion,", ",throttle,"))

    def name(pack: str, end: date = MIDDLE) -> str:
        return ask(homes.went_on, pack, START, str(end), homes.project).name

    names = [name("etsy"), name("walmart"), name("etsy", LAST), name(str(edited))]
    assert name("etsy") == names[0]
    assert len({*names, name(str(homes.loose))}) == len(names) + 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def refused(homes: Homes) -> Callable[..., Report]:
    def refused(pack: str = "douyin_laike", start: str = START, end: str = str(MIDDLE)) -> Report:
        return backtest(homes.went_on, pack, start, end, project=homes.project)

    return refused


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"start": ""}, "'' is not a date (START, or start_date)"),
        ({"end": "31.1.2026"}, "'31.1.2026' is not a date (END, or end_date)"),
        ({"start": str(MIDDLE), "end": START}, f"END {START} comes before START {MIDDLE}"),
        (
            {"start": "2025-12-31"},
            f"not all evenings from 2025-12-31 to {MIDDLE} are published (START and END, or",
        ),
        ({"end": "2026-02-05"}, f"give both within {FIRST} to {LAST} ({PLATFORM})"),
        ({"pack": " , "}, "no candidate is named (PACK, or pack): name a pack (amazon, "),
        ({"pack": "taobao"}, "there is no policy pack 'taobao' (PACK, or pack): name one of"),
        ({"pack": "strict,strict"}, "the policy pack 'strict' is named twice (PACK, or pack)"),
        ({"pack": "/nowhere/pack_x.csv"}, "the file cannot be read: No such file or directory"),
        ({"pack": "/nowhere/pack-x.csv"}, "'pack-x' cannot name a pack (PACK, or pack)"),
    ],
)
def test_a_question_that_means_nothing_is_answered_in_one_line(
    refused: Callable[..., Report], asked: dict[str, str], said: str
) -> None:
    with pytest.raises(RedlineError) as caught:
        refused(**asked)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_broken_candidate_is_refused_with_its_own_place(
    refused: Callable[..., Report], homes: Homes, tmp_path: Path
) -> None:
    broken = tmp_path / "pack_broken.csv"
    broken.write_text(homes.loose.read_text().replace(">=", "=>", 1))

    with pytest.raises(PackError) as caught:
        refused(pack=str(broken))
    assert f"'=>' is not a comparator ({broken}, line 2, column comparator)" in str(caught.value)


def test_a_home_without_anything_published_is_refused_and_not_made(
    homes: Homes, tmp_path: Path
) -> None:
    settings = replace(homes.went_on, home=Home(tmp_path / "nowhere"))

    with pytest.raises(SettingError, match=r"nothing has been published yet .*: use `make run`"):
        backtest(settings, "douyin_laike", START, str(MIDDLE), project=homes.project)
    assert not settings.home.root.exists()


def test_a_home_without_its_warehouse_is_refused(homes: Homes, tmp_path: Path) -> None:
    settings = replace(homes.ended, home=Home(tmp_path / "home"))
    shutil.copytree(homes.ended.home.published, settings.home.published, symlinks=True)

    with pytest.raises(SettingError, match="there is no warehouse"):
        backtest(settings, "douyin_laike", START, str(MIDDLE), project=homes.project)


def test_a_home_of_another_time_zone_is_refused(homes: Homes) -> None:
    settings: Settings = replace(homes.ended, timezone="UTC")

    with pytest.raises(SettingError, match="this home was made with Asia/Shanghai"):
        backtest(settings, "douyin_laike", START, str(MIDDLE), project=homes.project)


def test_an_unfinished_restatement_is_finished_first(
    refused: Callable[..., Report], homes: Homes
) -> None:
    restating.begin(homes.went_on.home, PLATFORM, date(2026, 1, 20))
    try:
        with pytest.raises(SettingError, match="a restatement from 2026-01-20 was not finished"):
            refused()
    finally:
        restating.finish(homes.went_on.home, PLATFORM, date(2026, 1, 20))


def test_a_metric_that_is_new_among_the_seeds_needs_a_run_first(
    homes: Homes, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(homes.project, project)
    with (project / "seeds" / "metrics.csv").open("a") as seed:
        seed.write("novel_rate,Novel rate,新,paid,7,7,always,Something new\n")
    pack = tmp_path / "pack_novel.csv"
    pack.write_text(homes.loose.read_text().replace(",complaint_rate,", ",novel_rate,"))

    with pytest.raises(SettingError, match=r"does not know the metric novel_rate yet .*make run"):
        backtest(homes.went_on, str(pack), START, str(MIDDLE), project=project)


def test_a_backtest_says_that_a_run_is_at_work_and_leaves_nothing(
    refused: Callable[..., Report], homes: Homes
) -> None:
    home = homes.went_on.home
    (home.backtests / ".aside-killed" / "active").mkdir(parents=True)  # by an earlier one
    with (
        lock.hold(home, "transform of tonight"),
        pytest.raises(BusyError, match=r"another run is at work: process \d+ \(transform of"),
    ):
        refused()
    assert not [path for path in home.backtests.iterdir() if path.name.startswith(".aside")]


def test_one_backtest_at_a_time(refused: Callable[..., Report], homes: Homes) -> None:
    home = homes.went_on.home
    with locked(home.backtests), pytest.raises(BusyError, match="another run is writing here"):
        refused()


# --- make backtest ------------------------------------------------------------------------------


def test_the_command_fails_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path / "home"))

    assert main(["--pack", "etsy", "--start", START, "--end", str(LAST)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Error: nothing has been published yet (REDLINE_HOME=")


def test_the_command_tells_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    from redline.backtest import __main__ as command

    asked = {}

    def stand_in(settings: Settings, *question: str, **more: object) -> Report:
        asked["question"] = question
        return report

    monkeypatch.setattr(command, "backtest", stand_in)

    assert main(["--pack", "loose", "--start", START, "--end", str(MIDDLE)]) == 0
    assert asked["question"] == ("loose", START, str(MIDDLE))
    assert json.dumps(str(report.page))[1:-1] in capsys.readouterr().out.replace("\n", "")

"""Which dates a run takes, and whether the home is ours."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline import planning, restating
from redline.errors import RedlineError, SettingError, SourceError
from redline.plan import Plan, load_plan
from redline.settings import Settings, read_settings

FIRST, LAST = date(2026, 1, 1), date(2026, 3, 1)
JAN = partial(date, 2026, 1)
DAG_RUN = "manual__2026-03-02T02:00:00.123456+00:00"


@pytest.fixture(autouse=True)
def standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of known span, and nothing published."""
    source = ModuleType("redline.sources.standin")
    source.__spec__ = ModuleSpec(source.__name__, None)
    source.__dict__["open_source"] = lambda address: SimpleNamespace(
        platform=address.platform, span=lambda: (FIRST, LAST)
    )
    monkeypatch.setitem(sys.modules, source.__name__, source)
    publish_through(monkeypatch, None)


def publish_through(monkeypatch: pytest.MonkeyPatch, day: date | None) -> None:
    monkeypatch.setattr(planning, "published", lambda *_: (day, day and "base"))


def settings(home: Path, timezone: str = "Asia/Shanghai") -> Settings:
    return read_settings({"REDLINE_HOME": str(home), "REDLINE_TIMEZONE": timezone})


@pytest.mark.parametrize(
    ("published", "start", "end", "taken"),
    [
        (None, date(2026, 1, 5), date(2026, 1, 9), (date(2026, 1, 5), date(2026, 1, 9))),
        (
            date(2026, 1, 3),
            date(2026, 1, 9),
            date(2026, 1, 9),
            (date(2026, 1, 4), date(2026, 1, 9)),
        ),
        (
            date(2026, 1, 9),
            date(2026, 1, 5),
            date(2026, 1, 9),
            (date(2026, 1, 10), date(2026, 1, 9)),
        ),
        (
            date(2026, 2, 9),
            date(2026, 1, 5),
            date(2026, 1, 9),
            (date(2026, 2, 10), date(2026, 2, 9)),
        ),
    ],
)
def test_a_run_takes_every_date_since_the_last_published_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: date | None,
    start: date,
    end: date,
    taken: tuple[date, date],
) -> None:
    publish_through(monkeypatch, published)
    plan = planning.make_plan(settings(tmp_path), "standin://x", start, end, DAG_RUN)
    assert (plan.start, plan.end) == taken
    assert (plan.requested_start, plan.requested_end) == (start, end)
    assert plan.has_open_dates is (taken[0] <= taken[1])
    assert load_plan(settings(tmp_path).home, plan.run_id) == plan


@pytest.mark.parametrize("requested_end", [date(2026, 1, 20), date(2026, 2, 10)])
def test_a_restatement_takes_its_first_date_and_all_closed_ones_after_it_but_no_open_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requested_end: date
) -> None:
    publish_through(monkeypatch, date(2026, 2, 1))
    day = date(2026, 1, 20)
    plan = planning.make_plan(
        settings(tmp_path), "standin://x", day, requested_end, DAG_RUN, restate_from=day
    )
    assert (plan.start, plan.restated_from) == (day, day)
    assert plan.end == plan.requested_end == date(2026, 2, 1)


def test_an_unfinished_restatement_is_finished_before_the_platform_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_through(monkeypatch, JAN(20))
    made = settings(tmp_path)

    def plan(restate_from: date | None, platform: str = "standin", run: str = "x") -> Plan:
        address = f"standin://x?platform={platform}"
        return planning.make_plan(made, address, JAN(21), JAN(21), run, restate_from)

    plan(JAN(10))
    for refused in (None, JAN(11)):
        with pytest.raises(SettingError) as caught:
            plan(refused)
        assert str(caught.value) == (
            "a restatement from 2026-01-10 was not finished (platform standin): "
            "run `make restate FROM=2026-01-10`"
        )
    assert plan(None, "other").start == JAN(21)
    plan(JAN(10))
    plan(JAN(5))
    with pytest.raises(SettingError, match="FROM=2026-01-05"):
        plan(JAN(10))

    restating.finish(made.home, "standin", JAN(10))  # does not make good what began at 5
    with pytest.raises(SettingError, match="FROM=2026-01-05"):
        plan(None)
    restating.finish(made.home, "standin", JAN(5))
    assert plan(None).start == JAN(21)
    assert not (tmp_path / "restating.json").exists()


def test_a_published_restatement_is_not_planned_again_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_through(monkeypatch, JAN(20))
    made = settings(tmp_path)

    def plan() -> Plan:
        return planning.make_plan(made, "standin://x", JAN(10), JAN(10), DAG_RUN, JAN(10))

    first = plan()
    restating.finish(made.home, "standin", JAN(10))
    (first.folder(made.home) / "publish.json").write_text('{"published": true}')
    with pytest.raises(SettingError, match=r"already published .*: trigger a new run"):
        plan()
    (first.folder(made.home) / "publish.json").unlink()  # killed before it was written
    monkeypatch.setattr(planning, "published", lambda *_: (JAN(20), first.run_id))
    with pytest.raises(SettingError, match=r"already published .*: trigger a new run"):
        plan()
    assert not (tmp_path / "restating.json").exists()


@pytest.mark.parametrize("published", [None, date(2026, 1, 19)])
def test_an_open_date_cannot_be_restated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: date | None
) -> None:
    publish_through(monkeypatch, published)
    day = date(2026, 1, 20)
    with pytest.raises(SettingError, match="cannot restate from 2026-01-20"):
        planning.make_plan(settings(tmp_path), "standin://x", day, day, DAG_RUN, restate_from=day)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (date(2026, 1, 9), date(2026, 1, 5), "END 2026-01-05 comes before START 2026-01-09"),
        (date(2025, 1, 1), date(2025, 12, 31), "it has 2026-01-01 to 2026-03-01"),
        (date(2026, 3, 2), date(2026, 3, 2), "it has 2026-01-01 to 2026-03-01"),
    ],
)
def test_dates_that_cannot_be_taken_are_refused_in_one_line(
    tmp_path: Path, start: date, end: date, said: str
) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        planning.make_plan(settings(tmp_path / "home"), "standin://x", start, end, DAG_RUN)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home").glob("runs/*"))


def test_a_retried_task_finds_its_run_by_the_same_name(tmp_path: Path) -> None:
    def plan(dag_run: str) -> str:
        return planning.make_plan(settings(tmp_path), "standin://x", FIRST, LAST, dag_run).run_id

    assert plan(DAG_RUN) == plan(DAG_RUN)
    assert plan(DAG_RUN).startswith("20260302T020000-standin-")
    assert plan(DAG_RUN) != plan("manual__2026-03-02T02:00:00.123457+00:00")


@given(st.text(max_size=80), st.text(max_size=20))
def test_a_run_name_is_safe_as_a_file_name(dag_run: str, platform: str) -> None:
    name = planning.name_run(dag_run, platform, LAST)
    assert name == Path(name).name
    assert (
        name.isascii() and not name.startswith(".") and all(c.isalnum() or c in "-_" for c in name)
    )


def test_a_home_below_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="cannot write to the home") as caught:
        planning.prepare_home(settings(tmp_path / "file" / "home"))
    assert "\n" not in str(caught.value)


def test_a_home_keeps_its_time_zone(tmp_path: Path) -> None:
    planning.prepare_home(settings(tmp_path, "Asia/Shanghai"))
    planning.prepare_home(settings(tmp_path, "Asia/Shanghai"))
    with pytest.raises(SettingError, match="set REDLINE_TIMEZONE=Asia/Shanghai or another"):
        planning.prepare_home(settings(tmp_path, "UTC"))


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("postgres://reader:s3cret@db:5432/shop?a=b", "postgres://reader:***@db:5432/shop?a=b"),
        ("postgres://reader@db/shop", "postgres://reader@db/shop"),
        ("s3://KEY:s3/cr+et@bucket/in?a=b@c", "s3://KEY:***@bucket/in?a=b@c"),
        ("mysql://me:p@ss@db/shop", "mysql://me:***@db/shop"),
        ("mysql://me@db:3306/shop?note=a@b", "mysql://me@db:3306/shop?note=a@b"),
        ("mysql://db:3306/shop?note=a@b", "mysql://db:3306/shop?note=a@b"),
        ("files:///data/with:colon@x", "files:///data/with:colon@x"),
        ("simulator://?merchants=3&days=10", "simulator://?merchants=3&days=10"),
    ],
)
def test_a_password_is_never_written_down(address: str, written: str) -> None:
    assert planning.without_password(address) == written


def test_a_plan_on_disk_holds_no_password(tmp_path: Path) -> None:
    plan = planning.make_plan(settings(tmp_path), "standin://me:s3cret@x", FIRST, LAST, DAG_RUN)
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert plan.source == "standin://me:***@x"


def test_an_address_that_means_nothing_is_refused_without_telling_its_password() -> None:
    with pytest.raises(SourceError, match="names no source") as caught:
        planning.open_known_source("gopher://me:s3cret@host/x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "", "01.03.2026"])
def test_what_is_not_a_date_is_refused(text: str) -> None:
    with pytest.raises(RedlineError, match="write it as YYYY-MM-DD"):
        planning.read_date(text, "START")


def test_the_last_complete_date_is_the_business_zones() -> None:
    moment = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)  # 02:00 on 2 March in Shanghai
    assert planning.last_complete_date(moment, "Asia/Shanghai") == date(2026, 3, 1)
    assert planning.last_complete_date(moment, "UTC") == date(2026, 2, 28)

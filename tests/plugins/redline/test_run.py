"""`python -m redline.run` as a person meets it, where it needs no pipeline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redline.progress import Watch
from redline.run import Outcome, Part, main
from redline.settings import PROJECT


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    return subprocess.run(
        [sys.executable, "-m", "redline.run", *arguments],
        env={**inherited, "PYTHONPATH": "plugins", "REDLINE_HOME": str(home), **environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=500,
    )


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line by which a run was refused."""
    assert result.returncode == 1, result
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert line.startswith("Error: ")
    return line


@contextmanager
def holder(home: Path) -> Iterator[int]:
    """Another process that holds the home."""
    code = (
        "import sys, pathlib; from redline import lock; from redline.settings import Home\n"
        "with lock.hold(Home(pathlib.Path(sys.argv[1])), 'make run'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "plugins")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.kill()


def test_an_end_before_its_start_is_refused(tmp_path: Path) -> None:
    line = refused(run(tmp_path / "home", "--start", "2026-02-02", "--end", "2026-02-01"))
    assert "END 2026-02-01 comes before START 2026-02-02" in line
    assert not (tmp_path / "home").exists()


def test_what_is_not_a_date_is_refused(tmp_path: Path) -> None:
    assert "'soon' is not a date (START)" in refused(run(tmp_path / "home", "--start", "soon"))


@pytest.mark.parametrize("source", ["gopher://x", "nonsense", "://", "/just/a/path"])
def test_an_address_that_means_nothing_is_refused(tmp_path: Path, source: str) -> None:
    line = refused(run(tmp_path / "home", "--source", source))
    assert "names no source" in line and "files:///dir" in line
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(run(tmp_path / "file" / "home"))
    assert "cannot write to the home" in line and "set REDLINE_HOME" in line


def test_a_home_of_another_time_zone_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "home.json").write_text('{"format": 1, "timezone": "Asia/Shanghai"}')
    line = refused(run(home, REDLINE_TIMEZONE="UTC"))
    assert "set REDLINE_TIMEZONE=Asia/Shanghai or another REDLINE_HOME" in line
    assert [path.name for path in home.iterdir()] == ["home.json"]


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    assert "unknown time zone 'Mars'" in refused(run(tmp_path / "home", REDLINE_TIMEZONE="Mars"))


def test_a_second_run_at_the_same_time_is_told_who_is_at_work(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with holder(home) as pid:
        line = refused(run(home))
        assert f"another run is at work: process {pid} (make run) since 20" in line


def test_a_killed_run_leaves_no_lock_behind(tmp_path: Path) -> None:
    from redline import lock
    from redline.errors import BusyError
    from redline.settings import Home

    with holder(tmp_path):
        pass
    for _ in range(50):
        try:
            with lock.hold(Home(tmp_path), "test"):
                return
        except BusyError:
            time.sleep(0.1)
    pytest.fail("the lock outlived its holder")


def test_dates_outside_the_source_are_refused_with_the_dates_it_has(tmp_path: Path) -> None:
    line = refused(run(tmp_path / "home", "--start", "1999-01-01", "--end", "1999-01-02"))
    assert "the source has nothing from 1999-01-01 to 1999-01-02" in line


def test_two_marketplaces_of_one_platform_are_refused(tmp_path: Path) -> None:
    line = refused(run(tmp_path / "home", "--source", "files:///a files:///b"))
    assert "2 marketplaces are of one platform, 'files'" in line
    assert not (tmp_path / "home").exists()


def test_a_connection_without_an_address_is_named(tmp_path: Path) -> None:
    line = refused(run(tmp_path / "home", REDLINE_MARKETPLACES="douyin"))
    assert "no source is set (Airflow connection 'douyin'): set AIRFLOW_CONN_DOUYIN" in line


def test_where_no_marketplace_can_be_begun_each_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(
        tmp_path / "home",
        REDLINE_MARKETPLACES="one,two",
        AIRFLOW_CONN_ONE=f"files://{tmp_path}/empty",
    )
    assert (result.returncode, result.stderr) == (1, "")
    first, second = result.stdout.splitlines()
    assert first.startswith("Error: one: no folder of orders")
    assert second.startswith("Error: two: no source is set (Airflow connection 'two')")


@pytest.mark.parametrize(("ends", "code"), [("ab", 0), ("a", 1), ("", 1)])
def test_the_exit_code_is_1_when_any_marketplace_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, code: int
) -> None:
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path))
    shown: list[dict[str, str | None]] = []

    def run_steps(parts: tuple[Part, ...], *_: object) -> Outcome:
        """The DAG runs of those in `ends` succeed; a publication of the others fails."""
        events: list[dict[str, object]] = []
        for part in parts:
            name = part.marketplace.name
            last = (
                {"stage": f"end {name}", "state": "done", "marketplace": name}
                if name in ends
                else {"stage": "publish", "state": "failed", "error": {"line": f"no {name}"}}
            )
            events += [{"stage": f"begin {name}", "state": "started", "marketplace": name}, last]
        return Outcome(parts, Watch(tmp_path / "events", events), tmp_path / "log", 1.0)

    def show(settings: object, outcome: Outcome, console: object) -> None:
        shown.append({part.marketplace.name: outcome.failure(part) for part in outcome.parts})

    monkeypatch.setattr("redline.run.run_steps", run_steps)
    monkeypatch.setattr("redline.summary.show", show)
    assert main(["--source", f"{SMALL}&platform=a {SMALL}&platform=b"]) == code
    failures = {name: None if name in ends else f"publish failed: no {name}" for name in "ab"}
    assert shown == ([failures] if ends else [])  # where none is published, the errors suffice


def test_an_unpublished_date_cannot_be_restated(tmp_path: Path) -> None:
    line = refused(run(tmp_path / "home", "--restate-from", "2026-01-01"))
    assert "cannot restate from 2026-01-01" in line


SMALL = "simulator://?merchants=8&days=16&seed=5"


def published_checksums(home: Path) -> list[tuple[object, ...]]:
    return ask(home, "select * from marts.published_run order by all")


def readme_queries() -> list[str]:
    queries = re.findall(r"^```sql\n(.*?)^```", (PROJECT / "README.md").read_text(), re.M | re.S)
    assert len(queries) >= 2
    return queries


def ask(home: Path, query: str) -> list[tuple[object, ...]]:
    import duckdb

    with duckdb.connect(str(home / "published" / "redline.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.timeout(600)
def test_a_history_and_its_last_day_are_published_and_a_second_run_changes_nothing(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    first = run(home, "--source", SMALL)
    assert first.returncode == 0, first.stdout
    assert "Published simulator from" in first.stdout and "(16 business dates)" in first.stdout
    assert "[DAG TEST]" not in first.stdout  # Airflow's own words go to the log file
    (log,) = (home / "logs").glob("run-*.log")
    assert str(log) in first.stdout and "[DAG TEST]" in log.read_text()
    assert len(list((home / "published" / "runs").iterdir())) == 2
    assert len(list((home / "alerts").glob("*.jsonl"))) == 16

    for query in readme_queries():
        ask(home, query)

    before, alerts = published_checksums(home), read_all(home / "alerts")
    second = run(home, "--source", SMALL)
    assert second.returncode == 0, second.stdout
    assert "Nothing new: simulator was published up to" in second.stdout
    assert published_checksums(home) == before
    assert read_all(home / "alerts") == alerts


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


@pytest.mark.timeout(600)
def test_a_failed_run_says_in_one_line_what_where_and_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "marketplace"
    empty.mkdir()
    home = tmp_path / "home"
    result = run(
        home, "--source", f"files://{empty}", "--start", "2026-01-01", "--end", "2026-01-01"
    )
    assert result.returncode == 1
    lines = [line for line in result.stdout.splitlines() if not line.startswith("... ")]
    assert lines[0].startswith("Error: ")
    assert not (home / "published" / "current").exists()

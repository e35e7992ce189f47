"""Publishing: all at once or not at all, and only what a run has to say."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import shutil
import signal
import stat
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from redline import restating
from redline.errors import BusyError, RedlineError, SettingError, StorageError
from redline.publish import publish, published_state, state
from redline.publish.state import locked
from redline.settings import Settings
from tests.plugins.redline.publish import made_home
from tests.plugins.redline.publish.made_home import FIRST, change, make_plan, query, run_days

# Children start with everything imported and share no lock with this process.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.plugins.redline.publish.made_home"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return made_home.settings_of(tmp_path / "home")


def test_nothing_is_published_before_the_first_run(settings: Settings) -> None:
    assert published_state(settings.home) is None


def test_a_run_is_published_with_duckdb_and_parquet_saying_the_same(settings: Settings) -> None:
    report = run_days(settings, 0, 2)

    state = published_state(settings.home)
    assert state is not None
    assert state.run_id == report["run_id"]
    assert state.as_of == {"sim": FIRST + timedelta(days=2)}
    assert str((settings.home.published / "redline.duckdb").readlink()) == "current/redline.duckdb"
    assert str((settings.home.published / "parquet").readlink()) == "current/parquet"
    assert str((settings.home.published / "current").readlink()) == f"runs/{state.run_id}"
    tables = [row[0] for row in query(settings, "select table_name from duckdb_tables()")]
    assert {"fct_alert_deliveries", "published_run", "dim_categories", "fct_alerts"} <= set(tables)
    with duckdb.connect(str(settings.home.published / "redline.duckdb"), read_only=True) as reader:
        for table in tables:
            names = [row[0] for row in reader.execute(f"describe marts.{table}").fetchall()]
            columns = ", ".join(names)
            files = str(settings.home.published / "parquet" / table / "**" / "*.parquet")
            difference = f"""
                (select {columns} from marts.{table}
                 except all select {columns} from read_parquet($files))
                union all
                (select {columns} from read_parquet($files)
                 except all select {columns} from marts.{table})
            """
            assert reader.execute(difference, {"files": files}).fetchall() == [], table


def test_published_files_cannot_be_written(settings: Settings) -> None:
    run_days(settings, 0, 0)

    files = [path for path in (settings.home.published / "runs").rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


def test_the_history_of_runs_is_kept_with_counts_and_checksums(settings: Settings) -> None:
    first = run_days(settings, 0, 1)
    second = run_days(settings, 2, 2)

    rows = query(
        settings,
        "select run_id, as_of_date, row_counts, checksums from marts.published_run order by 2",
    )
    assert [row[0] for row in rows] == [first["run_id"], second["run_id"]]
    assert [row[1] for row in rows] == [FIRST + timedelta(days=1), FIRST + timedelta(days=2)]
    assert json.loads(rows[0][2])["fct_cohort_ledger"] == 600
    assert json.loads(rows[1][2])["fct_cohort_ledger"] == 900
    assert json.loads(rows[1][3]) == second["checksums"]
    assert not {"published_run", "fct_alert_deliveries"} & second["checksums"].keys()


def test_the_same_input_in_two_homes_and_other_chunks_has_the_same_checksums(
    tmp_path: Path,
) -> None:
    at_once, by_day = (made_home.settings_of(tmp_path / name) for name in ("one", "two"))
    one = run_days(at_once, 0, 3)
    for number in range(4):
        two = run_days(by_day, number, number, run_id=f"another-{number}")

    assert one["checksums"] == two["checksums"]


def test_a_closed_evening_is_shared_with_the_run_before_and_never_rewritten(
    settings: Settings,
) -> None:
    run_days(settings, 0, 1)
    before = settings.home.published / "runs" / published_state(settings.home).run_id  # type: ignore[union-attr]
    was = made_home.fingerprint(before)
    report = run_days(settings, 2, 2)
    after = settings.home.published / "current"

    for table, column in (
        ("fct_cohort_ledger", "report_date"),
        ("fct_policy_evaluations", "as_of_date"),
    ):
        for number in (0, 1):
            name = f"parquet/{table}/{column}={FIRST + timedelta(days=number)}/sim.parquet"
            assert (before / name).samefile(after / name)
            assert (after / name).stat().st_nlink == 2
        new = after / f"parquet/{table}/{column}={FIRST + timedelta(days=2)}/sim.parquet"
        assert new.stat().st_nlink == 1
    assert made_home.fingerprint(before) == was
    assert report["parquet_files_shared"] >= 4


def test_another_platform_keeps_the_rows_it_published_whatever_the_warehouse_says(
    settings: Settings,
) -> None:
    run_days(settings, 0, 1, "sim")
    run_days(settings, 0, 0, "other")
    kept = query(
        settings, "select * from marts.fct_cohort_ledger where platform = 'sim' order by all"
    )
    file = settings.home.published / "parquet/dim_merchants/sim.parquet"
    inode = file.stat().st_ino
    change(settings, "update marts.dim_merchants set merchant_name = 'x' where platform = 'sim'")
    change(settings, "delete from marts.fct_cohort_ledger where platform = 'sim'")

    run_days(settings, 1, 1, "other")

    assert published_state(settings.home).as_of == {  # type: ignore[union-attr]
        "sim": FIRST + timedelta(days=1),
        "other": FIRST + timedelta(days=1),
    }
    assert kept == query(
        settings, "select * from marts.fct_cohort_ledger where platform = 'sim' order by all"
    )
    assert query(
        settings, "select distinct platform, merchant_name from marts.dim_merchants order by all"
    ) == [("other", "evening 1"), ("sim", "evening 1")]
    assert file.stat().st_ino == inode
    assert query(
        settings, "select platform, count(*) from marts.published_run group by 1 order by 1"
    ) == [
        ("other", 2),
        ("sim", 1),
    ]


def test_a_new_mart_and_a_new_column_are_published_without_a_word_here(settings: Settings) -> None:
    run_days(settings, 0, 1, "other")
    run_days(settings, 0, 1, "sim")
    change(settings, "alter table marts.fct_cohort_ledger add column weight double default 1")
    change(settings, "create table marts.fct_new as select 'sim' as platform, 1 as one")
    day = FIRST + timedelta(days=2)
    change(
        settings,
        "insert into marts.fct_cohort_ledger"
        f" values ('{day}', '{day}', 'sim', 'm', 'p', 'c', 0, 1, 2)",
    )

    publish(make_plan(settings, "sim", day, day), settings)

    assert query(settings, "select * from marts.fct_new") == [("sim", 1)]
    weights = "select platform, weight, count(*) from {} group by all order by all"
    expected = [("other", None, 600), ("sim", 1.0, 600), ("sim", 2.0, 1)]
    assert query(settings, weights.format("marts.fct_cohort_ledger")) == expected
    files = settings.home.published / "parquet" / "fct_cohort_ledger" / "*" / "*.parquet"
    with duckdb.connect() as connection:  # no union_by_name: all files must have the column
        assert connection.execute(weights.format(f"read_parquet('{files}')")).fetchall() == expected


def test_a_plan_without_open_dates_changes_no_byte(settings: Settings) -> None:
    run_days(settings, 0, 1)
    was = made_home.fingerprint(settings.home.published)
    closed = make_plan(settings, "sim", FIRST + timedelta(days=2), FIRST + timedelta(days=1))

    report = publish(closed, settings)

    assert report["published"] is False
    assert made_home.fingerprint(settings.home.published) == was


def test_publishing_a_run_again_changes_no_byte(settings: Settings) -> None:
    run_days(settings, 0, 0)
    made_home.transform(settings, "sim", FIRST + timedelta(days=1), FIRST + timedelta(days=1))
    plan = make_plan(settings, "sim", FIRST + timedelta(days=1), FIRST + timedelta(days=1))
    first = publish(plan, settings)
    was = made_home.fingerprint(settings.home.published)

    second = publish(plan, settings)

    assert second["checksums"] == first["checksums"]
    assert made_home.fingerprint(settings.home.published) == was


def test_a_plan_made_before_another_run_published_is_refused(settings: Settings) -> None:
    run_days(settings, 0, 0)
    late = make_plan(
        settings, "sim", FIRST + timedelta(days=1), FIRST + timedelta(days=1), run_id="late"
    )
    run_days(settings, 1, 1)
    was = made_home.fingerprint(settings.home.published)

    with pytest.raises(SettingError, match="start a new run"):
        publish(late, settings)

    assert made_home.fingerprint(settings.home.published) == was


def test_a_full_disk_is_told_as_storage_that_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    made_home.transform(settings, "sim", FIRST, FIRST)
    monkeypatch.setattr(state, "sync_tree", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        publish(make_plan(settings, "sim", FIRST, FIRST), settings)
    assert published_state(settings.home) is None


def test_a_published_restatement_is_finished_also_when_the_task_was_killed_after_the_swap(
    settings: Settings,
) -> None:
    run_days(settings, 0, 1)
    plan = make_plan(settings, "sim", FIRST, FIRST + timedelta(days=1), run_id="re")
    plan = replace(plan, restated_from=FIRST)
    for _ in range(2):
        restating.begin(settings.home, "sim", FIRST)
        restating.begin(settings.home, "other", FIRST)
        publish(plan, settings)
        restating.check(settings.home, "sim", None)
        with pytest.raises(SettingError, match="platform other"):
            restating.check(settings.home, "other", None)


def test_two_publications_at_once_are_refused(settings: Settings) -> None:
    run_days(settings, 0, 0)
    with locked(settings.home.published), pytest.raises(BusyError):
        run_days(settings, 1, 1)


def test_a_published_date_is_not_taken_again_without_a_restatement(settings: Settings) -> None:
    run_days(settings, 0, 2)
    was = made_home.fingerprint(settings.home.published)

    with pytest.raises(RedlineError, match="restate FROM="):
        run_days(settings, 1, 1)

    assert made_home.fingerprint(settings.home.published) == was


def test_a_restatement_rewrites_from_its_date_on_and_says_so(settings: Settings) -> None:
    run_days(settings, 0, 3)
    first = settings.home.published / "runs" / published_state(settings.home).run_id  # type: ignore[union-attr]
    was = made_home.fingerprint(first)
    start, end = FIRST + timedelta(days=2), FIRST + timedelta(days=3)
    change(
        settings, f"update marts.fct_cohort_ledger set quantity = 5 where report_date >= '{start}'"
    )
    plan = make_plan(settings, "sim", start, end, run_id="restated", restated_from=start)

    publish(plan, settings)

    assert query(
        settings,
        "select report_date, min(quantity), max(quantity) from marts.fct_cohort_ledger"
        " group by 1 order by 1",
    ) == [(FIRST + timedelta(days=n), *([1, 1] if n < 2 else [5, 5])) for n in range(4)]
    assert query(
        settings, "select restated_from from marts.published_run order by published_at"
    ) == [
        (None,),
        (start,),
    ]
    assert made_home.fingerprint(first) == was


def test_a_ledger_that_rewrites_a_closed_date_is_refused(settings: Settings) -> None:
    run_days(settings, 0, 2)
    was = made_home.fingerprint(settings.home.published)
    closed = FIRST + timedelta(days=1)
    change(
        settings,
        f"delete from marts.fct_cohort_ledger where report_date = '{closed}' and product_id = 'x7'",
    )

    with pytest.raises(RedlineError, match=f"report date {closed}, which is closed"):
        run_days(settings, 3, 3)

    assert made_home.fingerprint(settings.home.published) == was


def test_a_new_component_may_be_filled_for_closed_dates(settings: Settings) -> None:
    run_days(settings, 0, 2)
    change(
        settings,
        "insert into marts.fct_cohort_ledger"
        " select * replace ('order_shipped_late' as component) from marts.fct_cohort_ledger"
        " where product_id = 'x1'",
    )

    run_days(settings, 3, 3)

    files = settings.home.published / "parquet" / "fct_cohort_ledger" / "**" / "*.parquet"
    count = "select count(*) from {} where component = 'order_shipped_late'"
    assert query(settings, count.format("marts.fct_cohort_ledger")) == [(3,)]
    assert query(settings, count.format(f"read_parquet('{files}')")) == [(3,)]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("update marts.fct_cohort_ledger set report_date = '2026-03-09'", "report_date 2026-03-09"),
        ("update marts.fct_policy_evaluations set as_of_date = '2026-03-09'", "as_of_date 2026"),
        ("update marts.dim_merchants set platform = null", "a row without platform"),
    ],
)
def test_marts_that_must_not_be_published_leave_yesterdays_as_they_were(
    settings: Settings, statement: str, message: str
) -> None:
    run_days(settings, 0, 0)
    was = made_home.fingerprint(settings.home.published)
    day = FIRST + timedelta(days=1)
    made_home.transform(settings, "sim", day, day)
    change(settings, statement)

    with pytest.raises(RedlineError, match=message):
        publish(make_plan(settings, "sim", day, day), settings)

    assert made_home.fingerprint(settings.home.published) == was


def test_a_missing_or_broken_warehouse_is_named(settings: Settings) -> None:
    plan = make_plan(settings, "sim", FIRST, FIRST)
    with pytest.raises(RedlineError, match="there is no warehouse"):
        publish(plan, settings)
    settings.home.warehouse.write_bytes(b"not a database" * 1000)
    with pytest.raises(RedlineError, match="could not build the published run"):
        publish(plan, settings)
    assert published_state(settings.home) is None
    assert list((settings.home.published / "runs").iterdir()) == []


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    settings = made_home.settings_of(tmp_path / "home", kept_runs=2)
    reports = [run_days(settings, number, number) for number in range(4)]
    (settings.home.published / "runs" / "orphan").mkdir()

    reports.append(run_days(settings, 4, 4))

    kept = {path.name for path in (settings.home.published / "runs").iterdir()}
    assert kept == {reports[3]["run_id"], reports[4]["run_id"]}
    assert query(settings, "select count(*) from marts.fct_cohort_ledger") == [(1500,)]
    assert len(query(settings, "select * from marts.published_run")) == 5


def test_an_evening_without_entries_has_a_readable_empty_partition(settings: Settings) -> None:
    made_home.transform(settings, "sim", FIRST, FIRST)
    change(settings, "delete from marts.fct_cohort_ledger")
    publish(make_plan(settings, "sim", FIRST, FIRST), settings)

    files = settings.home.published / "parquet" / "fct_cohort_ledger" / "**" / "*.parquet"
    assert query(settings, f"select count(*), max(report_date) from read_parquet('{files}')") == [
        (0, None)
    ]


def test_freshness_and_gaps_are_carried_on_from_day_to_day(settings: Settings) -> None:
    def land(number: int, rows: int, source: int | None = None) -> None:
        day = FIRST + timedelta(days=number)
        sent = day if source is None else FIRST + timedelta(days=source)
        folder = settings.home.landing / "sim" / "orders" / f"report_date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"source_date={sent}.parquet"
        with duckdb.connect() as connection:
            connection.execute(
                "copy (select ($day + interval 5 hour)::timestamp as updated_at from range($rows))"
                " to $path (format parquet)",
                {"day": sent, "rows": rows, "path": str(path)},
            )
        manifest = folder / "manifest.json"
        files = json.loads(manifest.read_text())["files"] if manifest.exists() else []
        files.append({"name": path.name, "source_date": str(sent), "rows_landed": rows})
        manifest.write_text(json.dumps({"files": files}))

    def said() -> tuple[dict[str, object], list[object]]:
        row = query(
            settings,
            "select freshness, gaps from marts.published_run order by as_of_date desc limit 1",
        )[0]
        return json.loads(row[0]), json.loads(row[1])

    for number, rows in enumerate((3, 0, 0, 2, 0)):
        land(number, rows)
    run_days(settings, 0, 2)
    assert said()[1] == [{"entity": "orders", "from": "2026-03-02", "to": "2026-03-03"}]
    land(3, 1, source=1)
    run_days(settings, 3, 4)
    assert said() == (
        {
            "orders": {
                "newest_report_date": "2026-03-04",
                "newest_updated_at": "2026-03-04 05:00:00",
            }
        },
        [
            {"entity": "orders", "from": "2026-03-03", "to": "2026-03-03"},
            {"entity": "orders", "from": "2026-03-05", "to": "2026-03-05"},
        ],
    )


def test_a_reader_sees_the_old_or_the_new_marts_never_a_mixture_or_an_error(
    tmp_path: Path,
) -> None:
    settings = made_home.settings_of(tmp_path / "home", kept_runs=2)
    run_days(settings, 0, 0)
    path = settings.home.published / "redline.duckdb"
    stop, answer = PROCESSES.Event(), PROCESSES.Queue()
    reader = PROCESSES.Process(target=made_home.read_until_told, args=(path, stop.is_set, answer))
    with duckdb.connect(str(path), read_only=True) as held:
        reader.start()
        writer = PROCESSES.Process(target=made_home.publish_many, args=(settings, 1, 20))
        writer.start()
        writer.join()
        assert writer.exitcode == 0
        # Opened 20 publications ago, its file pruned long since.
        assert held.execute("select count(*) from marts.fct_cohort_ledger").fetchall() == [(300,)]
        assert held.execute(
            "select distinct merchant_name from marts.dim_merchants"
        ).fetchall() == [("evening 0",)]
    stop.set()
    seen, wrong = answer.get(timeout=60)
    reader.join()
    assert wrong == []
    assert seen == sorted(seen)
    assert seen[-1] == 20
    assert len(set(seen)) > 3


def test_killed_at_any_step_it_leaves_a_whole_run_published_and_a_retry_mends_it(
    tmp_path: Path,
) -> None:
    template = made_home.settings_of(tmp_path / "template", kept_runs=2)
    for number in (0, 1):
        run_days(template, number, number)
    day = FIRST + timedelta(days=2)
    made_home.transform(template, "sim", day, day)
    plan = make_plan(template, "sim", day, day)
    expected = made_home.settings_of(tmp_path / "expected", kept_runs=2)
    shutil.copytree(template.home.root, expected.home.root, symlinks=True)
    right = publish(plan, expected)["checksums"]
    names = made_home.fingerprint(expected.home.published).keys()

    killed_before, killed_after = 0, 0
    for step in itertools.count(1, 5):
        settings = made_home.settings_of(tmp_path / f"killed-at-{step}", kept_runs=2)
        shutil.copytree(template.home.root, settings.home.root, symlinks=True)
        child = PROCESSES.Process(target=made_home.publish_and_die, args=(plan, settings, step))
        child.start()
        child.join()
        if child.exitcode == 0:
            break  # it has fewer steps
        assert child.exitcode == -signal.SIGKILL
        state = published_state(settings.home)
        assert state is not None
        assert state.run_id in (plan.base_run, plan.run_id)
        assert query(settings, "select distinct numerator from marts.fct_merchant_daily_rates") == [
            ((state.as_of["sim"] - FIRST).days,)
        ]
        killed_before += state.run_id == plan.base_run
        killed_after += state.run_id == plan.run_id

        assert publish(plan, settings)["checksums"] == right
        assert made_home.fingerprint(settings.home.published).keys() == names
    assert killed_before >= 15
    assert killed_after >= 1


def test_killed_at_any_moment_it_leaves_a_whole_run_published(tmp_path: Path) -> None:
    settings = made_home.settings_of(tmp_path / "home", kept_runs=2)
    run_days(settings, 0, 0)
    began = time.monotonic()
    run_days(settings, 1, 1)
    lasted = time.monotonic() - began
    day = FIRST + timedelta(days=2)
    made_home.transform(settings, "sim", day, day)
    plan = make_plan(settings, "sim", day, day)
    for moment in range(10):
        child = PROCESSES.Process(target=publish, args=(plan, settings))
        child.start()
        time.sleep(lasted * moment / 10)
        child.kill()
        child.join()
        state = published_state(settings.home)
        assert state is not None
        assert query(settings, "select distinct numerator from marts.fct_merchant_daily_rates") == [
            ((state.as_of["sim"] - FIRST).days,)
        ]
    assert publish(plan, settings)["published"] is True
    assert query(settings, "select distinct numerator from marts.fct_merchant_daily_rates") == [
        (2,)
    ]


def test_a_first_publication_that_fails_leaves_the_home_unpublished(settings: Settings) -> None:
    made_home.transform(settings, "sim", FIRST, FIRST)
    plan = make_plan(settings, "sim", FIRST, FIRST)
    with pytest.raises(SettingError):
        publish(replace(plan, base_run="gone"), settings)
    assert published_state(settings.home) is None
    assert publish(plan, settings)["published"] is True


def test_a_platforms_files_stay_to_the_byte_while_others_publish_those_without_rows_too(
    settings: Settings,
) -> None:
    def files_of(platform: str) -> dict[str, str]:
        current = settings.home.published / "current" / "parquet"
        found = made_home.fingerprint(current.resolve())
        return {name: mark for name, mark in found.items() if name.endswith(f"/{platform}.parquet")}

    made_home.transform(settings, "one", FIRST, FIRST + timedelta(days=2))
    quiet = FIRST + timedelta(days=1)
    change(settings, f"delete from marts.fct_cohort_ledger where report_date = '{quiet}'")
    last = FIRST + timedelta(days=2)
    publish(make_plan(settings, "one", FIRST, last), settings)
    was = files_of("one")
    assert {
        "fct_violation_records/one.parquet",
        f"fct_cohort_ledger/report_date={quiet}/one.parquet",
    } <= was.keys()

    run_days(settings, 0, 3, "two")
    run_days(settings, 4, 4, "two")
    assert files_of("one") == was

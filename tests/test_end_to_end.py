"""The whole way, on a marketplace of four merchants and ten dates: what must hold of any run.

`make run` itself, through the real Airflow, where a test asks how a person meets it; otherwise the
stages in their order, as its tasks call them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from redline import airflow_env, summary
from redline.errors import GateError, RedlineError
from redline.plan import Plan, load_plan
from redline.publish import published_state
from redline.settings import PROJECT, Home
from redline.transform import transform
from redline.validation import validate_intake
from tests.end_to_end_support import (
    CHUNK_END,
    FIRST,
    LAST,
    NEXT,
    ONE_DAY,
    PLATFORM,
    RAW,
    ROW_FAULTS,
    Shop,
    complaint,
    files,
    found_raw,
    make_market,
    read_csv,
    write_csv,
)

pytestmark = [
    pytest.mark.xdist_group("end_to_end"),  # one worker makes the homes
    pytest.mark.timeout(900),  # of which the first test pays for them
]

CORRECTED = FIRST + 4 * ONE_DAY


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Published through LAST: all dates but one in one pass, then one day on top."""
    root = tmp_path_factory.mktemp("base")
    shop = Shop(make_market().write(root / "market"), Home(root / "home"))
    shop.run(FIRST, CHUNK_END, name="history")
    shutil.copytree(shop.home.root, root / "eve", symlinks=True)
    shop.run(LAST, name="last")
    return shop


@pytest.fixture(scope="module")
def eve(base: Shop) -> Shop:
    """The same home as it was on the evening before, published through CHUNK_END."""
    return Shop(base.folder, Home(base.home.root.with_name("eve")))


@pytest.fixture(scope="module")
def transformed(base: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Plan]:
    """The base with NEXT in its warehouse: the publication gate is next."""
    shop = base.copied_to(tmp_path_factory.mktemp("transformed"))
    plan = shop.plan(NEXT, name="next")
    shop.extract(plan)
    validate_intake(plan, shop.settings)
    transform(plan, shop.settings)
    return shop, plan


@pytest.fixture(scope="module")
def undisturbed(
    transformed: tuple[Shop, Plan], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Shop, Plan]:
    """The base with NEXT published, nothing having gone wrong."""
    shop, plan = transformed
    shop = shop.copied_to(tmp_path_factory.mktemp("undisturbed"))
    shop.finish(plan)
    return shop, plan


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded Airflow's empty metadata."""
    home = Home(tmp_path_factory.mktemp("airflow"))
    subprocess.run(
        [sys.executable, "-m", "redline.airflow_env"],
        env=airflow_env.environment(home, "simulator://"),
        cwd=PROJECT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return airflow_env.airflow_home(home)


# --- the same again ------------------------------------------------------------------------------


def test_running_the_same_date_again_changes_no_byte(
    undisturbed: tuple[Shop, Plan], tmp_path: Path
) -> None:
    shop = undisturbed[0].copied_to(tmp_path)
    everything = (shop.home.published, shop.home.alerts, shop.home.landing, shop.home.quarantine)
    before = [files(folder) for folder in everything]
    plan = shop.run(NEXT, name="again")
    assert not plan.has_open_dates
    assert [files(folder) for folder in everything] == before


def test_one_pass_and_day_by_day_publish_the_same(
    undisturbed: tuple[Shop, Plan], tmp_path: Path
) -> None:
    shop, _ = undisturbed
    at_once = Shop(shop.folder, Home(tmp_path / "home"))
    at_once.run(FIRST, NEXT)
    assert at_once.checksums() == shop.checksums()
    assert files(at_once.home.alerts) == files(shop.home.alerts)
    opened = [json.loads(line) for line in (shop.home.alerts / f"{NEXT}.jsonl").open()]
    assert {alert["entity_id"] for alert in opened} == {"rising"}


# --- the gates -----------------------------------------------------------------------------------


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line by which a run says why it failed."""
    assert result.returncode == 1, result.stdout
    lines = [line for line in result.stdout.splitlines() if not line.startswith("... ")]
    (line,) = (line for line in lines if "Error" in line)
    assert lines[0] == line
    assert "Nothing was published; what was published before stands." in lines
    return line


def test_a_bad_batch_leaves_yesterdays_marts_and_alerts_until_it_is_mended(
    base: Shop, undisturbed: tuple[Shop, Plan], airflow: Path, tmp_path: Path
) -> None:
    shop = base.copied_to(tmp_path)
    before = shop.visible()
    delivered = shop.folder / "orders" / f"{NEXT}.csv"
    good = delivered.read_text()
    rows = read_csv(delivered)
    for row in rows[: len(rows) * 2 // 3]:
        row["amount"] = "about twenty"
    write_csv(delivered, rows)

    line = error_line(shop.make_run("--start", str(NEXT), "--end", str(NEXT), airflow=airflow))
    assert shop.dag_states() == ["failed"]
    assert shop.visible() == before
    for said in (
        "validate intake failed: ",
        "intake.few_orders_of_a_small_batch_are_refused",  # the suite and the expectation
        "intake.refusals",  # the table
        f"refused_share {(len(rows) * 2 // 3) / len(rows):.2f}",
        "not_a_number:amount",  # a sample
        "mend the source or raise the entity's limit",
    ):
        assert said in line
    assert found_raw(shop.home) == []

    delivered.write_text(good)
    result = shop.make_run("--start", str(NEXT), "--end", str(NEXT))
    assert result.returncode == 0, result.stdout
    assert shop.dag_states() == ["failed", "success"]
    assert shop.checksums() == undisturbed[0].checksums()
    assert files(shop.home.alerts) == files(undisturbed[0].home.alerts)
    assert "Events waiting for their order: complaints 1." in result.stdout
    assert found_raw(shop.home) == []


def test_a_warehouse_that_was_tampered_with_is_not_published(
    transformed: tuple[Shop, Plan], tmp_path: Path
) -> None:
    shop, plan = transformed[0].copied_to(tmp_path), transformed[1]
    before = shop.visible()
    with duckdb.connect(str(shop.home.warehouse)) as connection:
        connection.execute(
            """
            delete from marts.fct_cohort_ledger
            where report_date = $day and merchant_id = 'loud' and component = 'orders_paid'
            """,
            {"day": NEXT},
        )
    with pytest.raises(GateError) as raised:
        shop.finish(plan)
    line = str(raised.value)
    assert "\n" not in line
    for said in (
        "publication.ledger_reconciles_with_landed_records",
        "publication.reconciliation",
        "component=orders_paid, merchant_id=loud",
        "landed=20, ledger=0",
        "compare the merchant's landed orders with its ledger entries",
    ):
        assert said in line
    assert shop.visible() == before
    assert not (shop.home.alerts / f"{NEXT}.jsonl").exists()


# --- several marketplaces ------------------------------------------------------------------------

ABSENT = LAST - 3 * ONE_DAY


def published_of(shop: Shop) -> dict[str, str]:
    """The platform's published Parquet files by name: the hash of their bytes."""
    found = files((shop.home.published / "current" / "parquet").resolve())
    suffix = f"/{shop.platform}.parquet"
    return {name: digest for name, digest in found.items() if name.endswith(suffix)}


def history_of(shop: Shop) -> list[tuple[date, list[dict[str, str]]]]:
    """The evenings that were published for the platform, each with its gaps."""
    rows = shop.marts(
        f"select as_of_date, gaps from marts.published_run where platform = '{shop.platform}'"
        " order by as_of_date"
    )
    return [(evening, json.loads(gaps)) for evening, gaps in rows]


def test_one_marketplace_that_fails_keeps_its_evening_the_other_publishes_and_it_catches_up(
    eve: Shop, undisturbed: tuple[Shop, Plan], airflow: Path, tmp_path: Path
) -> None:
    shop = eve.copied_to(tmp_path)
    shutil.copytree(shop.folder, tmp_path / "twin")
    twin = Shop(tmp_path / "twin", shop.home, "twin", "&missing=gap")
    late = {path: path.read_bytes() for path in twin.folder.glob(f"*/{ABSENT}.*")}
    for path in late:
        path.unlink()
    twin.run(FIRST, CHUNK_END, name="twin")
    absent = [
        {"entity": entity, "from": str(ABSENT), "to": str(ABSENT)}
        for entity in sorted(path.parent.name for path in late)
    ]
    ((_, gaps),) = history_of(twin)
    assert sorted(gaps, key=lambda gap: gap["entity"]) == absent
    told = [
        line for path in shop.home.alerts.glob("*.jsonl") for line in map(json.loads, path.open())
    ]
    incomplete = {line["platform"] for line in told if line["known_gaps"]}
    assert incomplete == {"twin"}

    before, alerts = published_of(twin), files(shop.home.alerts)
    delivered = twin.folder / "orders" / f"{LAST}.csv"
    good = delivered.read_text()
    delivered.write_text(good.replace("order_id,", "order,", 1))
    result = shop.make_run("--start", str(LAST), "--end", str(LAST), airflow=airflow, beside=twin)

    assert result.returncode == 1, result.stdout
    assert f"Missing: twin is missing, keeps {CHUNK_END}: extract failed: " in result.stdout
    assert f"orders/{LAST}.csv" in result.stdout  # where
    assert f"Published shop from {LAST} to {LAST}" in result.stdout
    assert f"In breach on shop on the evening of {LAST}" in result.stdout
    assert f"In breach on twin on the evening of {CHUNK_END}" in result.stdout
    assert f"Gap of twin, orders: no data for 1 date ({ABSENT})" in result.stdout
    assert shop.dag_states() == ["failed", "success"]
    assert published_of(twin) == before
    assert [evening for evening, _ in history_of(twin)] == [CHUNK_END]
    assert [evening for evening, _ in history_of(shop)] == [CHUNK_END, LAST]
    now = files(shop.home.alerts)
    assert {name: now[name] for name in alerts} == alerts
    assert f"alerts/{LAST}.jsonl" in now

    # The next day the broken file is mended, and the date that was absent has come as well.
    delivered.write_text(good)
    for path, content in late.items():
        path.write_bytes(content)
    plan = twin.run(NEXT, name="next")

    assert (plan.start, plan.end) == (LAST, NEXT)
    assert history_of(twin)[1:] == [(NEXT, [])]
    assert history_of(shop) == [(CHUNK_END, []), (LAST, [])]
    entries = twin.marts(
        f"""
        select cohort_date, component, sum(quantity) from marts.fct_cohort_ledger
        where platform = 'twin' and report_date = '{LAST}' and component = 'complaints'
            and cohort_date = '{ABSENT - ONE_DAY}'
        group by all
        """
    )
    assert entries == [(ABSENT - ONE_DAY, "complaints", 4)]  # under the next open date
    rates = twin.marts(RATES.replace("where", "where platform = 'twin' and"))
    assert rates == undisturbed[0].marts(RATES) != []


# --- killed half-way -----------------------------------------------------------------------------


def wait_until(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something that happens while a process runs."""
    ends_at = time.monotonic() + 240
    while not what():
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() < ends_at, "it never happened"
        time.sleep(0.01)


def test_a_run_killed_in_any_stage_is_mended_by_the_next_whatever_was_delivered_since(
    base: Shop, undisturbed: tuple[Shop, Plan], tmp_path: Path
) -> None:
    shop = base.copied_to(tmp_path)
    before = shop.visible()
    orders, complaints = (shop.folder / "orders", shop.folder / "complaints")
    good = {path: path.read_bytes() for path in (orders / f"{NEXT}.csv",)}
    good |= {path: path.read_bytes() for path in (complaints / f"{NEXT}.jsonl",)}
    # What the failed attempts read holds an order and a complaint more than what is read at last.
    rows = read_csv(orders / f"{NEXT}.csv")
    write_csv(orders / f"{NEXT}.csv", [*rows, {**rows[0], "order_id": "gone"}])
    with (complaints / f"{NEXT}.jsonl").open("a") as file:
        file.write(json.dumps(complaint("c-gone", "gone", NEXT)) + "\n")

    # While landed partitions are being replaced: those of orders are aside, not yet in place.
    process = shop.start_process(NEXT, "killed-1", "redline.landing.swap_in:8")
    assert process.wait(240) == -signal.SIGKILL
    assert shop.visible() == before
    assert any(shop.home.landing.glob("*/orders/.aside*"))

    # In the transform, dbt with it, when the ledger is written and the rates are not.
    log = shop.home.logs / "dbt" / "dbt.log"
    log.unlink(missing_ok=True)
    process = shop.start_process(NEXT, "killed-2")

    def has_ledger() -> bool:
        said = log.read_bytes() if log.exists() else b""
        return any(b"OK created" in x and b"fct_cohort_ledger" in x for x in said.splitlines())

    wait_until(has_ledger, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    assert len(list(shop.home.runs.glob("*/transform.json"))) == 2  # those of the base
    assert shop.visible() == before

    # When the new run is complete but not yet the current one.
    process = shop.start_process(NEXT, "killed-3", "redline.publish.state.make_current:1")
    assert process.wait(240) == -signal.SIGKILL
    after = shop.visible()
    assert {name: after[name] for name in before} == before
    assert not (shop.home.alerts / f"{NEXT}.jsonl").exists()

    for path, content in good.items():
        path.write_bytes(content)
    shop.run(NEXT, name="mends")
    assert shop.checksums() == undisturbed[0].checksums()
    assert files(shop.home.alerts) == files(undisturbed[0].home.alerts)
    left = [path for path in shop.home.root.rglob("*aside*") if "dbt" not in path.parts]
    assert left == []


# --- late files and restatements -----------------------------------------------------------------


def correct(shop: Shop) -> None:
    """Send the file of a closed date again: one order is another merchant's, one is new."""
    path = shop.folder / "orders" / f"{CORRECTED}.csv"
    rows = read_csv(path)
    moved = next(row for row in rows if row["order_id"] == f"calm-{CORRECTED:%m%d}-3")
    moved["merchant_id"] = "tiny"
    new = {**moved, "order_id": "late-one", "merchant_id": "loud"}
    write_csv(path, [*rows, new])
    with (shop.folder / "order_items" / f"{CORRECTED}.jsonl").open("a") as file:
        line = {"line_no": 1, "product_id": "loud-thing", "quantity": 1, "unit_price": "9"}
        file.write(json.dumps({"order_id": "late-one", **line}) + "\n")


@pytest.fixture(scope="module")
def corrected(undisturbed: tuple[Shop, Plan], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A home that knew the corrected file from the beginning, published through NEXT."""
    root = tmp_path_factory.mktemp("corrected")
    shutil.copytree(undisturbed[0].folder, root / "market")
    shop = Shop(root / "market", Home(root / "home"))
    correct(shop)
    shop.run(FIRST, NEXT)
    return shop


RATES = """
    select merchant_id, metric, cohort_date, numerator, denominator, rate, adjusted_rate, is_mature
    from marts.fct_merchant_daily_rates where denominator > 0 order by all
"""


def test_a_late_file_of_a_closed_date_counts_from_the_next_open_one(
    base: Shop, corrected: Shop, tmp_path: Path
) -> None:
    shop = base.copied_to(tmp_path)
    correct(shop)
    closed_landing = files(shop.home.landing)
    closed_ledger = files(shop.home.published / "current" / "parquet" / "fct_cohort_ledger")
    shop.run(NEXT, name="late")

    with duckdb.connect() as connection:
        landed = connection.execute(
            "select order_id, source_date from read_parquet($path) order by all",
            {"path": str(partition(shop, NEXT) / f"source_date={CORRECTED}.parquet")},
        ).fetchall()
    assert landed == [(f"calm-{CORRECTED:%m%d}-3", CORRECTED), ("late-one", CORRECTED)]
    now = files(shop.home.landing)
    assert {name: now[name] for name in closed_landing} == closed_landing
    now = files(shop.home.published / "current" / "parquet" / "fct_cohort_ledger")
    assert {name: now[name] for name in closed_ledger} == closed_ledger
    moved = shop.marts(
        f"""
        select merchant_id, component, quantity from marts.fct_cohort_ledger
        where report_date = date '{NEXT}' and cohort_date = date '{CORRECTED}'
            and component = 'orders_paid' order by all
        """
    )
    assert moved == [("loud", "orders_paid", 1)]
    # The day after, the moved order came again as its merchant's own: the newest version stands.
    assert shop.marts(RATES) == corrected.marts(RATES)


def partition(shop: Shop, day: date) -> Path:
    return shop.home.landing / PLATFORM / "orders" / f"report_date={day}"


def test_restating_rebuilds_from_a_closed_date_and_sends_no_alerts(
    undisturbed: tuple[Shop, Plan], corrected: Shop, airflow: Path, tmp_path: Path
) -> None:
    shop = undisturbed[0].copied_to(tmp_path)
    correct(shop)
    alerts = files(shop.home.alerts)
    assert shop.checksums() != corrected.checksums()
    result = shop.make_run("--restate-from", str(CORRECTED), airflow=airflow)
    assert result.returncode == 0, result.stdout
    assert f"Restated {PLATFORM} from {CORRECTED} to {NEXT}" in result.stdout
    assert shop.dag_states() == ["success"]
    assert shop.checksums() == corrected.checksums()
    assert files(shop.home.alerts) == alerts
    state = published_state(shop.home)
    assert state is not None
    (restated,) = shop.marts(
        f"select restated_from from marts.published_run where run_id = '{state.run_id}'"
    )
    assert restated == (CORRECTED,)


# --- orphans -------------------------------------------------------------------------------------

WAITING = "*/waiting.parquet"


def test_an_event_before_its_order_waits_in_quarantine_and_joins_when_the_order_comes(
    eve: Shop, base: Shop
) -> None:
    third, sixth = FIRST + 2 * ONE_DAY, FIRST + 5 * ONE_DAY

    def waiting(shop: Shop) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in shop.quarantined(WAITING)]

    def row(key: str, order: str, since: date, as_of: date) -> tuple[object, ...]:
        return (PLATFORM, "complaints", key, "waiting:order", order, since, as_of)

    # Not among them: what was withdrawn, and what happened to an order older than the horizon.
    assert waiting(eve) == [
        row("c-early", "o-slow", third, CHUNK_END),
        row("c-lost", "o-lost", sixth, CHUNK_END),
    ]
    assert waiting(base) == [row("c-lost", "o-lost", sixth, LAST)]
    entered = f"""
        select merchant_id, component, quantity from marts.fct_cohort_ledger
        where report_date = date '{LAST}' and cohort_date = date '{third}'
            and component in ('orders_paid', 'complaints') order by all
    """
    assert eve.marts(entered) == []
    assert base.marts(entered) == [("calm", "complaints", 1), ("calm", "orders_paid", 1)]


def test_waiting_events_are_counted_in_the_summary(eve: Shop, base: Shop) -> None:
    for shop, count in ((eve, 2), (base, 1)):
        state = published_state(shop.home)
        assert state is not None
        plan = load_plan(shop.home, state.run_id)
        assert summary.waiting(shop.home, [plan]) == {"complaints": count}


# --- bad rows ------------------------------------------------------------------------------------


def test_row_faults_are_quarantined_with_their_reasons_and_counted(eve: Shop) -> None:
    day = FIRST + 3 * ONE_DAY
    refused = eve.quarantined(f"orders/report_date={day}/*.parquet")
    assert {row["row_key"]: row["reason"] for row in refused} == ROW_FAULTS
    assert {row["source_file"] for row in refused} == {f"orders/{day}.csv"}
    (run,) = eve.home.runs.iterdir()
    counted = summary.refused(eve.home, [load_plan(eve.home, run.name)])
    expected = Counter(f"orders {row['reason']}" for row in refused)
    assert expected["orders conflicting_duplicate"] == 2
    assert dict(counted) == {**expected, "orders beyond_horizon": 1}
    ids = "', '".join(ROW_FAULTS)
    with duckdb.connect(str(eve.home.warehouse), read_only=True) as connection:
        sql = f"select * from intermediate.int_orders_versioned where order_id in ('{ids}')"
        assert connection.execute(sql).fetchall() == []


# --- bad files -----------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rename_a_column(path: Path) -> None:
    path.write_text(path.read_text().replace("merchant_id", "seller", 1))


def write_in_an_older_encoding(path: Path) -> None:
    path.write_text(path.read_text().replace("CNY", "¥"), encoding="latin-1", errors="replace")


@pytest.fixture(scope="module")
def damaged(base: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A copy of the base that no test of a damaged file may change."""
    return base.copied_to(tmp_path_factory.mktemp("damaged"))


@pytest.mark.parametrize(
    ("damage", "file", "said"),
    [
        (remove, f"complaints/{NEXT}.jsonl", "no file of complaints"),
        (cut_short, f"orders/{NEXT}.csv", "deliver"),
        (cut_short, f"complaints/{NEXT}.jsonl", "deliver"),
        (empty, f"orders/{NEXT}.csv", "empty where a header is due"),
        (rename_a_column, f"orders/{NEXT}.csv", "merchant_id"),
        (write_in_an_older_encoding, f"orders/{NEXT}.csv", "UTF-8"),
    ],
)
def test_a_damaged_file_stops_the_run_in_one_line_and_nothing_is_lost(
    damaged: Shop, tmp_path: Path, damage: Callable[[Path], None], file: str, said: str
) -> None:
    shop = Shop(tmp_path / "market", damaged.home)
    shutil.copytree(damaged.folder, shop.folder)
    damage(shop.folder / file)
    before = shop.visible()
    closed = files(shop.home.landing)
    with pytest.raises(RedlineError) as raised:
        shop.extract(shop.plan(NEXT, name="damaged"))
    line = str(raised.value)
    assert said in line and file.split("/")[0] in line and "\n" not in line
    assert not any(secret in line for secret in RAW.values())
    now = files(shop.home.landing)
    assert {name: now[name] for name in closed if str(NEXT) not in name} == {
        name: closed[name] for name in closed if str(NEXT) not in name
    }
    assert shop.visible() == before


def test_a_damaged_file_fails_make_run_visibly(base: Shop, airflow: Path, tmp_path: Path) -> None:
    shop = base.copied_to(tmp_path)
    path = shop.folder / "complaints" / f"{NEXT}.jsonl"
    cut_short(path)
    before = shop.visible()
    line = error_line(shop.make_run("--start", str(NEXT), "--end", str(NEXT), airflow=airflow))
    assert "extract failed: complaints: " in line and str(path) in line
    assert shop.dag_states() == ["failed"]
    assert shop.visible() == before
    assert found_raw(shop.home) == []

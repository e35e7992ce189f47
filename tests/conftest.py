"""How the tests share what is dear to make."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import memory
from tests.warm_dbt import WarmDbt

# Airflow, Great Expectations and dbt are imported to stay: looking for garbage among them again and
# again takes a quarter of the seconds in which they start.
gc.set_threshold(100_000, 50, 100)

# A log of every statement, which a run keeps for whoever looks into its failure, takes a sixth of
# the time of a small build.
os.environ.setdefault("DBT_LOG_LEVEL_FILE", "none")

# Now, because modules of tests make folders when they are imported.
_IN_MEMORY = memory.take()

# The folder of the server from which dbt is forked; workers inherit it.
_SERVER = "WARM_DBT"

_FAILED = pytest.StashKey[bool]()
_OWN_SERVER = pytest.StashKey[WarmDbt]()

# The groups whose tests take longest, the longest first.
_DEAREST = (
    "end_to_end",
    "marketplaces",
    "tests/benchmarks/test_calibration.py",
    "told",
    "tests/dags/test_under_the_scheduler.py",
    "backtest",
    "tests/plugins/redline/test_run.py",
    "tests/plugins/redline/transform/test_components.py",
    "olist_rates",
    "dbt_project",
    "simulated",
    "tests/plugins/redline/publish/test_publication.py",
    "tests/plugins/redline/validation/test_gate_of_publication.py",
    "tests/benchmarks/test_run.py",
    "tests/benchmarks/test_incidents.py",
    "tests/plugins/redline/landing/test_killed_extraction.py",
    "databases",
    "tests/dags/test_merchant_risk_daily.py",
    "tests/plugins/redline/validation/test_gate_of_intake.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Own the server that this process and its workers share."""
    if sys.platform == "linux" and _SERVER not in os.environ:
        config.stash[_OWN_SERVER] = server = WarmDbt.owned_by_this_process()
        os.environ[_SERVER] = str(server.folder)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode
) -> None:
    """Say where the homes of tests that failed are left to be looked at."""
    if _IN_MEMORY is not None and exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(f"The tests' homes are left in {_IN_MEMORY}: remove it after.")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server; give the memory back, unless something in it is to be looked at."""
    if (server := config.stash.get(_OWN_SERVER, None)) is not None:
        os.environ.pop(_SERVER)
        server.stop()
    if _IN_MEMORY is not None and not config.stash.get(_FAILED, False):
        memory.give_back(_IN_MEMORY)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """Remember whether a test has failed."""
    session.config.stash[_FAILED] = exitstatus == pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each module's tests on one worker, where its homes and servers are made once.

    Those that take longest come first, so that no worker is left with them; it takes
    `--no-loadscope-reorder` for pytest-xdist to keep to that.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    group = marker.args[0] if marker else ""
    return _DEAREST.index(group) if group in _DEAREST else len(_DEAREST)


@pytest.fixture(scope="session", autouse=True)
def warm_dbt() -> Iterator[None]:
    """Tests that call the transform in their own process start dbt from one that is warm."""
    if sys.platform != "linux":  # elsewhere a process that has loaded libraries cannot be forked
        yield
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("redline.transform._start_dbt", WarmDbt(Path(os.environ[_SERVER])).start)
        yield

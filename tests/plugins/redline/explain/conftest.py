from __future__ import annotations

import duckdb
import pytest

from redline.explain import Story, story
from redline.publish.state import DATABASE
from tests import support
from tests.histories import TIMEZONE
from tests.plugins.redline.explain.told_home import build_told


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> support.Warehouse:
    """The published home; its tests share one worker and change nothing in it."""
    root = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as environment:  # a source reads its own settings
        environment.setenv("REDLINE_HOME", str(root))
        environment.setenv("REDLINE_TIMEZONE", TIMEZONE)
        return build_told(root)


@pytest.fixture(scope="session")
def stories(told: support.Warehouse) -> dict[str, Story]:
    """Every record's story, by its id."""
    rows = told.rows(
        "select record_id from marts.fct_warning_records "
        "union all select record_id from marts.fct_violation_records order by 1"
    )
    # While a file is open DuckDB need not read its catalog again, which is half of a short story.
    with (
        duckdb.connect(str(told.settings.home.warehouse), read_only=True),
        duckdb.connect(str(told.settings.home.published / DATABASE), read_only=True),
    ):
        return {record_id: story(told.settings, record_id) for (record_id,) in rows}

"""What every model and seed owes its reader: YAML, tests, and SQL that any engine understands.

One small warehouse is built, and all data tests and unit tests of the project run on it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from redline.settings import Settings
from redline.transform import DBT_PROJECT, run_dbt
from tests.dbt_project import small_landing
from tests.histories import TIMEZONE
from tests.support import settings_of

pytestmark = pytest.mark.xdist_group("dbt_project")  # one worker builds the warehouse

Node = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """The project as dbt read it, run on the small marketplace.

    Attributes:
        nodes: dbt's manifest: models, seeds and data tests by unique id.
        unit_tests: the unit tests by unique id.
        results: of data tests and unit tests, by unique id, status and message.
        columns: of each model or seed that is a relation, by name, its columns.
        row_counts: of the same relations.
    """

    nodes: dict[str, Node]
    unit_tests: dict[str, Node]
    results: dict[str, tuple[str, str | None]]
    columns: dict[str, set[str]]
    row_counts: dict[str, int]

    def described(self) -> list[Node]:
        """Models and seeds."""
        return [n for n in self.nodes.values() if n["resource_type"] in ("model", "seed")]

    def data_tests(self) -> list[Node]:
        """Data tests, generic and singular."""
        return [n for n in self.nodes.values() if n["resource_type"] == "test"]

    def broken(self, kind: str) -> str:
        """Tests of a resource type that did not pass, for a person to read."""
        return "\n".join(
            f"{unique_id}: {status}: {message}"
            for unique_id, (status, message) in self.results.items()
            if unique_id.startswith(f"{kind}.") and status != "pass"
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    settings = replace(
        settings_of(tmp_path_factory.mktemp("project"), TIMEZONE),
        # Between them they judge all types of entities and ask all kinds of minimums.
        policies=("douyin_laike", "ebay", "tiktok_shop", "product_quality"),
    )
    small_landing.land(settings.home)
    first, last = small_landing.DAYS[0], small_landing.DAYS[-1]
    with pytest.MonkeyPatch.context() as environment:
        # What a run keeps in memory is kept in a file here, for its tests.
        environment.setenv("REDLINE_SCRATCH", str(_scratch(settings)))
        # On top of nothing, so that the models by which a run finds what it touches have rows too.
        run_dbt(settings, first, last, [small_landing.PLATFORM], on_top=True)
        _run_tests(settings)
    return _read(settings)


def _scratch(settings: Settings) -> Path:
    return settings.home.root / "scratch.duckdb"


def _run_tests(settings: Settings) -> None:
    """All data tests and unit tests in one start of dbt; a test that fails fails nothing here.

    `dbt build`, which a run uses, takes unit tests only on their way to building a model anew.
    """
    folder = settings.home.root / "dbt"
    # The variables of the build, so that dbt need not read the project again.
    variables = json.loads((folder / "run_results.json").read_text())["args"]["vars"]
    command = [
        str(Path(sys.executable).with_name("dbt")),
        "--quiet",
        "test",
        *("--project-dir", str(DBT_PROJECT)),
        *("--profiles-dir", str(DBT_PROJECT)),
        *("--target-path", str(folder)),
        *("--log-path", str(settings.home.logs / "dbt")),
        *("--log-level-file", "warn"),
        *("--vars", json.dumps(variables)),
    ]
    environment = {**os.environ, "REDLINE_HOME": str(settings.home.root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: some tests failed


def _read(settings: Settings) -> Project:
    folder = settings.home.root / "dbt"
    manifest = json.loads((folder / "manifest.json").read_text())
    results = json.loads((folder / "run_results.json").read_text())["results"]
    nodes = manifest["nodes"]
    columns: dict[str, set[str]] = {}
    row_counts: dict[str, int] = {}
    with closing(duckdb.connect(str(settings.home.warehouse), read_only=True)) as connection:
        connection.execute(f"attach '{_scratch(settings)}' as scratch (read_only)")
        for place in connection.execute(
            "select table_catalog, table_schema, table_name from information_schema.tables "
            "where table_catalog in (current_database(), 'scratch')"
        ).fetchall():
            name, relation = place[-1], connection.sql(f"from {'.'.join(place)}")
            columns[name] = set(relation.columns)
            row_counts[name] = len(relation)
        for node in nodes.values():
            if node["config"]["materialized"] == "ephemeral":
                compiled = folder / "compiled" / "redline" / node["original_file_path"]
                columns[node["name"]] = set(connection.sql(compiled.read_text()).columns)
    return Project(
        nodes,
        manifest["unit_tests"],
        {r["unique_id"]: (r["status"], r["message"]) for r in results},
        columns,
        row_counts,
    )


def test_every_model_and_seed_says_its_grain_first(project: Project) -> None:
    silent = [
        node["name"]
        for node in project.described()
        if not node["description"].startswith("One row per ")
    ]
    assert not silent


def test_every_model_has_a_yaml_file_of_its_own_name_beside_it(project: Project) -> None:
    for node in project.described():
        if node["resource_type"] == "model":
            path = Path(node["original_file_path"])
            assert node["patch_path"] == f"redline://{path.with_suffix('.yml')}"


def test_every_column_is_described_and_every_described_column_is_there(project: Project) -> None:
    wrong = {}
    for node in project.described():
        described = {name for name, column in node["columns"].items() if column["description"]}
        if described != project.columns[node["name"]]:
            wrong[node["name"]] = described ^ project.columns[node["name"]]
    assert not wrong


def test_every_model_and_seed_has_a_data_test(project: Project) -> None:
    tested = {
        unique_id for test in project.data_tests() for unique_id in test["depends_on"]["nodes"]
    }
    assert not [node["name"] for node in project.described() if node["unique_id"] not in tested]


def test_every_model_has_a_unit_test(project: Project) -> None:
    tested = {test["model"] for test in project.unit_tests.values()}
    models = {n["name"] for n in project.described() if n["resource_type"] == "model"}
    assert not models - tested


def test_every_data_test_says_how_grave_it_is_and_who_answers_for_it(project: Project) -> None:
    for test in project.data_tests():
        config = test["config"]
        assert config["severity"].lower() in ("error", "warn"), test["name"]
        assert config["meta"].get("owner"), test["name"]
        assert "severity" in test["unrendered_config"], f"{test['name']} leaves it to the default"


def test_all_unit_tests_pass(project: Project) -> None:
    broken = project.broken("unit_test")
    assert not broken, broken
    assert project.unit_tests.keys() <= project.results.keys()


def test_all_data_tests_pass_on_a_small_marketplace(project: Project) -> None:
    broken = project.broken("test")
    assert not broken, broken
    assert {test["unique_id"] for test in project.data_tests()} <= project.results.keys()


def test_the_small_marketplace_leaves_no_data_test_without_rows(project: Project) -> None:
    empty = {name for name, count in project.row_counts.items() if not count}
    assert not empty


ENGINE_ONLY = re.compile(
    r"""\bqualify\b | \barg_(max|min)\b | \bmax_by\b | \*\s*replace\b | \bexclude\b
    | \bgenerate_series\b | \bunnest\b | \bat\s+time\s+zone\b | :: | \blist_\w+\( | \bstrftime\b
    | \bgroup\s+by\s+all\b | \basof\b | \bread_parquet\b""",
    re.IGNORECASE | re.VERBOSE,
)


def test_sql_outside_macros_cross_db_names_nothing_that_one_engine_alone_knows() -> None:
    found = []
    for folder in ("models", "macros", "tests"):
        for path in sorted((DBT_PROJECT / folder).rglob("*.sql")):
            if path.parent.name == "cross_db":
                continue
            text = re.sub(r"--[^\n]*|\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
            found += [f"{path.name}: {match.group()}" for match in ENGINE_ONLY.finditer(text)]
    assert not found

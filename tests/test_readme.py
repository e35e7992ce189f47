"""The README, held against what it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redline import airflow_env, lock, progress, transform
from redline.alerts.rules import read_rules
from redline.alerts.storm import StormLimits
from redline.settings import PROJECT, read_settings

README = PROJECT / "README.md"

# One row per setting: | `NAME` | `default` or a word for none | what it is |
SETTING = re.compile(r"^\| `(REDLINE_[A-Z_]+)` \| ([^|]*) \| [^|]+ \|$", re.MULTILINE)

# A run tells these to its own processes; nobody sets them.
INTERNAL = {
    airflow_env.NO_SCHEDULER,
    lock.VARIABLE,
    progress.VARIABLE,
    transform.RUN_VARIABLE,
}


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text()


def test_the_settings_table_lists_each_setting_once(readme: str) -> None:
    listed = [name for name, _ in SETTING.findall(readme)]
    read = {
        name
        for path in (PROJECT / "plugins").rglob("*.py")
        for name in re.findall(r"""["'](REDLINE_[A-Z_]+)["']""", path.read_text())
    }

    assert sorted(listed) == sorted(read - INTERNAL)


def test_the_defaults_of_the_settings_table_are_the_defaults(readme: str) -> None:
    defaults = {
        name: default.strip().strip("`")
        for name, default in SETTING.findall(readme)
        if default.strip().startswith("`")
    }
    home = defaults.pop("REDLINE_HOME")

    assert read_settings(defaults) == read_settings({})
    assert (PROJECT / home).resolve() == read_settings({}).home.root
    assert airflow_env.port(defaults) == airflow_env.port({})
    assert {"REDLINE_TIMEZONE", "REDLINE_POLICIES", "REDLINE_PORT"} <= {*defaults}


def test_no_other_page_lists_settings(readme: str) -> None:
    pages = [path for path in _pages() if path != README]

    assert not [path for path in pages if SETTING.search(path.read_text())]


def test_every_make_target_that_is_named_exists() -> None:
    targets = {*re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE)}

    for page in _pages():
        text = page.read_text()
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```.*?^```", text, re.M | re.S)
        named = {
            target
            for part in code
            for target in re.findall(r"(?:^|[\s=;&])make ([a-z][a-z-]*)", f" {part}")
        }
        assert named <= targets, page


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for page in _pages():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_file_of_alerts_that_is_shown_means_something(readme: str, tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(channels:.*?)^```", readme, re.M | re.S)
    path = tmp_path / "alerts.yml"
    path.write_text(shown)
    rules = read_rules(path)
    assert {name for route in rules.routes for name in route.to} <= {c.name for c in rules.channels}
    assert rules.storm == StormLimits()  # shown as the defaults


def _pages() -> list[Path]:
    folders = ["benchmarks", "dags", "dbt_project", "expectations", "plugins", "docs", "tests"]
    pages = [PROJECT / "README.md"]
    return pages + [path for name in folders for path in sorted((PROJECT / name).rglob("*.md"))]

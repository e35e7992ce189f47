"""The compose file, the Dockerfile, the lock and the licence, held against what they are about."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from redline import airflow_env, tasks
from redline.settings import PROJECT, read_settings

LOCKS = ["requirements.txt", "requirements-api.txt", "requirements-dev.txt"]
AIRFLOW_SERVICES = ["api-server", "dag-processor", "scheduler", "triggerer"]
LASTING_SERVICES = ["postgres", *AIRFLOW_SERVICES]

# `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$$` is a dollar sign.
INTERPOLATION = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?P<rule>:[-?])?(?P<rest>[^}]*)\})")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded


# --- docker-compose.yml -------------------------------------------------------------------------


def test_the_compose_file_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(
        resources.files("check_jsonschema")
        .joinpath("builtin_schemas/vendor/compose-spec.json")
        .read_text()
    )

    assert [error.message for error in Draft7Validator(schema).iter_errors(compose)] == []


def test_all_services_of_airflow_run_from_one_image_built_here(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert {*services} == {*LASTING_SERVICES, "init"}
    assert {services[name]["image"] for name in [*AIRFLOW_SERVICES, "init"]} == {
        services["init"]["image"]
    }
    assert all(services[name]["build"] == "." for name in [*AIRFLOW_SERVICES, "init"])
    for name in AIRFLOW_SERVICES:
        assert services[name]["command"][:2] == ["airflow", name]


@pytest.mark.parametrize("name", LASTING_SERVICES)
def test_a_lasting_service_restarts_and_says_whether_it_is_well(
    compose: dict[str, Any], name: str
) -> None:
    service = compose["services"][name]

    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries", "start_period"} == {*service["healthcheck"]}


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]

    for name in AIRFLOW_SERVICES:
        needs = services[name]["depends_on"]
        assert needs["postgres"]["condition"] == "service_healthy"
        assert needs["init"]["condition"] == "service_completed_successfully"
    assert services["scheduler"]["depends_on"]["api-server"]["condition"] == "service_healthy"
    assert services["init"]["restart"] == "no"


def test_no_password_or_key_has_a_default_or_stands_in_the_file(compose: dict[str, Any]) -> None:
    variables = list(_variables(compose))
    secret = {name for name, *_ in variables if re.search("PASSWORD|KEY|SECRET|CONN", name)}

    assert {
        "AIRFLOW_ADMIN_PASSWORD",
        "AIRFLOW_CONN_MARKETPLACE",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AIRFLOW_SECRET_KEY",
        "POSTGRES_PASSWORD",
        "REDLINE_PSEUDONYM_KEY",
    } == secret
    for name, rule, message in variables:
        if name in secret:
            assert (rule, bool(message)) == (":?", True), name
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|_KEY$|SECRET$|SQL_ALCHEMY_CONN$", name):
                assert INTERPOLATION.search(str(value)), name


def test_every_variable_is_in_the_example_and_no_secret_is_filled_in(
    compose: dict[str, Any],
) -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    offered = dict(
        line.lstrip("#").split("=", 1) for line in lines if re.match(r"#?[A-Z][A-Z_]+=", line)
    )
    variables = {name: rest for name, rule, rest in _variables(compose) if rule == ":-"}
    required = {name for name, rule, _ in _variables(compose) if rule == ":?"}

    assert {*offered} == {*variables} | required
    assert all(offered[name] == "" for name in required)
    assert all(offered[name] == default for name, default in variables.items())


def test_only_this_machine_reaches_the_web_page(compose: dict[str, Any]) -> None:
    published = [
        port for service in compose["services"].values() for port in service.get("ports", [])
    ]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", AIRFLOW_SERVICES)
def test_a_container_runs_as_airflow_does_here(
    compose: dict[str, Any], name: str, tmp_path: Any
) -> None:
    contained = {key: str(value) for key, value in compose["services"][name]["environment"].items()}
    home = read_settings({"REDLINE_HOME": str(tmp_path)}).home
    embedded = airflow_env.environment(home, "simulator://", {})
    # What is meant to differ: where things lie, and on which addresses services listen.
    differs = re.compile(
        r"SQL_ALCHEMY_CONN$|PASSWORDS_FILE$|URL$|LOG_FOLDER$|^REDLINE_|^AIRFLOW_CONN"
    )
    shared = [key for key in contained if key in embedded and not differs.search(key)]

    assert {"AIRFLOW__CORE__EXECUTOR", "AIRFLOW__CORE__PARALLELISM"} <= {*shared}
    assert {key: contained[key] for key in shared} == {key: embedded[key] for key in shared}
    assert contained["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert contained["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://")
    assert f"AIRFLOW_CONN_{tasks.CONNECTION.upper()}" in contained
    assert (
        contained["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"
    )


def test_the_pool_of_the_one_writer_is_made_before_anything_runs(compose: dict[str, Any]) -> None:
    script = compose["services"]["init"]["command"][-1]

    assert "airflow db migrate" in script
    assert f"airflow pools set {tasks.WRITER_POOL} {tasks.WRITER_POOL_SLOTS} " in script


def test_settings_mean_in_a_container_what_they_mean_here(compose: dict[str, Any]) -> None:
    defaults = {name: rest for name, rule, rest in _variables(compose) if rule == ":-"}
    known = {*re.findall(r"\bREDLINE_[A-Z_]+\b", _sources())}
    used = {
        name
        for service in compose["services"].values()
        for name in service.get("environment", {})
        if name.startswith("REDLINE_")
    }
    pinned = {name: value for name, value in defaults.items() if name in used}

    assert used <= known
    assert read_settings({"REDLINE_HOME": "/home", **pinned}) == read_settings(
        {"REDLINE_HOME": "/home"}
    )
    assert airflow_env.port({"REDLINE_PORT": defaults["REDLINE_PORT"]}) == airflow_env.port({})


def test_what_a_run_writes_is_in_a_volume_that_all_services_share(compose: dict[str, Any]) -> None:
    for name in AIRFLOW_SERVICES:
        service = compose["services"][name]
        mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
        targets = {target: volume for volume, target in mounts.items()}
        assert targets[service["environment"]["REDLINE_HOME"]] == "redline-home"
        assert targets["/var/lib/airflow"] == "airflow-home"
        assert {*mounts} <= {*compose["volumes"]}


# --- Dockerfile ---------------------------------------------------------------------------------


def test_the_image_is_built_from_the_lock_and_runs_without_rights() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    makefile = (PROJECT / "Makefile").read_text()
    version = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)

    assert version is not None
    assert f"ARG UV_VERSION={version[1]}\n" in text
    assert re.search(r"--require-hashes -r \S*/requirements\.txt", text)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.11.13-slim-bookworm"] * 2
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert users == ["redline"]
    assert text.index("USER redline") > text.index("RUN useradd")


def test_the_image_holds_what_a_run_reads_and_no_secret() -> None:
    copied = re.findall(
        r"^COPY (?!--from)(\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE
    )
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()

    assert {"dags", "dbt_project", "expectations", "plugins"} <= {*copied}
    assert ignored[1] == "*"
    assert {line.strip("!/") for line in ignored if line.startswith("!")} == {*copied}


# --- the lock -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_with_hashes(lock: str) -> None:
    entries = _entries(lock)

    assert len(entries) > 100
    for line, hashes in entries.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[\w.+!-]+( ; .+)?", line), line
        assert hashes, line
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in hashes), line


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_address(lock: str) -> None:
    code = "".join(
        line for line in _text(lock).splitlines(keepends=True) if not line.lstrip().startswith("#")
    )

    assert not re.search(
        r"://|@|--(extra-)?index|--find-links|--trusted-host|^-", code, re.MULTILINE
    )
    assert not re.search(r"https?:|index-url", _text(lock))


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("package", ["duckdb", "pyarrow", "numpy"])
def test_built_packages_are_locked_for_linux_and_macos(lock: str, package: str) -> None:
    hashes = [
        value
        for line, values in _entries(lock).items()
        if line.startswith(f"{package}==")
        for value in values
    ]

    # One per wheel: three Pythons on two systems with two kinds of processors, and more.
    assert len(hashes) >= 12


def test_every_direct_dependency_is_in_the_lock_and_allowed_by_it() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "requirements.txt": project["dependencies"],
        "requirements-api.txt": project["dependencies"] + extras["api"],
        "requirements-dev.txt": project["dependencies"] + extras["api"] + extras["dev"],
    }

    for lock, texts in wanted.items():
        pinned = {
            canonicalize_name(requirement.name): requirement
            for requirement in map(Requirement, _entries(lock))
        }
        for direct in map(Requirement, texts):
            (specifier,) = pinned[canonicalize_name(direct.name)].specifier
            assert specifier.version in direct.specifier, f"{direct} in {lock}"


def test_the_lock_brings_the_drivers_of_the_composed_database() -> None:
    names = {canonicalize_name(Requirement(line).name) for line in _entries("requirements.txt")}

    # Airflow opens its metadata twice: psycopg2 from threads, asyncpg from the event loop.
    assert {"asyncpg", "psycopg2-binary"} <= names


def test_the_locks_agree() -> None:
    run, api, develop = (_entries(lock) for lock in LOCKS)

    assert {*run} <= {*api} <= {*develop}


# --- the licence --------------------------------------------------------------------------------


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (PROJECT / "LICENSE").read_text()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

    assert project["license"] == "Apache-2.0"
    # Of its words, so that neither line ends nor indentation matter.
    digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
    assert digest == LICENSE_WORDS


LICENSE_WORDS = "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"


# --- reading ------------------------------------------------------------------------------------


def _text(name: str) -> str:
    return (PROJECT / name).read_text()


def _entries(lock: str) -> dict[str, list[str]]:
    """Requirement (with marker) -> its hashes."""
    joined = _text(lock).replace("\\\n", " ")
    lines = [line.split(" #")[0] for line in joined.splitlines() if line.strip()]
    entries = {}
    for line in lines:
        if not line.lstrip().startswith("#"):
            requirement, *hashes = line.split("--hash=")
            entries[" ".join(requirement.split())] = [value.strip() for value in hashes]
    return entries


def _variables(value: Any) -> Iterator[tuple[str, str | None, str]]:
    """Name, rule and default or message of every interpolated variable."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _variables(part)
    elif isinstance(value, list):
        for part in value:
            yield from _variables(part)
    elif isinstance(value, str):
        for found in INTERPOLATION.finditer(value):
            if found["name"]:
                yield found["name"], found["rule"], found["rest"]


def _sources() -> str:
    return "".join(path.read_text() for path in (PROJECT / "plugins").rglob("*.py"))


def test_every_variable_that_a_recipe_reads_is_handed_to_it() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    handed = {
        name for line in re.findall(r"^export (.*)$", makefile, re.M) for name in line.split()
    }
    recipes = "\n".join(line for line in makefile.splitlines() if line.startswith("\t"))
    read = {*re.findall(r"\$\$([A-Z][A-Z_]*)", recipes)}
    set_there = {*re.findall(r"\b([A-Z][A-Z_]*)=", recipes)}
    assert {"SOURCE", "REASON", "REPLAY"} <= read
    assert read <= handed | set_there

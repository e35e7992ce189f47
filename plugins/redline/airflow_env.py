"""The embedded Airflow: its settings in one place, for `make run`, `make serve` and the tests.

Metadata lie in an SQLite file below the home, so nothing is shared with another Airflow on the
machine. Past one machine the same DAGs run under docker-compose.yml instead.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from redline.marketplaces import CONNECTION, Marketplace, variable
from redline.settings import PROJECT, Home

DEFAULT_SOURCE = "simulator://?merchants=120&days=60&seed=7"
USER = "admin"

# Set where DAGs run without a scheduler (dag_runs.py): nobody can be asked anything there.
NO_SCHEDULER = "REDLINE_NO_SCHEDULER"


def airflow_home(home: Home) -> Path:
    """Where the embedded Airflow keeps its metadata."""
    return home.root / "airflow"


def port(environ: Mapping[str, str] = os.environ) -> int:
    """The web page's port: `REDLINE_PORT`, else Airflow's own setting, else 8080."""
    from redline.errors import SettingError

    text = environ.get("REDLINE_PORT") or environ.get("AIRFLOW__API__PORT") or "8080"
    if not text.isdecimal() or not 0 < int(text) < 65534:
        raise SettingError(
            f"'{text}' is not a port", "REDLINE_PORT", "set a number from 1 to 65533"
        )
    return int(text)


def environment(
    home: Home,
    source: str | Sequence[Marketplace],
    environ: Mapping[str, str] = os.environ,
    *,
    serve_on: int = 8080,
) -> dict[str, str]:
    """The environment under which the embedded Airflow runs.

    Args:
        source: the source's address, which becomes the Airflow connection `marketplace`; or the
            marketplaces, whose connections without an address are left to Airflow.
        environ: what to build on; settings that would reach into another Airflow are replaced.
        serve_on: the port of the web page and REST API, on the loopback interface only.
    """
    root = airflow_home(home)
    plugins = PROJECT / "plugins"
    binaries = Path(sys.executable).parent
    marketplaces = [Marketplace(CONNECTION, source)] if isinstance(source, str) else source
    settings = {
        "AIRFLOW_HOME": root,
        **{variable(each.name): each.address for each in marketplaces if each.address},
        "AIRFLOW__CORE__DAGS_FOLDER": PROJECT / "dags",
        "AIRFLOW__CORE__PLUGINS_FOLDER": plugins,
        "AIRFLOW__CORE__LOAD_EXAMPLES": False,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Standalone starts a process per slot: 2 keep it at 10 processes instead of 40.
        "AIRFLOW__CORE__PARALLELISM": 2,
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": root / "passwords.json",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{serve_on}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{root / 'airflow.db'}",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": False,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": serve_on,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{serve_on}",
        "AIRFLOW__API__WORKERS": 1,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": home.logs / "airflow",
        # Beside the page's own, so that two homes can be served at the same time.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": serve_on + 1,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": serve_on + 2,
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": False,
        "REDLINE_HOME": home.root,
        "REDLINE_MARKETPLACES": ",".join(each.name for each in marketplaces),
        "PATH": os.pathsep.join([str(binaries), environ.get("PATH", os.defpath)]),
        "PYTHONPATH": plugins,
    }
    return {**environ, **{name: str(value) for name, value in settings.items()}}


def prepare() -> None:
    """Make Airflow's metadata and the writer's pool, in a process that has `environment`.

    Raises:
        airflow.exceptions.AirflowException: the metadata cannot be made.
    """
    from airflow.models.pool import Pool
    from airflow.utils import db

    from redline.tasks import WRITER_POOL, WRITER_POOL_SLOTS

    Path(os.environ["AIRFLOW_HOME"]).mkdir(parents=True, exist_ok=True)
    db.initdb()
    Pool.create_or_update_pool(
        WRITER_POOL,
        slots=WRITER_POOL_SLOTS,
        description="DuckDB has one writer",
        include_deferred=False,
    )


def password(home: Home) -> str:
    """The password of the web page's user, made on first use, in a file only the owner can read."""
    path = airflow_home(home) / "passwords.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written before Airflow would make one itself and print it into its log.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps({USER: secrets.token_urlsafe(12)}) + "\n")
    return str(json.loads(path.read_text())[USER])


if __name__ == "__main__":
    prepare()

"""DuckDB's extensions, from the Python packages that carry them: nothing is downloaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import duckdb

from redline.errors import SettingError

Extension = Literal["httpfs", "mysql_scanner", "postgres_scanner"]


def load_extension(connection: duckdb.DuckDBPyConnection, name: Extension) -> None:
    """Load an extension into a connection.

    Raises:
        SettingError: its package is not installed, or was made for another DuckDB.
    """
    package = f"duckdb-extension-{name.replace('_', '-')}"
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next(
        (file for folder in folders for file in Path(folder).glob(f"extensions/*/{name}.duckdb_*")),
        None,
    )
    if path is None:
        raise SettingError(
            f"DuckDB's extension {name} is not installed",
            f"package {package}",
            "install what requirements.txt names",
        )
    try:
        connection.execute(f"load '{str(path).replace(chr(39), chr(39) * 2)}'")
    except duckdb.Error as error:
        raise SettingError(
            f"DuckDB {duckdb.__version__} cannot load its extension {name}: {error}",
            f"package {package}",
            "install what requirements.txt names",
        ) from error

"""Outboxes in both engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from redline.settings import Settings
from tests.plugins.redline.publish import made_home
from tests.servers.databases import postgres


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL server of the tests' own."""
    with postgres() as server:
        yield (
            f"postgresql://{server.user}:{quote(server.password)}@127.0.0.1:{server.port}/postgres"
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a home with an empty outbox in one of the engines."""
    settings = made_home.settings_of(tmp_path / "home", kept_runs=2)
    if request.param == "sqlite":
        return settings
    address: str = request.getfixturevalue("postgres_address")
    engine = sa.create_engine(address.replace("://", "+psycopg2://", 1))
    with engine.begin() as connection:
        for table in ("redline_messages", "redline_told", "redline_marks"):
            connection.execute(sa.text(f"drop table if exists {table}"))
    engine.dispose()
    return replace(settings, outbox=address)

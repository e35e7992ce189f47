"""`postgres://user:password@host:5432/database?mapping=/dir/mapping.yml`: PostgreSQL."""

from __future__ import annotations

from redline.sources import Address
from redline.sources._database import DatabaseSource, Engine, open_database

POSTGRES = Engine(
    name="postgres",
    told="PostgreSQL",
    extension="postgres_scanner",
    port=5432,
    quote='"',
    instant=lambda utc: f"timestamptz '{utc}+00'",
    # Not isfinite(): of a comparison's opposite an index knows, too.
    finite=lambda column: f"{column} not in ('infinity', '-infinity')",
    # DuckDB's scanner reads the numerics NaN and Infinity as 0, and long ones as floats.
    exact=lambda column: f"cast({column} as text)",
    seconds=lambda column: f"extract(epoch from {column})",
    schema="any(current_schemas(false))",
    attach="connect_timeout=10 application_name=redline",
    tls=("sslmode", "sslrootcert", "sslcert", "sslkey"),
)


def open_source(address: Address) -> DatabaseSource:
    """Open the database at an address; nothing is asked of it yet.

    Raises:
        SourceError: the address or its mapping means nothing.
    """
    return open_database(address, POSTGRES)

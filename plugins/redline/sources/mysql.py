"""`mysql://user:password@host:3306/database?mapping=/dir/mapping.yml`: MySQL and MariaDB."""

from __future__ import annotations

from redline.sources import Address
from redline.sources._database import DatabaseSource, Engine, open_database

MYSQL = Engine(
    name="mysql",
    told="MySQL",
    extension="mysql_scanner",
    port=3306,
    quote="`",
    instant=lambda utc: f"timestamp '{utc}'",  # the session's zone is UTC
    finite=lambda column: "true",  # it knows no infinity
    exact=lambda column: column,
    seconds=lambda column: f"unix_timestamp({column})",
    schema="database()",
    tls=("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"),
    settings=("set mysql_session_time_zone = '+00:00'",),
)


def open_source(address: Address) -> DatabaseSource:
    """Open the database at an address; nothing is asked of it yet.

    Raises:
        SourceError: the address or its mapping means nothing.
    """
    return open_database(address, MYSQL)

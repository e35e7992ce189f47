"""`mysql://user:password@host:3306/database?mapping=/dir/mapping.yml`: MySQL and MariaDB.

A snapshot is InnoDB's: a table of another engine is read as it stands at the time. An `alter table`
of what was read waits for its end. An answer within it is held in memory as a whole, so many dates
are asked for a stretch at a time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from redline.business_time import utc_offsets
from redline.sources import Address
from redline.sources._database import DatabaseSource, Engine, open_database


def _zone(timezone: str) -> str:
    """The session's zone: the mapping's, so that `timestamp` and `datetime` are on one clock.

    As an offset where it has had one only: servers know names only where someone loaded them.
    """
    stretches = utc_offsets(timezone, date(2000, 1, 1), datetime.now(UTC).date())
    if len({each.seconds for each in stretches}) > 1:
        return timezone
    minutes = stretches[0].seconds // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


MYSQL = Engine(
    name="mysql",
    told="MySQL",
    extension="mysql_scanner",
    port=3306,
    quote="`",
    instant=lambda utc: f"timestamp '{utc}'",  # unused: no type tells a zone
    finite=lambda column: f"{column} > 0",  # it knows no infinity, but the date 0000-00-00
    exact=lambda column: column,
    seconds=lambda column: f"unix_timestamp({column})",
    schema="database()",
    # DuckDB's own transaction begins at its first read and is as lax as the server's default.
    moment=(
        "set session transaction isolation level repeatable read",
        "start transaction with consistent snapshot, read only",
    ),
    # A stream has a connection of its own, beside the transaction.
    asks=", stream_results = false",
    at_once=500_000,
    tls=("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"),
    settings=lambda timezone: (
        f"set mysql_session_time_zone = '{_zone(timezone)}'",
        "set mysql_tinyint1_as_boolean = false",  # codes and stars stand in such columns, too
    ),
    # Text that is compared byte by byte (utf8mb4_bin) arrives as bytes.
    text=lambda column: f"convert({column} using utf8mb4)",
)


def open_source(address: Address) -> DatabaseSource:
    """Open the database at an address; nothing is asked of it yet.

    Raises:
        SourceError: the address or its mapping means nothing.
    """
    return open_database(address, MYSQL)

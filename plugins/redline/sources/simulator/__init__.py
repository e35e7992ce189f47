"""A seeded marketplace, so that everything can be seen at work without anyone's data.

`simulator://?merchants=120&days=60&seed=7&start=2026-01-01`, every option optional, these being
the defaults: about 60,000 orders. A merchant sells about 8.5 orders a day on average, the
smallest one in ten days, the largest over a hundred a day. With `incidents=0` nothing goes wrong
on purpose, with another number at so many merchants.

Rows are functions of the options and the business time zone alone (the SQL beside this file, with
a hash for a die), so a range of dates is made without the dates before it, on every machine and
any number of threads alike. They are made in memory whenever they are asked for, because buyers
and accounts look personal and no raw personal value may touch the disk.

Injected incidents are the truth that a demonstration or a calibration is held against; they lie in
`REDLINE_HOME/simulator/<name of the options>/incidents.csv` with merchant, kind, start and end:

- `bad_batch`: orders paid then draw complaints about the merchant's best-selling products;
- `poor_delivery`: orders paid then ship late, and orders fulfilled then are reviewed badly;
- `wrong_goods`: orders paid then are sent back as the merchant's fault.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import date
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa

from redline.contract import Entity
from redline.errors import SourceError, StorageError, is_lasting
from redline.settings import read_settings
from redline.sources import Address, parse_address
from redline.sources.simulator.clock import instant_macro
from redline.sources.simulator.options import Options, read_options

_SQL = Path(__file__).parent / "sql"
# Scripts beside market.sql; each builds on the ones before it.
_ENTITIES = (
    "merchants",
    "products",
    "buyers",
    "orders",
    "order_items",
    "complaints",
    "reviews",
    "refunds",
    "appeals",
)
_WINDOW = ("first_report", "last_report", "first_day", "last_day")
# Days between an order's placement and the last delivery of something that comes of it, at most.
_LONGEST_LIFE = {"orders": 30, "order_items": 30, "appeals": 60}
_LONGEST_LIFE_OF_EVENTS = 50
_EARLIEST_DAY = -900  # before the first opening of a merchant
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Incident:
    """Something that went wrong on purpose.

    Attributes:
        merchant_id: at whom.
        kind: `bad_batch`, `poor_delivery` or `wrong_goods`.
        start, end: first and last business date, both included.
    """

    merchant_id: str
    kind: str
    start: date
    end: date


@dataclass(frozen=True)
class Simulator:
    """The marketplace as a source; see `redline.sources.Source`.

    Attributes:
        platform: the name under which its records are kept.
        options: what it is made from.
        timezone: in which its days begin, an IANA name.
        threads: that make its rows; as many as there are processors if None.
    """

    platform: str
    options: Options
    timezone: str
    threads: int | None = None

    def span(self) -> tuple[date, date]:
        """First and last business date; nothing is delivered outside."""
        return self.options.start, self.options.end

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the rows delivered for `start` to `end`, ordered by report date.

        Times are naive UTC timestamps. Dates outside the span have no rows.
        """
        first = max((start - self.options.start).days, 0)
        last = min((end - self.options.start).days, self.options.days - 1)
        if first > last:
            return
        market, deliveries = self._market
        life = _LONGEST_LIFE.get(entity.name, _LONGEST_LIFE_OF_EVENTS)
        # A cursor is a connection of its own: variables of one read do not touch another's.
        cursor = market.cursor()
        _set_numbers(
            cursor,
            self.options,
            {
                "first_report": first,
                "last_report": last,
                "first_day": first - life,
                "last_day": last,
            },
        )
        columns = ", ".join(f'"{column}"' for column in entity.column_names)
        rows = cursor.execute(
            f"select {columns}, date_of(report_day) as report_date, ? as source_file"
            f" from ({deliveries[entity.name]}) order by report_day, row_no",
            [f"simulator/{entity.name}"],
        )
        yield from rows.to_arrow_reader(_BATCH_ROWS)

    @cached_property
    def _market(self) -> tuple[duckdb.DuckDBPyConnection, dict[str, str]]:
        """The market in memory, and the query that delivers each entity."""
        market = _open_market(self.options, self.timezone)
        if self.threads is not None:
            market.execute("set threads = ?", [self.threads])
        return market, {name: _run_script(market, name) for name in _ENTITIES}

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Nothing cheap is known."""
        return None


def open_source(address: Address) -> Simulator:
    """Open the marketplace and write its incidents beside the data.

    Raises:
        SourceError: an option that means nothing, or a home that cannot be written.
    """
    options = read_options(address)
    settings = read_settings()
    simulator = Simulator(address.platform, options, settings.timezone)
    _write_incidents(options, settings.home.root / "simulator" / options.name / "incidents.csv")
    return simulator


def incidents(address: Address | str) -> list[Incident]:
    """The injected incidents of the marketplace at an address, by start and merchant.

    Raises:
        SourceError: an option that means nothing.
    """
    return _incidents(read_options(parse_address(address) if isinstance(address, str) else address))


def _incidents(options: Options) -> list[Incident]:
    with _open_market(options, "UTC") as market:
        rows = market.execute(
            "select merchant_id, incident, date_of(incident_first), date_of(incident_last)"
            " from merchants_made where incident is not null order by incident_first, merchant_id"
        ).fetchall()
    return [Incident(*row) for row in rows]


def _write_incidents(options: Options, path: Path) -> None:
    """Write the truth once, aside and then renamed: several processes may open the same market."""
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Incident))
            writer.writerows(astuple(incident) for incident in _incidents(options))
        aside.replace(path)
    except OSError as error:
        kind = SourceError if is_lasting(error) else StorageError
        raise kind(
            f"cannot write the incidents: {error.strerror}",
            str(path),
            "point REDLINE_HOME at a folder that can be written",
        ) from error


def _open_market(options: Options, timezone: str) -> duckdb.DuckDBPyConnection:
    """An in-memory database with the merchants and what all deliveries have in common."""
    market = duckdb.connect(":memory:")
    # Nothing is read yet, but views are bound when they are made.
    _set_numbers(market, options, dict.fromkeys(_WINDOW, 0))
    last_day = options.days + max(_LONGEST_LIFE.values())
    market.execute(instant_macro(options.start, _EARLIEST_DAY, last_day, timezone))
    market.execute((_SQL / "market.sql").read_text(encoding="utf-8"))
    return market


def _run_script(market: duckdb.DuckDBPyConnection, name: str) -> str:
    """Make the views of an entity's script and return its last statement, the rows to deliver."""
    *definitions, rows = market.extract_statements(
        (_SQL / f"{name}.sql").read_text(encoding="utf-8")
    )
    for definition in definitions:
        market.execute(definition)
    return rows.query.rstrip().rstrip(";")


def _set_numbers(
    market: duckdb.DuckDBPyConnection, options: Options, window: dict[str, int]
) -> None:
    """Set the variables that the scripts read; days are counted from the start."""
    made_from: dict[str, int | None] = {
        "seed": options.seed,
        "merchants": options.merchants,
        "days": options.days,
        "incidents": options.incidents,
    }
    for name, number in {**made_from, **window}.items():
        market.execute(f"set variable {name} = ?::bigint", [number])
    market.execute("set variable start = ?::date", [options.start])


__all__ = ["Incident", "Options", "Simulator", "incidents", "open_source"]

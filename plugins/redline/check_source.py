"""Hold a source against the contract, without running or writing anything.

`python -m redline.check_source SOURCE [START END]` prints, per entity, what arrives and what
landing would refuse. It ends with 1 where a run could not take the source: a batch fault, or an
entity of which every row would be refused.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol, runtime_checkable

import duckdb
import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redline.contract import ENTITIES, Entity
from redline.errors import RedlineError, SettingError, SourceError
from redline.landing.batches import read_chunks
from redline.landing.door import admit, evening
from redline.landing.pseudonyms import PseudonymKey
from redline.plan import days
from redline.settings import read_settings
from redline.sources import Source, open_source

# Rows are judged within their date, so a long range is taken in parts that fit in memory.
DAYS_AT_ONCE = 92
ADDED = ("report_date", "source_file")


@runtime_checkable
class ListsColumns(Protocol):
    """A source that can tell which columns it is delivered, also those it drops."""

    def columns(self, entity: Entity, start: date, end: date) -> list[str]:
        """Column names of a range."""
        ...


@dataclass(frozen=True)
class Fault:
    """One kind of row fault of one entity.

    Attributes:
        reason: `<fault>:<column>`, as in the quarantine.
        rows: how many rows.
        sample_key: the key of one of them, as in the quarantine.
        sample_file: where to find it.
    """

    reason: str
    rows: int
    sample_key: str
    sample_file: str


@dataclass(frozen=True)
class EntityReport:
    """What a source delivers of one entity.

    Attributes:
        entity: its name.
        rows, dates: how many rows, on how many dates.
        left_out: nullable columns of the contract that never arrive.
        extra: columns outside the contract; they are dropped at the door.
        faults: kinds of row faults, most frequent first.
        batch_fault: why a date cannot be answered at all, None if all can.
    """

    entity: str
    rows: int
    dates: int
    left_out: tuple[str, ...]
    extra: tuple[str, ...]
    faults: tuple[Fault, ...]
    batch_fault: str | None

    @property
    def refused(self) -> int:
        """Rows that landing would refuse; a row is counted under its first fault."""
        return sum(fault.rows for fault in self.faults)

    @property
    def is_usable(self) -> bool:
        """Whether a run could take it: no batch fault, and not every row refused."""
        return self.batch_fault is None and (self.rows == 0 or self.refused < self.rows)


@dataclass(frozen=True)
class SourceReport:
    """What a source delivers from `start` to `end`, one report per entity of the contract."""

    address: str
    platform: str
    start: date
    end: date
    entities: tuple[EntityReport, ...]

    @property
    def is_usable(self) -> bool:
        """Whether a run could take the source."""
        return all(report.is_usable for report in self.entities)


def check_source(address: str, start: date | None = None, end: date | None = None) -> SourceReport:
    """Read a source's records of a range, and count what landing would refuse.

    Args:
        address: a source address.
        start, end: business dates, inclusive; the source's own span where left out.

    Raises:
        SourceError: the address means nothing, or the source cannot be opened.
        SettingError: the range is backwards, or left out where the source has no end of its own.
    """
    source = open_source(address)
    if start is None or end is None:
        span = source.span()
        if span is None:
            raise SettingError(
                "this source has no first and last date of its own", "START and END", "give both"
            )
        start, end = start or span[0], end or span[1]
    if end < start:
        raise SettingError(
            f"END {end} is before START {start}", "START and END", "exchange or correct them"
        )
    reports = tuple(_check_entity(source, entity, start, end) for entity in ENTITIES)
    return SourceReport(address, source.platform, start, end, reports)


def _check_entity(source: Source, entity: Entity, start: date, end: date) -> EntityReport:
    dates: set[date] = set()
    refused: Counter[str] = Counter()
    samples: dict[str, tuple[str, str]] = {}
    arrived: dict[str, None] = {}
    rows, batch_fault = 0, None
    try:
        for first, last in _parts(start, end):
            chunks = _noted(read_chunks(source, entity, first, last), arrived)
            counts, faults = _judge(entity, chunks, first, last)
            rows += sum(counts.values())
            dates.update(counts)
            for reason, count, key, file in faults:
                refused[reason] += count
                samples.setdefault(reason, (key, file))
        if isinstance(source, ListsColumns):
            arrived.update(dict.fromkeys(source.columns(entity, start, end)))
    except SourceError as error:
        batch_fault = str(error)
    return EntityReport(
        entity=entity.name,
        rows=rows,
        dates=len(dates),
        left_out=tuple(name for name in entity.column_names if arrived and name not in arrived),
        extra=tuple(name for name in arrived if name not in (*entity.column_names, *ADDED)),
        faults=tuple(Fault(reason, n, *samples[reason]) for reason, n in refused.most_common()),
        batch_fault=batch_fault,
    )


def _parts(start: date, end: date) -> Iterator[tuple[date, date]]:
    while start <= end:
        last = min(end, start + timedelta(days=DAYS_AT_ONCE - 1))
        yield start, last
        start = last + timedelta(days=1)


def _noted(chunks: Iterator[pa.Table], arrived: dict[str, None]) -> Iterator[pa.Table]:
    """Pass chunks on, noting the columns that they have."""
    for chunk in chunks:
        arrived.update(dict.fromkeys(chunk.schema.names))
        yield chunk


def _judge(
    entity: Entity, chunks: Iterator[pa.Table], start: date, end: date
) -> tuple[dict[date, int], list[tuple[str, int, str, str]]]:
    """Rows by date; reason, rows, a sample's key and its file of what landing would refuse.

    This is landing's own door, in memory and with a key that is thrown away: what a sample shows
    of a personal value leads nowhere.
    """
    settings = read_settings()
    evenings = [
        evening(day, day, settings.timezone, settings.horizon_days) for day in days(start, end)
    ]
    key = PseudonymKey(secrets.token_bytes(64), secrets.token_bytes(64), "thrown away")
    with duckdb.connect(config={"temp_directory": ""}) as connection:
        connection.execute("set timezone = 'UTC'")
        admitted = admit(connection, entity, chunks, evenings, key, "judged")
        faults = connection.execute(
            """
            select
                reason,
                count(*),
                min_by(row_key, (source_date, row_key)),
                min_by(source_file, (source_date, row_key))
            from judged
            where reason is not null
            group by reason
            """
        ).fetchall()
    by_date: Counter[date] = Counter()
    for (day, _), rows in admitted.rows_read.items():
        by_date[day] += rows
    return dict(by_date), faults


# The command ----------------------------------------------------------------------------------


def show(report: SourceReport, console: Console) -> None:
    """Print a report: a table of entities, and one of the kinds of row faults."""
    title = f"{report.platform}: {report.start} to {report.end}"
    table = _table(
        title, "entity", "#rows", "#dates", "#refused", "left out", "not in the contract"
    )
    for each in report.entities:
        table.add_row(
            each.entity,
            *(f"{count:,}" for count in (each.rows, each.dates, each.refused)),
            ", ".join(each.left_out) or "-",
            Text(", ".join(each.extra) or "-"),  # a stranger's words are no markup
            style="" if each.is_usable else "red",
        )
    console.print(table)
    if not any(each.faults for each in report.entities):
        return
    title = "row faults: these rows would be quarantined"
    table = _table(title, "entity", "reason", "#rows", "for example", "in")
    for each in report.entities:
        for fault in each.faults:
            table.add_row(
                each.entity,
                fault.reason,
                f"{fault.rows:,}",
                Text(fault.sample_key),
                Text(fault.sample_file),
            )
    console.print(table)


def _table(title: str, *headings: str) -> Table:
    """A table with a heading per column; `#` marks those of numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in headings:
        if heading.startswith("#"):
            table.add_column(heading[1:], justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")  # a key cut short cannot be searched for
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a source from the command line; the exit code is 0 where a run could take it."""
    parser = argparse.ArgumentParser(
        prog="python -m redline.check_source",
        description="Hold a source against the contract without running anything.",
    )
    parser.add_argument("source", help="simulator://..., files:///dir or olist:///dir")
    parser.add_argument("start", nargs="?", default="", help="first business date, YYYY-MM-DD")
    parser.add_argument("end", nargs="?", default="", help="last business date, YYYY-MM-DD")
    options = parser.parse_args(arguments)
    try:
        start, end = _date(options.start, "START"), _date(options.end, "END")
        report = check_source(options.source, start, end)
    except RedlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(report, Console())
    for each in report.entities:
        if each.batch_fault is not None:
            print(f"error: {each.entity}: {each.batch_fault}", file=sys.stderr)
        elif not each.is_usable:
            print(
                f"error: all {each.rows} rows of {each.entity} would be refused"
                f" ({each.faults[0].reason}): correct the source's export",
                file=sys.stderr,
            )
    if report.is_usable:
        refused = sum(each.refused for each in report.entities)
        print(
            f"A run can take this source; {refused:,} rows would be quarantined."
            if refused
            else "A run can take this source: every row fits the contract."
        )
    return 0 if report.is_usable else 1


def _date(text: str, name: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise SettingError(f"'{text}' is not a date", name, "write YYYY-MM-DD") from None


if __name__ == "__main__":
    sys.exit(main())

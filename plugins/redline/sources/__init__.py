"""Sources: one small module per scheme, each yielding Arrow batches of one entity.

To add one, write a module here with a function `open_source(address: Address) -> Source` and
name the module after the scheme (`simulator://` is `redline.sources.simulator`).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from redline.contract import Entity
from redline.errors import SourceError
from redline.marketplaces import is_platform_name

# What `fingerprint` answers where a date's delivery is not there, and is not waited for.
MISSING = "missing"

# In the metadata of a batch's schema: the names of columns that its source dropped, as JSON.
DROPPED = b"redline.dropped"

# What follows `user:` up to the last @ of the host's part, else up to any: a port is none.
_CREDENTIALS = re.compile(
    r"([a-z0-9+.-]+://[^/?#@:]*:)(?![0-9]+(?:[/?#]|$))(?:[^/?#]*|[^@]*)@", re.IGNORECASE
)
_UNENCODED = re.compile(
    r"[a-z0-9+.-]+://[^/?#@:]*:(?![0-9]+(?:[/?#]|$))[^/?#@]*[/?#][^@]*@", re.IGNORECASE
)


@dataclass(frozen=True)
class Address:
    """Where a source lies: `scheme://host/path?options`.

    Attributes:
        scheme: names the source's module.
        path: the absolute path of a folder, or empty.
        options: the query, one value each.
        platform: the name under which its records are kept.
        text: the whole address; it may hold a password.
    """

    scheme: str
    path: str
    options: dict[str, str]
    platform: str
    text: str = field(default="", repr=False)


class Source(Protocol):
    """A marketplace that can be asked for the records of a business date.

    `read` yields batches of one entity over an inclusive range of business dates. A batch has the
    contract's columns, as text or typed (timestamps in UTC), absent nullable ones left out, and
    two more: `report_date` (date32, the business date the record was delivered for) and
    `source_file` (text, what a person would open to see the row). Rows need no order. Columns that
    the contract does not know are dropped, here or at the door; the schema's metadata may name them
    (`DROPPED`), so that they are reported.
    A date without rows is an answer; a date that cannot be answered raises SourceError.
    """

    @property
    def platform(self) -> str:
        """The name under which its records are kept."""
        ...

    def span(self) -> tuple[date, date] | None:
        """First and last business date it has, or None where it has no end of its own."""
        ...

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the records delivered for the dates `start` to `end`, both included."""
        ...

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """What changes when the date's records change, cheap to ask; None if that is unknown.

        MISSING where the date has no delivery yet and is answered with no rows: a gap until it has.
        """
        ...


@runtime_checkable
class Snapshots(Protocol):
    """A source whose records change while it is read, and that can hold still meanwhile."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Within it, everything that is read belongs to one moment."""
        ...


def parse_address(text: str) -> Address:
    """Parse a source address.

    Raises:
        SourceError: an address that means nothing, with the ones that do, or a platform that
            cannot name a folder.
    """
    parts = urlsplit(text)
    module = f"{__name__}.{parts.scheme}"
    if not parts.scheme.isidentifier() or importlib.util.find_spec(module) is None:
        raise SourceError(
            f"'{without_password(text)}' names no source",
            "SOURCE or AIRFLOW_CONN_MARKETPLACE",
            "use simulator://, files:///dir, s3://bucket/prefix, postgres://, mysql://, "
            "tiktok:// or olist:///dir",
        )
    if _UNENCODED.match(text):
        raise SourceError(
            "a password with a slash, question mark or hash in it",
            f"the address of {parts.scheme}://",
            "percent-encode it: %2F, %3F, %23",
        )
    options = dict(parse_qsl(parts.query))
    path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
    platform = options.pop("platform", parts.scheme)
    if not is_platform_name(platform):
        raise SourceError(
            f"'{platform}' cannot be the name of a platform",
            f"the platform of {parts.scheme}://",
            "use small letters, digits, - and _, beginning with a letter or digit, and not 'all'",
        )
    return Address(parts.scheme, path, options, platform, text)


def without_password(address: str) -> str:
    """The address as it may be written down: a password in it becomes `***`.

    Also one with a slash in it, which makes it no address but is a password all the same.
    """
    return _CREDENTIALS.sub(r"\1***@", address, count=1)


def open_source(text: str) -> Source:
    """Open the source at an address; nothing is read yet.

    Raises:
        SourceError: the address means nothing, or nothing can be read there.
    """
    address = parse_address(text)
    module = importlib.import_module(f"{__name__}.{address.scheme}")
    if not hasattr(module, "open_source"):  # such as that of mappings
        raise SourceError(
            f"{address.scheme}:// names no source", "SOURCE", "see README, Your own data"
        )
    source: Source = module.open_source(address)
    return source


def told_names(names: Collection[str], known: Collection[str]) -> str:
    """The known ones among a file's column names, and how many others there are.

    Where a file comes without its header the names are its first row: personal values, which do
    not belong in a message.
    """
    told = ", ".join(name for name in names if name in known)
    others = sum(name not in known for name in names)
    if not others:
        return told or "no column"
    counted = f"{others} unknown column{'s' if others > 1 else ''}"
    return f"{told} and {counted}" if told else counted

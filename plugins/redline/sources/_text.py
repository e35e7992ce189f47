"""The bytes, lines and encoding of a text file, packed or not, within bounds."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, BinaryIO, cast

import pyarrow as pa

from redline.errors import SourceError
from redline.sources._layout import format_of
from redline.sources._storage import Entry, Storage

# What a packed file may become: a few kilobytes that unpack without end are no delivery.
MOST_UNPACKED = 64 << 30
MOST_RATIO = 500
RATIO_FROM = 256 << 20
# DuckDB's readers hold whole lines in memory, and so do ours.
LONGEST_LINE = 16 << 20

_CHUNK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_KINDS = {"gz": "gzip", "zst": "Zstandard"}
_MAGIC = {
    "gz": re.compile(rb"\x1f\x8b"),
    "zst": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL),
}

csv.field_size_limit(LONGEST_LINE)  # a quote that is not closed must not fill the memory


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    Attributes:
        delimiter: between fields; None: found by the header.
        quote: around a field that holds delimiters; empty: there is none.
        encoding: by its Python name; None: UTF-8, or what a byte order mark says.
    """

    delimiter: str | None = None
    quote: str = '"'
    encoding: str | None = None


PLAIN = Dialect()


@dataclass(frozen=True)
class DatedFile:
    """One file of an entity, for one business date.

    Attributes:
        storage: where it lies.
        entry: what was seen of it.
        day: the business date.
        suffix: one of SUFFIXES.
        dialect: how it is written, as far as that is known.
    """

    storage: Storage
    entry: Entry
    day: date
    suffix: str
    dialect: Dialect = PLAIN

    @property
    def name(self) -> str:
        """Its path below the source's root."""
        return self.entry.name

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return self.storage.place(self.entry.name)

    @property
    def format(self) -> str:
        """One of FORMATS."""
        return format_of(self.suffix)[0]

    @property
    def packing(self) -> str:
        """One of PACKINGS, or empty."""
        return format_of(self.suffix)[1]

    def written(self, dialect: Dialect) -> DatedFile:
        """The same file, known to be written so."""
        return replace(self, dialect=dialect)


def opened(file: DatedFile) -> BinaryIO:
    """Open a file's unpacked bytes.

    Reading raises SourceError where it is not packed as its name says, is damaged, or unpacks to
    more than any delivery.
    """
    raw = file.storage.open(file.name)
    if not file.packing:
        return raw
    return io.BufferedReader(cast(io.RawIOBase, _Unpacked(file, raw)), _CHUNK)


class _Unpacked(io.RawIOBase):
    def __init__(self, file: DatedFile, raw: BinaryIO) -> None:
        self._file, self._raw, self._count = file, raw, 0
        begin = raw.read(4)
        if not _MAGIC[file.packing].match(begin):
            raw.close()
            raise SourceError(
                f"not a {_KINDS[file.packing]} file, as its name says",
                file.place,
                "name it as it is packed, or deliver it again, whole",
            )
        raw.seek(0)
        self._inner: Any = (
            gzip.GzipFile(fileobj=raw)
            if file.packing == "gz"
            else pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._inner.read(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise SourceError(
                f"the {_KINDS[self._file.packing]} file is cut off or damaged "
                f"after {self._count} bytes of content",
                self._file.place,
                "deliver it again, whole",
            ) from None
        self._count += len(content)
        size = max(self._file.entry.size, 1)
        if self._count > MOST_UNPACKED or (
            self._count > RATIO_FROM and self._count > MOST_RATIO * size
        ):
            raise SourceError(
                f"{size} bytes unpack to more than {self._count >> 20} MiB",
                self._file.place,
                "this is no delivery: see who wrote it, or deliver it unpacked",
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._raw.close()
        super().close()


def encoding_of(file: DatedFile) -> str:
    """The encoding by its byte order mark, else as declared, else UTF-8."""
    with opened(file) as content:
        begin = content.read(4)
    marked = next((name for mark, name in _MARKS if begin.startswith(mark)), None)
    return marked or file.dialect.encoding or "utf-8"


def lines(file: DatedFile, newline: str = "") -> Iterator[str]:
    """The lines of a file whose encoding is known, with their ends.

    Raises:
        SourceError: a line is too long.
        UnicodeDecodeError: it is written in another encoding.
    """
    with (
        opened(file) as raw,
        io.TextIOWrapper(
            cast(Any, raw), encoding=file.dialect.encoding or "utf-8-sig", newline=newline
        ) as text,
    ):
        number = 0
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise SourceError(
                    f"line {number} is longer than {LONGEST_LINE >> 20} MiB",
                    file.place,
                    "the file is damaged or a quote is not closed: deliver it again",
                )
            yield line


def records(file: DatedFile) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file whose dialect is known, each with the line that it begins on.

    Raises:
        SourceError: a quote is not closed or not doubled, or a line is too long.
        UnicodeDecodeError: it is written in another encoding.
    """
    quote = file.dialect.quote
    reader = csv.reader(
        lines(file),
        delimiter=file.dialect.delimiter or ",",
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    begin = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            raise SourceError(
                f"the record at line {begin} holds a quote that is not closed",
                file.place,
                "the file is truncated or a quote is not doubled: deliver it again, whole",
            ) from None
        if row is None:
            return
        yield begin, row
        begin = reader.line_num + 1

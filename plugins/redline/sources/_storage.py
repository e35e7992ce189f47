"""Where files lie: what a folder and a bucket have in common, and the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import duckdb

from redline.errors import SourceError, StorageError, is_lasting, system_code

Part = str | re.Pattern[str]

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Entry:
    """What lies under a name.

    Attributes:
        name: its path below the root, parts separated by slashes.
        size: in bytes.
        modified: nanoseconds since 1970.
        is_file: and not a folder, a pipe or a link that leads nowhere.
        is_link: whether it is a symbolic link.
    """

    name: str
    size: int
    modified: int
    is_file: bool = True
    is_link: bool = False


class Storage(Protocol):
    """A folder or bucket, asked by names below its root."""

    @property
    def settles(self) -> bool:
        """Whether a file may be seen while it is still being written."""
        ...

    def has(self, folder: str) -> bool:
        """Whether anything lies under a folder's name."""
        ...

    def list(self, parts: Sequence[Part]) -> list[Entry]:
        """What matches, folder by folder, in order of name; hidden names are passed over."""
        ...

    def look(self, name: str) -> Entry | None:
        """What lies under a name now."""
        ...

    def refuse_outside(self, name: str) -> None:
        """Raise SourceError where a link would read what the address did not name."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file's bytes."""
        ...

    def place(self, name: str) -> str:
        """Where a person finds it, and what DuckDB says it has read."""
        ...

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection that can read from here."""
        ...

    def fault(self, error: Exception, name: str) -> SourceError | StorageError:
        """What a failure to read means."""
        ...


def part_source(part: Part) -> str:
    """A part as a regular expression."""
    return re.escape(part) if isinstance(part, str) else part.pattern


def literal(path: Path | str) -> str:
    """The path as DuckDB's readers take it: a bracket in a folder's name is no pattern."""
    return _GLOB.sub(r"[\g<0>]", str(path))


def told(error: Exception) -> str:
    """The reason in one line; none where DuckDB's words would quote a value."""
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return "a value does not fit its column"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unreadable(place: str, reason: str) -> SourceError:
    """A file that cannot be read, for a reason that waiting does not mend."""
    return SourceError(f"it cannot be read ({reason})", place, "mend it or deliver it again, whole")


@dataclass(frozen=True)
class Folder:
    """A folder of this machine.

    Attributes:
        root: its path, without symbolic links.
    """

    root: Path

    @property
    def settles(self) -> bool:
        """A file grows in its place."""
        return True

    def has(self, folder: str) -> bool:
        """Whether the folder is there, be it a link that leads nowhere."""
        path = self.root / folder
        return path.exists() or path.is_symlink()

    def list(self, parts: Sequence[Part]) -> list[Entry]:
        """What matches, folder by folder, in order of name; hidden names are passed over."""
        return list(self._walk("", parts))

    def _walk(self, folder: str, parts: Sequence[Part]) -> Iterator[Entry]:
        part, *rest = parts
        if isinstance(part, str) and rest:
            if self.has(folder + part):
                self.refuse_outside(folder + part)
                yield from self._walk(f"{folder}{part}/", rest)
            return
        matches = re.compile(re.escape(part)) if isinstance(part, str) else part
        try:
            entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except OSError as error:
            raise self.fault(error, folder.rstrip("/")) from error
        for entry in entries:
            if entry.name.startswith((".", "_")) or not matches.fullmatch(entry.name):
                continue
            if not rest:
                yield _entry(entry, folder + entry.name)
            elif entry.is_dir():
                self.refuse_outside(folder + entry.name)
                yield from self._walk(f"{folder}{entry.name}/", rest)

    def look(self, name: str) -> Entry | None:
        """What lies under a name now."""
        try:
            status = (self.root / name).stat()
        except OSError:
            return None
        return Entry(name, status.st_size, status.st_mtime_ns)

    def refuse_outside(self, name: str) -> None:
        """A link out of the folder would read what the address did not name."""
        path = self.root / name
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise SourceError(
                "a symbolic link that leads nowhere", str(path), "mend or remove it"
            ) from error
        if not target.is_relative_to(self.root):
            raise SourceError(
                f"a symbolic link out of {self.root}", str(path), "put the file itself there"
            )

    def open(self, name: str) -> BinaryIO:
        """Open a file's bytes."""
        return cast(BinaryIO, (self.root / name).open("rb"))

    def place(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own."""
        return duckdb.connect()

    def fault(self, error: Exception, name: str) -> SourceError | StorageError:
        """A damaged file, or a disk that failed."""
        place = self.place(name)
        of_storage = isinstance(error, OSError | duckdb.IOException)
        if of_storage and system_code(error) is not None and not is_lasting(error):
            return StorageError(
                f"it cannot be read ({told(error)})", place, "see that its disk or mount is well"
            )
        return unreadable(place, told(error))


def _entry(found: os.DirEntry[str], name: str) -> Entry:
    try:
        status = found.stat()
    except OSError:  # a link that leads nowhere
        return Entry(name, 0, 0, is_file=False, is_link=found.is_symlink())
    return Entry(name, status.st_size, status.st_mtime_ns, found.is_file(), found.is_symlink())

"""`files:///dir`: dated files of each entity.

Layout: `<dir>/<entity>/<YYYY-MM-DD>.<csv|jsonl|parquet>`, text also packed (`.gz`, `.zst`), or as
a mapping says; a file holds the rows that are new or changed on its date. Values of CSV and JSON
Lines arrive as text, those of Parquet typed: what a single row gets wrong is for landing to
refuse. What a file gets wrong is refused here.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from redline.contract import Entity, entity
from redline.errors import SourceError, StorageError
from redline.plan import days
from redline.sources import MISSING, Address, _readers
from redline.sources._layout import LAYOUT, SUFFIXES, UNFINISHED, Layout, layout_of
from redline.sources._readers import Shape, Wanted
from redline.sources._storage import Entry, Folder, Storage, literal
from redline.sources._text import PLAIN, DatedFile, Dialect
from redline.sources.mapping import NO_MAPPING, SourceMapping, read_mapping

__all__ = ["FilesSource", "literal", "make_source", "open_source"]

OPTIONS = ("mapping", "delimiter", "quote", "encoding", "done", "settle", "missing")
_DIALECT = ("delimiter", "quote", "encoding")
# What the mapping may say of an entity beside its columns.
MAPPED = ("files", *_DIALECT)
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class FilesSource:
    """Dated files in a folder or bucket; see the module's docstring for the layout.

    Attributes:
        platform: the name under which its records are kept.
        storage: where the files lie.
        mapping: of columns, and of where files lie and how they are written.
        dialect: of text files of which the mapping says nothing else.
        done: how a file that is whole is marked: a suffix such as `.done`, or a file of its folder
            such as `_SUCCESS`; empty where it is not.
        settle: seconds for which a file must have stayed as it is, where nothing marks it.
        missing: what a date without a file does: `stop`, or `gap`: it is answered with no rows.
    """

    platform: str
    storage: Storage
    mapping: SourceMapping = NO_MAPPING
    dialect: Dialect = PLAIN
    done: str = ""
    settle: float = SETTLE_SECONDS
    missing: str = "stop"

    def span(self) -> tuple[date, date]:
        """First and last business date of the orders' files.

        Raises:
            SourceError: there is no orders' folder, or no dated file in it.
        """
        layout = layout_of(self.mapping, entity("orders"))
        files = self._files(layout, date.min, date.max)
        if not files:
            where = self.storage.place(layout.text or "orders")
            raise SourceError("no orders", where, f"lay files out as {LAYOUT}")
        return min(files), max(files)

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the entity's rows of the dates `start` to `end`, contract columns only.

        A batch's schema tells under `redline.dropped` which columns were left behind, as JSON.

        Raises:
            SourceError: a file of the range is missing, doubled, unreadable or damaged. It may
                come after batches of other files, so what was read must not be kept by then.
            StorageError: the disk or mount that the files are on failed, or a file is still being
                written.
        """
        layout = layout_of(self.mapping, entity)
        if self._is_left_out(layout):
            return
        files = self._files(layout, start, end)
        self._refuse_gaps(layout, files, start, end)
        taken = self._settled([file for of_day in files.values() for file in of_day])
        wanted = Wanted(entity, self.mapping)
        # Files of the same shape are one query: eight hundred dates in seconds.
        alike: dict[Shape, list[DatedFile]] = defaultdict(list)
        for file in taken:
            shape, known = self._shaped(wanted, file)
            alike[shape].append(known)
        for shape, group in alike.items():
            try:
                yield from _readers.rows(wanted, shape, group)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                # Without its cause, which quotes the row: raw values do not belong in a log.
                raise _readers.diagnosed(wanted, shape, group, error) from None
        self._refuse_changed(taken)

    def columns(self, entity: Entity, start: date, end: date) -> list[str]:
        """Column names that the files of a range deliver, in order of appearance.

        Those that are taken go by the contract's names, the others by their own. Of a JSON Lines
        file only the first object is asked.
        """
        layout = layout_of(self.mapping, entity)
        if self._is_left_out(layout):
            return []
        wanted = Wanted(entity, self.mapping)
        names: dict[str, None] = {}
        for files in self._files(layout, start, end).values():
            for file in files:
                shape, _ = self._shaped(wanted, file)
                names.update(dict.fromkeys(_readers.delivered_columns(wanted, shape)))
        return list(names)

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Size and modification time of the date's files; None or MISSING where there is none."""
        layout = layout_of(self.mapping, entity)
        absent = MISSING if self.missing == "gap" and not self._is_left_out(layout) else None
        marks: list[str] = []
        if not layout.is_default:
            # Of a folder only what the date names is looked at; of a bucket one listing is kept.
            parts = layout.parts_of(day) if self.storage.settles else layout.parts
            try:
                entries = [e for e in self.storage.list(parts) if layout.is_of(e.name, day)]
            except (SourceError, StorageError):
                return None
            found = [entry for entry in entries if self._is_done(entry)]
            marks.extend(f"{each.name}:{each.size}:{each.modified}" for each in found)
            return " ".join(marks) or absent
        for suffix in SUFFIXES:
            entry = self.storage.look(f"{entity.name}/{day}.{suffix}")
            if entry is not None and self._is_done(entry):
                marks.append(f"{suffix}:{entry.size}:{entry.modified}")
        return " ".join(marks) or absent

    def _is_left_out(self, layout: Layout) -> bool:
        if not layout.entity.optional:
            return False
        if layout.is_default:
            return not self.storage.has(layout.entity.name)
        return not self.storage.list(layout.parts)

    def _files(self, layout: Layout, start: date, end: date) -> dict[date, list[DatedFile]]:
        """The dated files of a range by date, in order of date and name."""
        name, folder = layout.entity.name, layout.folder
        if folder and not self.storage.has(folder):
            raise SourceError(
                f"no folder of {name}", self.storage.place(folder), f"lay files out as {LAYOUT}"
            )
        files: dict[date, list[DatedFile]] = {}
        for entry in self.storage.list(layout.parts):
            if self.done.startswith(".") and entry.name.endswith(self.done):
                continue
            place = self.storage.place(entry.name)
            found = layout.day_of(entry.name, place, start, end)
            if found is None:
                continue
            day, suffix = found
            if entry.is_link:
                self.storage.refuse_outside(entry.name)
            if not entry.is_file:
                raise SourceError("not a file", place, "put the date's file in its place")
            if not self._is_done(entry):
                continue
            if day in files and not layout.allows_many:
                raise SourceError(
                    f"two files of {name} for {day}",
                    f"{files[day][0].place} and {Path(entry.name).name}",
                    "keep the one that is right",
                )
            file = DatedFile(self.storage, entry, day, suffix, self._dialect(layout.entity))
            files.setdefault(day, []).append(file)
        return dict(sorted(files.items()))

    def _dialect(self, wanted: Entity) -> Dialect:
        options = self.mapping.of(wanted).options
        told = {name: str(options[name]) for name in _DIALECT if name in options}
        return dialect_of(told, self.dialect, self.mapping.where(wanted, next(iter(told), "")))

    def _shaped(self, wanted: Wanted, file: DatedFile) -> tuple[Shape, DatedFile]:
        try:
            return _readers.shaped(wanted, file)
        except (OSError, UnicodeError, pa.ArrowException) as error:
            raise self.storage.fault(error, file.name) from error

    def _refuse_gaps(self, layout: Layout, files: Collection[date], start: date, end: date) -> None:
        missing = [day for day in days(start, end) if day not in files]
        if not missing or self.missing == "gap":
            return
        more = f" and {len(missing) - 1} more dates up to {missing[-1]}" if len(missing) > 1 else ""
        marked = f"mark it with {self.done} when it is whole, " if self.done else ""
        raise SourceError(
            f"no file of {layout.entity.name} for {missing[0]}{more}",
            self.storage.place(layout.path_of(missing[0])),
            f"deliver it (without rows: a file with its header only), {marked}"
            "or ask for other dates",
        )

    # Whether a file has arrived whole -----------------------------------------------------------

    def _is_done(self, entry: Entry) -> bool:
        """Whether a file's marker is there, where there is to be one."""
        if not self.done:
            return True
        folder = entry.name.rpartition("/")[0]
        marker = entry.name + self.done if self.done.startswith(".") else f"{folder}/{self.done}"
        return self.storage.look(marker) is not None

    def _settled(self, files: list[DatedFile]) -> list[DatedFile]:
        """The files, those of the last seconds after a second look.

        Raises:
            StorageError: one of them is still being written.
        """
        if self.done or not self.storage.settles or not files or self.settle <= 0:
            return files
        young = [file for file in files if self._age(file) < self.settle]
        if young:
            time.sleep(self.settle - max(0.0, min(map(self._age, young))))
            self._refuse_changed(young)
        return files

    def _age(self, file: DatedFile) -> float:
        return abs(time.time() - file.entry.modified / 1e9)

    def _refuse_changed(self, files: Sequence[DatedFile]) -> None:
        if not self.storage.settles:
            return
        for file in files:
            now = self.storage.look(file.name)
            if now is None or (now.size, now.modified) != (file.entry.size, file.entry.modified):
                raise StorageError(
                    "the file is still being written",
                    file.place,
                    "run again when it is whole; write it under another name "
                    f"({UNFINISHED[0]}) and rename it, or mark it (done=.done)",
                )


def open_source(address: Address) -> FilesSource:
    """Open the folder at an address.

    Raises:
        SourceError: the folder is missing or not absolute, or an option is unknown.
    """
    path = Path(address.path)
    if not path.is_absolute():
        raise SourceError(
            f"'{address.path}' is not an absolute folder",
            "files://",
            "write files:///folder, three slashes",
        )
    if not path.is_dir():
        raise SourceError("no such folder", str(path), f"lay files out as {LAYOUT}")
    return make_source(address, Folder(path.resolve()))


def make_source(address: Address, storage: Storage, known: Collection[str] = ()) -> FilesSource:
    """The source of an address whose files lie in a storage.

    Args:
        known: options that have been read already.

    Raises:
        SourceError: an option or the mapping means nothing.
    """
    where = f"{address.scheme}://"
    options = {name: value for name, value in address.options.items() if name not in known}
    unknown = next((name for name in options if name not in OPTIONS), None)
    if unknown is not None:
        raise SourceError(
            f"unknown option '{unknown}'",
            where,
            f"options are platform, {', '.join((*known, *OPTIONS))}",
        )
    try:
        settle = float(options.get("settle", SETTLE_SECONDS))
    except ValueError:
        settle = -1.0
    if not 0 <= settle <= 3600:
        raise SourceError("settle is not a number of seconds", where, "write settle=2")
    done = options.get("done", "")
    if "/" in done or ("done" in options and len(done) < 2):
        raise SourceError("done is not a name", where, "write done=.done or done=_SUCCESS")
    missing = options.get("missing", "stop")
    if missing not in ("stop", "gap"):
        raise SourceError(
            f"missing={missing} means nothing", where, "write missing=stop or missing=gap"
        )
    mapping = read_mapping(options["mapping"], MAPPED) if "mapping" in options else NO_MAPPING
    source = FilesSource(
        address.platform,
        storage,
        mapping,
        dialect_of(options, PLAIN, where),
        done,
        settle,
        missing,
    )
    for mapped in mapping.entities.values():  # what means nothing is told before anything is read
        layout_of(mapping, mapped.entity)
        source._dialect(mapped.entity)
    return source


def dialect_of(options: dict[str, str], default: Dialect, where: str) -> Dialect:
    """The dialect that options tell.

    Raises:
        SourceError: one of them means nothing.
    """
    delimiter, quote = options.get("delimiter"), options.get("quote")
    if delimiter == "tab":
        delimiter = "\t"
    if quote == "none":
        quote = ""
    for name, value in (("delimiter", delimiter), ("quote", quote or None)):
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise SourceError(f"the {name} is not one character", where, f"write {name}=; or such")
    encoding = options.get("encoding")
    if encoding is not None:
        try:
            if "a,b\n".encode(encoding).decode(encoding) != "a,b\n" or encoding in _NO_TEXT:
                raise LookupError
        except (LookupError, UnicodeError):
            raise SourceError(
                f"unknown encoding '{encoding}'", where, "write one such as gb18030 or latin-1"
            ) from None
    return replace(
        default,
        delimiter=default.delimiter if delimiter is None else delimiter,
        quote=default.quote if quote is None else quote,
        encoding=encoding or default.encoding,
    )


_NO_TEXT = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")

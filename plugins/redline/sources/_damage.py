"""What is wrong with a text file that cannot be read: slow, exact, and only asked on failure.

DuckDB reads hundreds of files in one query and knows that one of them is damaged; these
functions walk a single file in plain Python to say where and what to do about it.
"""

from __future__ import annotations

import codecs
import csv
import json
import mmap
import sys
from pathlib import Path

from redline.errors import SourceError

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def refuse_other_encodings(path: Path) -> None:
    """Raise SourceError, with line and byte, where a file is not UTF-8."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        guess = "UTF-16" if content.startswith(UTF16_MARKS) else "an older encoding"
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"not UTF-8 at line {line}, byte {error.start} (it looks like {guess})",
            str(path),
            "save the file as UTF-8 and run again",
        ) from None


def refuse_ragged_rows(path: Path) -> None:
    """Raise SourceError, with the line, where a CSV file is cut off or a row has not its fields."""
    csv.field_size_limit(sys.maxsize)
    begin, width = 1, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            for row in rows:
                width = width or len(row)
                if row and len(row) != width:
                    raise SourceError(
                        f"line {begin} has {len(row)} fields where the header has {width}",
                        str(path),
                        "the file is truncated or a comma is not quoted: deliver it again, whole",
                    )
                begin = rows.line_num + 1
        except csv.Error:
            raise SourceError(
                f"the record at line {begin} holds a quote that is not closed",
                str(path),
                "the file is truncated or a quote is not doubled: deliver it again, whole",
            ) from None


def may_hide_a_field(path: Path) -> bool:
    """Whether a CSV line ends in a comma.

    DuckDB takes `a,b,` for two fields as well as for three with an empty last one, so that an
    unquoted comma in a row with an empty end would shift its values in silence.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        ends_open = content[-1:] == b","
        return ends_open or any(content.find(end) >= 0 for end in (b",\n", b",\r"))


def refuse_mixed_line_ends(path: Path) -> None:
    """Raise SourceError where a CSV file ends its lines in more than one way."""
    content = path.read_bytes()
    windows = content.count(b"\r\n")
    kinds = windows, content.count(b"\n") - windows, content.count(b"\r") - windows
    if sum(count > 0 for count in kinds) > 1:
        raise SourceError(
            "its lines end in different ways (CR LF and LF)",
            str(path),
            "write all line ends alike and run again",
        )


def refuse_broken_lines(path: Path) -> None:
    """Raise SourceError, with the line, where a JSON Lines file holds anything but objects."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                found = _object(line)
            except ValueError as error:
                found, reason = None, str(error)
            else:
                reason = "not an object"
            if found is None:
                raise SourceError(
                    f"line {number} is not a JSON object ({reason})",
                    str(path),
                    "the file is truncated or damaged: deliver it again, one object per line",
                )


def _object(line: str) -> dict[str, object] | None:
    """The object on a line, None for any other value; ValueError for what is not JSON."""
    pairs: list[list[str]] = []

    def note(items: list[tuple[str, object]]) -> dict[str, object]:
        pairs.append([name for name, _ in items])
        return dict(items)

    found = json.loads(line, object_pairs_hook=note)
    if not isinstance(found, dict):
        return None
    names = pairs[-1]  # the outermost object is finished last
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"it names {twice} twice")
    return found

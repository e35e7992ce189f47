"""What is wrong with a text file that cannot be read: slow, exact, and only asked on failure.

DuckDB reads hundreds of files in one query and knows that one of them is damaged; these
functions walk a single file in plain Python to say where and what to do about it. What is packed
is walked before it is read: DuckDB takes a Zstandard file that is cut off for a shorter one, and
does not look at checksums.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redline.errors import SourceError
from redline.sources._text import DatedFile, lines, opened, records

_CHUNK = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")


def _chunks(file: DatedFile) -> Iterator[bytes]:
    with opened(file) as content:
        while chunk := content.read(_CHUNK):
            yield chunk


def refuse_other_encodings(file: DatedFile) -> None:
    """Raise SourceError, with line and byte, where a file is not in its encoding."""
    encoding = file.dialect.encoding or "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)()
    line, offset = 1, 0
    looks = "an older encoding"
    try:
        for chunk in _chunks(file):
            if offset == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                looks = "UTF-16"
            offset += len(chunk)
            line += decoder.decode(chunk).count("\n")
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        before = bytes(error.object[: error.start]).decode(encoding, "ignore")
        at = offset - len(error.object) + error.start
        is_default = encoding in ("utf-8", "utf-8-sig")
        raise SourceError(
            f"not {'UTF-8' if is_default else encoding} at line {line + before.count(chr(10))}, "
            f"byte {at}" + (f" (it looks like {looks})" if is_default else ""),
            file.place,
            "save the file as UTF-8, or name its encoding (encoding=gb18030), and run again"
            if is_default
            else "name its encoding (encoding=...), or save it as UTF-8, and run again",
        ) from None


def refuse_ragged_rows(file: DatedFile) -> None:
    """Raise SourceError, with the line, where a CSV file is cut off or a row has not its fields."""
    width = 0
    for begin, row in records(file):
        width = width or len(row)
        refuse_ragged_row(file, begin, row, width)


def refuse_ragged_row(file: DatedFile, begin: int, row: list[str], width: int) -> None:
    """Raise SourceError where a record has not its fields; an empty line is none."""
    if row and len(row) != width:
        raise SourceError(
            f"line {begin} has {len(row)} fields where the header has {width}",
            file.place,
            "the file is truncated or a delimiter is not quoted: deliver it again, whole",
        )


@dataclass(frozen=True)
class Signs:
    """What makes DuckDB read a CSV file otherwise than it is written.

    Attributes:
        ends_open: a line ends in a delimiter. `a,b,` is taken for two fields as well as for three
            with an empty last one, so that an unquoted comma in a row with an empty end would
            shift its values in silence.
        has_returns: a carriage return stands alone. With a line feed within quotes it makes rows
            vanish.
    """

    ends_open: bool
    has_returns: bool


def signs_of(file: DatedFile) -> Signs:
    """Look through the whole of a CSV file.

    Raises:
        SourceError: a packed file is damaged.
    """
    delimiter = (file.dialect.delimiter or ",").encode()
    ends_open, has_returns, last = False, False, b""
    for chunk in _chunks(file):
        joined = last + chunk
        ends_open = ends_open or delimiter + b"\n" in joined or delimiter + b"\r" in joined
        if b"\r" in joined and not has_returns:
            body = joined[:-1] if joined.endswith(b"\r") else joined
            has_returns = body.count(b"\r") != body.count(b"\r\n")
        last = chunk[-1:]
    return Signs(ends_open or last == delimiter, has_returns or last == b"\r")


def refuse_damaged_packing(file: DatedFile) -> None:
    """Raise SourceError where a packed file is damaged, cut off or unpacks without end."""
    for _ in _chunks(file):
        pass


def refuse_mixed_line_ends(file: DatedFile) -> None:
    """Raise SourceError where a CSV file ends its lines in more than one way."""
    windows = newlines = returns = 0
    last = b""
    for chunk in _chunks(file):
        joined = last + chunk
        windows += joined.count(b"\r\n")
        newlines += chunk.count(b"\n")
        returns += chunk.count(b"\r")
        last = chunk[-1:] if chunk.endswith(b"\r") else b""
    kinds = windows, newlines - windows, returns - windows
    if sum(count > 0 for count in kinds) > 1:
        raise SourceError(
            "its lines end in different ways (CR LF and LF)",
            file.place,
            "write all line ends alike and run again",
        )


def refuse_broken_lines(file: DatedFile) -> None:
    """Raise SourceError, with the line, where a JSON Lines file holds anything but objects."""
    for _ in objects(file):
        pass


def objects(file: DatedFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a JSON Lines file and their objects, numbers of the outermost as text.

    Raises:
        SourceError: a line is something else.
    """
    for number, line in enumerate(lines(file, "\n"), start=1):
        if line.isspace():
            continue
        try:
            found = _object(line)
        except (ValueError, RecursionError) as error:
            found = None
            reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        else:
            reason = "not an object"
        if found is None:
            raise SourceError(
                f"line {number} is not a JSON object ({reason})",
                file.place,
                "the file is truncated or damaged: deliver it again, one object per line",
            )
        yield line, found


def _object(line: str) -> dict[str, Any] | None:
    """The object on a line, None for any other value; ValueError for what is not JSON."""
    names: list[str] = []

    def note(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names[:] = [name for name, _ in items]  # the outermost object is finished last
        return dict(items)

    found = json.loads(line, object_pairs_hook=note, parse_int=str, parse_float=str)
    if not isinstance(found, dict):
        return None
    if len(names) != len(found):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice} twice")
    if "\\u" in line and _SURROGATE.search(json.dumps(found, ensure_ascii=False)):
        raise ValueError("half of a surrogate pair")
    return found

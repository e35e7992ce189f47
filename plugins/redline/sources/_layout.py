"""Which files are an entity's, and of which date: by name only.

Without a mapping `<entity>/<YYYY-MM-DD>.<format>`; a mapping's `files` names a pattern such as
`export/orders_{date}.csv.gz`, `dt={date}/orders/*.parquet` or `{yyyy}/{mm}/{dd}/orders.jsonl`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from redline.contract import Entity
from redline.errors import SourceError
from redline.sources._storage import Part, part_source
from redline.sources.mapping import SourceMapping

FORMATS = ("csv", "jsonl", "parquet")
PACKINGS = ("gz", "zst")
SUFFIXES = ("csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "jsonl.zst", "parquet")
LAYOUT = "<dir>/<entity>/<YYYY-MM-DD>.<csv|jsonl|parquet>"

# Names that programs give to a file while they write it.
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".swp", "~")

_DATED = re.compile(r"(\d{4}-\d{2}-\d{2})(.*)", re.DOTALL)
_ANY = re.compile(r".*", re.DOTALL)
_TOKEN = re.compile(r"\{([a-z]*)\}|(\*)")
# Of the date's shape, so that `2024-1-5` is refused and not passed over.
_TOKENS = {
    "date": "([0-9][0-9-]*)",
    "yyyy": "([0-9]{4})",
    "mm": "([0-9]{2})",
    "dd": "([0-9]{2})",
}


@dataclass(frozen=True)
class Layout:
    """Where an entity's files lie.

    Attributes:
        entity: whose.
        text: the pattern as a person wrote it; empty for the default.
        parts: of the path below the source's root, one for each folder and the last for the file.
        tokens: what the groups of the parts stand for, in order.
    """

    entity: Entity
    text: str
    parts: tuple[Part, ...]
    tokens: tuple[str, ...] = ()

    @property
    def is_default(self) -> bool:
        """Whether no mapping says otherwise: a folder for each entity."""
        return not self.text

    @property
    def folder(self) -> str:
        """The folder that all of them are below."""
        fixed: list[str] = []
        for part in self.parts[:-1]:
            if not isinstance(part, str):
                break
            fixed.append(part)
        return "/".join(fixed)

    def parts_of(self, day: date) -> tuple[Part, ...]:
        """The parts that a date's files match; of a mapping's pattern only."""
        return tuple(
            re.compile(".*".join(map(re.escape, part.split("*")))) if "*" in part else part
            for part in self.path_of(day).split("/")
        )

    def is_of(self, name: str, day: date) -> bool:
        """Whether a name is of a date."""
        try:
            return self.day_of(name, "", day, day) is not None
        except SourceError:
            return False

    def path_of(self, day: date) -> str:
        """Where a date's file is due, as a person would write it."""
        if self.is_default:
            return f"{self.entity.name}/{day}.{{{','.join(SUFFIXES)}}}"
        text = self.text.replace("{date}", str(day)).replace("{yyyy}", f"{day:%Y}")
        return text.replace("{mm}", f"{day:%m}").replace("{dd}", f"{day:%d}")

    @property
    def allows_many(self) -> bool:
        """Whether a date may come in several files."""
        return "*" in self.text

    def day_of(self, name: str, place: str, start: date, end: date) -> tuple[date, str] | None:
        """The date and suffix of a name; None for another date's, or an unfinished file.

        Raises:
            SourceError: the name is neither: passing over `2024-1-5.csv` would lose a day.
        """
        last = name.rpartition("/")[2]
        if last.lower().endswith(UNFINISHED):
            return None
        if self.is_default:
            match = _DATED.fullmatch(last)
            told, dot, suffix = match[1] if match else "", ".", match[2] if match else ""
            dot, suffix = suffix[:1], suffix[1:]
        else:
            found = re.fullmatch(
                "/".join(part_source(part) for part in self.parts), name, re.DOTALL
            )
            groups = found.groups() if found else ()
            told = _joined(self.tokens, groups)
            dot = "."
            suffix = next((each for each in SUFFIXES if last.endswith(f".{each}")), "")
        try:
            day = date.fromisoformat(told) if len(told) == 10 else None
        except ValueError:
            day = None
        if day is not None and not start <= day <= end:
            return None
        if day is None or dot != "." or suffix not in SUFFIXES:
            raise SourceError(
                f"the name {last} is not <YYYY-MM-DD>.<{'|'.join(SUFFIXES)}>"
                if self.is_default
                else f"the name {name} is not {self.text} with a date and {', '.join(SUFFIXES)}",
                place,
                _todo(last),
            )
        return day, suffix


def layout_of(mapping: SourceMapping, wanted: Entity) -> Layout:
    """Where an entity's files lie.

    Raises:
        SourceError: the mapping's pattern means nothing, with its line.
    """
    text = mapping.of(wanted).options.get("files")
    if text is None:
        return Layout(wanted, "", (wanted.name, _ANY))

    def refused(what: str) -> SourceError:
        return SourceError(
            f"{what} in files of {wanted.name}",
            mapping.where(wanted, "files"),
            "write a path below the folder such as export/orders_{date}.csv",
        )

    if not isinstance(text, str) or not text.strip("/"):
        raise refused("no path")
    parts: list[Part] = []
    tokens: list[str] = []
    for part in text.split("/"):
        if part in ("", ".", "..") or part.startswith((".", "_")):
            raise refused(f"'{part}' cannot be a folder or file")
        pattern, at = "", 0
        for token in _TOKEN.finditer(part):
            pattern += re.escape(part[at : token.start()])
            at = token.end()
            if token[2]:
                pattern += "[^/]*"
            elif token[1] in _TOKENS:
                pattern += _TOKENS[token[1]]
                tokens.append(token[1])
            else:
                raise refused(f"unknown {token[0]}")
        parts.append(re.compile(pattern + re.escape(part[at:])) if at else part)
    if "date" not in tokens and not {"yyyy", "mm", "dd"} <= {*tokens}:
        raise refused("no {date}")
    return Layout(wanted, text, tuple(parts), tuple(tokens))


def format_of(suffix: str) -> tuple[str, str]:
    """Format and packing of a suffix."""
    form, _, packing = suffix.partition(".")
    return form, packing


def _joined(tokens: Sequence[str], groups: Sequence[str]) -> str:
    """The date that a name tells, empty where it tells two."""
    values: dict[str, str] = {}
    for token, text in zip(tokens, groups, strict=False):
        if values.setdefault(token, text) != text:
            return ""
    if "date" not in values:
        return "-".join(values.get(token, "") for token in ("yyyy", "mm", "dd"))
    parts = dict(zip(("yyyy", "mm", "dd"), values["date"].split("-"), strict=False))
    parts["date"] = values["date"]
    return values["date"] if all(parts.get(name) == values[name] for name in values) else ""


def _todo(name: str) -> str:
    if name.endswith((".bz2", ".zip", ".xz", ".parquet.gz", ".parquet.zst")):
        return "unpack it"
    if name.endswith(".done"):
        return "write ?done=.done where these mark files that are whole"
    return "rename it, or move it out of the folder"

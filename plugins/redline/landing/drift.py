"""Columns outside the contract: dropped at the door, and reported once.

`<entity folder>/dropped_columns.json` says of each column on which report date it was first seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa

from redline.contract import Entity
from redline.landing.scope import Scope
from redline.sources import DROPPED, Source

_FILE = "dropped_columns.json"
_BESIDE = ("report_date", "source_file")
# A file without its header has values for names: what may be one is not written down.
_NAME = re.compile(r"(?!.*\d{4})[^\W\d][\w .-]{0,63}")
_UNSHOWN = "a column whose name may be a value"


@dataclass
class Overheard:
    """A source, with an ear for what it drops.

    Attributes:
        source: what it passes everything on from.
        dropped: names of columns outside the contract, as far as they may be shown.
    """

    source: Source
    dropped: set[str] = field(default_factory=set)

    @property
    def platform(self) -> str:
        """The source's."""
        return self.source.platform

    def span(self) -> tuple[date, date] | None:
        """The source's."""
        return self.source.span()

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """The source's."""
        return self.source.fingerprint(entity, day)

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """The source's batches."""
        known = {*entity.column_names, *_BESIDE}
        for batch in self.source.read(entity, start, end):
            told = (batch.schema.metadata or {}).get(DROPPED)
            names = {*(json.loads(told) if told else ()), *batch.schema.names} - known
            self.dropped.update(n if _NAME.fullmatch(n) else _UNSHOWN for n in names)
            yield batch


def note_dropped(folder: Path, dropped: set[str], scope: Scope) -> list[str]:
    """Note down what was dropped; the columns that no closed date knew, in order.

    Landing the same open dates again tells the same: it is not reported until it is published.
    """
    path = folder / _FILE
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    fresh = {name: str(scope.first_open) for name in sorted(dropped - known.keys())}
    if fresh:
        aside = path.with_name(f".{_FILE}.tmp")
        aside.write_text(json.dumps({**known, **fresh}, indent=2, ensure_ascii=False) + "\n")
        aside.replace(path)
    return sorted(
        name
        for name, day in {**known, **fresh}.items()
        if name in dropped and day >= str(scope.first_open)
    )

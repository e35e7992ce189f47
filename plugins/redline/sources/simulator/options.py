"""The options of a simulated marketplace, and what each may be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

from redline.errors import SourceError
from redline.sources import Address

_DEFAULTS = {"merchants": 120, "days": 60, "seed": 7}
_RANGES = {
    "merchants": (1, 200_000, "a whole number from 1 to 200000, such as 120"),
    "days": (1, 3650, "a whole number from 1 to 3650, such as 60"),
    "seed": (0, 2**31 - 1, "a whole number from 0 to 2147483647, such as 7"),
}
_ANY_INCIDENTS = (0, 200_000, "a whole number from 0 to 200000, such as 0 for a quiet marketplace")
_FIRST_START, _LAST_START = date(2000, 1, 1), date(2099, 12, 31)
_DEFAULT_START = date(2026, 1, 1)
_ANY_START = "a date from 2000-01-01 to 2099-12-31, such as 2026-01-01"


@dataclass(frozen=True)
class Options:
    """What a simulated marketplace is made from; equal options make equal rows.

    Attributes:
        merchants: how many merchants; about 8.5 orders each and day.
        days: how many business dates, the first being `start`.
        seed: any other number makes another marketplace.
        start: the first business date.
        incidents: how many merchants something goes wrong at, as far as there are merchants for
            it; None for about one in twelve, three at least.
    """

    merchants: int
    days: int
    seed: int
    start: date
    incidents: int | None = None

    @property
    def end(self) -> date:
        """The last business date."""
        return self.start + timedelta(days=self.days - 1)

    @property
    def name(self) -> str:
        """A short name of these options, fit for a folder."""
        text = f"merchants={self.merchants}&days={self.days}&seed={self.seed}&start={self.start}"
        if self.incidents is not None:
            text += f"&incidents={self.incidents}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_options(address: Address) -> Options:
    """Read the options of a `simulator://` address.

    Raises:
        SourceError: an unknown option or a value out of range, named with what to put instead.
    """
    known = (*_DEFAULTS, "start", "incidents")
    for name in address.options:
        if name not in known:
            raise SourceError(
                f"unknown option '{name}'",
                "simulator://",
                f"use only {', '.join(known)}",
            )
    if address.path:
        raise SourceError(
            f"a simulated marketplace has no path '{address.path}'",
            "simulator://",
            "put options behind a question mark, such as simulator://?merchants=120&days=60",
        )
    counts = {
        name: _count(name, address.options.get(name, str(default)), _RANGES[name])
        for name, default in _DEFAULTS.items()
    }
    incidents = address.options.get("incidents")
    return Options(
        **counts,
        start=_start(address),
        incidents=None if incidents is None else _count("incidents", incidents, _ANY_INCIDENTS),
    )


def _count(name: str, text: str, allowed: tuple[int, int, str]) -> int:
    least, most, wanted = allowed
    # isdecimal alone would let other scripts' digits pass, len keeps int() from endless digits.
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise _refusal(name, text, wanted)
    return int(text)


def _start(address: Address) -> date:
    text = address.options.get("start")
    if text is None:
        return _DEFAULT_START
    try:
        start = date.fromisoformat(text)
    except ValueError as error:
        raise _refusal("start", text, _ANY_START) from error
    if not _FIRST_START <= start <= _LAST_START:
        raise _refusal("start", text, _ANY_START)
    return start


def _refusal(name: str, text: str, wanted: str) -> SourceError:
    return SourceError(f"'{text}' cannot be used", f"simulator:// option {name}", f"put {wanted}")

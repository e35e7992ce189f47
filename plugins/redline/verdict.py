"""How the marketplaces of a run fared: who published, who is missing and why, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Fate:
    """How a run ended for one marketplace.

    Attributes:
        name: the marketplace's.
        evening: its last published evening, None before the first.
        published: whether this run published; if not, and nothing failed, there was nothing new.
        why: what failed, in one line; None: nothing did.
    """

    name: str
    evening: date | None
    published: bool
    why: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether something failed, so that its rows are those of before."""
        return self.why is not None


def missing(fate: Fate) -> str:
    """What stands instead of a missing marketplace's evening, and why, in one line."""
    kept = f"keeps {fate.evening}" if fate.evening else "has nothing published"
    return f"{fate.name} is missing, {kept}: {fate.why}"


def told(fates: Iterable[Fate]) -> str:
    """The verdict: who is missing and why, who published, for whom there was nothing new."""
    fates = list(fates)
    published = [f"{each.name} {each.evening}" for each in fates if each.published]
    quiet = [each.name for each in fates if not each.published and not each.is_missing]
    parts = [missing(each) for each in fates if each.is_missing]
    parts += [f"published: {', '.join(published)}"] if published else []
    parts += [f"nothing new: {', '.join(quiet)}"] if quiet else []
    return "; ".join(parts) or "no marketplace was asked for"

"""Errors that a person can act on: what was wrong, where, and what to do."""

from __future__ import annotations


class RedlineError(Exception):
    """A failure with a remedy. Its text is one line: what, where, what to do.

    Args:
        what: what is wrong, in plain words.
        where: the entity, file, row, key or setting that it concerns.
        todo: what the reader should do about it.
    """

    def __init__(self, what: str, where: str, todo: str) -> None:
        super().__init__(what, where, todo)
        self.what, self.where, self.todo = what, where, todo

    def __str__(self) -> str:
        line = f"{self.what} ({self.where}): {self.todo}"
        return " ".join(line.split())


class SettingError(RedlineError):
    """A setting or parameter that means nothing, or contradicts the home it points at."""


class SourceError(RedlineError):
    """A fault of a file or batch: missing, truncated, wrong header, unreadable."""


class GateError(RedlineError):
    """A data check that failed. Never retried: the data must change first."""


class BusyError(RedlineError):
    """Another run holds the home. Retried: it will finish."""

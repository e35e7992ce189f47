"""Errors that a person can act on: what was wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

# What waiting does not mend: someone must change a folder, its rights or its mount.
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)


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


class PackError(RedlineError):
    """Policy packs that cannot be put in force. Its line tells the first fault and counts the rest.

    Attributes:
        faults: every fault, the first included, as a line of its own.
    """

    def __init__(self, what: str, where: str, todo: str, faults: Sequence[str] = ()) -> None:
        super().__init__(what, where, todo)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        more = len(self.faults) - 1
        return super().__str__() + (f" (and {more} more)" if more > 0 else "")


class SourceError(RedlineError):
    """A fault of a file or batch: missing, truncated, wrong header, unreadable."""


class GateError(RedlineError):
    """A data check that failed. Never retried: the data must change first."""


class BusyError(RedlineError):
    """Another run holds the home. Retried: it will finish."""


class StorageError(RedlineError):
    """Storage that failed: a full disk, a lost mount, a locked file. Retried: it may come back."""


def system_code(error: Exception) -> int | None:
    """The operating system's number for a failure; None where it was not the one that failed.

    DuckDB tells it in words only, within its own message.
    """
    if isinstance(error, OSError):
        return error.errno
    text = str(error)
    return next((code for code in errno.errorcode if os.strerror(code) in text), None)


def is_lasting(error: Exception) -> bool:
    """Whether a failure of the storage stays until someone mends it: no folder, no permission."""
    return system_code(error) in _LASTING

"""The run lock: one run at a time writes a home.

A flock dies with the process that holds it, so a killed run leaves nothing to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from redline.errors import BusyError
from redline.settings import Home

VARIABLE = "REDLINE_RUN_LOCK"


@contextmanager
def hold(home: Home, what: str, *, shared: bool = False) -> Iterator[int]:
    """Hold the home while the block runs; yields the lock's file descriptor, to hand to a child.

    A child process that is handed the descriptor (in `REDLINE_RUN_LOCK`) is part of the run and
    takes no lock of its own. Extractions of one run write different folders and share the lock.

    Raises:
        BusyError: another run holds it, named with its process and since when.
    """
    if inherited := os.environ.get(VARIABLE):
        yield int(inherited)
        return
    path = home.root / "run.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another run is at work: {_holder(descriptor)}",
                str(path),
                "wait for it to end, or set another REDLINE_HOME; nothing was changed",
            ) from None
        holder = {
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
            "what": what,
        }
        os.pwrite(descriptor, json.dumps(holder).ljust(200).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(home: Home) -> bool:
    """Whether a run is at work, asked without holding or writing anything."""
    try:
        descriptor = os.open(home.root / "run.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} ({holder['what']}) since {holder['since']}"
    except (ValueError, KeyError):
        return "its process has not said which"

"""Homes, databases and servers of the tests in memory, where there is enough of it.

A disk is waited for whenever a statement is committed, which leaves a processor idle for a third of
the time. What is written is the same; no test asks what becomes of it when the machine stops.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder of the user's own is made in it
_ENOUGH_BYTES = 4 << 30  # several times what all tests hold at one time
_VARIABLE = "TMPDIR"  # the processes that tests start find it by this, too


def take() -> Path | None:
    """Make the folder for temporary files and let everything from here on use it.

    Returns:
        The folder, to be given to `give_back`; None where there is too little memory, where
        somebody has chosen a folder, or in a process that has inherited one.
    """
    if sys.platform != "linux" or _VARIABLE in os.environ or not _has_enough():
        return None
    folder = Path(tempfile.mkdtemp(prefix="redline-tests-", dir=_MEMORY))
    folder.chmod(0o711)  # databases that refuse to run as root reach their own folders in it
    os.environ[_VARIABLE] = tempfile.tempdir = str(folder)
    return folder


def give_back(folder: Path) -> None:
    """Remove the folder."""
    os.environ.pop(_VARIABLE, None)
    tempfile.tempdir = None
    shutil.rmtree(folder, ignore_errors=True)


def _has_enough() -> bool:
    return (
        os.access(_MEMORY, os.W_OK)
        and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
        and psutil.virtual_memory().available > 2 * _ENOUGH_BYTES
    )

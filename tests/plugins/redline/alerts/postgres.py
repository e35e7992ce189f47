"""A real PostgreSQL server for tests, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, or None where it is not installed."""
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else next(iter(_FOLDERS), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Serve PostgreSQL while the block runs; yields its address."""
    folder = programs()
    assert folder is not None
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="redline-pg-", dir="/tmp") as made:
        if user is not None:
            shutil.chown(made, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        data = Path(made) / "data"

        def call(program: str, *words: str) -> None:
            subprocess.run(
                [str(folder / program), *words],
                user=user,
                cwd=made,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=120,
            )

        call("initdb", "-D", str(data), "-U", "redline", "-A", "trust", "-E", "UTF8", "-N")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        call("pg_ctl", "-D", str(data), "-w", "-o", options, "start")
        try:
            yield f"postgresql://redline:s3cret-word@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")

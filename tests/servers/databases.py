"""A real PostgreSQL, and a MariaDB where one is installed, each in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Servers refuse to run as root.
_NOBODY = "nobody"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        user, password: of someone who may do everything.
    """

    port: int
    user: str
    password: str


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[Server]:
    """Run PostgreSQL."""
    binaries = _postgres_binaries()
    with _folder() as folder:
        password = folder / "password"
        password.write_text("s3cret word\n")
        shutil.chown(password, _user())
        _run(
            binaries / "initdb",
            *("--pgdata", folder / "data", "--username", "redline", "--pwfile", password),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"),
        )
        port = free_port()
        settings = {"fsync": "off", "max_connections": 50, "listen_addresses": "127.0.0.1"}
        server = subprocess.Popen(
            [
                binaries / "postgres",
                *("-D", folder / "data", "-p", str(port), "-k", folder),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            user=_user(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(server, port)
            # It listens before it is ready.
            ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, check=False).returncode:
                assert server.poll() is None, "the server stopped"
                time.sleep(0.05)
            yield Server(port, "redline", "s3cret word")
        finally:
            server.send_signal(signal.SIGINT)  # "fast": it does not wait for its clients
            server.wait(30)


@contextmanager
def mariadb() -> Iterator[Server]:
    """Run MariaDB."""
    with _folder() as folder:
        data, init = folder / "data", folder / "init.sql"
        _run(
            Path(shutil.which("mariadb-install-db") or "mariadb-install-db"),
            *("--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", f"--tmpdir={folder}"),
        )
        init.write_text(
            "create user redline@'127.0.0.1' identified by 's3cret word';\n"
            "grant all on *.* to redline@'127.0.0.1' with grant option;\n"
        )
        init.chmod(0o644)
        port = free_port()
        server = subprocess.Popen(
            [
                shutil.which("mariadbd") or "mariadbd",
                "--no-defaults",
                f"--datadir={data}",
                f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}",
                f"--tmpdir={folder}",
                f"--port={port}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                f"--init-file={init}",
                "--innodb-flush-log-at-trx-commit=0",
            ],
            user=_user(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(server, port)
            yield Server(port, "redline", "s3cret word")
        finally:
            server.terminate()
            server.wait(30)


def has_mariadb() -> bool:
    """Whether a MariaDB is installed."""
    return all(map(shutil.which, ("mariadbd", "mariadb-install-db")))


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = str(found[-1]) if found else shutil.which("initdb")
    assert path, "PostgreSQL is not installed: apt-get install postgresql"
    return Path(path).parent


def _user() -> str:
    return _NOBODY if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def _folder() -> Iterator[Path]:
    """A short path, for sockets, that the server's user may write to."""
    with tempfile.TemporaryDirectory(prefix="redline-") as made:
        folder = Path(made)
        shutil.chown(folder, _user())
        folder.chmod(0o700)
        yield folder


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        user=_user(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server stopped"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")

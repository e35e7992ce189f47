"""dbt for tests in this process: as a run calls it, but forked from one that is imported already.

Of the seconds that each start of dbt costs most go into importing it, into compiling its own
serializers and into parsing the project. A server does the first two once, and keeps dbt's parse of
each project and set of variables, which a home's path alone would invalidate. Every call is still a
process of its own, with the arguments, environment and output that a run would give and get; tests
that start a run as a process, such as `make run`, start dbt as a run does.

As a program (`python -m tests.warm_dbt FOLDER`) it is that server.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from redline.settings import PROJECT
from redline.transform import DBT_PROJECT
from redline.transform.dbt_process import main

PARSED = "partial_parse.msgpack"
SOCKET, OWNER = "socket", "owner"


class WarmDbt:
    """Calls the server, which is started by whoever calls it first.

    All processes of a test run share it. It ends when `folder` is removed, or with its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def owned_by_this_process(cls) -> WarmDbt:
        """A server of this process's own, and of those that know its folder."""
        folder = Path(tempfile.mkdtemp(prefix="redline-dbt-"))
        (folder / OWNER).write_text(str(os.getpid()))
        return cls(folder)

    @property
    def folder(self) -> Path:
        """Where it listens, and keeps what it has parsed."""
        return self._folder

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """What `redline.transform` calls to start dbt."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self._folder / SOCKET).exists():
                _start_server(self._folder)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._folder / SOCKET))
            request = {"arguments": [*arguments], "environment": {**environment}}
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as answer:
                said = json.loads(answer.read())
        return subprocess.CompletedProcess([*arguments], **said)

    def stop(self) -> None:
        """End the server."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _start_server(folder: Path) -> None:
    paths = os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)])
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    while not (folder / SOCKET).exists():
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)


# --- the server ----------------------------------------------------------------------------------


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = int((folder / OWNER).read_text())
        # Nobody sees the socket before it is listened at.
        aside = folder / "socket.tmp"
        super().__init__(str(aside), _Call)
        aside.rename(folder / SOCKET)

    def service_actions(self) -> None:
        """Every half second: is anybody left to serve?"""
        super().service_actions()
        if not self._folder.exists() or not psutil.pid_exists(self._owner):
            sys.exit()


class _Call(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            # One more process, whose end is awaited: before it DuckDB's lock is not free.
            child = os.fork()
            if child == 0:
                _run(request["arguments"], request["environment"], out.fileno(), err.fileno())
            _, status = os.waitpid(child, 0)
            for file in (out, err):
                file.seek(0)
            said = {
                "returncode": os.waitstatus_to_exitcode(status),
                "stdout": out.read().decode(),
                "stderr": err.read().decode(),
            }
        self.wfile.write(json.dumps(said).encode())


def _run(arguments: Sequence[str], environment: Mapping[str, str], out: int, err: int) -> NoReturn:
    """Be the process of one call of dbt."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    code = -1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.clear()
        os.environ.update(environment)
        with _parsed_before(arguments):
            code = main(arguments)
        # As the end of a process does: it writes DuckDB's log of changes into the warehouse.
        DuckDBConnectionManager.close_all_connections()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


@contextlib.contextmanager
def _parsed_before(arguments: Sequence[str]) -> Iterator[None]:
    """Take dbt's parse from another home that has read the same project with the same variables."""
    options = {name: arguments[arguments.index(name) + 1] for name in ("--project-dir", "--vars")}
    key = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
    kept = Path(tempfile.gettempdir()) / f"{key}.msgpack"
    own = Path(arguments[arguments.index("--target-path") + 1]) / PARSED
    if kept.exists() and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, own)
    yield
    if own.exists() and not kept.exists():
        aside = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(own, aside)
        aside.rename(kept)


def _without_the_home_parses_are_alike() -> None:
    """Let dbt's parse be taken elsewhere: of the profile only the home's paths differ.

    No option of dbt does it, so a method of its parser is replaced, in this server alone: a dbt in
    which it is named otherwise fails here, visibly, and not in what is tested.
    """
    from dbt.contracts.files import FileHash
    from dbt.parser.manifest import ManifestLoader

    build = ManifestLoader.build_manifest_state_check

    def build_without_profile(self: ManifestLoader) -> object:
        state = build(self)
        state.profile_hash = FileHash.from_contents("")  # an empty hash equals none
        return state

    ManifestLoader.build_manifest_state_check = build_without_profile


def _warm_up(folder: Path) -> None:
    """Parse the project once, which compiles what dbt compiles at its first use."""
    # Of the static parser's threads a forked process would wait for ever.
    arguments = [str(folder / "results.json"), "--quiet", "--no-static-parser", "parse"]
    for name, value in {
        "--project-dir": DBT_PROJECT,
        "--profiles-dir": DBT_PROJECT,
        "--target-path": folder,
        "--log-path": folder,
    }.items():
        arguments += [name, str(value)]
    os.environ["REDLINE_HOME"] = str(folder)
    for _ in range(2):  # the second time reads what the first has left
        assert main(arguments) == 0


def serve(folder: Path) -> None:
    """Answer calls until the owner ends or removes the folder."""
    tempfile.tempdir = str(folder)
    gc.disable()
    _without_the_home_parses_are_alike()
    _warm_up(folder / "warm")
    gc.freeze()
    with _Server(folder) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

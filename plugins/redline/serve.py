"""`make serve`: the real Airflow on this machine, with the DAGs loaded and a login printed.

`python -m redline.serve [--source ADDRESS]`
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from redline import airflow_env, planning, progress
from redline.errors import RedlineError, SettingError
from redline.marketplaces import Marketplace, asked_for
from redline.settings import PROJECT, Settings, read_settings

_READY_SECONDS = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the exit code is 1 when Airflow does not come up."""
    console = Console(highlight=False)
    parser = argparse.ArgumentParser(prog="redline.serve", description=__doc__)
    parser.add_argument("--source", default="")
    source = parser.parse_args(arguments).source
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends Airflow as Ctrl-C does
    try:
        settings, port = read_settings(), airflow_env.port()
        served = asked_for(source, settings.marketplaces, os.environ, airflow_env.DEFAULT_SOURCE)
        for each in served:
            if each.address:  # else it is one of Airflow's own connections
                planning.check_address(each.address)
        planning.prepare_home(settings)
        _refuse_busy_port(port)
        _be_interruptible()
        return serve(settings, served, port, console)
    except RedlineError as error:
        console.print(f"Error: {error}", soft_wrap=True, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130


def _be_interruptible() -> None:
    """Let an interrupt and a request to end stop Airflow too.

    A shell that starts a command in the background lets it ignore interrupts, and a process that is
    ended in the middle would leave Airflow's own behind.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)


def serve(settings: Settings, served: Sequence[Marketplace], port: int, console: Console) -> int:
    """Start Airflow, tell where it is, and stay until it ends or we are interrupted."""
    environment = airflow_env.environment(settings.home, served, serve_on=port)
    settings.home.logs.mkdir(parents=True, exist_ok=True)
    log = settings.home.logs / f"serve-{datetime.now():%Y%m%dT%H%M%S}.log"
    password = airflow_env.password(settings.home)
    with log.open("w", encoding="utf-8") as output:
        with progress.line(console) as line:
            line.show("prepare Airflow")
            prepared = subprocess.run(
                [sys.executable, "-m", "redline.airflow_env"],
                env=environment,
                cwd=PROJECT,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if prepared.returncode != 0:
                raise SettingError(
                    "Airflow could not prepare its metadata", str(log), "read that log"
                )
            server = subprocess.Popen(
                ["airflow", "standalone"],
                env=environment,
                cwd=PROJECT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            is_up = False
            try:
                while not is_up and server.poll() is None and line.seconds < _READY_SECONDS:
                    line.show("start Airflow")
                    time.sleep(0.5)
                    is_up = is_healthy(port)
            finally:
                if not is_up:
                    stop(server)
        if not is_up:
            raise SettingError("Airflow did not come up", str(log), "read that log")
        try:
            _tell(settings, served, port, password, console)
            return server.wait()
        except KeyboardInterrupt:
            console.print("Stopping Airflow ...")
            return 0
        finally:
            stop(server)


def is_healthy(port: int) -> bool:
    """Whether the scheduler and the DAG processor have reported to the API server."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5
        ) as answer:
            health = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return False
    parts = ("metadatabase", "scheduler", "dag_processor")
    return all((health.get(part) or {}).get("status") == "healthy" for part in parts)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End Airflow and every process it started."""
    # Standalone ends its parts in order on an interrupt; what is left after that is killed.
    for signum, seconds in ((signal.SIGINT, 15), (signal.SIGTERM, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _tell(
    settings: Settings,
    served: Sequence[Marketplace],
    port: int,
    password: str,
    console: Console,
) -> None:
    console.print(f"Airflow   http://127.0.0.1:{port}", soft_wrap=True)
    console.print(f"Login     {airflow_env.USER} / {password}", soft_wrap=True, markup=False)
    for each in served:
        address = planning.without_password(each.address) or f"Airflow connection '{each.name}'"
        console.print(f"Source    {address}", soft_wrap=True, markup=False)
    console.print(f"Home      {settings.home.root}", soft_wrap=True, markup=False)
    console.print(
        "Trigger merchant_risk_daily there with a start_date and an end_date. Ctrl-C stops it.",
        soft_wrap=True,
    )


def _refuse_busy_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingError(
                f"port {port} is taken",
                "REDLINE_PORT",
                "set another, such as REDLINE_PORT=8081",
            ) from error


if __name__ == "__main__":
    sys.exit(main())

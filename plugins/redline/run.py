"""`make run`: the daily DAG over a source's whole history and then for its last day, watched.

`python -m redline.run [--source ADDRESSES] [--start DATE] [--end DATE] [--restate-from DATE]`

Several marketplaces are run one by one, each over its own dates; one that fails stops no other.
What Airflow has to say goes to a log file; the terminal gets one progress line and a summary.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from redline import airflow_env, lock, marketplaces, planning, policies, progress, restating
from redline.errors import RedlineError, SettingError
from redline.marketplaces import Marketplace
from redline.plan import ONE_DAY
from redline.settings import PROJECT, Settings, read_settings

DAILY, ALERTS = "merchant_risk_daily", "merchant_risk_alerts"
_POLL_SECONDS = 0.2

# A DAG and the parameters of its run.
Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """What a person asked `make run` for; None means: as far as the source goes."""

    marketplaces: tuple[Marketplace, ...]
    start: date | None = None
    end: date | None = None
    restate_from: date | None = None


@dataclass(frozen=True)
class Part:
    """What is to be run for one marketplace.

    Attributes:
        marketplace: which.
        steps: its DAG runs.
        refused: why there are none, in one line.
    """

    marketplace: Marketplace
    steps: list[Step]
    refused: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How the DAG runs went.

    Attributes:
        parts: what was to be run.
        watch: what the tasks noted.
        log: the file with everything Airflow said.
        seconds: how long they took.
    """

    parts: tuple[Part, ...]
    watch: progress.Watch
    log: Path
    seconds: float

    def failure(self, part: Part) -> str | None:
        """Why a marketplace is missing, in one line; None: it is not."""
        if part.refused is not None:
            return part.refused
        watch = self.watch.of(part.marketplace.name)
        if watch.is_finished:
            return None
        failures = watch.failures
        if not failures:
            stage = watch.stage if watch.events else self.watch.stage
            return f"the run stopped at '{stage}': read the log, then run again"
        more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
        return f"{failures[0]['stage']} failed: {failures[0]['error']['line']}{more}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and tell how it went; the exit code is 1 when a marketplace is missing."""
    console = Console(highlight=False)
    try:
        settings = read_settings()
        request = read_request(settings, arguments)
        policies.check_packs(settings.policies)
        planning.prepare_home(settings)
        with lock.hold(settings.home, "make run") as held:
            parts = plan_parts(request, settings)
            if not any(part.steps for part in parts):
                for part in parts:
                    _tell_error(f"{part.marketplace.name}: {part.refused}", console)
                return 1
            outcome = run_steps(parts, settings, held, console)
    except RedlineError as error:
        _tell_error(str(error), console)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted: nothing half-done was published; the next run mends it.")
        return 130
    failures = [outcome.failure(part) for part in parts]
    if all(failures):
        _tell_failure(outcome, console)
        return 1

    from redline import summary

    summary.show(settings, outcome, console)
    return 1 if any(failures) else 0


def read_request(settings: Settings, arguments: Sequence[str] | None = None) -> Request:
    """Read the command line; what is absent comes from the connections, or is simulated.

    Raises:
        SettingError: a date that cannot be read, or END before START; two marketplaces of one
            platform; none with an address.
        SourceError: an address that means nothing.
    """
    parser = argparse.ArgumentParser(prog="redline.run", description=__doc__)
    parser.add_argument("--source", default="")
    parser.add_argument("--start", default="")
    parser.add_argument("--end", default="")
    parser.add_argument("--restate-from", default="")
    given = parser.parse_args(arguments)

    def day(text: str, where: str) -> date | None:
        return planning.read_date(text, where) if text.strip() else None

    found = marketplaces.asked_for(
        given.source, settings.marketplaces, os.environ, airflow_env.DEFAULT_SOURCE
    )
    request = Request(
        marketplaces=tuple(found),
        start=day(given.start, "START"),
        end=day(given.end, "END"),
        restate_from=day(given.restate_from, "FROM"),
    )
    if request.start and request.end:
        planning.check_dates(request.start, request.end)
    # What a person mistypes is refused before anything is written.
    for each in request.marketplaces:
        if each.address:
            planning.check_address(each.address)
        elif len(request.marketplaces) == 1:
            raise marketplaces.no_source(each.name)
    return request


def plan_parts(request: Request, settings: Settings) -> tuple[Part, ...]:
    """The DAG runs that a request comes to, per marketplace.

    Raises:
        RedlineError: what `plan_steps` raises, of the only marketplace.
    """
    parts = []
    for each in request.marketplaces:
        try:
            if not each.address:
                raise marketplaces.no_source(each.name)
            parts.append(Part(each, plan_steps(request, each, settings)))
        except RedlineError as error:
            if len(request.marketplaces) == 1:
                raise
            parts.append(Part(each, [], str(error)))
    return tuple(parts)


def plan_steps(request: Request, marketplace: Marketplace, settings: Settings) -> list[Step]:
    """The DAG runs for a marketplace: the history in one pass, then its last day.

    They are one run where the history is published already. Alerts follow each, as the asset
    makes them follow under a scheduler; they also make up for those that a killed run left out.

    Raises:
        SettingError: the source has none of the dates, or has no end and none was given; or a
            restatement is to be finished first.
        SourceError: an address that means nothing.
    """
    source = planning.open_known_source(marketplace.address)
    # Where it is one of several, the DAG is that of all of them.
    only = {"marketplaces": [marketplace.name]} if len(request.marketplaces) > 1 else {}
    restating.check(settings.home, source.platform, request.restate_from)
    published_through, _ = planning.published(settings.home, source.platform)
    if request.restate_from is not None:
        if published_through is None or request.restate_from > published_through:
            raise SettingError(
                f"cannot restate from {request.restate_from}: it is not published",
                "FROM",
                f"give a date up to {published_through}"
                if published_through
                else "use make run first",
            )
        return [(DAILY, {"restate_from": str(request.restate_from), **only})]

    span = source.span()
    start = request.start or (span[0] if span else None)
    end = request.end or (span[1] if span else None)
    if start is None or end is None:
        raise SettingError(
            f"the source '{source.platform}' has no first or last date of its own",
            "START and END",
            "give both, such as START=2026-01-01 END=2026-01-31",
        )
    planning.check_dates(start, end)
    planning.check_span(source, start, end)
    has_history = start < end and (published_through is None or published_through < end - ONE_DAY)
    ranges = [(start, end - ONE_DAY), (end, end)] if has_history else [(start, end)]
    steps: list[Step] = []
    for first, last in ranges:
        steps += [(DAILY, {"start_date": str(first), "end_date": str(last), **only}), (ALERTS, {})]
    return steps


def run_steps(parts: tuple[Part, ...], settings: Settings, held: int, console: Console) -> Outcome:
    """Run DAGs in a child process that shares the run lock, and show how far it is."""
    logs = settings.home.logs
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"run-{datetime.now():%Y%m%dT%H%M%S}-{os.getpid()}.log"
    events = log.with_suffix(".events")
    environment = {
        **airflow_env.environment(settings.home, [part.marketplace for part in parts]),
        lock.VARIABLE: str(held),
        progress.VARIABLE: str(events),
    }
    work = [(part.marketplace.name, part.steps) for part in parts if part.steps]
    watch, began = progress.Watch(events), time.monotonic()
    with log.open("w", encoding="utf-8") as output, progress.line(console) as line:
        child = subprocess.Popen(
            [sys.executable, "-m", "redline.dag_runs", json.dumps(work)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=PROJECT,
            pass_fds=(held,),
            start_new_session=True,
        )
        try:
            with _ended_with_us(child):
                while child.poll() is None:
                    watch.read()
                    line.show(_where(watch, work))
                    time.sleep(_POLL_SECONDS)
            watch.read()
        finally:
            events.unlink(missing_ok=True)
    return Outcome(parts, watch, log, time.monotonic() - began)


def _where(watch: progress.Watch, work: list[tuple[str, list[Step]]]) -> str:
    """The stage at work, for which marketplace and for which dates."""
    name = next((e["marketplace"] for e in reversed(watch.events) if "marketplace" in e), None)
    steps = next((steps for each, steps in work if each == name), [])
    if name is not None and len(work) > 1:
        return f"{name} {_where(watch.of(name), [(name, steps)])}"
    begun = sum(e["state"] == "started" and e["stage"].startswith("start ") for e in watch.events)
    if not 0 < begun <= len(steps):
        return watch.stage
    conf = steps[begun - 1][1]
    first, last = (
        conf.get("start_date") or conf.get("restate_from"),
        conf.get("end_date"),
    )
    dates = "" if first is None else first if first == last else f"{first} to {last or 'today'}"
    return f"{begun}/{len(steps)} {dates} {watch.stage}".replace("  ", " ")


@contextlib.contextmanager
def _ended_with_us(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the child and all it started when we are interrupted or terminated."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_failure(outcome: Outcome, console: Console) -> None:
    for part in outcome.parts:
        whose = f"{part.marketplace.name}: " if len(outcome.parts) > 1 else ""
        _tell_error(f"{whose}{outcome.failure(part)}", console)
    console.print(_published_so_far(outcome), soft_wrap=True)
    console.print(f"Full log: {outcome.log}", soft_wrap=True)


def _published_so_far(outcome: Outcome) -> str:
    done = [e for e in outcome.watch.events if e["stage"] == "publish" and e["state"] == "done"]
    if done:
        return "The history before it was published; what failed was not."
    return "Nothing was published; what was published before stands."


def _tell_error(line: str, console: Console) -> None:
    console.print(f"[bold red]Error[/]: {_plain(line)}", soft_wrap=True)


def _plain(text: str) -> str:
    """Text whose brackets are brackets, not markup."""
    return text.replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())

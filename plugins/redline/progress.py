"""Progress of a run: what its tasks note down, and how a person watching is shown it.

Tasks are processes of their own, so they append lines of JSON to the file that `REDLINE_PROGRESS`
names; without it nothing is noted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.status import Status

VARIABLE = "REDLINE_PROGRESS"
State = Literal["started", "done", "failed"]

_PLAIN_SECONDS = 5.0


def note(stage: str, state: State, **more: Any) -> None:
    """Append one event to the progress file, if there is one."""
    path = os.environ.get(VARIABLE)
    if path:
        line = json.dumps({"at": time.time(), "stage": stage, "state": state, **more}, default=str)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@dataclass
class Watch:
    """Reads the events that a run appends to its progress file.

    Attributes:
        path: the progress file; it need not exist yet.
        events: what has been read so far.
    """

    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    _offset: int = 0

    def read(self) -> list[dict[str, Any]]:
        """The events appended since the last call; a half-written line waits for its end."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        fresh = [json.loads(line) for line in whole.splitlines()]
        self.events.extend(fresh)
        return fresh

    def of(self, marketplace: str) -> Watch:
        """What was noted while a marketplace was taken in."""
        own, current = [], None
        for event in self.events:
            current = event.get("marketplace", current)
            if current == marketplace:
                own.append(event)
        return Watch(self.path, own)

    @property
    def is_finished(self) -> bool:
        """Whether a marketplace was taken in to its end."""
        return any(e["state"] == "done" and "marketplace" in e for e in self.events)

    @property
    def stage(self) -> str:
        """The stage that began last."""
        return next(
            (e["stage"] for e in reversed(self.events) if e["state"] == "started"),
            "start Airflow",
        )

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return self.events[-1]["at"] - self.events[0]["at"] if self.events else 0.0

    @property
    def failures(self) -> list[dict[str, Any]]:
        """What failed, in order, each with `stage` and `error`."""
        return [e for e in self.events if e["state"] == "failed"]

    @property
    def run_ids(self) -> list[str]:
        """Names of the runs that were planned, in order."""
        return [e["run_id"] for e in self.events if e["state"] == "done" and "run_id" in e]


class Line:
    """One live line on a terminal; elsewhere a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._said = self._began
        self._status: Status | None = None

    @property
    def seconds(self) -> float:
        """How long it has been shown."""
        return time.monotonic() - self._began

    def show(self, text: str) -> None:
        """Tell what is going on now."""
        message = f"{text}  {self.seconds:.0f} s"
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(message)
                self._status.start()
            self._status.update(message)
        elif time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"... {message}", highlight=False)

    def stop(self) -> None:
        """Take the live line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


@contextmanager
def line(console: Console) -> Iterator[Line]:
    """A progress line that is gone when the block ends."""
    shown = Line(console)
    try:
        yield shown
    finally:
        shown.stop()

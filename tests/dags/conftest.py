"""An Airflow of the tests' own: metadata in a temporary SQLite file, DAGs run in this process."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from redline import airflow_env
from redline.settings import Home

# Airflow reads its settings when it is imported, so they are set before any test imports it.
_FOLDER = tempfile.TemporaryDirectory(prefix="redline-airflow-")
_SETTINGS = airflow_env.environment(Home(Path(_FOLDER.name)), "simulator://", {})
os.environ.update({name: _SETTINGS[name] for name in _SETTINGS if name.startswith("AIRFLOW_")})
os.environ.pop("AIRFLOW_CONN_MARKETPLACE")


@pytest.fixture(scope="session")
def airflow() -> None:
    """Airflow's metadata, made once."""
    airflow_env.prepare()


FIRST, LAST = date(2026, 1, 1), date(2026, 1, 10)


@dataclass
class Stages:
    """Stages that only remember what they were called with; `behave` replaces one."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    published: Any = None
    runs: list[Any] = field(default_factory=list)
    storm: Any = None
    behaviour: dict[str, Callable[[], None]] = field(default_factory=dict)

    def behave(self, name: str, action: Callable[[], None]) -> None:
        """Call `action` whenever the stage of that name is called."""
        self.behaviour[name] = action

    def called(self) -> list[str]:
        """Names of the stages in the order of their calls."""
        return [name for name, _ in self.calls]

    def _call(self, name: str, detail: Any) -> None:
        self.calls.append((name, detail))
        self.behaviour.get(name, lambda: None)()


@dataclass
class Published:
    """What `redline.publish.published_state` answers."""

    run_id: str
    as_of: dict[str, date]
    platform: str = ""


@dataclass
class Delivered:
    """What `redline.alerts.deliver` answers."""

    sent: int
    failed: int
    held: int
    waiting: int


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stages]:
    """Stand-ins for the stages, and a home and a connection for the DAG to find."""
    made = Stages()

    def simple(name: str) -> Callable[..., dict[str, Any]]:
        def stage(plan: Any, settings: Any) -> dict[str, Any]:
            made._call(name, plan)
            return {"stage": name}

        return stage

    def publish(plan: Any, settings: Any) -> dict[str, Any]:
        from redline import restating

        made._call("publish", plan)
        if not plan.has_open_dates:
            return {"published": False, "run_id": plan.run_id, "reason": "all is published"}
        others = made.published.as_of if made.published else {}
        made.published = Published(plan.run_id, {**others, plan.platform: plan.end}, plan.platform)
        made.runs.insert(0, made.published)
        if plan.restated_from is not None:
            restating.finish(settings.home, plan.platform, plan.restated_from)
        return {
            "published": True,
            "run_id": plan.run_id,
            "platform": plan.platform,
            "as_of": {name: str(day) for name, day in made.published.as_of.items()},
        }

    def write_alerts(settings: Any, run_id: str | None) -> list[Path]:
        made._call("write_alerts", run_id)
        return []

    def deliver(settings: Any, files: list[Path]) -> Any:
        made._call("deliver", files)
        return Delivered(0, 0, 0, 0)

    def look(settings: Any, files: list[Path], *, asks: bool) -> Any:
        made._call("look", asks)
        return made.storm

    def settle(settings: Any, answer: Any) -> Any:
        made._call("settle", answer)
        return SimpleNamespace(messages=1, is_answered=answer is not None, line="held")

    def published_since(home: Any, run_id: str | None) -> list[Any]:
        return list(itertools.takewhile(lambda run: run.run_id != run_id, made.runs))

    stand_ins: dict[str, dict[str, Any]] = {
        "landing": {"extract": simple("extract")},
        "validation": {
            "validate_intake": simple("validate_intake"),
            "validate_publication": simple("validate_publication"),
        },
        "transform": {"transform": simple("transform")},
        "publish": {
            "publish": publish,
            "published_since": published_since,
            "published_state": lambda home: made.published,
        },
        "alerts": {
            "write_alerts": write_alerts,
            "deliver": deliver,
            "guard": SimpleNamespace(look=look, settle=settle),
        },
    }
    for name, functions in stand_ins.items():
        module = ModuleType(f"redline.{name}")
        module.__dict__.update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    source = ModuleType("redline.sources.standin")
    source.__spec__ = ModuleSpec(source.__name__, None)
    source.__dict__["open_source"] = lambda address: SimpleNamespace(
        platform=address.platform, span=lambda: (FIRST, LAST)
    )
    monkeypatch.setitem(sys.modules, source.__name__, source)
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_MARKETPLACE", "standin://host")
    return made

"""One stage of the benchmark in a process of its own, so that its memory and time are its own.

`python -m benchmarks.stage NAME ARGUMENT...` prints one line of JSON: what the stage returned,
its seconds on the clock and on the processors, and the peak memory of its largest process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import alerts, intake, limit, make_data
from redline.plan import Plan, load_plan
from redline.settings import Settings, read_settings

Report = dict[str, Any]


def _intake_gate(plan: Plan, settings: Settings) -> Report:
    from redline.validation import validate_intake

    return validate_intake(plan, settings)


def _transform(plan: Plan, settings: Settings) -> Report:
    from redline.transform import transform

    return transform(plan, settings)


def _publication_gate(plan: Plan, settings: Settings) -> Report:
    from redline.validation import validate_publication

    return validate_publication(plan, settings)


def _publish(plan: Plan, settings: Settings) -> Report:
    from redline.publish import publish

    return publish(plan, settings)


# In the order of a run.
PRODUCT: dict[str, Callable[[Plan, Settings], Report]] = {
    "intake_gate": _intake_gate,
    "transform": _transform,
    "publication_gate": _publication_gate,
    "publish": _publish,
}


def perform(name: str, arguments: list[str]) -> Report:
    """Call the stage.

    Args:
        name: one of PRODUCT, `limit`, `compare`, `make_data`, or of the STAGES of intake or alerts.
        arguments: the run; the last date; none; orders, merchants, days and two folders; those of
            the function.
    """
    settings = read_settings()
    if name in PRODUCT:
        return PRODUCT[name](load_plan(settings.home, arguments[0]), settings)
    if name == "limit":
        return limit.run(settings.home, date.fromisoformat(arguments[0]))
    if name == "compare":
        return limit.compare(settings.home)
    if name == "make_data":
        orders, merchants, days = map(int, arguments[:3])
        history, next_day = map(Path, arguments[3:])
        return dict(make_data.make_data(make_data.Size(orders, merchants, days), history, next_day))
    apart = {**intake.STAGES, **alerts.STAGES}
    if name in apart:
        return apart[name](*arguments)
    raise ValueError(name)


def main() -> None:
    """Perform, measure, print."""
    began = time.perf_counter()
    returned = perform(sys.argv[1], sys.argv[2:])
    seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    print(
        json.dumps(
            {
                "seconds": round(seconds, 2),
                "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used), 2),
                "peak_bytes": max(one.ru_maxrss for one in used) * unit,
                "returned": returned,
            },
            default=str,
        )
    )


if __name__ == "__main__":
    main()

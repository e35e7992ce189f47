"""Runs DAGs through Airflow without a scheduler, one after the other, in this process.

`python -m redline.dag_runs
'[["marketplace", [["merchant_risk_daily", {"start_date": "2026-03-01"}], ...]], ...]'` under
`airflow_env.environment`. A DAG run that does not succeed ends its marketplace's; the others go on,
and the exit code is 1.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

from redline import airflow_env, progress
from redline.settings import PROJECT


def run_all(parts: list[tuple[str, list[tuple[str, dict[str, Any]]]]]) -> bool:
    """Run the DAGs of each marketplace in turn; whether all of them succeeded."""
    failed = 0
    for name, steps in parts:
        progress.note(f"begin {name}", "started", marketplace=name)
        if run_dags(steps):
            progress.note(f"end {name}", "done", marketplace=name)
        else:
            failed += 1
    return not failed


def run_dags(steps: list[tuple[str, dict[str, Any]]]) -> bool:
    """Run the DAGs in turn; whether all of them succeeded."""
    from airflow.dag_processing.dagbag import DagBag

    # `dag.test()` would wait for a person's answer for ever.
    os.environ[airflow_env.NO_SCHEDULER] = "1"
    folder = PROJECT / "dags"
    for dag_id, conf in steps:
        progress.note(f"start {dag_id}", "started")
        bag = DagBag(folder / f"{dag_id}.py")
        for problem in bag.import_errors.values():
            print(problem, file=sys.stderr)
        if dag_id not in bag.dags:
            progress.note(
                f"load {dag_id}",
                "failed",
                error={"line": f"the DAG cannot be loaded (dags/{dag_id}.py): read the log"},
            )
            return False
        dag = bag.dags[dag_id]
        for task in dag.tasks:
            task.retries = 0  # a person is watching, and the home is held: try again by hand
        dag.deadline = None  # a scheduler watches over it; without one Airflow 3.3 stumbles on it
        if dag.test(run_conf=conf).state != "success":
            return False
    return True


if __name__ == "__main__":
    # A quarter of a run's start went into looking for garbage among what is imported to stay.
    gc.set_threshold(100_000, 50, 100)
    progress.note("prepare Airflow", "started")
    airflow_env.prepare()
    sys.exit(0 if run_all(json.loads(sys.argv[1])) else 1)

"""The two gates: what the first stops is not modelled, what the second stops not published."""

from __future__ import annotations

from typing import Any

from redline.plan import Plan
from redline.settings import Settings


def validate_intake(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Judge the landed partitions of the plan's open dates.

    Returns:
        `gate`, `passed`, `expectations` (how many), `warnings` and `failures` (messages),
        `data_docs` (the front page), `rows_read` and `quarantined` (rows per entity), `notes`;
        also written to the run's folder as `validate_intake.json`.

    Raises:
        GateError: an expectation of severity `stop` does not hold.
    """
    from redline.validation import intake
    from redline.validation.gate import run_stage

    return run_stage("intake", intake.make_relations, plan, settings)


def validate_publication(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Judge the warehouse, as of the plan's last date, before it is published.

    Returns:
        As `validate_intake`, with `row_counts` per table; also written to the run's folder as
        `validate_publication.json`.

    Raises:
        GateError: an expectation of severity `stop` does not hold, or a table is missing.
    """
    from redline.validation import publication
    from redline.validation.gate import run_stage

    return run_stage("publication", publication.make_relations, plan, settings)

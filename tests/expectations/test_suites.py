"""The suites themselves: complete, named, owned, and cheap to import."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from expectations import intake, publication
from redline.contract import ENTITIES
from redline.settings import PROJECT
from redline.validation.suite import Codes, Rows, Suite, Values

SUITES = (intake.SUITE, publication.SUITE)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_expectation_has_a_limit_a_severity_an_owner_and_a_remedy(suite: Suite) -> None:
    for check in suite.checks:
        assert check.limit, check
        assert check.severity in ("stop", "warn"), check
        assert check.owner, check
        assert check.todo, check
        assert check.keys, check
        assert isinstance(check, (Rows, Values, Codes)), check


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_an_expectation_is_named_once(suite: Suite) -> None:
    repeated = [fact for fact, count in Counter(c.fact for c in suite.checks).items() if count > 1]
    assert repeated == []


def test_every_rule_of_the_contract_is_expected_of_the_landed_rows() -> None:
    expected = {check.fact for check in intake.SUITE.checks}
    for entity in ENTITIES:
        for column in entity.columns:
            stem = f"landing.{entity.name}.{column.name}"
            rules = {
                f"{stem}_is_present": column.required,
                f"{stem}_is_known": bool(column.codes),
                f"{stem}_is_at_least_{column.at_least}": column.at_least is not None,
                f"{stem}_is_at_most_{column.at_most}": column.at_most is not None,
            }
            for rule, holds in rules.items():
                assert (rule in expected) == holds, rule


def test_reading_the_suites_and_the_gates_does_not_import_great_expectations() -> None:
    """Airflow imports what the DAGs import; that must not take seconds."""
    code = (
        "import sys; sys.path[:0] = ['plugins', '.']\n"
        "import expectations.intake, expectations.publication, redline.validation\n"
        "import redline.validation.gate, redline.validation.publication\n"
        "print('great_expectations' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"

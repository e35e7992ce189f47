"""What a suite is made of: checks as data, each with its limit, severity, owner and remedy.

A check reads one relation, named `schema.table` as the gate's message will name it. The relations
are made by the gate (`intake.py`, `publication.py`); what is expected of them stands in
`expectations/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Severity = Literal["stop", "warn"]


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """One expectation of a suite.

    Attributes:
        name: what is expected, as a sentence in snake_case; unique within its table.
        table: the relation it reads.
        keys: the columns that name a row in the message's samples.
        todo: what to do when it fails.
        severity: `stop` publishes nothing, `warn` is recorded.
        owner: who answers for the expectation and its limit.
    """

    name: str
    table: str
    keys: tuple[str, ...]
    todo: str
    severity: Severity = "stop"
    owner: str

    @property
    def fact(self) -> str:
        """The column of the facts table that holds what is judged."""
        return f"{self.table}.{self.name}"

    @property
    @abstractmethod
    def limit(self) -> str:
        """What was allowed, in words."""

    @property
    @abstractmethod
    def failing(self) -> str:
        """A SQL condition that holds on the rows that break the expectation."""


@dataclass(frozen=True, kw_only=True)
class Rows(Check):
    """At most `at_most` rows of the table are wrong.

    All checks of this kind on one table are counted in one pass, grouped by `by`.

    Attributes:
        wrong: a SQL condition on a row; null means not wrong.
        by: the date column by which the counts are grouped, or None.
    """

    wrong: str
    at_most: int = 0
    by: str | None = "report_date"

    @property
    def limit(self) -> str:
        """What was allowed, in words."""
        return f"at most {self.at_most} rows"

    @property
    def failing(self) -> str:
        """The rows that are wrong."""
        return f"({self.wrong})"


@dataclass(frozen=True, kw_only=True)
class Values(Check):
    """Every judged row of a small relation has its value within the limits.

    Attributes:
        column: holds the value; null is not judged.
        judged: a SQL condition: which rows are judged at all.
    """

    column: str
    at_least: float | None = None
    at_most: float | None = None
    judged: str = "true"

    @property
    def limit(self) -> str:
        """What was allowed, in words."""
        low = None if self.at_least is None else f"at least {self.at_least:g}"
        high = None if self.at_most is None else f"at most {self.at_most:g}"
        return f"{self.column} {' and '.join(part for part in (low, high) if part)}"

    @property
    def failing(self) -> str:
        """The judged rows outside the limits."""
        low = "false" if self.at_least is None else f"{self.column} < {self.at_least}"
        high = "false" if self.at_most is None else f"{self.column} > {self.at_most}"
        return f"({self.judged}) and ({low} or {high})"


@dataclass(frozen=True, kw_only=True)
class Codes(Check):
    """A column holds only known values; null is not one of them."""

    column: str
    known: tuple[str, ...]

    @property
    def limit(self) -> str:
        """What was allowed, in words."""
        return f"one of {', '.join(self.known)}"

    @property
    def failing(self) -> str:
        """The rows with an unknown value."""
        listed = ", ".join(f"'{code}'" for code in self.known)
        return f"({self.column} is null or {self.column} not in ({listed}))"


@dataclass(frozen=True)
class Suite:
    """All that one gate expects."""

    name: str
    checks: tuple[Check, ...]

    def of(self, table: str) -> tuple[Check, ...]:
        """The checks that read one relation."""
        return tuple(check for check in self.checks if check.table == table)

    @property
    def tables(self) -> tuple[str, ...]:
        """The relations that are read, in the order of the suite."""
        return tuple(dict.fromkeys(check.table for check in self.checks))

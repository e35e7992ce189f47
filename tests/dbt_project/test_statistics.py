"""Bounds, priors and projections against their closed forms, written down anew.

Counts are taken from the ledger, entry by entry, and everything else from the textbook: nothing
here reads a table on the way from the ledger to the result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist

import duckdb
import jinja2
import numpy as np
import numpy.typing as npt
import pytest

from redline.transform import DBT_PROJECT
from tests import support
from tests.dbt_project.simulated import LAST, MIDDLE, MIN_DENOMINATOR

pytestmark = pytest.mark.xdist_group("simulated")  # one worker builds the warehouse

Z = NormalDist().inv_cdf(0.95)
TOLERANCE = 1e-9
BASES = ("raw", "adjusted")
# The models of a run hold the evenings of its last pass.
EVENINGS = [MIDDLE + timedelta(days=1 + offset) for offset in range((LAST - MIDDLE).days)]


# --- the lower bound -------------------------------------------------------------------------


def _wilson_macro(numerator: str, denominator: str) -> str:
    """The macro's SQL, rendered without dbt."""
    text = (DBT_PROJECT / "macros" / "wilson_lower_bound.sql").read_text()
    module = jinja2.Environment(autoescape=False).from_string(text).module  # noqa: S701  SQL
    rendered: str = module.wilson_lower_bound(numerator, denominator)  # type: ignore[attr-defined]
    return rendered


def test_at_the_lower_bound_the_score_test_just_rejects_at_5_percent() -> None:
    """Wilson's bound is the rate at which the observed one lies z standard errors above."""
    with closing(duckdb.connect()) as connection:
        rows = connection.execute(
            f"select k, n, {_wilson_macro('k', 'n')} from ("
            "select unnest([1, 2, 7, 30, 31, 100, 9999, 1000000]) as n) "
            "cross join (select unnest([0, 1, 2, 3, 29, 30, 5000, 1000000]) as k)"
        ).fetchall()
    assert len(rows) == 64
    for k, n, bound in rows:
        rate = min(k, n) / n
        if k == 0:
            assert bound == pytest.approx(0, abs=TOLERANCE)
        else:
            error = math.sqrt(bound * (1 - bound) / n)
            assert (rate - bound) / error == pytest.approx(Z, rel=1e-7), (k, n)


def test_the_lower_bound_of_every_evaluation_is_the_smaller_root_of_wilsons_equation(
    simulated: support.Warehouse,
) -> None:
    rows = simulated.rows(
        "select numerator, denominator, lower_bound, status, is_confirmed, violation_threshold "
        "from marts.fct_policy_evaluations"
    )
    assert any(confirmed for *_, confirmed, _ in rows)
    for numerator, denominator, bound, status, confirmed, threshold in rows:
        if denominator == 0:
            assert bound is None
            continue
        rate, ease = min(numerator, denominator) / denominator, Z * Z / denominator
        # (1 + z2/n) x2 - (2 p + z2/n) x + p2 = 0; the product of its roots is p2 / (1 + z2/n).
        linear = 2 * rate + ease
        larger = (linear + math.sqrt(linear**2 - 4 * (1 + ease) * rate**2)) / (2 * (1 + ease))
        assert bound == pytest.approx(rate**2 / (1 + ease) / larger, abs=TOLERANCE)
        if confirmed:
            assert status == "violation" and bound >= threshold
        elif status == "violation" and denominator >= MIN_DENOMINATOR:
            assert bound < threshold


# --- the ledger, counted entry by entry -------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """What a metric counts, and over how many days (window) and cohort dates (prior)."""

    window_days: int
    prior_days: int
    numerator: frozenset[str]
    adjusted: frozenset[str]
    denominator: frozenset[str]


@dataclass(frozen=True)
class Entry:
    report_date: date
    cohort_date: date
    merchant_id: str
    component: str
    lag_days: int
    quantity: int


@dataclass(frozen=True)
class Cohort:
    """Counts of one merchant's cohort, as far as an evening knows them."""

    numerator: int = 0
    adjusted: int = 0
    denominator: int = 0

    def events(self, basis: str) -> int:
        """The numerator of a basis, raw or adjusted."""
        return self.numerator if basis == "raw" else self.adjusted

    def __add__(self, other: Cohort) -> Cohort:
        return Cohort(
            self.numerator + other.numerator,
            self.adjusted + other.adjusted,
            self.denominator + other.denominator,
        )


@dataclass(frozen=True)
class Books:
    """The ledger and what says how to read it."""

    warehouse: support.Warehouse

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        parts: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for metric, part, component, is_event in self.warehouse.rows(
            "select metric, part, component, is_event "
            "from seeds.metric_components join seeds.components using (component)"
        ):
            parts[metric][part].add(component)
            if part == "numerator":
                parts[metric]["adjusted"].add(component + ("_adjusted" if is_event else ""))
        return {
            metric: Metric(
                window,
                prior,
                *(frozenset(parts[metric][p]) for p in ("numerator", "adjusted", "denominator")),
            )
            for metric, window, prior in self.warehouse.rows(
                "select metric, window_days, prior_days from seeds.metrics"
            )
        }

    @cached_property
    def in_force(self) -> dict[str, Metric]:
        """The metrics that are computed: always, or because a policy names them."""
        names = self.warehouse.rows(
            "select metric from seeds.metrics where computed = 'always' "
            "union select metric from marts.dim_policies"
        )
        return {name: self.metrics[name] for (name,) in names}

    @cached_property
    def developing(self) -> dict[str, Metric]:
        """The metrics whose denominator does not come with their events."""
        return {
            name: metric
            for name, metric in self.metrics.items()
            if all(part.startswith("orders_") for part in metric.denominator)
        }

    @cached_property
    def entries(self) -> list[Entry]:
        return [
            Entry(*row)
            for row in self.warehouse.rows(
                "select report_date, cohort_date, merchant_id, component, lag_days, quantity "
                "from marts.fct_cohort_ledger"
            )
        ]

    @cached_property
    def versions(self) -> list[tuple[date, str, str]]:
        return [
            (row[0], row[1], row[2])
            for row in self.warehouse.rows(
                "select valid_from, merchant_id, category_id "
                "from intermediate.int_merchants_versioned order by valid_from"
            )
        ]

    def categories(self, evening: date) -> dict[str, str]:
        """Each merchant's category as the evening knows it."""
        return {
            merchant_id: category_id
            for valid_from, merchant_id, category_id in self.versions
            if valid_from <= evening
        }


@dataclass(frozen=True)
class View:
    """One metric as one evening knows it."""

    books: Books
    metric: Metric
    evening: date

    @cached_property
    def categories(self) -> dict[str, str]:
        """Each merchant's category."""
        return self.books.categories(self.evening)

    @cached_property
    def entries(self) -> list[Entry]:
        """Entries known by then, of events within the metric's window."""
        return [
            entry
            for entry in self.books.entries
            if entry.report_date <= self.evening and entry.lag_days <= self.metric.window_days - 1
        ]

    @cached_property
    def cohorts(self) -> dict[tuple[str, date], Cohort]:
        """Counts by merchant and cohort date."""
        found: dict[tuple[str, date], Cohort] = defaultdict(Cohort)
        for entry in self.entries:
            found[entry.merchant_id, entry.cohort_date] += Cohort(
                entry.quantity * (entry.component in self.metric.numerator),
                entry.quantity * (entry.component in self.metric.adjusted),
                entry.quantity * (entry.component in self.metric.denominator),
            )
        return found

    @cached_property
    def shares(self) -> dict[str, list[float]]:
        """F by category (`*` = all): the share reported by age 0, 1, ... of mature cohorts."""
        by_age: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for entry in self.entries:
            mature_on = entry.cohort_date + timedelta(days=self.metric.window_days - 1)
            if entry.component in self.metric.numerator and mature_on <= self.evening:
                age = (entry.report_date - entry.cohort_date).days
                for scope in (self.categories.get(entry.merchant_id, "unknown"), "*"):
                    by_age[scope][age] += entry.quantity
        return {
            scope: list(
                accumulate(
                    (
                        min(1.0, max(0.0, sum(q for a, q in ages.items() if a <= age) / total))
                        for age in range(self.metric.window_days - 1)
                    ),
                    max,
                )
            )
            for scope, ages in by_age.items()
            if (total := sum(ages.values())) > 0
        }

    def mature_counts(self, basis: str) -> dict[str, tuple[int, int]]:
        """(least(events, orders), orders) by merchant over the metric's own trailing window."""
        last = self.evening - timedelta(days=self.metric.window_days - 1)
        first = last - timedelta(days=self.metric.prior_days - 1)
        sums: dict[str, Cohort] = defaultdict(Cohort)
        for (merchant_id, cohort_date), cohort in self.cohorts.items():
            if first <= cohort_date <= last:
                sums[merchant_id] += cohort
        return {
            merchant_id: (min(total.events(basis), total.denominator), total.denominator)
            for merchant_id, total in sums.items()
            if total.denominator > 0
        }

    def priors(self, basis: str) -> dict[str, tuple[float, float]]:
        """(a, b) by category (`*` = all), where its merchants tell enough."""
        counts: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for merchant_id, pair in self.mature_counts(basis).items():
            for scope in (self.categories.get(merchant_id, "unknown"), "*"):
                counts[scope].append(pair)
        found = {}
        for scope, pairs in counts.items():
            k, n = np.array(pairs, dtype=float).T
            if len(pairs) >= 2 and 0 < k.sum() < n.sum():
                found[scope] = beta_moments(k, n)
        return found

    def prior_rates(self, basis: str) -> dict[str, float]:
        """(k + a) / (n + a + b) by merchant; of one without a denominator by now, a / (a + b)."""
        priors, counts = self.priors(basis), self.mature_counts(basis)
        rates = {}
        for merchant_id in {merchant_id for merchant_id, _ in self.cohorts}:
            category_id = self.categories.get(merchant_id, "unknown")
            a, b = priors.get(category_id) or priors.get("*") or (0.0, 0.0)
            k, n = counts.get(merchant_id, (0, 0))
            rates[merchant_id] = (k + a) / (n + a + b) if n + a + b else 0.0
        return rates

    def reported_share(self, merchant_id: str, age: int) -> float:
        """F of a merchant's cohort of that age."""
        category_id = self.categories.get(merchant_id, "unknown")
        known = self.shares.get(category_id) or self.shares.get("*") or []
        return known[age] if age < len(known) else 1.0


def beta_moments(k: npt.NDArray[np.float64], n: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(a, b) of the beta distribution that rates k/n of n trials each come from, by moments.

    With the rate r_i of n_i trials weighing n_i, N trials in all, and the pooled rate r, the
    expectation of sum n_i (r_i - r)^2 is r (1 - r) ((m - 1) + c (N - sum n_i^2 / N - (m - 1))),
    c = 1 / (a + b + 1) being the correlation within a merchant (Kleinman 1973). c is kept within
    0.0001 and 0.5.
    """
    rate = k.sum() / n.sum()
    scatter = (n * (k / n - rate) ** 2).sum() / (rate * (1 - rate))
    degrees = len(n) - 1
    correlation = (scatter - degrees) / (n.sum() - (n**2).sum() / n.sum() - degrees)
    weight = 1 / min(0.5, max(0.0001, correlation)) - 1
    return float(rate * weight), float((1 - rate) * weight)


@pytest.fixture(scope="module")
def books(simulated: support.Warehouse) -> Books:
    return Books(simulated)


# --- priors and projections --------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(2.0, 98.0), (5.0, 45.0), (30.0, 70.0)])
def test_the_moments_find_the_beta_distribution_that_rates_were_drawn_from(
    a: float, b: float
) -> None:
    rng = np.random.default_rng(11)
    n = rng.integers(20, 400, 40_000)
    k = rng.binomial(n, rng.beta(a, b, len(n)))
    assert beta_moments(k.astype(float), n.astype(float)) == pytest.approx((a, b), rel=0.05)


def test_priors_have_the_moments_of_each_categorys_merchants(
    simulated: support.Warehouse, books: Books
) -> None:
    expected = {
        (evening, scope, name, basis): prior
        for evening in EVENINGS
        for name, metric in books.in_force.items()
        if (view := View(books, metric, evening))
        for basis in BASES
        for scope, prior in view.priors(basis).items()
    }
    actual = {
        (evening, scope, name, basis): (a, b)
        for evening, scope, name, basis, a, b in simulated.rows(
            "select as_of_date, category_id, metric, basis, prior_a, prior_b "
            "from intermediate.int_category_priors"
        )
    }
    assert actual.keys() == expected.keys()
    weights = {round(a + b, 6) for a, b in expected.values()}
    assert len(weights - {1.0, 9999.0}) > 10, "every prior lies at a bound"
    for key, prior in expected.items():
        assert actual[key] == pytest.approx(prior, rel=TOLERANCE), key


def test_development_factors_are_the_shares_reported_by_each_age(
    simulated: support.Warehouse, books: Books
) -> None:
    """Of the category, where it has events, else of its platform."""
    expected = {
        (evening, category_id, name, age): share
        for evening in EVENINGS
        for name, metric in books.developing.items()
        if (shares := (view := View(books, metric, evening)).shares)
        for category_id in {"unknown", *view.categories.values()}
        for age, share in enumerate(shares.get(category_id, shares["*"]))
    }
    actual = {
        (evening, category_id, name, age): share
        for evening, category_id, name, age, share in simulated.rows(
            "select as_of_date, category_id, metric, age_days, reported_share "
            "from intermediate.int_development_factors"
        )
    }
    assert {key[:1] + key[2:] for key in actual} == {key[:1] + key[2:] for key in expected}
    assert {0 < share < 1 for share in expected.values()} == {True, False}
    for key, share in expected.items():
        assert actual[key] == pytest.approx(share, abs=TOLERANCE), key


def test_projected_values_are_bornhuetter_fergusons_cohort_by_cohort(
    simulated: support.Warehouse, books: Books
) -> None:
    """Observed + prior rate x denominator x (1 - F(age)), summed over the last cohort dates."""
    views = {name: View(books, metric, LAST) for name, metric in books.in_force.items()}
    prior_rates = {(name, b): view.prior_rates(b) for name, view in views.items() for b in BASES}
    projected = 0
    for merchant_id, name, basis, days, value in simulated.rows(
        "select entity_id, metric, basis, evaluation_days, projected_value "
        "from marts.fct_policy_evaluations join marts.dim_policies using (policy_id, metric) "
        "where as_of_date = $1 and fct_policy_evaluations.entity_type = 'merchant'",
        LAST,
    ):
        view, events, orders = views[name], 0.0, 0
        for age in range(days):
            cohort = view.cohorts.get((merchant_id, LAST - timedelta(days=age)), Cohort())
            still_open = cohort.denominator * (1 - view.reported_share(merchant_id, age))
            events += cohort.events(basis)
            events += prior_rates[name, basis].get(merchant_id, 0.0) * still_open
            orders += cohort.denominator
        assert value == (pytest.approx(events / orders, abs=TOLERANCE) if orders else None)
        projected += orders > 0
    assert projected > 30


def test_projected_rates_are_bornhuetter_fergusons_of_their_cohort(
    simulated: support.Warehouse, books: Books
) -> None:
    views = {name: View(books, metric, LAST) for name, metric in books.in_force.items()}
    prior_rates = {name: view.prior_rates("raw") for name, view in views.items()}
    rows = simulated.rows(
        "select merchant_id, metric, cohort_date, is_mature, projected_rate "
        "from marts.fct_merchant_daily_rates where denominator > 0"
    )
    for merchant_id, name, cohort_date, is_mature, projected_rate in rows:
        cohort, age = views[name].cohorts[merchant_id, cohort_date], (LAST - cohort_date).days
        share = 1.0 if is_mature else views[name].reported_share(merchant_id, age)
        expected = cohort.numerator / cohort.denominator
        expected += prior_rates[name][merchant_id] * (1 - share)
        assert projected_rate == pytest.approx(expected, abs=TOLERANCE), (merchant_id, cohort_date)
    assert sum(not is_mature for *_, is_mature, _ in rows) > 100

"""Bounds, priors and projections against statsmodels, scipy, chainladder and closed forms.

Counts are taken from the ledger, entry by entry, and everything else from other people's packages
or the textbook: nothing here reads a table on the way from the ledger to the result.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from typing import Any

import duckdb
import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from redline.transform import DBT_PROJECT
from tests import support
from tests.dbt_project.simulated import LAST, MIDDLE, MIN_DENOMINATOR

pytestmark = [
    pytest.mark.xdist_group("simulated"),  # one worker builds the warehouse
    pytest.mark.timeout(900),  # of which the first test pays for all
]

TOLERANCE = 1e-9
BASES = ("raw", "adjusted")
# The models of a run hold the evenings of its last pass.
EVENINGS = [MIDDLE + timedelta(days=1 + offset) for offset in range((LAST - MIDDLE).days)]


# --- the lower bound -------------------------------------------------------------------------


def _macro(name: str, *arguments: str) -> str:
    """The SQL of a macro that has a file of its own, rendered without dbt."""
    text = (DBT_PROJECT / "macros" / f"{name}.sql").read_text()
    module = jinja2.Environment(autoescape=False).from_string(text).module  # noqa: S701  SQL
    rendered: str = getattr(module, name)(*arguments)
    return rendered


def _wilson(k: npt.ArrayLike, n: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The one-sided 95% lower bound: the lower end of the two-sided 90% interval."""
    lower, _ = proportion_confint(np.minimum(k, n), np.asarray(n), alpha=0.1, method="wilson")
    return np.asarray(lower)


def test_the_lower_bound_is_that_of_statsmodels() -> None:
    """Of no, few, many, all and more events than orders; of one order and of a million."""
    with closing(duckdb.connect()) as connection:
        rows = connection.execute(
            f"select k, n, {_macro('wilson_lower_bound', 'k', 'n')} from ("
            "select unnest([1, 2, 7, 30, 31, 100, 9999, 1000000]) as n) "
            "cross join (select unnest([0, 1, 2, 3, 29, 30, 5000, 1000000]) as k)"
        ).fetchall()
    k, n, bounds = np.array(rows, dtype=float).T
    assert len(rows) == 64
    assert bounds == pytest.approx(_wilson(k, n), abs=TOLERANCE)


def test_every_evaluation_has_the_lower_bound_of_statsmodels(
    simulated: support.Warehouse,
) -> None:
    """And is a violation beyond doubt if that bound reaches the threshold, too."""
    rows = simulated.rows(
        "select numerator, denominator, lower_bound, status, is_confirmed, violation_threshold "
        "from marts.fct_policy_evaluations where denominator > 0"
    )
    assert len(rows) > 1000
    assert any(confirmed for *_, confirmed, _ in rows)
    expected = _wilson([row[0] for row in rows], [row[1] for row in rows])
    assert np.array([row[2] for row in rows]) == pytest.approx(expected, abs=TOLERANCE)
    for _, denominator, bound, status, confirmed, threshold in rows:
        if confirmed:
            assert status == "violation" and bound >= threshold
        elif status == "violation" and denominator >= MIN_DENOMINATOR:
            assert bound < threshold
    assert simulated.rows(
        "select count(*) from marts.fct_policy_evaluations "
        "where denominator = 0 and lower_bound is not null"
    ) == [(0,)]


# --- the quantile of what is still to come ----------------------------------------------------


def test_the_gamma_quantile_is_nearly_that_of_scipy() -> None:
    """Wilson and Hilferty's cube root: an approximation whose error depends on the shape alone.

    In standard deviations it is at most 0.03 / shape from shape 1 on, shape being mean squared over
    variance: of a Poisson number of mean 5, a hundredth of an event. For smaller shapes the upper
    quantiles are too low, by 0.2 standard deviations at a shape of 1/4; there most of the
    probability lies at no event at all.
    """
    with closing(duckdb.connect()) as connection:
        rows = connection.execute(
            f"select mean, variance, z, {_macro('gamma_quantile', 'mean', 'variance', 'z')} from ("
            "select unnest([0.25, 0.5, 1, 2, 5, 20, 300, 10000]::double[]) as mean) "
            "cross join (select mean * unnest([1, 1.1, 1.5, 2, 4]) as variance) "
            "cross join (select unnest([-1.959963984540054, -1.2815515655446004, 0, "
            "1.2815515655446004, 1.959963984540054]) as z)"
        ).fetchall()
        nothing = connection.execute(f"select {_macro('gamma_quantile', '0.0', '0.0', '1.28')}")
        assert nothing.fetchall() == [(0.0,)]
    mean, variance, z, quantile = np.array(rows, dtype=float).T
    shape = mean**2 / variance
    exact = stats.gamma.ppf(stats.norm.cdf(z), shape, scale=variance / mean)
    error = np.abs(quantile - exact) / np.sqrt(variance)
    assert (shape >= 1).sum() == 125
    assert np.all(error[shape >= 1] <= 0.03 / shape[shape >= 1])
    assert np.all(error[(shape >= 0.25) & (shape < 1)] <= 0.205)


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


# --- Bornhuetter-Ferguson by another hand -------------------------------------------------------

MONTHS = pd.period_range("2000-01", periods=40, freq="M").to_timestamp()


def _triangle(cells: dict[tuple[int, int], float]) -> Any:
    """A chainladder triangle of increments by (cohort, age).

    Its finest grain is the month, so that days stand in for months.
    """
    cl = pytest.importorskip("chainladder")  # not made for every machine: see pyproject.toml
    table = pd.DataFrame(
        [(MONTHS[cohort], MONTHS[cohort + age], float(q)) for (cohort, age), q in cells.items()],
        columns=["origin", "development", "quantity"],
    )
    return cl.Triangle(
        table,
        origin="origin",
        development="development",
        columns="quantity",
        cumulative=False,
    ).incr_to_cum()


def _mature_events(view: View) -> dict[str, Counter[int]]:
    """By category, the events of mature cohorts by the age at which they were reported."""
    oldest = view.metric.window_days - 1
    events: dict[str, Counter[int]] = defaultdict(Counter)
    for entry in view.entries:
        age = (entry.report_date - entry.cohort_date).days
        is_mature = entry.cohort_date + timedelta(days=oldest) <= view.evening
        if is_mature and entry.component in view.metric.numerator:
            category_id = view.categories.get(entry.merchant_id, "unknown")
            events[category_id][min(oldest, age)] += entry.quantity
    return events


def test_development_factors_are_chainladders_volume_weighted_pattern(
    simulated: support.Warehouse, books: Books
) -> None:
    """In categories in which no age lost events; elsewhere ours is held monotone and within 0 to 1.

    The mature cohorts are summed into one row of the triangle. Of whole rows the volume-weighted
    pattern is that of their sum, and chainladder would leave out every cohort with a cell of 0.
    """
    cl = pytest.importorskip("chainladder")
    compared = 0
    for name, metric in books.in_force.items():
        ages = range(metric.window_days)
        for category_id, by_age in _mature_events(View(books, metric, LAST)).items():
            if by_age[0] <= 0 or min(by_age[age] for age in ages) < 0:
                continue
            triangle = _triangle({(0, age): by_age[age] for age in ages})
            pattern = cl.Development(average="volume").fit(triangle).cdf_.values[0, 0, 0]
            shares = simulated.rows(
                "select reported_share from intermediate.int_development_factors "
                "where as_of_date = $1 and metric = $2 and category_id = $3 order by age_days",
                LAST,
                name,
                category_id,
            )
            assert [share for (share,) in shares] == pytest.approx(1 / pattern, abs=TOLERANCE)
            compared += 1
    assert compared >= 8


def test_projected_rates_are_chainladders_bornhuetter_ferguson(
    simulated: support.Warehouse, books: Books
) -> None:
    """Cohort by cohort: prior rate x denominator is what is expected, its apriori being 1.

    The pattern is the product's own (see the test before), as chainladder's knows no answer where
    nothing was reported at age 0, and exceeds 1 where events left again.
    """
    cl = pytest.importorskip("chainladder")
    compared = 0
    for name, metric in books.in_force.items():
        view, ages = View(books, metric, LAST), range(metric.window_days)
        dates = [LAST - timedelta(days=age) for age in reversed(ages)]
        cells = [(place, age) for place in ages for age in range(len(ages) - place)]
        for merchant_id, prior_rate in view.prior_rates("raw").items():
            reported, expected = Counter(dict.fromkeys(cells, 0)), dict.fromkeys(cells, 0.0)
            for entry in view.entries:
                if entry.merchant_id == merchant_id and entry.cohort_date in dates:
                    place = dates.index(entry.cohort_date)
                    age = (entry.report_date - entry.cohort_date).days
                    reported[place, age] += entry.quantity * (entry.component in metric.numerator)
            for place, cohort_date in enumerate(dates):
                cohort = view.cohorts.get((merchant_id, cohort_date), Cohort())
                expected[place, 0] = prior_rate * cohort.denominator
            shares = [view.reported_share(merchant_id, age) for age in ages]
            # A share of nothing has no factor: one of a million millions stands in.
            factors = {age + 1: 1 / max(share, 1e-12) for age, share in enumerate(shares)}
            pattern = cl.DevelopmentConstant(patterns=factors, style="cdf")
            model = cl.BornhuetterFerguson(apriori=1.0).fit(
                pattern.fit_transform(_triangle(reported)),
                sample_weight=_triangle(expected).latest_diagonal,
            )
            ultimates = np.nan_to_num(model.ultimate_.values[0, 0, :, -1])  # its nothing
            for cohort_date, rate, denominator in simulated.rows(
                "select cohort_date, projected_rate, denominator "
                "from marts.fct_merchant_daily_rates "
                "where metric = $1 and merchant_id = $2 and denominator > 0 and not is_mature",
                name,
                merchant_id,
            ):
                ultimate = ultimates[dates.index(cohort_date)]
                assert rate * denominator == pytest.approx(ultimate, abs=TOLERANCE)
                compared += 1
    assert compared > 400

"""The marts against the oracle, on generated histories, for every evening and any chunking.

`REDLINE_TEST_SEED` draws other histories, `REDLINE_TEST_HISTORIES` more of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from tests import oracle, support
from tests.dbt_project.conftest import MARTS, POLICIES, RISK_POINT, Marketplaces
from tests.histories import DAYS, ONE_DAY

pytestmark = [
    pytest.mark.xdist_group("marketplaces"),  # one worker builds the warehouses
    pytest.mark.timeout(900),  # of which the first test pays for all
]


def test_the_drawn_histories_hold_what_they_are_drawn_for(marketplaces: Marketplaces) -> None:
    """A generator that grew tame would let every test below pass."""
    seen: set[str] = set()
    for delivery in marketplaces.drawn:
        history = delivery.history
        versions = [
            version
            for records in history.versions.values()
            for several in records.values()
            for version in several
        ]
        if any(version.source_date < version.report_date for version in versions):
            seen.add("a difference of a closed date")
        for entity, records in history.versions.items():
            for several in records.values() if entity != "order_items" else ():
                newest = [oracle.newest(several, day) for day in DAYS]
                if any(version not in newest for version in several):
                    seen.add("a version that is never valid")
                if len({v.record["updated_at"] for v in several}) < len(several):
                    seen.add("two versions of one moment")
                if len({v.report_date for v in several}) < len(several):
                    seen.add("two versions of one date")
        for entry, quantity in oracle.ledger(history, DAYS).items():
            report_date, *_, component, lag_days = entry
            seen |= {f"an entry of {component}", f"a {'leaving' if quantity < 0 else 'new'} entry"}
            if lag_days < 0:
                seen.add("an event before its cohort date")
            if abs(quantity) > 1:
                seen.add("an entry of several")
            if not any(version.report_date == report_date for version in versions):
                seen.add("an entry of a date on which nothing landed")
        for day in DAYS[1:]:
            before, after = oracle.state(history, day - ONE_DAY), oracle.state(history, day)
            for contribution, quantity in after.items():
                if contribution[4] == "complaints":
                    twin = (*contribution[:4], "complaints_adjusted", contribution[5])
                    seen |= {"a complaint overturned"} if after[twin] < quantity else set()
            gone, come = before.keys() - after.keys(), after.keys() - before.keys()
            for left in gone:
                for entered in come:
                    changed = {i for i in range(6) if left[i] != entered[i]}
                    if changed == {5} and left[4] == "merchant_fault_return_orders":
                        seen.add("an order returned at another lag")
                    if changed == {2} and left[4] == "orders_paid":
                        seen.add("an order of another merchant")
                    if changed == {0} and left[4] == "orders_paid":
                        seen.add("an order paid on another date")
    ratings = [f"review_rated_{stars}" for stars in range(1, 6)]
    once = ["merchant_fault_return_orders", "refunded_orders", "defective_orders"]
    events = ["complaints", "merchant_fault_complaints", *once, *ratings]
    orders = ["orders_paid", "orders_fulfilled", "late_shipments", "merchant_cancels"]
    components = [*orders, *events]
    expected = {f"an entry of {name}" for name in components}
    expected |= {f"an entry of {name}_adjusted" for name in events}
    expected |= {
        "a new entry",
        "a leaving entry",
        "an entry of several",
        "an event before its cohort date",
        "an entry of a date on which nothing landed",
        "an order returned at another lag",
        "an order of another merchant",
        "an order paid on another date",
        "a complaint overturned",
        "a version that is never valid",
        "two versions of one moment",
        "two versions of one date",
        "a difference of a closed date",
    }
    assert expected <= seen, f"no history has: {sorted(expected - seen)}"


def test_the_ledger_holds_the_differences_between_evenings_and_nothing_else(
    marketplaces: Marketplaces,
) -> None:
    ledgers = marketplaces.daily.ledgers()
    marketplaces.hold(
        lambda history: support.differences(ledgers[history.platform], oracle.ledger(history, DAYS))
    )


def test_the_ledger_summed_up_to_any_evening_is_the_state_of_that_evening(
    marketplaces: Marketplaces,
) -> None:
    ledgers = marketplaces.at_once.ledgers()

    def check(history: oracle.History) -> str:
        return "\n".join(
            f"{evening}:\n{said}"
            for evening in DAYS
            if (
                said := support.differences(
                    support.running_sums(ledgers[history.platform], evening),
                    oracle.state(history, evening),
                )
            )
        )

    marketplaces.hold(check)


@pytest.mark.parametrize("way", ["chunked", "at_once"])
def test_any_chunking_gives_the_same_ledger_row_for_row(
    marketplaces: Marketplaces, way: str
) -> None:
    daily, other = marketplaces.daily.ledgers(), getattr(marketplaces, way).ledgers()
    marketplaces.hold(
        lambda history: support.differences(other[history.platform], daily[history.platform])
    )


@pytest.mark.parametrize("mart", MARTS)
def test_the_rates_of_every_evening_equal_the_oracles(
    marketplaces: Marketplaces, mart: str
) -> None:
    marketplaces.hold(lambda history: marketplaces.rate_differences(history, mart))


@pytest.mark.parametrize("mart", MARTS)
@pytest.mark.parametrize("way", ["chunked", "at_once"])
def test_any_chunking_ends_with_the_same_rates(
    marketplaces: Marketplaces, mart: str, way: str
) -> None:
    entity_columns, _ = MARTS[mart]
    other = getattr(marketplaces, way).rates(mart, entity_columns)
    daily = marketplaces.rates[mart, DAYS[-1]]
    marketplaces.hold(
        lambda history: support.differences(other[history.platform], daily[history.platform])
    )


EVALUATIONS = """
    select
        platform, entity_id, metric, as_of_date, numerator, denominator, status,
        projected_value, lower_bound, is_confirmed
    from marts.fct_policy_evaluations where risk_point = ?
"""
RECORDS = """
    select platform, entity_id, metric, '{kind}' as kind, opened_on, closed_on
    from marts.fct_{kind}_records where risk_point = ?
"""
REPEATS = """
    select platform, entity_id, metric, opened_on, repeats
    from marts.fct_violation_records where risk_point = ?
"""
ALERTS = """
    select platform, entity_id, metric, as_of_date, record_type, transition
    from marts.fct_alerts where risk_point = ?
"""


def _reaches(value: float | None, threshold: Fraction, comparator: str) -> bool:
    return value is not None and (value > threshold or (value == threshold and comparator == ">="))


def test_the_evaluations_of_every_evening_say_what_the_oracle_says(
    marketplaces: Marketplaces,
) -> None:
    """A projection may add a warning; everything else is the official value's."""
    found: dict[str, dict[Any, Any]] = {platform: {} for platform in marketplaces.daily.platforms}
    for platform, merchant_id, metric, evening, *row in marketplaces.daily.rows(
        EVALUATIONS, RISK_POINT
    ):
        assert (merchant_id, metric, evening) not in found[platform]
        found[platform][merchant_id, metric, evening] = row

    def check(history: oracle.History) -> str:
        actual: dict[Any, Any] = {}
        expected: dict[Any, Any] = {}
        rows = found[history.platform]
        for evening in DAYS:
            rates = oracle.merchant_rates(history, evening)
            for policy in POLICIES:
                for merchant_id in {who for who, *_ in rates}:
                    key = (merchant_id, policy.metric, evening)
                    answer = oracle.evaluation(rates, policy, merchant_id, evening)
                    if answer is None:
                        continue
                    status = answer.status
                    numerator, denominator, said, projected, *_ = rows.get(key, [None] * 6)
                    if oracle.is_gone(history, merchant_id, evening):
                        status = "not_applicable"
                    elif (
                        said == "warning"
                        and status != "violation"
                        and _reaches(projected, policy.violation_threshold, policy.comparator)
                    ):
                        status = "warning"
                    actual[key] = (numerator, denominator, said)
                    expected[key] = (answer.numerator, answer.denominator, status)
        for key, (numerator, denominator, said, *_) in rows.items():
            if key not in expected:  # there for an open record alone
                actual[key] = (numerator, denominator, said in ("violation", "warning"))
                expected[key] = (0, 0, False)
        return support.differences(actual, expected)

    marketplaces.hold(check)


def test_records_and_alerts_follow_from_the_evaluations_by_the_oracles_walk(
    marketplaces: Marketplaces,
) -> None:
    statuses: defaultdict[tuple[str, str, str], dict[date, str]] = defaultdict(dict)
    for platform, merchant_id, metric, evening, *row in marketplaces.daily.rows(
        EVALUATIONS, RISK_POINT
    ):
        statuses[platform, merchant_id, metric][evening] = row[2]
    records: Counter[Any] = Counter()
    alerts: Counter[Any] = Counter()
    repeats: Counter[Any] = Counter()  # all of them within 90 days, and none overturned
    for line, by_evening in statuses.items():
        walked = oracle.episodes(by_evening, DAYS)
        records.update((*line, "warning", *episode) for episode in walked.warnings)
        records.update((*line, "violation", *episode) for episode in walked.violations)
        alerts.update((*line, *alert) for alert in walked.alerts)
        repeats.update(
            (*line, episode.opened_on, number) for number, episode in enumerate(walked.violations)
        )
    assert {alert[-1] for alert in alerts} == {"opened", "escalated", "resolved"}
    kinds = ("warning", "violation")
    rows = [marketplaces.daily.rows(RECORDS.format(kind=kind), RISK_POINT) for kind in kinds]
    assert not (said := support.differences(Counter(rows[0] + rows[1]), records)), said
    assert max(number for *_, number in repeats) >= 1
    rows = marketplaces.daily.rows(REPEATS, RISK_POINT)
    assert not (said := support.differences(Counter(rows), repeats)), said
    found = Counter(marketplaces.daily.rows(ALERTS, RISK_POINT))
    assert not (said := support.differences(found, alerts)), said


@pytest.mark.parametrize("way", ["chunked", "at_once"])
@pytest.mark.parametrize(
    "mart",
    [
        "fct_policy_evaluations",
        "fct_warning_records",
        "fct_violation_records",
        "fct_record_transitions",
        "fct_alerts",
        "fct_alert_reasons",
    ],
)
def test_any_chunking_gives_the_same_evaluations_records_and_alerts(
    marketplaces: Marketplaces, mart: str, way: str
) -> None:
    daily, other = (
        Counter(warehouse.rows(f"select * from marts.{mart}"))
        for warehouse in (marketplaces.daily, getattr(marketplaces, way))
    )
    assert not (said := support.differences(other, daily)), said


def test_the_reasons_of_every_alert_are_what_the_oracle_counts_again(
    marketplaces: Marketplaces,
) -> None:
    policies = {policy.metric: policy for policy in POLICIES}
    histories = {delivery.history.platform: delivery.history for delivery in marketplaces.gathered}
    histories[marketplaces.named.history.platform] = marketplaces.named.history
    rates: dict[tuple[str, date], Any] = {}
    expected: dict[Any, Any] = {}
    seen: Counter[str] = Counter()
    for (
        alert_id,
        platform,
        evening,
        merchant_id,
        metric,
        kind,
        transition,
    ) in marketplaces.daily.rows(
        "select alert_id, platform, as_of_date, entity_id, metric, record_type, transition "
        "from marts.fct_alerts where risk_point = ?",
        RISK_POINT,
    ):
        history, policy = histories[platform], policies[metric]
        if (platform, evening) not in rates:
            rates[platform, evening] = oracle.merchant_rates(history, evening)
        answer = oracle.evaluation(rates[platform, evening], policy, merchant_id, evening)
        is_projected = (kind, transition) == ("warning", "opened") and (
            answer is None or answer.status not in ("warning", "violation")
        )
        age = 0 if is_projected else oracle.METRICS[metric].window - 1
        last = evening - age * ONE_DAY
        now = oracle.counted(history, policy, merchant_id, evening, last)
        before = oracle.counted(history, policy, merchant_id, evening - ONE_DAY, last - ONE_DAY)
        seen["projected" if is_projected else "official"] += 1
        for told, was, is_ in zip(("product", "reason"), before, now, strict=True):
            moves = {key: is_[key] - was[key] for key in is_.keys() | was.keys()}
            worst = sorted(
                (key for key in moves if moves[key]),
                key=lambda key: (-abs(moves[key]), -moves[key], key),
            )
            for place, key in enumerate(worst[:3], 1):
                expected[platform, alert_id, told, key] = (evening, moves[key], place)
                seen[f"{told} {'more' if moves[key] > 0 else 'fewer'}"] += 1
    actual = {
        tuple(key): tuple(row)
        for *key, day, quantity, place in marketplaces.daily.rows(
            "select reasons.platform, alert_id, kind, key, as_of_date, quantity, rank "
            "from marts.fct_alert_reasons as reasons "
            "where alert_id in (select alert_id from marts.fct_alerts where risk_point = ?)",
            RISK_POINT,
        )
        for row in [(day, quantity, place)]
    }
    assert set(seen) == {
        *("official", "projected", "product more", "product fewer", "reason more", "reason fewer")
    }
    assert not (said := support.differences(actual, expected)), said

"""One set of warehouses for all tests that hold the marts against the oracle.

Many histories share few platforms of one home, so that the starts of landing and of dbt are paid
once for all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from tests import oracle, support
from tests.dbt_project.simulated import build as build_simulated
from tests.histories import DAYS, FIRST, REASON_CODES, TIMEZONE, Delivery, describe, drawn, gathered

SEED = int(os.environ.get("REDLINE_TEST_SEED", "0"))
COUNT = int(os.environ.get("REDLINE_TEST_HISTORIES", "40"))
PLATFORMS = 5  # reason codes are a platform's

POLICIES = (  # of a risk point of their own: the default ones need more orders than these have
    oracle.Policy("complaint_rate", 7, Fraction(1, 4), Fraction(1, 2), min_denominator=2),
    oracle.Policy("negative_review_rate", 6, Fraction(1, 4), Fraction(1, 2), 1, None, ">", "raw"),
    oracle.Policy("merchant_fault_return_rate", 8, Fraction(1, 4), Fraction(1, 2), 3, max_count=1),
    oracle.Policy("late_shipment_rate", 6, Fraction(1, 2), Fraction(1), comparator=">="),
    oracle.Policy("merchant_cancel_rate", 7, Fraction(1, 4), Fraction(1, 2)),
    oracle.Policy("dispute_rate", 7, Fraction(1, 4), Fraction(1, 2), basis="raw"),
    oracle.Policy("refund_rate", 5, Fraction(1, 4), Fraction(1, 2), 2),
    oracle.Policy("low_rating_rate", 7, Fraction(1, 2), Fraction(3, 4), 2, 1),
    oracle.Policy("order_defect_rate", 9, Fraction(1, 4), Fraction(1, 2)),
)
RISK_POINT = "tested"


def _policy_row(policy: oracle.Policy) -> dict[str, Any]:
    """The seed's row of a policy for every platform and category."""
    return {
        **policy._asdict(),
        "warning_threshold": float(policy.warning_threshold),
        "violation_threshold": float(policy.violation_threshold),
        "policy_id": f"tested_{policy.metric}",
        "platform": "*",
        "category_id": "*",
        "risk_point": RISK_POINT,
        "entity_type": "merchant",
        "measure": "notice",
        "effective_from": date(2000, 1, 1),
        "owner": "tests",
        "source": "ours",
    }


RatesByPlatform = dict[str, dict[tuple[Any, str, date], support.Rate]]

MARTS: dict[str, tuple[str, Callable[[oracle.History, date], dict[Any, oracle.Rate]]]] = {
    "fct_merchant_daily_rates": ("merchant_id", oracle.merchant_rates),
    "fct_product_daily_rates": ("(merchant_id, product_id)", oracle.product_rates),
    "fct_category_daily_rates": ("category_id", oracle.category_rates),
}


@dataclass(frozen=True)
class Marketplaces:
    """Histories, three warehouses over their landing zone, and what the daily one said.

    Attributes:
        drawn: the small histories that hypothesis drew.
        gathered: the same, several to a platform, their ids beginning with `<name>:`.
        named: the histories written by hand, all on the platform `named`.
        daily: brought on day by day.
        chunked: brought on in random chunks.
        at_once: brought on in one pass.
        rates: by mart and evening, the rows of the daily warehouse on that evening.
    """

    drawn: list[Delivery]
    gathered: list[Delivery]
    named: Delivery
    daily: support.Warehouse
    chunked: support.Warehouse
    at_once: support.Warehouse
    rates: dict[tuple[str, date], RatesByPlatform]

    def hold(self, check: Callable[[oracle.History], str]) -> None:
        """Fail with what `check` says, and with the smallest history that it says it of."""
        said = "\n".join(filter(None, (check(delivery.history) for delivery in self.gathered)))
        if said:
            differing = [
                describe(delivery)
                for delivery in self.drawn
                if f"{delivery.history.platform}:" in said
            ]
            pytest.fail(
                f"{len(differing)} histories of seed {SEED} differ:\n{said}\n\nThe smallest: "
                f"{min(differing, key=len, default='not named')}",
                pytrace=False,
            )

    def rate_differences(self, history: oracle.History, mart: str, mark: str = "") -> str:
        """How a mart differs from the oracle on any evening, in rows whose key holds `mark`."""
        _, count = MARTS[mart]
        said = []
        for evening in DAYS:
            actual = self.rates[mart, evening][history.platform]
            expected = support.expected_rates(count(history, evening))
            difference = support.differences(actual, expected, mark)
            if difference:
                said.append(f"{mart} on {evening}:\n{difference}")
        return "\n".join(said)


@pytest.fixture(scope="session")
def marketplaces(tmp_path_factory: pytest.TempPathFactory) -> Marketplaces:
    """All histories landed through the door, and run in three ways."""
    from tests.dbt_project.test_named_cases import CASES

    root = tmp_path_factory.mktemp("marketplaces")
    histories = drawn(COUNT, first_seed=SEED * 1000)
    together = [
        gathered(f"market_{place}", histories[place::PLATFORMS])
        for place in range(min(PLATFORMS, COUNT))
    ]
    named = gathered("named", CASES)
    deliveries = [*together, named]
    settings = support.settings_of(root / "daily", TIMEZONE)
    for delivery in deliveries:
        support.land_delivery(settings, delivery, root / "source" / delivery.history.platform)

    codes = {code for delivery in deliveries for code in delivery.history.reason_codes}
    platforms = tuple(delivery.history.platform for delivery in deliveries)
    daily = support.Warehouse(settings, platforms)
    daily.seed(
        {
            "reason_codes": [
                {**code._asdict(), "risk_dimension": "other"}
                for code in sorted(codes - set(REASON_CODES))
            ],
            "pack_douyin_laike": [_policy_row(policy) for policy in POLICIES],
        }
    )
    chunked = daily.copied_to(root / "chunked")
    at_once = daily.copied_to(root / "at_once")

    def run_others() -> None:
        at_once.run_in_chunks(DAYS, [len(DAYS)])
        chunked.run_in_chunks(DAYS, _sizes(random.Random(SEED)))

    rates: dict[tuple[str, date], RatesByPlatform] = {}
    with ThreadPoolExecutor(1) as second_core:
        others = second_core.submit(run_others)
        for evening in DAYS:
            daily.run(evening, evening, on_top=evening > FIRST)
            for mart, (entity_columns, _) in MARTS.items():
                rates[mart, evening] = daily.rates(mart, entity_columns)
        others.result()
    return Marketplaces(histories, together, named, daily, chunked, at_once, rates)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> support.Warehouse:
    """The simulated marketplace, brought on in two passes; see `simulated.build`."""
    root = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as environment:  # a source reads its own settings
        environment.setenv("REDLINE_HOME", str(root))
        environment.setenv("REDLINE_TIMEZONE", TIMEZONE)
        return build_simulated(root)


def _sizes(rng: random.Random) -> list[int]:
    """Chunk lengths that cover all days, three chunks at least."""
    sizes = [rng.randint(1, 5)]
    while sum(sizes) < len(DAYS):
        sizes.append(rng.randint(1, 5))
    return sizes

"""The definitions of the design's first two sections, followed literally in plain Python.

The tests hold the product against this page. It shares no code or SQL with the product, keeps no
state between evenings and prefers the obvious to the fast: every answer is counted anew from the
newest versions known on the evening that was asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

W = 7  # the window of every official rate, in calendar days; the cohort date is day 1
DEFECT_W = 30  # of order_defect_rate, whose reviews come after fulfilment
ONE_DAY = timedelta(days=1)
SHIP_WITHIN = timedelta(hours=72)  # the deadline of an order that states none


class Version(NamedTuple):
    """One clean record as it was landed: the contract's columns, times as naive UTC."""

    report_date: date
    source_date: date
    record: Mapping[str, Any]


class ReasonCode(NamedTuple):
    """Whose fault a reason code states, from a report date on; platform may be `*`."""

    platform: str
    reason_code: str
    effective_from: date
    fault_party: str


@dataclass(frozen=True)
class History:
    """All that one platform ever delivered: entity -> record id -> its versions, in any order.

    Order lines are kept under their order's id.
    """

    platform: str
    timezone: str
    versions: Mapping[str, Mapping[str, Sequence[Version]]]
    reason_codes: Sequence[ReasonCode] = field(default=())


# --- what is known on an evening ------------------------------------------------------------


@cache
def business_date(moment: datetime, timezone: str) -> date:
    """The calendar date of a UTC moment in the business time zone."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(timezone)).date()


def newest(versions: Iterable[Version], evening: date) -> Version | None:
    """Of the versions landed by the evening, the one updated last (ties: landed last)."""
    known = [version for version in versions if version.report_date <= evening]
    return max(
        known, key=lambda v: (v.record["updated_at"], v.report_date, v.source_date), default=None
    )


def newest_of(history: History, entity: str, evening: date) -> dict[str, Version]:
    """The newest version of each record of an entity that is known on the evening."""
    all_newest = {key: newest(vs, evening) for key, vs in history.versions.get(entity, {}).items()}
    return {key: version for key, version in all_newest.items() if version is not None}


def product_of(history: History, order: Version) -> str:
    """The product under which a version of an order counts: its line of the highest value."""
    lines = [
        line.record
        for line in history.versions.get("order_items", {}).get(order.record["order_id"], ())
        if (line.report_date, line.source_date) == (order.report_date, order.source_date)
    ]
    if not lines:
        return "unknown"
    best = min(lines, key=lambda row: (-row["quantity"] * row["unit_price"], row["line_no"]))
    return str(best["product_id"])


def category_of(history: History, merchant_id: str, evening: date) -> str:
    """A merchant's category as known on the evening."""
    merchant = newest(history.versions.get("merchants", {}).get(merchant_id, ()), evening)
    return str(merchant.record["category_id"]) if merchant else "unknown"


def is_gone(history: History, merchant_id: str, evening: date) -> bool:
    """Whether a merchant is known to have closed."""
    merchant = newest(history.versions.get("merchants", {}).get(merchant_id, ()), evening)
    return merchant is not None and merchant.record["status"] in ("closed", "deleted")


def fault_of(history: History, event: Mapping[str, Any], evening: date) -> str:
    """Whose fault a complaint or refund is: as stated, else as its reason code means by then."""
    if event["fault_party"] is not None:
        return str(event["fault_party"])
    in_effect = [
        row
        for row in history.reason_codes
        if row.platform in (history.platform, "*")
        and row.reason_code == event["reason_code"]
        and row.effective_from <= evening
    ]
    best = max(in_effect, key=lambda row: (row.platform != "*", row.effective_from), default=None)
    return best.fault_party if best else "unknown"


def overturned(history: History, evening: date) -> set[tuple[str, str]]:
    """(subject type, subject id) of the events whose last decided appeal is upheld."""
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for _, _, appeal in newest_of(history, "appeals", evening).values():
        if appeal["status"] not in ("upheld", "rejected") or appeal["decided_at"] is None:
            continue
        if business_date(appeal["decided_at"], history.timezone) > evening:
            continue
        subject = (appeal["subject_type"], appeal["subject_id"])
        rank = (appeal["decided_at"], appeal["appeal_id"])
        if subject not in last or rank > (last[subject]["decided_at"], last[subject]["appeal_id"]):
            last[subject] = appeal
    return {subject for subject, appeal in last.items() if appeal["status"] == "upheld"}


class Event(NamedTuple):
    """An event that counts on an evening; only a review has a rating, and it has no fault.

    Its reason is its reason code, or `rated_` and the stars of a review.
    """

    kind: str
    happened_on: date
    is_overturned: bool
    rating: int
    fault: str
    key: str
    reason: str


class KnownOrder(NamedTuple):
    """An active order as known on an evening, with the events that count.

    `late_on` is the date on which its shipping deadline passed unmet, if it has, `cancelled_on`
    that on which the merchant cancelled it before shipping.
    """

    merchant_id: str
    product_id: str
    paid_on: date | None
    fulfilled_on: date | None
    late_on: date | None
    cancelled_on: date | None
    events: Sequence[Event]


_COUNTING = {  # kind -> entity, its time, the statuses in which it counts
    "complaint": ("complaints", "created_at", {"open", "resolved"}),
    "review": ("reviews", "created_at", {"visible"}),
    "refund": ("refunds", "requested_at", {"requested", "approved", "completed"}),
}


def known_orders(history: History, evening: date) -> Iterator[KnownOrder]:
    """All active orders known on the evening, with what had happened to them by then."""

    def day(moment: datetime) -> date:
        return business_date(moment, history.timezone)

    upheld = overturned(history, evening)
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for kind, (entity, time, statuses) in _COUNTING.items():
        for key, (_, _, record) in newest_of(history, entity, evening).items():
            if record["status"] not in statuses or day(record[time]) > evening:
                continue
            event = Event(
                kind,
                day(record[time]),
                (kind, key) in upheld,
                record.get("rating", 0),
                "" if kind == "review" else fault_of(history, record, evening),
                f"{kind}:{key}",
                f"rated_{record['rating']}" if kind == "review" else record["reason_code"],
            )
            events[record["order_id"]].append(event)

    for order_id, version in newest_of(history, "orders", evening).items():
        order, late_on, cancelled_on = version.record, None, None
        if order["status"] != "active":
            continue
        if order["paid_at"] is not None:
            deadline = order["ship_by_at"] or order["paid_at"] + SHIP_WITHIN
            is_late = order["shipped_at"] is None or order["shipped_at"] > deadline
            late_on = day(deadline) if is_late and day(deadline) <= evening else None
        if order["cancelled_by"] == "merchant" and order["cancelled_at"] is not None:
            shipped_at, cancelled_at = order["shipped_at"], order["cancelled_at"]
            if (shipped_at is None or cancelled_at < shipped_at) and day(cancelled_at) <= evening:
                cancelled_on = day(cancelled_at)
        yield KnownOrder(
            order["merchant_id"],
            product_of(history, version),
            order["paid_at"] and day(order["paid_at"]),
            order["fulfilled_at"] and day(order["fulfilled_at"]),
            late_on,
            cancelled_on,
            events[order_id],
        )


def is_defect(event: Event) -> bool:
    """Whether an event makes its order defective: bad stars, or the merchant's fault."""
    return event.rating in (1, 2) if event.kind == "review" else event.fault == "merchant"


# --- the ledger -----------------------------------------------------------------------------

Contribution = tuple[date, str, str, str, str, int]
"""cohort date, platform, merchant, product, component, lag in days"""


def state(history: History, evening: date) -> Counter[Contribution]:
    """The contributions of the newest versions on D whose cohort and own dates are <= D."""
    contributions: Counter[Contribution] = Counter()
    for order in known_orders(history, evening):

        def add(component: str, cohort: date | None, own: date, order: KnownOrder = order) -> None:
            if cohort is not None and cohort <= evening and own <= evening:
                who = (history.platform, order.merchant_id, order.product_id)
                contributions[(cohort, *who, component, (own - cohort).days)] += 1

        if order.paid_on is not None:
            add("orders_paid", order.paid_on, order.paid_on)
        if order.fulfilled_on is not None:
            add("orders_fulfilled", order.fulfilled_on, order.fulfilled_on)
        if order.late_on is not None:
            add("late_shipments", order.paid_on, order.late_on)
        if order.cancelled_on is not None:
            add("merchant_cancels", order.paid_on, order.cancelled_on)
        for suffix in ("", "_adjusted"):
            events = [e for e in order.events if suffix == "" or not e.is_overturned]
            for event in events:
                if event.kind == "complaint":
                    add("complaints" + suffix, order.paid_on, event.happened_on)
                    if event.fault == "merchant":
                        add(f"merchant_fault_complaints{suffix}", order.paid_on, event.happened_on)
                if event.kind == "review":
                    add(
                        f"review_rated_{event.rating}{suffix}",
                        order.fulfilled_on,
                        event.happened_on,
                    )
            refunds = [event for event in events if event.kind == "refund"]
            for component, counted in (
                ("merchant_fault_return_orders", [e for e in refunds if e.fault == "merchant"]),
                ("refunded_orders", refunds),
                ("defective_orders", [event for event in events if is_defect(event)]),
            ):
                if counted:
                    first = min(event.happened_on for event in counted)
                    add(component + suffix, order.paid_on, first)
    return contributions


def ledger(history: History, days: Iterable[date]) -> Counter[tuple[date, *Contribution]]:
    """The entries of each report date D: state(D) - state(D - 1), and nothing else."""
    entries: Counter[tuple[date, *Contribution]] = Counter()
    for day in days:
        today, yesterday = state(history, day), state(history, day - ONE_DAY)
        for contribution in today.keys() | yesterday.keys():
            if today[contribution] != yesterday[contribution]:
                entries[(day, *contribution)] = today[contribution] - yesterday[contribution]
    return entries


# --- the rates ------------------------------------------------------------------------------


class Rate(NamedTuple):
    """A rate of one cohort as of an evening."""

    numerator: int
    denominator: int
    adjusted_numerator: int
    is_mature: bool

    @property
    def rate(self) -> float | None:
        """Numerator over denominator; null over 0."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def adjusted_rate(self) -> float | None:
        """The same over events that no appeal has overturned."""
        return self.adjusted_numerator / self.denominator if self.denominator else None


Count = Callable[[KnownOrder, Sequence[Event], date], int]
"""What an order and its events within a window, up to its last date, add to a sum."""


class Metric(NamedTuple):
    """A rate: which date an order belongs to, how long its window is, and what is counted."""

    cohort: str
    numerator: Count
    denominator: Count = lambda order, events, last: 1
    window: int = W


def _complaints(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return sum(event.kind == "complaint" for event in events)


def _disputes(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return sum(event.kind == "complaint" and event.fault == "merchant" for event in events)


def _reviews(stars: Sequence[int]) -> Count:
    def count(order: KnownOrder, events: Sequence[Event], last: date) -> int:
        return sum(event.kind == "review" and event.rating in stars for event in events)

    return count


def _is_refunded(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return int(any(event.kind == "refund" for event in events))


def _is_returned(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return int(any(event.kind == "refund" and event.fault == "merchant" for event in events))


def _is_defective(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return int(any(map(is_defect, events)))


def _is_late(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return int(order.late_on is not None and order.late_on <= last)


def _is_cancelled(order: KnownOrder, events: Sequence[Event], last: date) -> int:
    return int(order.cancelled_on is not None and order.cancelled_on <= last)


METRICS = {
    "complaint_rate": Metric("paid_on", _complaints),
    "negative_review_rate": Metric("fulfilled_on", _reviews((1, 2))),
    "merchant_fault_return_rate": Metric("paid_on", _is_returned),
    "late_shipment_rate": Metric("paid_on", _is_late),
    "merchant_cancel_rate": Metric("paid_on", _is_cancelled),
    "dispute_rate": Metric("paid_on", _disputes),
    "refund_rate": Metric("paid_on", _is_refunded),
    "low_rating_rate": Metric("fulfilled_on", _reviews((1, 2, 3)), _reviews((1, 2, 3, 4, 5))),
    "order_defect_rate": Metric("paid_on", _is_defective, window=DEFECT_W),
}


def rates(
    history: History, evening: date, who: Callable[[KnownOrder], Any]
) -> dict[tuple[Any, str, date], Rate]:
    """(entity, metric, cohort date) -> its rate as of the evening; `who` names an entity.

    A cohort in which nothing is counted has no rate.
    """
    counts: defaultdict[tuple[Any, str, date], list[int]] = defaultdict(lambda: [0, 0, 0])
    for order in known_orders(history, evening):
        for name, metric in METRICS.items():
            cohort: date | None = getattr(order, metric.cohort)
            if cohort is None or cohort > evening:
                continue
            last = min(cohort + timedelta(days=metric.window - 1), evening)
            events = [event for event in order.events if event.happened_on <= last]
            standing = [event for event in events if not event.is_overturned]
            row = counts[(who(order), name, cohort)]
            row[0] += metric.numerator(order, events, last)
            row[1] += metric.denominator(order, events, last)
            row[2] += metric.numerator(order, standing, last)
    return {
        key: Rate(*row, evening >= key[2] + timedelta(days=METRICS[key[1]].window - 1))
        for key, row in counts.items()
        if any(row)
    }


def merchant_rates(history: History, evening: date) -> dict[tuple[Any, str, date], Rate]:
    """(merchant id, metric, cohort date) -> rate."""
    return rates(history, evening, lambda order: order.merchant_id)


def product_rates(history: History, evening: date) -> dict[tuple[Any, str, date], Rate]:
    """((merchant id, product id), metric, cohort date) -> rate."""
    return rates(history, evening, lambda order: (order.merchant_id, order.product_id))


def category_rates(history: History, evening: date) -> dict[tuple[Any, str, date], Rate]:
    """(category of the merchant on the evening, metric, cohort date) -> rate."""
    return rates(history, evening, lambda order: category_of(history, order.merchant_id, evening))


# --- what moved a numerator -----------------------------------------------------------------


def counted(
    history: History, policy: Policy, merchant_id: str, evening: date, last_cohort: date
) -> tuple[Counter[str], Counter[str]]:
    """A window's numerator as known on an evening, by product and by reason.

    Of an order that counts once the earliest event speaks (ties: the least key).
    """
    metric = METRICS[policy.metric]
    products: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for order in known_orders(history, evening):
        cohort: date | None = getattr(order, metric.cohort)
        if order.merchant_id != merchant_id or cohort is None:
            continue
        if not 0 <= (last_cohort - cohort).days < policy.evaluation_days:
            continue
        last = min(cohort + timedelta(days=metric.window - 1), evening)
        events = [
            event
            for event in sorted(order.events, key=lambda each: (each.happened_on, each.key))
            if event.happened_on <= last and not (policy.basis != "raw" and event.is_overturned)
        ]
        quantity = metric.numerator(order, events, last)
        products[order.product_id] += quantity
        if metric.numerator(order, [], last) == 0:  # what counts are events
            speaking = [event for event in events if metric.numerator(order, [event], last)]
            reasons.update(event.reason for event in speaking[:quantity])
    return products, reasons


# --- policies -------------------------------------------------------------------------------


class Policy(NamedTuple):
    """What a policy compares; thresholds are fractions."""

    metric: str
    evaluation_days: int
    warning_threshold: Fraction
    violation_threshold: Fraction
    min_denominator: int = 1
    max_count: int | None = None
    comparator: str = ">="
    basis: str = "adjusted"


class Evaluation(NamedTuple):
    """The official answer of a policy for one entity and evening, before any projection."""

    numerator: int
    denominator: int
    status: str

    @property
    def value(self) -> Fraction | None:
        """Exact; null over 0."""
        return Fraction(self.numerator, self.denominator) if self.denominator else None


def evaluation(
    rates_of_evening: Mapping[tuple[Any, str, date], Rate],
    policy: Policy,
    entity: Any,
    evening: date,
) -> Evaluation | None:
    """The official value over the mature window and its status.

    None without a denominator in it or in the window that ends with the evening. `warning` is said
    on the official value only: the projection is held against its own formula.
    """
    cohorts = {
        day: r
        for (who, metric, day), r in rates_of_evening.items()
        if (who, metric) == (entity, policy.metric)
    }
    last = evening - timedelta(days=METRICS[policy.metric].window - 1)
    first = last - timedelta(days=policy.evaluation_days - 1)
    official = [rate for day, rate in cohorts.items() if first <= day <= last]
    # Immature cohorts of the window that ends with the evening, on which a projection is made.
    young_from = max(last, evening - timedelta(days=policy.evaluation_days))
    young = [rate for day, rate in cohorts.items() if young_from < day <= evening]
    denominator = sum(rate.denominator for rate in official)
    numerator = sum(
        r.numerator if policy.basis == "raw" else r.adjusted_numerator for r in official
    )
    if denominator == 0:
        has_orders = any(rate.denominator for rate in young)
        return Evaluation(0, 0, "too_early") if has_orders else None

    def reaches(threshold: Fraction) -> bool:
        value = Fraction(numerator, denominator)
        return value > threshold or (value == threshold and policy.comparator == ">=")

    if denominator < policy.min_denominator:
        if policy.max_count is None:
            status = "insufficient_data"
        else:
            status = "violation" if numerator > policy.max_count else "pass"
    elif reaches(policy.violation_threshold):
        status = "violation"
    elif reaches(policy.warning_threshold):
        status = "warning"
    else:
        status = "pass"
    return Evaluation(numerator, denominator, status)


class Episode(NamedTuple):
    """A record: open from its first evening at its level to the last of the cooldown."""

    opened_on: date
    closed_on: date | None


class Episodes(NamedTuple):
    """The records of one entity under one policy line; alerts are (evening, kind, transition)."""

    warnings: list[Episode]
    violations: list[Episode]
    alerts: list[tuple[date, str, str]]


def episodes(statuses: Mapping[date, str], evenings: Iterable[date], cooldown: int = 3) -> Episodes:
    """Walk the evenings; one without a status counts as below every level."""
    open_since: dict[str, date] = {}
    below = {"warning": 0, "violation": 0}
    records: dict[str, list[Episode]] = {"warning": [], "violation": []}
    alerts: list[tuple[date, str, str]] = []
    for evening in evenings:
        status = statuses.get(evening)
        had_warning = "warning" in open_since
        for kind, levels in (("warning", ("warning", "violation")), ("violation", ("violation",))):
            if status in levels:
                below[kind] = 0
                if kind not in open_since:
                    open_since[kind] = evening
                    escalates = kind == "violation" and had_warning
                    alerts.append((evening, kind, "escalated" if escalates else "opened"))
            elif kind in open_since:
                below[kind] += 1
                if below[kind] == cooldown:
                    records[kind].append(Episode(open_since.pop(kind), evening))
                    alerts.append((evening, kind, "resolved"))
    for kind, opened_on in open_since.items():
        records[kind].append(Episode(opened_on, None))
    return Episodes(records["warning"], records["violation"], alerts)

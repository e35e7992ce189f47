"""What a record's story is made of. Values and thresholds are fractions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True)
class Record:
    """An episode, as `fct_warning_records` and `fct_violation_records` have it.

    Attributes:
        record_type: `warning` or `violation`.
        measure: what it leads to; of a violation, with the steps that repetition has climbed.
        is_overturned, repeats, severity: of a violation; False and None of a warning.
    """

    record_id: str
    platform: str
    record_type: str
    policy_line: str
    metric: str
    risk_point: str
    entity_type: str
    entity_id: str
    opened_on: date
    last_at_level_on: date
    closed_on: date | None
    status: str
    policy_id: str
    measure: str | None
    is_overturned: bool
    repeats: int | None
    severity: int | None


@dataclass(frozen=True)
class Subject:
    """Whom a record is about, as known on the published evening.

    Attributes:
        name: of the merchant, product or category; its id where none is known.
        category_id: None of a category.
        merchant_id, merchant_name: of a product, who sells it.
    """

    name: str
    category_id: str | None
    merchant_id: str | None
    merchant_name: str | None


@dataclass(frozen=True)
class OpenRecord:
    """A record that is open on its platform's published evening, with that evening's numbers.

    Attributes:
        threshold: of the record's own level; None where it was not evaluated.
    """

    record: Record
    name: str
    numerator: int | None
    denominator: int | None
    value: float | None
    projected_value: float | None
    threshold: float | None

    @property
    def is_projected(self) -> bool:
        """Whether only the projection reaches the threshold."""
        limit = self.threshold
        return limit is not None and (self.value or 0) < limit <= (self.projected_value or 0)

    @property
    def reading(self) -> float | None:
        """The official value, or where it is heading if only that reaches the threshold."""
        return self.projected_value if self.is_projected else self.value


@dataclass(frozen=True)
class PolicyVersion:
    """A version of the record's policy line that was in force during its life."""

    policy_id: str
    pack: str
    warning_threshold: float
    violation_threshold: float
    comparator: str
    basis: str
    evaluation_days: int
    min_denominator: int
    max_count: int | None
    min_component: str | None
    min_count: int | None
    min_days: int | None
    measure: str
    effective_from: date
    effective_to: date | None
    owner: str
    source: str


@dataclass(frozen=True)
class Evening:
    """What was said of the entity on one evening, for the record's metric and risk point.

    Attributes:
        is_of_line: whether the record's own policy line spoke; another one's evening counts as
            below the record's level.
        numerator, denominator, value, lower_bound: of the official window.
        projected_value, projected_lower_80, projected_upper_80: of the window that ends with the
            evening.
        minimum_counted: how many there are of the policy's `min_component`; None without one.
    """

    as_of_date: date
    policy_id: str
    is_of_line: bool
    status: str
    is_confirmed: bool
    numerator: int
    denominator: int
    value: float | None
    lower_bound: float | None
    projected_value: float | None
    projected_lower_80: float | None
    projected_upper_80: float | None
    warning_threshold: float
    violation_threshold: float
    category_percentile: float | None
    minimum_counted: int | None


@dataclass(frozen=True)
class Projection:
    """What was projected on an evening, beside the official value of the same cohorts that came."""

    made_on: date
    came_on: date
    projected_value: float
    lower_80: float
    upper_80: float
    value: float

    @property
    def is_within(self) -> bool:
        """Whether the value that came lies within the 80% interval."""
        return self.lower_80 - 1e-12 <= self.value <= self.upper_80 + 1e-12


@dataclass(frozen=True)
class Key:
    """One order, or one event on it, that a ledger entry counts.

    Attributes:
        quantity: 1 where its contribution began, -1 where it ended.
        event_kind, event_id: None where the order itself is counted; of an order counted once, the
            event that stands for it.
        happened_on: the date of the event, the missed deadline, the cancellation or the order.
        fault_party: as stated or as the reason code means; None of orders and reviews.
        why: in a few words what ended it, such as `withdrawn` or `overturned`, or brought it back;
            None where it is simply new.
        overturned_on: since when an upheld appeal has overturned the event, as known now.
    """

    quantity: int
    order_id: str
    event_kind: str | None
    event_id: str | None
    happened_on: date
    rating: int | None
    reason_code: str | None
    fault_party: str | None
    why: str | None
    overturned_on: date | None


@dataclass(frozen=True)
class Entry:
    """A ledger entry of the numerator: what a report date added to a cohort, over all products.

    Attributes:
        merchant_id: of a category's record, which of its merchants.
        keys: what stands behind it; None where the warehouse could not be read.
    """

    report_date: date
    cohort_date: date
    merchant_id: str
    component: str
    lag_days: int
    quantity: int
    keys: tuple[Key, ...] | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the keys are those of the entry; they are not once the warehouse has changed."""
        return self.keys is None or sum(key.quantity for key in self.keys) == self.quantity


@dataclass(frozen=True)
class Contributor:
    """A part of the entity: a product of a merchant or a merchant of a category.

    Attributes:
        numerator, denominator: in the window that is held against the threshold.
    """

    entity_id: str
    name: str
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Move:
    """A merchant that a category was seen to gain or lose during the record's life."""

    as_of_date: date
    merchant_id: str
    joined: bool


@dataclass(frozen=True)
class Verdict:
    """What a version of an appeal said, and since which evening that was known."""

    known_on: date
    status: str
    decided_on: date | None


@dataclass(frozen=True)
class Appeal:
    """An appeal against the record or an event behind it, its versions in order."""

    appeal_id: str
    subject_type: str
    subject_id: str
    submitted_on: date
    verdicts: tuple[Verdict, ...]

    @property
    def status(self) -> str:
        """As known now: submitted, upheld or rejected."""
        return self.verdicts[-1].status


@dataclass(frozen=True)
class Delivery:
    """One attempt to tell people of an alert, as far as it was known when this was published."""

    channel: str
    status: str
    attempts: int | None
    delivered_at: datetime | None


@dataclass(frozen=True)
class Transition:
    """What happened to the record on an evening, with the evaluation behind it.

    Attributes:
        alert_id: of the alert that tells of it; None where none does.
    """

    transition_id: str
    as_of_date: date
    transition: str
    from_status: str | None
    to_status: str
    policy_id: str
    evaluation_status: str | None
    numerator: int | None
    denominator: int | None
    value: float | None
    projected_value: float | None
    threshold: float | None
    measure: str | None
    alert_id: str | None
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class RelatedRecord:
    """Another record of the same entity and policy line: overlapping, or opened not long before."""

    record_id: str
    record_type: str
    opened_on: date
    closed_on: date | None
    status: str
    is_overturned: bool


@dataclass(frozen=True)
class Story:
    """One record's story, as of its platform's published evening.

    Attributes:
        as_of: the published evening.
        noun: what the numerator counts, in the plural.
        window_days: the metric's window.
        policies: versions of the policy line in force over the record's life, oldest first.
        evenings: from a few evenings before it opened to the one on which it closed, or `as_of`.
        projections: made on its evenings, where what they projected has come.
        entries: of the numerator, that counted in a window of one of its evenings.
        contributors: of the last evening at its level, the largest first.
        moves: of a category's merchants, in order.
        appeals: against the record or events behind it; None where the warehouse was not read.
        transitions: in order.
        related: oldest first.
        keys_missing: why event keys and appeals could not be told; None where they are.
    """

    record: Record
    subject: Subject
    as_of: date
    noun: str
    window_days: int
    policies: tuple[PolicyVersion, ...]
    evenings: tuple[Evening, ...]
    projections: tuple[Projection, ...]
    entries: tuple[Entry, ...]
    contributors: tuple[Contributor, ...]
    moves: tuple[Move, ...]
    appeals: tuple[Appeal, ...] | None
    transitions: tuple[Transition, ...]
    related: tuple[RelatedRecord, ...]
    keys_missing: str | None

    @property
    def last_evening(self) -> date:
        """The last evening that is told: on which the record closed, else the published one."""
        return self.record.closed_on or self.as_of

    def evening(self, day: date) -> Evening | None:
        """What was said on an evening, by whatever policy line spoke."""
        return next((evening for evening in self.evenings if evening.as_of_date == day), None)

    def policy(self, day: date) -> PolicyVersion | None:
        """The version of the record's line that was in force on an evening."""
        said = self.evening(day)
        named = [p for p in self.policies if said is not None and p.policy_id == said.policy_id]
        in_force = [
            policy
            for policy in self.policies
            if policy.effective_from <= day and (policy.effective_to or day) >= day
        ]
        return next(iter([*named, *in_force]), None)

    def has_member(self, merchant_id: str, day: date) -> bool:
        """Whether one of a category's merchants was in it on an evening; True of other records."""
        moves = [move for move in self.moves if move.merchant_id == merchant_id]
        for move in reversed(moves):
            if move.as_of_date <= day:
                return move.joined
        return not moves or not moves[0].joined

    def is_projected(self, day: date) -> bool:
        """Whether it was the projection, not the official value, that reached a threshold."""
        said, policy = self.evening(day), self.policy(day)
        if said is None or said.status != "warning":
            return False
        has_enough = policy is None or (
            said.denominator >= policy.min_denominator
            and (said.minimum_counted or 0) >= (policy.min_count or 0)
        )
        return not (has_enough and reaches(said.value, policy, said.warning_threshold))

    def window(self, day: date) -> tuple[date, date] | None:
        """First and last cohort date of the window that was held against a threshold that day."""
        policy = self.policy(day)
        if policy is None:
            return None
        last = day if self.is_projected(day) else day - timedelta(days=self.window_days - 1)
        return last - timedelta(days=policy.evaluation_days - 1), last


def reaches(value: float | None, policy: PolicyVersion | None, threshold: float) -> bool:
    """Whether a value is at or beyond a threshold, as the policy's comparator says."""
    if value is None:
        return False
    return value > threshold or (
        value == threshold and (policy is None or policy.comparator == ">=")
    )

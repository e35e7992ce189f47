"""Generated marketplaces: small, and as awkward as the contract allows.

Every record arrives in a few versions on ten report dates. Fields are drawn from small pools,
so that ties, corrections, contradictions and coincidences are common rather than rare: a version
arriving late with an older `updated_at`, two versions on one date, events before their order or
without one, several refunds of an order, appeals that reverse each other, moments beside midnight.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from tests.oracle import History, ReasonCode, Version

ONE_DAY = timedelta(days=1)
TIMEZONE = "Asia/Shanghai"
FIRST = date(2025, 2, 23)  # the dates cross the end of a month
DAYS = [FIRST + timedelta(days=offset) for offset in range(10)]
RESENT_ON = DAYS[6]  # the open date under which differences of closed dates are landed

ENTITIES = (
    "merchants",
    "products",
    "orders",
    "order_items",
    "complaints",
    "reviews",
    "refunds",
    "appeals",
)
REASON_CODES = (
    ReasonCode("*", "quality_defect", date(2000, 1, 1), "merchant"),
    ReasonCode("*", "damaged_in_transit", date(2000, 1, 1), "carrier"),
    ReasonCode("*", "changed_mind", date(2000, 1, 1), "buyer"),
)
"""Codes whose meaning the product's seed states for every platform."""

CHANGED_CODE = ReasonCode("*", "changed_mind", DAYS[6], "merchant")
"""A code that changes its meaning for every platform; the tests add it to the seed."""

_TIMES = (
    time(0, 0, 0),
    time(0, 0, 1),
    time(7, 59, 59),
    time(8, 0, 0),
    time(12, 30, 0),
    time(23, 59, 59, 999999),
)


@dataclass(frozen=True)
class Delivery:
    """A history, and the rows beside it that the door must collapse or refuse.

    Attributes:
        history: the clean records, as the oracle sees them.
        noise: (entity, report date, record) delivered too.
    """

    history: History
    noise: tuple[tuple[str, date, dict[str, Any]], ...] = ()


def local(day: date, at: time = time(12, 0), timezone: str = TIMEZONE) -> datetime:
    """The UTC moment (naive) of a local time on a business date."""
    moment = datetime.combine(day, at, ZoneInfo(timezone))
    return moment.astimezone(UTC).replace(tzinfo=None)


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Moments on the business dates FIRST + first ... FIRST + last, often beside midnight."""
    return st.builds(
        lambda offset, at: local(FIRST + timedelta(days=offset), at),
        st.integers(first, last),
        st.sampled_from(_TIMES),
    )


# --- records: the contract's columns with the plainest values ----------------------------------


def merchant(merchant_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """A merchant's record."""
    row = {"merchant_id": merchant_id, "merchant_name": merchant_id, "category_id": "food",
           "legal_entity_id": None, "settlement_account": None, "contact": None, "opened_at": None,
           "is_certified": None, "status": "active", "updated_at": updated_at}  # fmt: skip
    return row | fields


def product(product_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """A product's record."""
    row = {"product_id": product_id, "merchant_id": "m1", "category_id": "food",
           "title": product_id, "list_price": None, "currency": None, "is_certified": None,
           "status": "active", "updated_at": updated_at}  # fmt: skip
    return row | fields


def order(order_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """An order's record."""
    row = {"order_id": order_id, "merchant_id": "m1", "buyer_id": "b1", "amount": Decimal("10.00"),
           "currency": "CNY", "paid_at": None, "ship_by_at": None, "shipped_at": None,
           "fulfilled_at": None, "cancelled_at": None, "cancel_reason": None, "cancelled_by": None,
           "status": "active", "updated_at": updated_at}  # fmt: skip
    return row | fields


def line(order_id: str, line_no: int, **fields: Any) -> dict[str, Any]:
    """An order line's record."""
    row = {"order_id": order_id, "line_no": line_no, "product_id": "p1", "quantity": 1,
           "unit_price": Decimal("10.00")}  # fmt: skip
    return row | fields


def complaint(complaint_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """A complaint's record."""
    row = {"complaint_id": complaint_id, "order_id": "o1", "created_at": updated_at,
           "reason_code": "quality_defect", "description": None, "fault_party": None,
           "status": "open", "resolved_at": None, "updated_at": updated_at}  # fmt: skip
    return row | fields


def review(review_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """A review's record."""
    row = {"review_id": review_id, "order_id": "o1", "product_id": None, "rating": 1, "body": None,
           "created_at": updated_at, "status": "visible", "updated_at": updated_at}  # fmt: skip
    return row | fields


def refund(refund_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """A refund's record."""
    row = {"refund_id": refund_id, "order_id": "o1", "requested_at": updated_at,
           "completed_at": None, "amount": Decimal("10.00"), "kind": "refund_only",
           "reason_code": "quality_defect", "fault_party": None, "status": "requested",
           "updated_at": updated_at}  # fmt: skip
    return row | fields


def appeal(appeal_id: str, updated_at: datetime, **fields: Any) -> dict[str, Any]:
    """An appeal's record."""
    row = {"appeal_id": appeal_id, "subject_type": "complaint", "subject_id": "c1",
           "merchant_id": "m1", "submitted_at": updated_at, "decided_at": None,
           "status": "submitted", "evidence_uri": None, "updated_at": updated_at}  # fmt: skip
    return row | fields


_MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "merchants": merchant,
    "products": product,
    "orders": order,
    "complaints": complaint,
    "reviews": review,
    "refunds": refund,
    "appeals": appeal,
}


def key_of(entity: str, record: Mapping[str, Any]) -> str:
    """The id under which a history keeps a record: order lines lie under their order's."""
    return str(record["order_id" if entity == "order_items" else f"{entity.removesuffix('s')}_id"])


def history_of(
    platform: str,
    rows: Iterable[tuple[str, date, Mapping[str, Any]] | tuple[str, date, date, Mapping[str, Any]]],
    timezone: str = TIMEZONE,
    reason_codes: Iterable[ReasonCode] = REASON_CODES,
) -> History:
    """A history of rows (entity, report date[, source date], record)."""
    versions: dict[str, dict[str, list[Version]]] = defaultdict(lambda: defaultdict(list))
    for entity, report_date, *source_date, record in rows:
        version = Version(report_date, source_date[0] if source_date else report_date, record)
        versions[entity][key_of(entity, record)].append(version)
    return History(platform, timezone, versions, tuple(reason_codes))


# --- histories ---------------------------------------------------------------------------------

_MERCHANTS = st.sampled_from(["m1", "m1", "m2", "m3"])  # m3 is never described
_PAID = st.none() | moments(-3, 9)
_SHIP_BY = st.none() | moments(-2, 9)
_CONTENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "merchants": {
        "category_id": st.sampled_from(["food", "hotel"]),
        "status": st.sampled_from(["active", "active", "closed"]),
    },
    "products": {
        "merchant_id": _MERCHANTS,
        "category_id": st.sampled_from(["food", "hotel"]),
        "status": st.sampled_from(["active", "active", "deleted"]),
    },
    "orders": {
        "merchant_id": _MERCHANTS,
        "paid_at": moments(-3, 6) | _PAID,
        "ship_by_at": _SHIP_BY,
        "shipped_at": st.none() | moments(-2, 9),
        "fulfilled_at": moments(-2, 6) | _PAID,
        "cancelled_at": st.none() | moments(-1, 9),
        "cancelled_by": st.sampled_from(["merchant", "merchant", "buyer", None]),
        "status": st.sampled_from(["active"] * 5 + ["deleted"]),
    },
    "complaints": {
        "created_at": moments(-3, 9),
        "fault_party": st.sampled_from([None, "merchant", "buyer"]),
        "status": st.sampled_from(["open", "open", "resolved", "withdrawn", "rejected", "deleted"]),
    },
    "reviews": {
        "created_at": moments(-3, 9),
        "rating": st.integers(1, 5),
        "product_id": st.sampled_from([None, "p1", "p2"]),
        "status": st.sampled_from(["visible", "visible", "deleted"]),
    },
    "refunds": {
        "requested_at": moments(-3, 9),
        "reason_code": st.sampled_from(
            ["quality_defect", "damaged_in_transit", "changed_mind", "unheard_of"]
        ),
        "fault_party": st.sampled_from([None, None, "merchant", "merchant", "carrier"]),
        "status": st.sampled_from(["requested", "approved", "completed", "withdrawn", "rejected"]),
    },
    "appeals": {
        "status": st.sampled_from(["submitted", "upheld", "upheld", "rejected"]),
        "decided_at": st.none() | moments(-1, 9) | moments(-1, 9),
    },
}
# What appeals are drawn against, by subject type.
_SUBJECTS = {
    "complaint": ["c1", "c2"],
    "review": ["v1", "v2"],
    "refund": ["r1", "r2"],
    "violation": ["c1"],
}
_LINES = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from(["p1", "p2", "p3"]),
        st.integers(0, 2),
        st.sampled_from([Decimal("0.00"), Decimal("5.00"), Decimal("10.00")]),
    ),
    max_size=3,
    unique_by=lambda drawn: drawn[0],
)


@st.composite
def histories(draw: st.DrawFn, platform: str = "h", resent: bool = False) -> Delivery:
    """One small marketplace and the noise delivered with it.

    Args:
        draw: hypothesis's.
        platform: its name.
        resent: whether differences of closed dates arrive under `RESENT_ON` too.
    """
    rows: list[tuple[str, date, date, dict[str, Any]]] = []
    quiet = draw(st.sampled_from([None, 4, 7]))  # an offset at which nothing may land
    order_ids = [f"o{n}" for n in range(1, draw(st.integers(3, 7)) + 1)]

    def add(entity: str, key: str, first_fields: Mapping[str, Any], at_most: int) -> None:
        rows.extend(draw(_versions(entity, key, first_fields, at_most, resent, quiet)))

    for key in ("m1", "m2"):
        add("merchants", key, {}, 3)
    for key in ("p1", "p2"):
        add("products", key, {}, 2)
    for key in order_ids:
        add("orders", key, {}, 5)
    for entity, letter, most in (("complaints", "c", 7), ("reviews", "v", 9), ("refunds", "r", 9)):
        for number in range(1, draw(st.integers(3, most)) + 1):
            # Two orders draw most events; "o9" never comes.
            order_id = draw(st.sampled_from(["o1", "o1", "o2", *order_ids, "o9"]))
            add(entity, f"{letter}{number}", {"order_id": order_id}, 4)
    for number in range(1, draw(st.integers(1, 6)) + 1):
        kind, subject = draw(
            st.sampled_from(
                [
                    ("complaint", "c1"),
                    ("complaint", "c1"),
                    ("review", "v1"),
                    ("refund", "r1"),
                    ("refund", "r2"),
                    ("violation", "c1"),
                ]
            )
        )
        add("appeals", f"a{number}", {"subject_type": kind, "subject_id": subject}, 3)

    # Lines come with each version of their order. Those of one source date are one set, so an order
    # that a re-sent file changes comes with lines that the file had before.
    placed = sorted(
        {(src, row["order_id"], day) for entity, day, src, row in rows if entity == "orders"}
    )
    for (source_date, order_id), places in groupby(placed, key=lambda place: place[:2]):
        items = [
            line(order_id, number, product_id=product_id, quantity=quantity, unit_price=unit_price)
            for number, product_id, quantity, unit_price in draw(_LINES)
        ]
        rows.extend(
            ("order_items", day, source_date, item) for _, _, day in places for item in items
        )
    own_codes = draw(
        st.lists(
            st.builds(
                ReasonCode,
                st.just(platform),
                st.sampled_from(["quality_defect", "damaged_in_transit", "unheard_of"]),
                st.sampled_from(DAYS),
                st.sampled_from(["merchant", "buyer"]),
            ),
            max_size=3,
            unique_by=lambda code: (code.reason_code, code.effective_from),
        )
    )
    history = history_of(platform, rows, reason_codes=[*REASON_CODES, CHANGED_CODE, *own_codes])
    return Delivery(history, draw(_noise(rows)))


@st.composite
def _versions(
    draw: st.DrawFn,
    entity: str,
    key: str,
    first_fields: Mapping[str, Any],
    at_most: int,
    resent: bool,
    quiet: int | None,
) -> list[tuple[str, date, date, dict[str, Any]]]:
    """A record's versions; each changes some of what the one drawn before it said."""
    record = _MAKERS[entity](key, local(FIRST), **first_fields)
    pools = _CONTENTS[entity]
    if entity in ("complaints", "reviews", "refunds"):
        pools = pools | {"order_id": st.sampled_from([first_fields["order_id"]] * 9 + ["o2"])}
    if entity == "appeals":  # a corrected appeal may be against another event
        said, others = first_fields["subject_id"], _SUBJECTS[first_fields["subject_type"]]
        pools = pools | {"subject_id": st.sampled_from([said, said, *others])}
    rows: dict[tuple[date, datetime], tuple[str, date, date, dict[str, Any]]] = {}
    for number in range(draw(st.integers(1, at_most))):
        if number == 0:  # the plainest beginning: it counts, and early
            begins = [name for name in pools if name != "status" or entity == "appeals"]
            record = record | {name: draw(pools[name]) for name in begins}
            day = draw(st.integers(0, 5))
        else:
            changed = draw(st.sets(st.sampled_from(sorted(pools)), min_size=1, max_size=2))
            record = record | {name: draw(pools[name]) for name in sorted(changed)}
            day = draw(st.integers(0, len(DAYS) - 1))
        day -= day == quiet
        source = day
        if resent and DAYS[day] == RESENT_ON:
            source = draw(st.sampled_from([day, day - 1, day - 2]))
        # Known on the evening it arrived for; often the very moment of another version.
        record["updated_at"] = draw(moments(min(source, 4), source) | moments(source - 1, source))
        if record["status"] in ("upheld", "rejected") and entity == "appeals":
            record["decided_at"] = record["decided_at"] or record["updated_at"]
        # The same moment twice in one delivery would be a conflict, which the door refuses.
        rows.setdefault(
            (DAYS[source], record["updated_at"]), (entity, DAYS[day], DAYS[source], record)
        )
    return list(rows.values())


@st.composite
def _noise(
    draw: st.DrawFn, rows: list[tuple[str, date, date, dict[str, Any]]]
) -> tuple[tuple[str, date, dict[str, Any]], ...]:
    """Identical duplicates of some rows, and rows with faults that would count if they passed."""
    noise = []
    on_time = [row for row in rows if row[1] == row[2]]
    for entity, report_date, _, record in draw(st.lists(st.sampled_from(on_time), max_size=4)):
        noise.append((entity, report_date, record))
    for day in draw(st.lists(st.sampled_from(DAYS), max_size=3)):
        at = local(day)
        # In the future of a closed date's second delivery too.
        tomorrow = local(max(day, RESENT_ON) + ONE_DAY, time(0))
        entity, record = draw(
            st.sampled_from(
                [
                    ("orders", order("o1", tomorrow, paid_at=at)),
                    ("orders", order("o1", at, merchant_id=None, paid_at=at)),
                    ("orders", order("o2", at, amount=Decimal("-1.00"), paid_at=at)),
                    ("complaints", complaint("c1", at, status="escalated")),
                    ("reviews", review("v1", at, rating=6)),
                ]
            )
        )
        noise.append((entity, day, record))
    for day in draw(st.lists(st.sampled_from(DAYS), max_size=1)):  # neither can be believed
        noise.append(("orders", day, order("o1", local(day), paid_at=local(day))))
        noise.append(("orders", day, order("o1", local(day), paid_at=local(day), merchant_id="m2")))
    return tuple(noise)


def without_resent(delivery: Delivery) -> Delivery:
    """The delivery as it stood before closed dates were sent again."""
    history = delivery.history
    versions = {
        entity: {
            key: [v for v in vs if v.report_date == v.source_date] for key, vs in records.items()
        }
        for entity, records in history.versions.items()
    }
    return replace(delivery, history=replace(history, versions=versions))


# --- delivery ----------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep="T", timespec="microseconds") + "Z"
    return str(value) if isinstance(value, Decimal) else value


def deliver(delivery: Delivery, folder: Path, days: Iterable[date]) -> None:
    """Write `<folder>/<entity>/<date>.jsonl` for every entity and date, empty ones too.

    A row lies in the file of its source date. Where a re-sent file states a version anew, the file
    has what was said last.
    """
    files: dict[tuple[str, date], dict[Any, Mapping[str, Any]]] = {
        (entity, day): {} for day in days for entity in ENTITIES
    }
    for entity, records in delivery.history.versions.items():
        for key, versions in records.items():
            for version in sorted(versions, key=lambda version: version.report_date):
                record = version.record
                place = (key, record.get("line_no"), record.get("updated_at"))
                files[entity, version.source_date][place] = record
    for number, (entity, day, record) in enumerate(delivery.noise):
        files[entity, day][number] = record
    for (entity, day), rows in files.items():
        path = folder / entity / f"{day}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [
            json.dumps({name: _plain(value) for name, value in row.items()})
            for row in rows.values()
        ]
        path.write_text("".join(text + "\n" for text in texts))


def describe(delivery: Delivery) -> str:
    """A delivery for a person to read: one line per version, in order of arrival."""
    rows = [
        (version.report_date, ENTITIES.index(entity), version.source_date, entity, version.record)
        for entity, records in delivery.history.versions.items()
        for versions in records.values()
        for version in versions
    ]
    lines = [f"history of platform {delivery.history.platform}"]
    for report_date, _, source_date, entity, record in sorted(rows, key=lambda row: row[:3]):
        said = {k: str(v) for k, v in record.items() if v is not None}
        late = "" if source_date == report_date else f" (of {source_date})"
        lines.append(
            f"{report_date}{late} {entity}: " + ", ".join(f"{k}={v}" for k, v in said.items())
        )
    for entity, day, record in delivery.noise:
        lines.append(f"{day} noise {entity}: {record}")
    return "\n".join(lines)


def gathered(platform: str, deliveries: Iterable[Delivery]) -> Delivery:
    """Many small marketplaces as one platform's delivery; their ids keep apart as `<name>:<id>`.

    Reason codes are a platform's, so those of the first history speak for all.
    """
    deliveries = list(deliveries)
    rows: list[tuple[str, date, date, dict[str, Any]]] = []
    noise: list[tuple[str, date, dict[str, Any]]] = []
    for delivery in deliveries:
        name = delivery.history.platform
        rows += [
            (entity, version.report_date, version.source_date, _apart(name, version.record))
            for entity, records in delivery.history.versions.items()
            for versions in records.values()
            for version in versions
        ]
        noise += [(entity, day, _apart(name, record)) for entity, day, record in delivery.noise]
    first = deliveries[0].history
    codes = [
        code._replace(platform=platform) if code.platform == first.platform else code
        for code in first.reason_codes
    ]
    return Delivery(history_of(platform, rows, first.timezone, codes), tuple(noise))


def _apart(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    ids = {*(f"{entity.removesuffix('s')}_id" for entity in _MAKERS), "category_id", "subject_id"}
    return {
        column: f"{name}:{value}" if column in ids and value is not None else value
        for column, value in record.items()
    }


def drawn(count: int, first_seed: int) -> list[Delivery]:
    """As many histories, each drawn from a seed of its own, named h001, h002, ..."""
    return [_drawn(f"h{n:03}", first_seed + n) for n in range(1, count + 1)]


def _drawn(platform: str, its_seed: int) -> Delivery:
    examples: list[Delivery] = []

    @seed(its_seed)
    @settings(max_examples=2, database=None, phases=[Phase.generate], deadline=None)
    @given(histories(platform, resent=True))
    def draw(delivery: Delivery) -> None:
        examples.append(delivery)

    draw()
    return examples[-1]  # the first is always the simplest there is

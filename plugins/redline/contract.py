"""The contract: what a source must deliver, as data.

Every other part derives from this table: the casts and faults at the door, the intake suite,
the check of a source, the staging models' columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

ColumnType = Literal["text", "timestamp", "money", "integer", "boolean"]

SQL_TYPES: dict[ColumnType, str] = {
    "text": "varchar",
    "timestamp": "timestamp",
    "money": "decimal(18, 2)",
    "integer": "integer",
    "boolean": "boolean",
}


@dataclass(frozen=True)
class Column:
    """One column of the contract.

    Attributes:
        name: as delivered and as landed.
        type: timestamps are UTC, money is decimal(18, 2) in the row's currency.
        required: a null is a row fault.
        codes: the known values; any other is a row fault. Empty means any.
        at_least, at_most: inclusive bounds; outside is a row fault.
        personal: replaced by a keyed pseudonym before anything is written.
        free_text: scrubbed of phone numbers, e-mail addresses and identity numbers.
    """

    name: str
    type: ColumnType = "text"
    required: bool = False
    codes: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None
    personal: bool = False
    free_text: bool = False


@dataclass(frozen=True)
class Entity:
    """One record set of the contract.

    Attributes:
        name: as in folder names and messages.
        key: the columns that name a record within its platform.
        columns: all columns, in landed order.
        optional: a source may leave the whole entity out.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    optional: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in landed order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_versioned(self) -> bool:
        """Whether rows carry `updated_at`; order lines go with their order's version."""
        return "updated_at" in self.column_names


def _id(name: str, *, required: bool = True) -> Column:
    return Column(name, required=required)


def _time(name: str, *, required: bool = False) -> Column:
    return Column(name, "timestamp", required=required)


_UPDATED_AT = _time("updated_at", required=True)
_FAULT_PARTY = Column("fault_party", codes=("merchant", "buyer", "platform", "carrier", "unknown"))


def _status(*codes: str) -> Column:
    return Column("status", required=True, codes=codes)


ENTITIES: tuple[Entity, ...] = (
    Entity(
        "merchants",
        ("merchant_id",),
        (
            _id("merchant_id"),
            Column("merchant_name", required=True),
            _id("category_id"),
            _id("legal_entity_id", required=False),
            Column("settlement_account", personal=True),
            Column("contact", personal=True),
            _time("opened_at"),
            Column("is_certified", "boolean"),
            _status("active", "closed", "deleted"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "products",
        ("product_id",),
        (
            _id("product_id"),
            _id("merchant_id"),
            _id("category_id"),
            Column("title", required=True, free_text=True),
            Column("list_price", "money", at_least=0),
            Column("currency"),
            Column("is_certified", "boolean"),
            _status("active", "deleted"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "buyers",
        ("buyer_id",),
        (
            Column("buyer_id", required=True, personal=True),
            _time("registered_at"),
            Column("is_verified", "boolean"),
            _UPDATED_AT,
        ),
        optional=True,
    ),
    Entity(
        "orders",
        ("order_id",),
        (
            _id("order_id"),
            _id("merchant_id"),
            Column("buyer_id", required=True, personal=True),
            Column("amount", "money", required=True, at_least=0),
            Column("currency", required=True),
            _time("paid_at"),
            _time("ship_by_at"),
            _time("shipped_at"),
            _time("fulfilled_at"),
            _time("cancelled_at"),
            Column("cancel_reason", free_text=True),
            Column("cancelled_by", codes=("merchant", "buyer", "platform", "unknown")),
            _status("active", "deleted"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "order_items",
        ("order_id", "line_no"),
        (
            _id("order_id"),
            Column("line_no", "integer", required=True, at_least=0),
            _id("product_id"),
            Column("quantity", "integer", required=True, at_least=0),
            Column("unit_price", "money", required=True, at_least=0),
        ),
    ),
    Entity(
        "complaints",
        ("complaint_id",),
        (
            _id("complaint_id"),
            _id("order_id"),
            _time("created_at", required=True),
            Column("reason_code", required=True),
            Column("description", free_text=True),
            _FAULT_PARTY,
            _status("open", "resolved", "withdrawn", "rejected", "deleted"),
            _time("resolved_at"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "reviews",
        ("review_id",),
        (
            _id("review_id"),
            _id("order_id"),
            _id("product_id", required=False),
            Column("rating", "integer", required=True, at_least=1, at_most=5),
            Column("body", free_text=True),
            _time("created_at", required=True),
            _status("visible", "deleted"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "refunds",
        ("refund_id",),
        (
            _id("refund_id"),
            _id("order_id"),
            _time("requested_at", required=True),
            _time("completed_at"),
            Column("amount", "money", required=True, at_least=0),
            Column("kind", required=True),
            Column("reason_code", required=True),
            _FAULT_PARTY,
            _status("requested", "approved", "completed", "withdrawn", "rejected", "deleted"),
            _UPDATED_AT,
        ),
    ),
    Entity(
        "appeals",
        ("appeal_id",),
        (
            _id("appeal_id"),
            Column(
                "subject_type", required=True, codes=("complaint", "review", "refund", "violation")
            ),
            _id("subject_id"),
            _id("merchant_id"),
            _time("submitted_at", required=True),
            _time("decided_at"),
            _status("submitted", "upheld", "rejected"),
            Column("evidence_uri"),
            _UPDATED_AT,
        ),
        optional=True,
    ),
)

_BY_NAME = {entity.name: entity for entity in ENTITIES}


def entity(name: str) -> Entity:
    """The entity of that name; a KeyError means a mistake in the caller."""
    return _BY_NAME[name]

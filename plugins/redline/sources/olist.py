"""`olist:///dir`: the public dataset of the Brazilian marketplace Olist, in its original CSV files.

The mapping, where the dataset says less than the contract:

- A marketplace order holds items of several sellers: it becomes one order per seller, named
  `order_id:seller_id`. An order without items has no seller; it arrives as `order_id:` without a
  merchant (and amount), so that landing refuses it by name instead of it being lost here, and its
  reviews, complaints and refund name it.
- An order has one version per distinct time of (paid, shipped, fulfilled), delivered for that
  time's date and showing what had happened by then. One that was never approved has a single
  version, at its purchase, which shows nothing later: no shipment, no delivery.
- Items come with every version of their order (once per date), merchants and products with the
  first version that names them; a product sold by several merchants keeps the first one.
- A merchant's category is that of its first paid order's product, without a paid order that of
  its first bought one. It never changes, so it may be read from a later date than the merchant's.
- A refund is `approved`: the dataset does not say when, or whether, the money went back.
- When an order was cancelled is not in the data either: `cancelled_at` stays null.

The timestamps are UTC, so only `REDLINE_TIMEZONE=UTC` gives the business dates meant here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from redline.contract import Entity
from redline.errors import SettingError, SourceError, StorageError, is_lasting
from redline.settings import read_settings
from redline.sources import Address, told_names
from redline.sources.files import literal

ROWS_PER_BATCH = 100_000


@dataclass(frozen=True)
class Dataset:
    """One CSV file of the dataset and what is used of it.

    Attributes:
        file: its name.
        columns: SQL types of the columns used.
    """

    file: str
    columns: dict[str, str]


DATASETS = {
    "raw_orders": Dataset(
        "olist_orders_dataset.csv",
        {
            "order_id": "varchar",
            "customer_id": "varchar",
            "order_status": "varchar",
            "order_purchase_timestamp": "timestamp",
            "order_approved_at": "timestamp",
            "order_delivered_carrier_date": "timestamp",
            "order_delivered_customer_date": "timestamp",
        },
    ),
    "raw_items": Dataset(
        "olist_order_items_dataset.csv",
        {
            "order_id": "varchar",
            "order_item_id": "integer",
            "product_id": "varchar",
            "seller_id": "varchar",
            "shipping_limit_date": "timestamp",
            "price": "decimal(18, 2)",
            "freight_value": "decimal(18, 2)",
        },
    ),
    "raw_reviews": Dataset(
        "olist_order_reviews_dataset.csv",
        {
            "review_id": "varchar",
            "order_id": "varchar",
            "review_score": "integer",
            "review_comment_title": "varchar",
            "review_comment_message": "varchar",
            "review_answer_timestamp": "timestamp",
        },
    ),
    "raw_products": Dataset(
        "olist_products_dataset.csv", {"product_id": "varchar", "product_category_name": "varchar"}
    ),
    "raw_translations": Dataset(
        "product_category_name_translation.csv",
        {"product_category_name": "varchar", "product_category_name_english": "varchar"},
    ),
    "raw_customers": Dataset(
        "olist_customers_dataset.csv", {"customer_id": "varchar", "customer_unique_id": "varchar"}
    ),
}


@dataclass(frozen=True)
class Mapping:
    """How a table is made from others.

    Attributes:
        needs: tables to make first.
        sql: a select; every entity's has `report_date` and `source_file`.
    """

    needs: tuple[str, ...]
    sql: str


MAPPINGS = {
    # One row per order and seller, and one per order without items.
    "merchant_orders": Mapping(
        ("raw_orders", "raw_items"),
        """
        with sold as (
            select
                order_id,
                seller_id,
                sum(price + freight_value) as amount,
                max(shipping_limit_date) as ship_by_at
            from raw_items
            group by order_id, seller_id
        )
        select
            raw_orders.order_id || ':' || coalesce(sold.seller_id, '') as order_id,
            raw_orders.order_id as raw_order_id,
            raw_orders.customer_id,
            raw_orders.order_status,
            sold.seller_id as merchant_id,
            sold.amount,
            sold.ship_by_at,
            raw_orders.order_purchase_timestamp as purchased_at,
            raw_orders.order_approved_at as paid_at,
            raw_orders.order_delivered_carrier_date as shipped_at,
            raw_orders.order_delivered_customer_date as fulfilled_at
        from raw_orders
        left join sold on sold.order_id = raw_orders.order_id
        """,
    ),
    # One row per merchant order and distinct time at which it changed.
    "versions": Mapping(
        ("merchant_orders",),
        """
        with changed as (
            select
                *,
                unnest(
                    case
                        when paid_at is null then [purchased_at]
                        -- list_distinct leaves nulls out
                        else list_distinct([paid_at, shipped_at, fulfilled_at])
                    end
                ) as changed_at
            from merchant_orders
        )
        select
            * replace (
                if(paid_at <= changed_at, paid_at, null) as paid_at,
                if(shipped_at <= changed_at, shipped_at, null) as shipped_at,
                if(fulfilled_at <= changed_at, fulfilled_at, null) as fulfilled_at
            ),
            changed_at::date as report_date
        from changed
        """,
    ),
    # One row per product, in the English name where there is one.
    "product_categories": Mapping(
        ("raw_products", "raw_translations"),
        """
        select
            raw_products.product_id,
            coalesce(
                raw_translations.product_category_name_english,
                raw_products.product_category_name,
                'unknown'
            ) as category_id
        from raw_products
        left join raw_translations
            on raw_translations.product_category_name = raw_products.product_category_name
        """,
    ),
    "orders": Mapping(
        ("versions", "raw_customers"),
        """
        select
            versions.order_id,
            versions.merchant_id,
            raw_customers.customer_unique_id as buyer_id,
            versions.amount::decimal(18, 2) as amount,
            'BRL' as currency,
            versions.paid_at,
            versions.ship_by_at,
            versions.shipped_at,
            versions.fulfilled_at,
            'active' as status,
            versions.changed_at as updated_at,
            versions.report_date,
            'olist_orders_dataset.csv' as source_file
        from versions
        left join raw_customers on raw_customers.customer_id = versions.customer_id
        """,
    ),
    # Distinct: two versions of one date bring the same lines.
    "order_items": Mapping(
        ("versions", "raw_items"),
        """
        select distinct
            versions.order_id,
            raw_items.order_item_id as line_no,
            raw_items.product_id,
            1 as quantity,
            raw_items.price as unit_price,
            versions.report_date,
            'olist_order_items_dataset.csv' as source_file
        from versions
        join raw_items
            on raw_items.order_id = versions.raw_order_id
            and raw_items.seller_id = versions.merchant_id
        """,
    ),
    "merchants": Mapping(
        ("versions", "merchant_orders", "raw_items", "product_categories"),
        """
        with lines as (
            select
                merchant_orders.*,
                raw_items.product_id,
                -- An order's product is that of its most valuable line.
                row_number() over (
                    partition by merchant_orders.order_id
                    order by raw_items.price desc, raw_items.order_item_id
                ) as place
            from merchant_orders
            join raw_items
                on raw_items.order_id = merchant_orders.raw_order_id
                and raw_items.seller_id = merchant_orders.merchant_id
        ),

        first_orders as (
            select merchant_id, product_id
            from lines
            where place = 1
            qualify
                row_number() over (
                    partition by merchant_id
                    order by paid_at nulls last, purchased_at, order_id
                ) = 1
        ),

        appearances as (
            select merchant_id, min(changed_at) as appeared_at
            from versions
            where merchant_id is not null
            group by merchant_id
        )

        select
            appearances.merchant_id,
            appearances.merchant_id as merchant_name,
            coalesce(product_categories.category_id, 'unknown') as category_id,
            'active' as status,
            appearances.appeared_at as updated_at,
            appearances.appeared_at::date as report_date,
            'olist_order_items_dataset.csv' as source_file
        from appearances
        join first_orders on first_orders.merchant_id = appearances.merchant_id
        left join product_categories on product_categories.product_id = first_orders.product_id
        """,
    ),
    "products": Mapping(
        ("versions", "raw_items", "product_categories"),
        """
        with appearances as (
            select raw_items.product_id, versions.merchant_id, versions.changed_at as appeared_at
            from versions
            join raw_items
                on raw_items.order_id = versions.raw_order_id
                and raw_items.seller_id = versions.merchant_id
            qualify
                row_number() over (
                    partition by raw_items.product_id
                    order by versions.changed_at, versions.order_id, raw_items.order_item_id
                ) = 1
        )

        select
            appearances.product_id,
            appearances.merchant_id,
            coalesce(product_categories.category_id, 'unknown') as category_id,
            'product ' || appearances.product_id as title,
            'active' as status,
            appearances.appeared_at as updated_at,
            appearances.appeared_at::date as report_date,
            'olist_order_items_dataset.csv' as source_file
        from appearances
        left join product_categories on product_categories.product_id = appearances.product_id
        """,
    ),
    # One row per review and merchant order of its order.
    "merchant_reviews": Mapping(
        ("merchant_orders", "raw_reviews"),
        """
        select
            raw_reviews.*,
            coalesce(merchant_orders.order_id, raw_reviews.order_id || ':') as merchant_order_id
        from raw_reviews
        left join merchant_orders on merchant_orders.raw_order_id = raw_reviews.order_id
        """,
    ),
    "reviews": Mapping(
        ("merchant_reviews",),
        """
        select
            review_id || ':' || merchant_order_id as review_id,
            merchant_order_id as order_id,
            review_score as rating,
            nullif(concat_ws(chr(10), review_comment_title, review_comment_message), '') as body,
            review_answer_timestamp as created_at,
            'visible' as status,
            review_answer_timestamp as updated_at,
            review_answer_timestamp::date as report_date,
            'olist_order_reviews_dataset.csv' as source_file
        from merchant_reviews
        """,
    ),
    "complaints": Mapping(
        ("merchant_reviews",),
        r"""
        select
            review_id || ':' || merchant_order_id as complaint_id,
            merchant_order_id as order_id,
            review_answer_timestamp as created_at,
            'review_complaint' as reason_code,
            review_comment_message as description,
            'open' as status,
            review_answer_timestamp as updated_at,
            review_answer_timestamp::date as report_date,
            'olist_order_reviews_dataset.csv' as source_file
        from merchant_reviews
        where
            review_score = 1
            -- \s is the white space of ASCII only
            and regexp_matches(review_comment_message, '[^\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]')
        """,
    ),
    "refunds": Mapping(
        ("merchant_orders",),
        """
        select
            order_id as refund_id,
            order_id,
            ship_by_at as requested_at,
            amount::decimal(18, 2) as amount,
            'full' as kind,
            'order_canceled' as reason_code,
            if(ship_by_at is null or shipped_at <= ship_by_at, 'unknown', 'merchant')
                as fault_party,
            'approved' as status,
            -- greatest leaves nulls out: without items there is no deadline
            greatest(ship_by_at, paid_at) as updated_at,
            greatest(ship_by_at, paid_at)::date as report_date,
            'olist_orders_dataset.csv' as source_file
        from merchant_orders
        where order_status = 'canceled' and paid_at is not null
        """,
    ),
    "event_dates": Mapping(
        ("versions", "reviews", "refunds"),
        """
        select report_date from versions
        union all
        select report_date from reviews
        union all
        select report_date from refunds
        """,
    ),
}


@dataclass(frozen=True)
class OlistSource:
    """The dataset in a folder. Tables are made on first need and kept while the object lives.

    Attributes:
        platform: the name under which its records are kept.
        root: the folder of the CSV files.
    """

    platform: str
    root: Path
    _connection: duckdb.DuckDBPyConnection = field(
        # No folder to spill raw values to.
        default_factory=lambda: duckdb.connect(config={"temp_directory": ""}),
        repr=False,
        compare=False,
    )
    _made: set[str] = field(default_factory=set, repr=False, compare=False)

    def span(self) -> tuple[date, date] | None:
        """First and last business date on which anything happened; None for an empty dataset."""
        self._make("event_dates")
        found = self._connection.execute(
            "select min(report_date), max(report_date) from event_dates"
        ).fetchone()
        return found if found and found[0] else None

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the entity's rows of the dates `start` to `end`, typed.

        Raises:
            SourceError: a file of the dataset is missing, damaged or has another header.
        """
        if entity.name not in MAPPINGS:  # the dataset knows no appeals and nothing of its buyers
            return
        self._make(entity.name)
        result = self._connection.cursor().execute(
            f"select * from {entity.name} where report_date between $start and $end",
            {"start": start, "end": end},
        )
        yield from result.to_arrow_reader(ROWS_PER_BATCH)

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Unknown: the dataset is finished, no date of it is ever delivered again."""
        return None

    def _make(self, table: str) -> None:
        if table in self._made:
            return
        if table in DATASETS:
            self._load(table, DATASETS[table])
        else:
            for needed in MAPPINGS[table].needs:
                self._make(needed)
            self._connection.execute(f"create table {table} as {MAPPINGS[table].sql}")
        self._made.add(table)

    def _load(self, table: str, dataset: Dataset) -> None:
        path = self.root / dataset.file
        header = _header(path)
        missing = [name for name in dataset.columns if name not in header]
        if missing:
            raise SourceError(
                f"no column {', '.join(missing)}",
                str(path),
                f"use the dataset as it was published; found {told_names(header, dataset.columns)}",
            )
        selected = ", ".join(
            f"c{header.index(name)}::{type_} as {name}" for name, type_ in dataset.columns.items()
        )
        try:
            self._connection.execute(
                f"""
                create table {table} as
                select {selected}
                from read_csv(
                    $files, columns = $columns, auto_detect = false, header = true, delim = ',',
                    quote = '"', escape = '"', strict_mode = true
                )
                """,
                {
                    "files": [literal(path)],
                    "columns": {f"c{position}": "varchar" for position in range(len(header))},
                },
            )
        except duckdb.Error as error:
            raise SourceError(
                f"it cannot be read ({str(error).splitlines()[0]})",
                str(path),
                "use the dataset as it was published",
            ) from None  # the cause quotes the row: raw values do not belong in a log


def open_source(address: Address) -> OlistSource:
    """Open the dataset at an address.

    Raises:
        SettingError: the business time zone is not UTC.
        SourceError: the folder is missing or an option is unknown.
    """
    timezone = read_settings().timezone
    if timezone != "UTC":
        raise SettingError(
            f"the dates of olist are in UTC, the business time zone is {timezone}",
            "REDLINE_TIMEZONE",
            "set REDLINE_TIMEZONE=UTC",
        )
    if address.options:
        raise SourceError(
            f"unknown option '{next(iter(address.options))}'",
            "olist://",
            "the only option is platform",
        )
    root = Path(address.path)
    if not root.is_absolute() or not root.is_dir():
        raise SourceError(
            f"'{address.path}' is no folder",
            "olist://",
            "write olist:///folder of the dataset's CSV files",
        )
    return OlistSource(address.platform, root)


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        raise SourceError(
            "a file of the dataset is missing", str(path), "put it beside the others"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and not is_lasting(error):
            raise StorageError(
                f"it cannot be read ({error})", str(path), "see that its disk or mount is well"
            ) from error
        raise SourceError(
            f"it cannot be read ({error})", str(path), "use the dataset as it was published"
        ) from error

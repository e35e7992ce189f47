"""Deliveries as rows for BI: what became of each alert at each channel."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from redline.alerts.outbox import open_outbox
from redline.alerts.store import MESSAGES, TOLD
from redline.settings import Settings

# Of deliveries that were noted before, the marts of earlier runs tell the end.
REACH = 35 * 24 * 3600.0

# Grain: one row per alert, channel and purpose. Times are UTC.
SCHEMA = pa.schema(
    [
        ("alert_id", pa.string()),
        ("channel", pa.string()),
        ("status", pa.string()),
        ("attempts", pa.int32()),
        ("delivered_at", pa.timestamp("us")),
        ("purpose", pa.string()),
        ("form", pa.string()),
        ("audience", pa.string()),
        ("message_id", pa.string()),
        ("noted_at", pa.timestamp("us")),
        ("response", pa.string()),
    ]
)


def deliveries(settings: Settings) -> pa.Table:
    """The deliveries that were noted within `REACH`, as the outbox has them now; see `SCHEMA`.

    Raises:
        SettingError, StorageError: the outbox cannot be used.
    """
    if settings.outbox is None and not (settings.home.root / "outbox.sqlite").exists():
        return SCHEMA.empty_table()
    wanted = (
        sa.select(
            TOLD.c.alert_id,
            TOLD.c.channel,
            MESSAGES.c.state,
            MESSAGES.c.attempts,
            MESSAGES.c.sent_at,
            TOLD.c.purpose,
            MESSAGES.c.form,
            MESSAGES.c.audience,
            TOLD.c.message_id,
            TOLD.c.noted_at,
            MESSAGES.c.response,
        )
        .join(MESSAGES, MESSAGES.c.message_id == TOLD.c.message_id)
        .where(TOLD.c.noted_at >= time.time() - REACH)
        .order_by(TOLD.c.alert_id, TOLD.c.channel, TOLD.c.purpose)
    )
    outbox = open_outbox(settings)
    try:
        with outbox.store.transaction() as connection:
            rows: list[Any] = list(connection.execute(wanted))
    finally:
        outbox.close()
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA]
    return pa.table(
        [
            pa.array(
                [None if each is None else _clock(each) for each in column]
                if pa.types.is_timestamp(field.type)
                else column,
                field.type,
            )
            for field, column in zip(SCHEMA, columns, strict=True)
        ],
        schema=SCHEMA,
    )


def _clock(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)

"""A record's story, from the published marts and, for keys and appeals, the warehouse."""

from __future__ import annotations

from dataclasses import replace

from redline.errors import RedlineError
from redline.explain import keys, published
from redline.explain.model import OpenRecord, Story
from redline.settings import Home, Settings


def story(settings: Settings, record: str) -> Story:
    """Why a record is what it is.

    Args:
        settings: names the home.
        record: a record's id or an alert's, or the first characters of one, six at least.

    Raises:
        SettingError: the id names no record, or several.
        RedlineError: nothing is published, or another version of Redline published it.
    """
    home = settings.home
    with published.opened(home) as connection:
        told = published.told(connection, published.find(connection, home, record))
        wanted = _wanted(told)
    if wanted is None:
        return replace(told, keys_missing="no version of its policy is in an active pack any more")
    return _with_keys(home, told, wanted)


def open_records(settings: Settings) -> list[OpenRecord]:
    """Every record that is open on its platform's published evening, the worst first.

    Raises:
        RedlineError: nothing is published, or another version of Redline published it.
    """
    with published.opened(settings.home) as connection:
        return published.open_records(connection)


def _wanted(told: Story) -> keys.Wanted | None:
    reach = published.cohorts_in_reach(told)
    if reach is None:
        return None
    record = told.record
    is_category = record.entity_type == "category"
    merchants = tuple(sorted({entry.merchant_id for entry in told.entries}))
    return keys.Wanted(
        platform=record.platform,
        entity_type="merchant" if is_category else record.entity_type,
        entity_ids=merchants if is_category else (record.entity_id,),
        components=published.components(told),
        first_cohort=reach[0],
        last_cohort=reach[1],
        window_days=told.window_days,
        evening=told.as_of,
    )


def _with_keys(home: Home, told: Story, wanted: keys.Wanted) -> Story:
    try:
        behind, appeals = keys.read_warehouse(home, wanted, told.record.record_id)
    except RedlineError as error:
        return replace(told, keys_missing=str(error))
    return replace(
        told,
        appeals=appeals,
        entries=tuple(
            replace(
                entry,
                keys=behind.get(
                    (
                        entry.report_date,
                        entry.cohort_date,
                        entry.merchant_id,
                        entry.component,
                        entry.lag_days,
                    ),
                    (),
                ),
            )
            for entry in told.entries
        ),
    )

"""The event and order keys behind ledger entries, and appeals, from the private warehouse.

They are not published. The warehouse has one writer, and who reads it keeps that one out, so it is
read in one short go and only while no run is at work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from redline import lock
from redline.errors import BusyError, RedlineError
from redline.explain.model import Appeal, Key, Verdict
from redline.settings import Home

# Report date, cohort date, merchant, component, lag: a ledger entry over all products.
EntryName = tuple[date, date, str, str, int]

_KEYS = (Path(__file__).parent / "keys.sql").read_text(encoding="utf-8")

# Every version of every appeal that was ever against one of the subjects.
_APPEALS = """
    with
        versions as (
            select * from intermediate.int_appeals_versioned
            where platform = $platform and valid_from <= $evening
        ),

        subjects as (select unnest($subjects::varchar[]) as subject)

    select appeal_id, subject_type, subject_id, submitted_date, valid_from, status, decided_date
    from versions
    where
        appeal_id in (
            select appeal_id from versions
            where subject_type || ':' || subject_id in (select subject from subjects)
        )
    order by appeal_id, valid_from
"""


@dataclass(frozen=True)
class Wanted:
    """Which ledger entries the keys are wanted of.

    Attributes:
        entity_type: `merchant` or `product`; a category is its merchants.
        components: as in the ledger, twins of events included.
        first_cohort, last_cohort: inclusive.
        window_days: lags from it on are left out.
        evening: the last that is known.
    """

    platform: str
    entity_type: str
    entity_ids: tuple[str, ...]
    components: tuple[str, ...]
    first_cohort: date
    last_cohort: date
    window_days: int
    evening: date


def read_warehouse(
    home: Home, wanted: Wanted, record_id: str
) -> tuple[dict[EntryName, tuple[Key, ...]], tuple[Appeal, ...]]:
    """Keys by ledger entry, and the appeals against their events or the record.

    Raises:
        BusyError: a run is at work.
        RedlineError: there is no warehouse, or it cannot be read.
    """
    with _opened(home) as connection:
        keys = keys_behind(connection, wanted)
        subjects = {
            f"{key.event_kind}:{key.event_id}"
            for several in keys.values()
            for key in several
            if key.event_id is not None
        }
        subjects.add(f"violation:{record_id}")
        return keys, _appeals(connection, wanted, sorted(subjects))


def keys_behind(
    connection: duckdb.DuckDBPyConnection, wanted: Wanted
) -> dict[EntryName, tuple[Key, ...]]:
    """What began and ended on each report date, by ledger entry.

    An entry that several keys cancel out of is among them, though the ledger has no row for it.
    """
    found: defaultdict[EntryName, list[Key]] = defaultdict(list)
    given = vars(wanted) | {"entity_ids": list(wanted.entity_ids)}
    for (
        *name,
        quantity,
        order_id,
        event_key,
        happened_on,
        rating,
        code,
        fault,
        why,
        since,
    ) in connection.execute(_KEYS, given).fetchall():
        report_date, cohort_date, merchant_id, component, lag_days = name
        kind, _, event_id = (event_key or "").partition(":")
        found[report_date, cohort_date, merchant_id, component, lag_days].append(
            Key(
                quantity=quantity,
                order_id=order_id,
                event_kind=kind or None,
                event_id=event_id or None,
                happened_on=happened_on,
                rating=rating,
                reason_code=code,
                fault_party=fault,
                why=why,
                overturned_on=since,
            )
        )
    return {name: tuple(several) for name, several in found.items()}


def _appeals(
    connection: duckdb.DuckDBPyConnection, wanted: Wanted, subjects: Sequence[str]
) -> tuple[Appeal, ...]:
    rows = connection.execute(
        _APPEALS,
        {"platform": wanted.platform, "evening": wanted.evening, "subjects": list(subjects)},
    ).fetchall()
    versions: defaultdict[str, list[tuple[str, str, date, Verdict]]] = defaultdict(list)
    for appeal_id, kind, subject, submitted_on, known_on, status, decided_on in rows:
        verdict = Verdict(known_on, status, decided_on)
        versions[appeal_id].append((kind, subject, submitted_on, verdict))
    return tuple(
        # Its newest version says whom it is against, and when it was submitted.
        Appeal(appeal_id, *several[-1][:3], tuple(version[3] for version in several))
        for appeal_id, several in versions.items()
    )


@contextmanager
def _opened(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    where = str(home.warehouse)
    if not home.warehouse.is_file():
        raise RedlineError("there is no warehouse", where, "explain on the machine that runs")
    if lock.is_held(home):
        raise BusyError("a run is at work", where, "ask again when it has ended")
    try:
        with duckdb.connect(where, read_only=True) as connection:
            yield connection
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise BusyError(
                "another process holds the warehouse", where, "ask again when it has ended"
            ) from error
        raise RedlineError(
            f"the warehouse cannot be read: {error}", where, "see that the file is whole"
        ) from error
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise RedlineError(
            "another version of Redline made the warehouse", where, "run once with this one"
        ) from error

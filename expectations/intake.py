"""What the intake gate expects of landed partitions, before any model reads them.

The door has already refused bad rows one by one; this suite is the independent proof that it
did, and the judgement of the batch as a whole. Column checks follow from the contract; shares,
volumes and their limits are below. `stop` ends the platform's run, `warn` is recorded.

Relations (made by `redline.validation.intake`, over the run's report dates):

- `landing.<entity>`: the landed rows.
- `landing.repeated`: keys that occur more than once within one delivery, with `copies`.
- `intake.partitions`: one row per entity and report date.
- `intake.columns`: one row per Parquet file and column, as found and as due.
- `intake.files`: one row per file of a manifest or a folder.
- `intake.source_files`: one row per file that a date brought: rows read, and what became of them.
- `intake.refusals`: one row per entity: rows read and refused over the whole range.
- `intake.references`: one row per reference from one entity to another over the whole range.
- `intake.usual`: one row per entity, report date, measure and column: what was found, beside the
  median of the earlier dates of the same weekday (up to 28 of them).
"""

from __future__ import annotations

from collections.abc import Iterator

from redline.contract import ENTITIES, Entity
from redline.validation.limits import ANY, Limit, read_limits
from redline.validation.suite import Check, Rows, Severity, Suite, Values

OWNER = "data platform"

# The share of an entity's rows that may be refused over the range. A small batch is judged by a
# limit of its own: among 30 rows, two bad ones say nothing yet.
REFUSED_LIMIT, REFUSED_FROM = 0.05, 200
SMALL_REFUSED_LIMIT, SMALL_REFUSED_FROM = 0.25, 20
# Where a source, by its scheme, is known to be worse: an Olist order without items has no
# merchant, which is 4% of all its order versions and up to a quarter of a day's.
KNOWN_REFUSALS: dict[tuple[str, str], float] = {("olist", "orders"): 0.25}

# References: a warning above the first share, a stop above the second.
UNKNOWN_WARN, UNKNOWN_WARN_FROM = 0.01, 20
UNKNOWN_STOP, UNKNOWN_STOP_FROM = 0.50, 100


def _column_checks(entity: Entity) -> Iterator[Check]:
    """Nulls, codes and ranges of every column, as the contract says."""
    table = f"landing.{entity.name}"
    keys = (*entity.key, "report_date", "source_date")

    def check(name: str, wrong: str, keys: tuple[str, ...], todo: str) -> Check:
        return Rows(name=name, table=table, wrong=wrong, keys=keys, todo=todo, owner=OWNER)

    again = "the door let through what it should have quarantined: extract these dates again"
    for column in entity.columns:
        if column.required:
            yield check(f"{column.name}_is_present", f"{column.name} is null", keys, again)
        shown = keys if column.name in keys else (*keys, column.name)
        if column.codes:
            codes = ", ".join(f"'{code}'" for code in column.codes)
            yield check(
                f"{column.name}_is_known",
                f"{column.name} not in ({codes})",
                shown,
                again,
            )
        if column.at_least is not None:
            low = column.at_least
            yield check(
                f"{column.name}_is_at_least_{low}",
                f"{column.name} < {low}",
                shown,
                again,
            )
        if column.at_most is not None:
            high = column.at_most
            yield check(
                f"{column.name}_is_at_most_{high}",
                f"{column.name} > {high}",
                shown,
                again,
            )
    yield check(
        "platform_is_the_runs",
        "platform is distinct from getvariable('platform')",
        (*keys, "platform"),
        "a partition lies in another platform's folder: remove it and extract again",
    )
    yield check(
        "source_date_is_not_after_report_date",
        "source_date is null or source_date > report_date",
        keys,
        "a row was landed before its date: extract these dates again",
    )
    if entity.is_versioned:
        yield check(
            "updated_at_is_not_in_the_future",
            "business_date(updated_at) > report_date",
            (*keys, "updated_at"),
            "a future version would freeze its record: mend the source's clock, extract again",
        )


# Keys are unique within a delivery, per version where there are versions.
_KEY_CHECK = Rows(
    name="keys_are_unique",
    table="landing.repeated",
    wrong="copies > 1",
    keys=("entity", "key", "report_date", "source_date", "copies"),
    todo="one key must be one row within a delivery: mend the source, extract again",
    owner=OWNER,
)


_FILE_KEYS = ("entity", "report_date", "file")

_BATCH_CHECKS: tuple[Check, ...] = (
    Rows(
        name="every_date_has_a_manifest",
        table="intake.partitions",
        wrong="not has_manifest",
        keys=("entity", "report_date", "manifest_fault"),
        todo="extract the date again; a date without rows still has a manifest",
        owner=OWNER,
    ),
    Rows(
        name="every_date_has_its_own_file",
        table="intake.partitions",
        wrong="own_files <> 1",
        keys=("entity", "report_date", "own_files"),
        todo="extract the date again; a date without rows still has an empty Parquet file",
        owner=OWNER,
    ),
    Rows(
        name="columns_have_the_contracts_types",
        table="intake.columns",
        wrong="found is distinct from due",
        keys=("entity", "report_date", "file", "name", "found", "due"),
        todo="the file is of another contract version: extract its date again",
        owner=OWNER,
    ),
    Rows(
        name="files_can_be_read",
        table="intake.files",
        wrong="fault is not null",
        keys=(*_FILE_KEYS, "fault"),
        todo="the file is damaged: extract its date again",
        owner=OWNER,
    ),
    Rows(
        name="files_and_manifests_name_each_other",
        table="intake.files",
        wrong="not (on_disk and in_manifest)",
        keys=(*_FILE_KEYS, "on_disk", "in_manifest"),
        todo="a partition was changed by hand: extract its date again",
        owner=OWNER,
    ),
    Rows(
        name="files_hold_the_rows_of_their_manifest",
        table="intake.files",
        wrong="on_disk and in_manifest and fault is null and rows_landed <> parquet_rows",
        keys=(*_FILE_KEYS, "rows_landed", "parquet_rows"),
        todo="a partition was changed by hand: extract its date again",
        owner=OWNER,
    ),
    Rows(
        name="files_have_the_checksum_of_their_manifest",
        table="intake.files",
        wrong="on_disk and in_manifest and sha256 <> found_sha256",
        keys=(*_FILE_KEYS, "sha256", "found_sha256"),
        todo="landed files are never edited: extract the date again",
        owner=OWNER,
    ),
    Rows(
        name="every_row_read_is_accounted_for",
        table="intake.files",
        wrong=(
            "in_manifest and (rows_read is null"
            " or rows_read <> rows_landed + rows_quarantined + rows_collapsed)"
        ),
        keys=(
            *_FILE_KEYS,
            "rows_read",
            "rows_landed",
            "rows_quarantined",
            "rows_collapsed",
        ),
        todo="rows were lost at the door: extract the date again and report the loss",
        owner=OWNER,
    ),
    Rows(
        name="no_row_of_a_source_file_is_lost",
        table="intake.source_files",
        wrong="rows_read <> rows_landed + rows_quarantined + rows_collapsed",
        keys=(
            "entity",
            "report_date",
            "source_file",
            "rows_read",
            "rows_landed",
            "rows_quarantined",
            "rows_collapsed",
        ),
        todo="the file's rows are neither landed nor quarantined: extract its date again",
        owner=OWNER,
    ),
)


def _refusal_checks() -> Iterator[Check]:
    def check(name: str, entity: str, at_most: float, judged: str) -> Check:
        return Values(
            name=name,
            table="intake.refusals",
            column="refused_share",
            at_most=at_most,
            judged=f"entity = '{entity}' and {judged}",
            keys=("entity", "rows_read", "rows_refused", "refused_share", "reasons"),
            todo="look at the reasons in quarantine; mend the source or raise the entity's limit",
            owner=OWNER,
        )

    for entity in (entity.name for entity in ENTITIES):
        elsewhere = "".join(
            f" and scheme <> '{scheme}'" for scheme, known in KNOWN_REFUSALS if known == entity
        )
        yield check(
            f"few_{entity}_are_refused",
            entity,
            REFUSED_LIMIT,
            f"rows_read >= {REFUSED_FROM}{elsewhere}",
        )
        yield check(
            f"few_{entity}_of_a_small_batch_are_refused",
            entity,
            SMALL_REFUSED_LIMIT,
            f"rows_read >= {SMALL_REFUSED_FROM} and rows_read < {REFUSED_FROM}{elsewhere}",
        )
    for (scheme, entity), limit in KNOWN_REFUSALS.items():
        yield check(
            f"few_{entity}_of_{scheme}_are_refused",
            entity,
            limit,
            f"rows_read >= {SMALL_REFUSED_FROM} and scheme = '{scheme}'",
        )


def _reference_check(name: str, severity: Severity, at_most: float, judged_from: int) -> Check:
    return Values(
        name=name,
        table="intake.references",
        column="unknown_share",
        at_most=at_most,
        judged=f'"rows" >= {judged_from}',
        keys=("reference", '"rows"', "unknown", "unknown_share", "example"),
        todo="what refers to nothing counts nowhere until it arrives: look for the missing entity",
        severity=severity,
        owner=OWNER,
    )


def _usual_checks(limits: tuple[Limit, ...]) -> Iterator[Check]:
    """What an entity usually looks like; a limit for `*` speaks where none names the entity."""
    for limit in limits:
        own = [each.entity for each in limits if each.measure == limit.measure]
        others = ", ".join(f"'{name}'" for name in own if name != ANY)
        whose = f"entity = '{limit.entity}'"
        if limit.entity == ANY:
            whose = f"entity not in ({others})" if others else "true"
        of = "" if limit.entity == ANY else f"_of_{limit.entity}"
        yield Values(
            name=f"{limit.measure}{of}_is_as_usual",
            table="intake.usual",
            column="deviation",
            at_least=limit.low,
            at_most=limit.high,
            judged=f"measure = '{limit.measure}' and {whose} and like_dates >= {limit.from_dates} "
            f"and usual_rows >= {limit.from_rows}",
            keys=("entity", "report_date", "of_column", "found", "usual", "deviation"),
            todo=_USUAL_TODO[limit.measure],
            severity=limit.severity,
            owner=OWNER,
        )


_USUAL_TODO = {
    "volume": "ask the source whether the day is complete; it is published as it is",
    "nulls": "ask the source why the column came without values",
    "mix": "ask the source whether a category is missing, or its codes have changed",
}

SUITE = Suite(
    "intake",
    (
        *_BATCH_CHECKS,
        *(check for entity in ENTITIES for check in _column_checks(entity)),
        _KEY_CHECK,
        *_refusal_checks(),
        _reference_check("few_references_are_unknown", "warn", UNKNOWN_WARN, UNKNOWN_WARN_FROM),
        _reference_check(
            "not_most_references_are_unknown", "stop", UNKNOWN_STOP, UNKNOWN_STOP_FROM
        ),
        *_usual_checks(read_limits()),
    ),
)

"""What the publication gate expects of the warehouse before anyone may see it.

Judged for one platform, as of the run's last date: what the run added or changed, and what must
hold of the whole. `stop` keeps yesterday's marts published, `warn` is recorded.

Relations (made by `redline.validation.publication`):

- `marts.<table>`: the platform's rows that this run wrote.
- `publication.repeated`: grains that occur more than once in them, with `copies`.
- `publication.reconciliation`: one row per component, merchant and cohort date that the run
  touched: how far the landed records say it moved, and how far the ledger says so.
- `publication.balances`: one row per ledger cell that fell in the run: what is left in it.
- `publication.merchant_sums`: one row per changed merchant rate, beside the sum of its products.
- `publication.lost_merchants`: merchants of the published marts that the new ones lack, but for
  those that the ledger holds nothing of any more and that are no longer rated.
- `publication.rated_merchants`: one row per merchant that the run rated: whether it is known.
- `publication.missing_evaluations`: evenings, entities and policy lines without the evaluation due
  to them; a denominator of 0 stands for an open record.
- `publication.row_counts`: one row per mart, beside the published one.
"""

from __future__ import annotations

from collections.abc import Iterator

from redline.validation.suite import Check, Codes, Rows, Suite, Values

OWNER = "risk data"

EVALUATION_STATUSES = (
    "not_applicable",
    "violation",
    "warning",
    "too_early",
    "insufficient_data",
    "pass",
)

# Marts grow; a table that shrinks by more than a tenth, or doubles in a day, deserves a look.
SHRINKS_TO, GROWS_TO = 0.9, 2.0
COUNTED_FROM = 100

_MODEL = "a model is at fault, nothing was published: mend it and run again"

_LEDGER_KEYS = (
    "report_date",
    "cohort_date",
    "merchant_id",
    "product_id",
    "component",
    "lag_days",
    "quantity",
)


def _ledger(name: str, wrong: str) -> Check:
    return Rows(
        name=name,
        table="marts.fct_cohort_ledger",
        wrong=wrong,
        keys=_LEDGER_KEYS,
        todo=_MODEL,
        owner=OWNER,
    )


_LEDGER_CHECKS: tuple[Check, ...] = (
    _ledger(
        "keys_are_present",
        "cohort_date is null or merchant_id is null or product_id is null"
        " or component is null or lag_days is null",
    ),
    _ledger("quantities_are_not_zero", "quantity is null or quantity = 0"),
    _ledger("cohorts_are_not_in_the_future", "cohort_date > report_date"),
    _ledger("components_are_known", "not is_known_component"),
    Rows(
        name="ledger_reconciles_with_landed_records",
        table="publication.reconciliation",
        wrong="landed <> ledger",
        keys=("component", "merchant_id", "cohort_date", "landed", "ledger"),
        by="cohort_date",
        todo="the ledger lost or invented records, nothing was published: "
        "compare the merchant's landed orders with its ledger entries",
        owner=OWNER,
    ),
    Rows(
        name="no_cell_falls_below_zero",
        table="publication.balances",
        wrong="balance < 0",
        keys=(
            "cohort_date",
            "merchant_id",
            "product_id",
            "component",
            "lag_days",
            "balance",
        ),
        by="cohort_date",
        todo="something left the ledger that never entered it: rebuild with restate",
        owner=OWNER,
    ),
)


def _rate_checks(entity: str) -> Iterator[Check]:
    table = f"marts.fct_{entity}_daily_rates"
    keys = (f"{entity}_id", "metric", "cohort_date", "numerator", "denominator", "rate")

    def check(name: str, wrong: str) -> Check:
        return Rows(
            name=name,
            table=table,
            wrong=wrong,
            keys=keys,
            by="as_of_date",
            todo=_MODEL,
            owner=OWNER,
        )

    yield check(
        "keys_are_present",
        f"{entity}_id is null or metric is null or cohort_date is null",
    )
    yield check(
        "numerators_are_not_negative",
        "numerator is null or numerator < 0 or adjusted_numerator is null"
        " or adjusted_numerator < 0",
    )
    yield check("denominators_are_not_negative", "denominator is null or denominator < 0")
    yield check("adjusted_numerators_are_not_above_raw", "adjusted_numerator > numerator")
    yield check(
        "rates_are_numerator_by_denominator",
        "denominator > 0 and (rate is null or adjusted_rate is null"
        " or abs(rate - numerator / denominator) > 1e-9"
        " or abs(adjusted_rate - adjusted_numerator / denominator) > 1e-9)",
    )
    yield check(
        "rates_are_null_without_denominator",
        "denominator = 0 and (rate is not null or adjusted_rate is not null)",
    )
    yield check(
        "maturity_follows_from_the_window",
        "is_mature is distinct from is_mature_by_now",
    )
    yield check(
        "dates_are_not_after_the_evening",
        "cohort_date > getvariable('end_date') or as_of_date > getvariable('end_date')",
    )


_MERCHANT_CHECKS: tuple[Check, ...] = (
    Rows(
        name="products_add_up_to_their_merchant",
        table="publication.merchant_sums",
        wrong="numerator <> product_numerator or denominator <> product_denominator",
        keys=(
            "merchant_id",
            "metric",
            "cohort_date",
            "numerator",
            "product_numerator",
            "denominator",
            "product_denominator",
        ),
        by="cohort_date",
        todo=_MODEL,
        owner=OWNER,
    ),
    Rows(
        name="no_merchant_is_lost",
        table="publication.lost_merchants",
        wrong="true",
        keys=("missing_from", "merchant_id"),
        by=None,
        todo="merchants close, they do not vanish: look for their landed rows",
        owner=OWNER,
    ),
    Rows(
        name="rated_merchants_are_known",
        table="publication.rated_merchants",
        wrong="not is_known",
        keys=("merchant_id",),
        by=None,
        todo="their orders came before them: extract the merchants",
        severity="warn",
        owner=OWNER,
    ),
)

_EVALUATION_KEYS = (
    "as_of_date",
    "policy_id",
    "entity_type",
    "entity_id",
    "metric",
    "risk_point",
    "numerator",
    "denominator",
    "value",
    "status",
)


def _evaluation(name: str, wrong: str) -> Check:
    return Rows(
        name=name,
        table="marts.fct_policy_evaluations",
        wrong=wrong,
        keys=_EVALUATION_KEYS,
        by="as_of_date",
        todo=_MODEL,
        owner=OWNER,
    )


# What a violation claims, recomputed from the row and its policy.
_REACHED = (
    "case when max_count is not null and not has_enough"
    " then numerator > max_count"
    " when comparator = '>' then value > violation_threshold"
    " else value >= violation_threshold end"
)

_EVALUATION_CHECKS: tuple[Check, ...] = (
    Codes(
        name="statuses_are_known",
        table="marts.fct_policy_evaluations",
        column="status",
        known=EVALUATION_STATUSES,
        keys=_EVALUATION_KEYS,
        todo=_MODEL,
        owner=OWNER,
    ),
    _evaluation(
        "keys_are_present",
        "policy_id is null or entity_type is null or entity_id is null"
        " or metric is null or risk_point is null or status is null",
    ),
    _evaluation("policies_are_active", "not is_known_policy"),
    _evaluation("counts_are_not_negative", "numerator < 0 or denominator < 0"),
    _evaluation(
        "values_are_numerator_by_denominator",
        "denominator > 0 and (value is null or abs(value - numerator / denominator) > 1e-9)",
    ),
    _evaluation(
        "thresholds_are_in_order",
        "violation_threshold is not null and (violation_threshold <= 0"
        " or warning_threshold > violation_threshold)",
    ),
    _evaluation("bounds_are_not_above_values", "lower_bound > value + 1e-9"),
    _evaluation(
        "violations_reach_their_threshold",
        f"status = 'violation' and not coalesce({_REACHED}, false)",
    ),
    _evaluation(
        "what_reaches_its_threshold_is_a_violation",
        f"status in ('warning', 'pass') and has_enough and ({_REACHED})",
    ),
    Rows(
        name="every_entity_with_a_denominator_is_evaluated",
        table="publication.missing_evaluations",
        wrong="true",
        keys=("as_of_date", "entity_type", "entity_id", "metric", "risk_point", "denominator"),
        by="as_of_date",
        todo=_MODEL,
        owner=OWNER,
    ),
)

_ALERT_KEYS = ("alert_id", "as_of_date", "record_id", "record_type", "transition")


def _alert(name: str, wrong: str) -> Check:
    return Rows(
        name=name,
        table="marts.fct_alerts",
        wrong=wrong,
        keys=_ALERT_KEYS,
        by="as_of_date",
        todo=_MODEL,
        owner=OWNER,
    )


_ALERT_CHECKS: tuple[Check, ...] = (
    _alert("records_of_alerts_exist", "not has_record"),
    _alert("alerts_are_not_after_the_evening", "as_of_date > getvariable('end_date')"),
    _alert(
        "transitions_are_known",
        "transition is null or transition not in ('opened', 'escalated', 'resolved')",
    ),
)

_ROW_COUNT_KEYS = ("mart", '"rows"', "published_rows", "ratio")

_ROW_COUNT_CHECKS: tuple[Check, ...] = (
    Values(
        name="tables_do_not_shrink",
        table="publication.row_counts",
        column="ratio",
        at_least=SHRINKS_TO,
        judged=f"published_rows >= {COUNTED_FROM}",
        keys=_ROW_COUNT_KEYS,
        todo="compare with the published mart; it is published as it is",
        severity="warn",
        owner=OWNER,
    ),
    Values(
        name="tables_do_not_jump_within_a_day",
        table="publication.row_counts",
        column="ratio",
        at_most=GROWS_TO,
        judged=f"published_rows >= {COUNTED_FROM}"
        " and getvariable('start_date') = getvariable('end_date')",
        keys=_ROW_COUNT_KEYS,
        todo="compare with the published mart; it is published as it is",
        severity="warn",
        owner=OWNER,
    ),
)

# One entry, rate, evaluation or alert where the design asks for one.
_GRAIN_CHECK = Rows(
    name="one_row_per_grain",
    table="publication.repeated",
    wrong="copies > 1",
    keys=("mart", "grain", "copies"),
    by=None,
    todo=_MODEL,
    owner=OWNER,
)

SUITE = Suite(
    "publication",
    (
        _GRAIN_CHECK,
        *_LEDGER_CHECKS,
        *_rate_checks("merchant"),
        *_rate_checks("product"),
        *_rate_checks("category"),
        *_MERCHANT_CHECKS,
        *_EVALUATION_CHECKS,
        *_ALERT_CHECKS,
        *_ROW_COUNT_CHECKS,
    ),
)

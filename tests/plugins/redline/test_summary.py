"""What the summary says of ledger entries and of breaches."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pytest

from redline import summary
from redline.progress import Watch

FEB, MARCH = partial(date, 2026, 2), partial(date, 2026, 3)


@pytest.mark.parametrize(
    ("entries", "matured", "said"),
    [
        (
            [(FEB(20), FEB(20), 2), (MARCH(1), FEB(21), 3), (MARCH(1), FEB(23), 1)],
            FEB(23),
            (
                "6 complaints on cohorts 2026-02-20..23, most (3) on 2026-02-21; "
                "since yesterday +4 reported on cohorts 2026-02-21..23"
            ),
        ),
        (
            [(FEB(20), FEB(20), 2), (MARCH(1), FEB(20), -1)],
            FEB(23),
            (
                "1 complaint on cohort 2026-02-20; "
                "since yesterday -1 withdrawn or corrected on cohort 2026-02-20"
            ),
        ),
        (
            [(FEB(20), FEB(20), 2), (FEB(24), FEB(23), 3)],
            FEB(23),
            (
                "5 complaints on cohorts 2026-02-20..23, most (3) on 2026-02-23; "
                "cohort 2026-02-23 became final today with 3"
            ),
        ),
        (
            [(FEB(25), FEB(20), 2)],
            FEB(23),
            "2 complaints on cohort 2026-02-20; unchanged since 2026-02-25",
        ),
        ([(FEB(20), FEB(20), 1), (FEB(22), FEB(20), -1)], None, "no complaints in the window"),
    ],
)
def test_the_why_names_the_entries_that_moved_the_numerator(
    entries: list[tuple[date, date, int]], matured: date | None, said: str
) -> None:
    assert summary.explain(entries, "complaints", MARCH(1), matured) == said


def test_every_metric_of_the_seeds_has_a_noun_and_components() -> None:
    known = summary.metrics()
    assert known["complaint_rate"].noun == "complaints"
    assert known["negative_review_rate"].adjusted == (
        "review_rated_1_adjusted",
        "review_rated_2_adjusted",
    )
    assert all(metric.raw for metric in known.values())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Marts of one evening: a violation, a warning by projection, and one who passes."""
    path = tmp_path / "redline.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            """
            create schema marts;
            create table marts.dim_policies as
                select 'p' as policy_id, 'adjusted' as basis, 7 as evaluation_days;
            create table marts.dim_merchants as
                select *, 'food' as category_id
                from (values ('s', 'm1', '好店'), ('s', 'm2', 'Two')) t(
                    platform, merchant_id, merchant_name);
            create table marts.dim_products as
                select 's' as platform, 'x' as product_id, 'Soap' as title;
            create table marts.dim_categories as
                select 's' as platform, 'food' as category_id, 'Food' as category_name;
            create table marts.fct_policy_evaluations as
                select date '2026-03-01' as as_of_date, 'p' as policy_id, 's' as platform,
                    'merchant' as entity_type, entity_id, 'complaint_rate' as metric, numerator,
                    denominator, value, projected_value, 0.02e0 as warning_threshold,
                    0.03e0 as violation_threshold, status, is_confirmed
                from (values
                    ('m2', 1, 100, 0.01e0, 0.04e0, 'warning', false),
                    ('m1', 9, 100, 0.09e0, 0.09e0, 'violation', true),
                    ('m3', 0, 100, 0e0, 0e0, 'pass', false)) t(
                    entity_id, numerator, denominator, value, projected_value, status,
                    is_confirmed);
            create table marts.fct_cohort_ledger as
                select report_date, cohort_date, 's' as platform, merchant_id, 'x' as product_id,
                    component, lag_days, quantity
                from (values
                    (date '2026-02-24', date '2026-02-20', 'm1', 'complaints_adjusted', 4, 9),
                    (date '2026-02-24', date '2026-02-20', 'm1', 'complaints', 4, 50),
                    (date '2026-03-01', date '2026-02-20', 'm1', 'complaints_adjusted', 9, 50),
                    (date '2026-03-01', date '2026-02-16', 'm1', 'complaints_adjusted', 3, 50),
                    (date '2026-03-01', date '2026-02-28', 'm2', 'complaints_adjusted', 1, 2)) t(
                    report_date, cohort_date, merchant_id, component, lag_days, quantity);
            """
        )
    return path


def test_violations_come_before_warnings_each_with_its_reason(database: Path) -> None:
    (first, second), total = summary.breaches(database, "s", MARCH(1))
    assert total == 2
    assert (first.name, first.status, first.value, first.threshold) == (
        "好店",
        "violation",
        0.09,
        0.03,
    )
    # Raw entries, entries after the window's seventh day and older cohorts are not of this rate.
    assert first.why == "9 complaints on cohort 2026-02-20; unchanged since 2026-02-24"
    assert (second.is_projected, second.value, second.threshold) == (True, 0.04, 0.03)
    assert "+2 reported on cohort 2026-02-28" in second.why


def test_the_list_is_cut_and_the_rest_counted(database: Path) -> None:
    found, total = summary.breaches(database, "s", MARCH(1), limit=1)
    assert (len(found), total) == (1, 2)


def test_categories_and_products_are_named_and_explained_by_their_own_entries(
    database: Path,
) -> None:
    with duckdb.connect(str(database)) as connection:
        for entity_type, entity_id in (("category", "food"), ("product", "x")):
            connection.execute(
                "insert into marts.fct_policy_evaluations"
                " select * replace ($1 as entity_type, $2 as entity_id)"
                " from marts.fct_policy_evaluations where entity_type = 'merchant'"
                " and entity_id = 'm1'",
                [entity_type, entity_id],
            )

    shown, _ = summary.breaches(database, "s", date(2026, 3, 1))

    # In the official window all entries of the category and of the product are m1's.
    by_name = {breach.name: breach.why for breach in shown if breach.status == "violation"}
    assert by_name.keys() == {"好店", "category Food", "product Soap"}
    assert len(set(by_name.values())) == 1
    assert by_name["category Food"].startswith("9 complaints")


def test_what_is_held_without_asking_anybody_is_said_with_the_way_to_send_it() -> None:
    def done(stage: str, **noted: object) -> dict[str, object]:
        return {"at": 0.0, "stage": stage, "state": "done", **noted}

    quiet = [done("weigh alerts"), done("deliver", deliveries={"sent": 3, "held": 0})]
    assert summary.held_back(Watch(Path(), quiet)) == []
    events = [*quiet, done("weigh alerts", storm="60 new", held="60 new")]
    events += [done("deliver", deliveries={"sent": 0, "held": 1200})] * 2
    todo = "see `make alerts`, send with `make alerts RETRY=held`"
    assert summary.held_back(Watch(Path(), events)) == [
        f"a storm: 60 new; {todo}",
        f"2,400 new alerts of a first publication or of evenings long past; {todo}",
    ]

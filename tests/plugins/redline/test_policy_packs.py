"""Which policy packs can be put in force, and how the others are refused."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redline import planning, policies, run
from redline.errors import PackError, SettingError
from redline.policies import COLUMNS, Fault, check_packs, find_faults
from redline.settings import PROJECT, read_settings

SHIPPED = sorted(
    path.stem.removeprefix("pack_") for path in (policies.SEEDS / "policies").glob("*.csv")
)
CATEGORIES = [
    row["category_id"]
    for row in csv.DictReader((policies.SEEDS / "categories.csv").read_text().splitlines())
]

# A policy without a fault.
GOOD = {
    "policy_id": "p1",
    "platform": "*",
    "category_id": "*",
    "metric": "complaint_rate",
    "risk_point": "service",
    "entity_type": "merchant",
    "warning_threshold": "0.02",
    "violation_threshold": "0.03",
    "comparator": ">=",
    "basis": "adjusted",
    "evaluation_days": "7",
    "min_denominator": "30",
    "max_count": "",
    "min_component": "",
    "min_count": "",
    "min_days": "",
    "measure": "notice",
    "effective_from": "2026-01-01",
    "effective_to": "",
    "owner": "risk-team",
    "source": "ours",
}
# Beside it on line 3: another subject, so that neither is in the other's way.
OTHER = {**GOOD, "policy_id": "p2", "risk_point": "safety"}
HEADER = ",".join(COLUMNS)


def text(*rows: dict[str, str]) -> str:
    """A pack of these rows, the first of which stands on line 2."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def seeds_in(folder: Path) -> Path:
    """A copy of the project's seeds without its packs."""
    (folder / "policies").mkdir(parents=True)
    for path in policies.SEEDS.glob("*.csv"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return seeds_in(tmp_path / "seeds")


def write(seeds: Path, content: str | bytes, name: str = "mine") -> Path:
    path = seeds / "policies" / f"pack_{name}.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def faults_of(seeds: Path, *packs: str | bytes) -> list[Fault]:
    """The faults of packs `a`, `b` ... that are put in force together."""
    names = [chr(ord("a") + number) for number in range(len(packs))]
    for name, content in zip(names, packs, strict=True):
        write(seeds, content, name)
    return find_faults(names, seeds)


# --- what can be put in force -------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_pack_can_be_put_in_force(name: str) -> None:
    check_packs([name])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_policy_says_where_it_comes_from(name: str) -> None:
    content = (policies.SEEDS / "policies" / f"pack_{name}.csv").read_text()
    for row in csv.DictReader(io.StringIO(content)):
        page = re.match(r"https://[^ ]+, (?:[0-9]{4}-[0-9]{2}-[0-9]{2}|undated)\b", row["source"])
        assert row["source"] == "ours" or page, row["policy_id"]
        assert row["policy_id"].startswith(f"{name}_")


def test_the_readme_names_every_shipped_pack() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert [name for name in SHIPPED if f"`{name}`" not in readme] == []


def test_the_products_pack_stands_beside_the_default_one() -> None:
    check_packs(["douyin_laike", "product_quality"])


@pytest.mark.parametrize(
    "change",
    [
        {"warning_threshold": "0.03"},  # warns only when it is violated
        {"warning_threshold": "1e-3", "violation_threshold": "1.5"},  # tickets exceed their orders
        {"metric": "late_shipment_rate", "violation_threshold": "1"},
        {"min_component": "orders_fulfilled", "min_count": "30", "min_days": "90"},
        {"min_component": "orders_fulfilled", "min_count": "30"},
        {"min_denominator": "0", "max_count": "0"},
        {"effective_to": "2026-01-01"},
        {"platform": "shop_2-eu"},
        {"entity_type": "category", "risk_point": "服务", "owner": "Risk, Asia"},
        {"source": 'the page "Standards",\nsecond paragraph, 2026-01-02'},
    ],
)
def test_what_the_rules_allow_passes(seeds: Path, change: dict[str, str]) -> None:
    assert faults_of(seeds, text({**GOOD, **change})) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda content: "\ufeff" + content,
        lambda content: content.replace("\n", "\r\n"),
        lambda content: content.rstrip("\n"),
        lambda content: content + "\n\n",
        # As Excel does: another line end within a quoted cell than between rows.
        lambda content: content.replace("\n", "\r\n").replace("ours", '"one,\ntwo"'),
    ],
    ids=["byte order mark", "CR LF", "no last line end", "blank lines", "line end in a cell"],
)
def test_how_an_editor_saves_the_file_makes_no_fault_and_loads_as_it_reads(
    seeds: Path, change: Callable[[str], str]
) -> None:
    content = change(text(GOOD, {**OTHER, "owner": '#1 "risk", Asia', "source": "'a;b', c\\"}))
    assert faults_of(seeds, content) == []
    path = seeds / "policies" / "pack_a.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        read = [tuple(text or None for text in row.values()) for row in csv.DictReader(file)]
    assert loaded(path) == read


def loaded(path: Path) -> list[tuple[str | None, ...]]:
    """The rows of a pack as dbt loads it: by DuckDB, and by position."""
    with duckdb.connect() as connection:
        connection.execute(f"create table pack ({', '.join(f'{c} varchar' for c in COLUMNS)})")
        connection.execute(f"copy pack from '{path}' (format csv, header true, delimiter ',')")
        return connection.execute("from pack").fetchall()


def test_a_new_version_may_follow_the_day_after_the_old_one_ends(seeds: Path) -> None:
    old = {**GOOD, "effective_to": "2026-01-31"}
    new = {**GOOD, "policy_id": "p2", "effective_from": "2026-02-01"}
    assert faults_of(seeds, text(new, old)) == []


def test_two_packs_may_speak_of_the_same_for_platforms_of_their_own(seeds: Path) -> None:
    mine, yours = {**GOOD, "platform": "mine"}, {**GOOD, "policy_id": "p2", "platform": "yours"}
    assert faults_of(seeds, text(mine), text(yours)) == []


# --- a cell that means nothing ------------------------------------------------------------------


def _cells() -> Iterator[tuple[dict[str, str], str, str]]:
    """What is changed on line 3, the column that is named, what is said of it."""
    for column in ("policy_id", "risk_point", "owner", "source"):
        yield {column: ""}, column, "the cell is empty"
        yield {column: " "}, column, "the cell is empty"
    yield {"risk_point": "a/b"}, "risk_point", "'a/b' cannot name a risk point"
    for name in ("", "All", "all", "-x", "a b", "a/b", "店"):
        yield {"platform": name}, "platform", f"'{name}' cannot be the name of a platform"
    for column, kind in {
        "category_id": "a category",
        "metric": "a metric",
        "entity_type": "an entity type",
        "comparator": "a comparator",
        "basis": "a basis",
        "measure": "a measure",
    }.items():
        for name in ("", "nonsense", f" {GOOD[column]}"):
            yield {column: name}, column, f"'{name}' is not {kind}"
    for column in ("warning_threshold", "violation_threshold"):
        for number in (
            "",
            "0",
            "-0.1",
            "3%",
            "nan",
            "inf",
            "1e999",
            "1e-999",
            "0,03",
            "٣",
            "0x1p-3",
        ):
            yield {column: number}, column, f"'{number}' is not a number above 0"
    yield (
        {"warning_threshold": "0.031"},
        "warning_threshold",
        "the warning threshold 0.031 lies beyond the violation threshold 0.03",
    )
    yield (
        {"metric": "late_shipment_rate", "violation_threshold": "4"},
        "violation_threshold",
        "late_shipment_rate never exceeds 1",
    )
    whole = {
        "evaluation_days": ("", "0", "367", "7.0", "-1", "1e1", "٣", " 7"),
        "min_denominator": ("", "-1", "30.5", "1_000", "9" * 10, "9" * 13),
        "max_count": ("-1", "x", " "),
    }
    for column, texts in whole.items():
        for number in texts:
            yield {column: number}, column, f"'{number}' is not a whole number from"
    least = {"min_component": "orders_paid", "min_count": "5", "min_days": "90"}
    yield {**least, "min_count": "0"}, "min_count", "'0' is not a whole number from 1"
    yield {**least, "min_days": "0"}, "min_days", "'0' is not a whole number from 1"
    yield {**least, "min_component": "parcels"}, "min_component", "'parcels' is not a component"
    yield {**least, "min_count": ""}, "min_count", "how many orders_paid are needed is not said"
    yield {**least, "min_component": ""}, "min_component", "min_count is given without"
    yield {"min_days": "90"}, "min_component", "min_days is given without a min_component"
    for column in ("effective_from", "effective_to"):
        for day in (
            "2026-02-30",
            "2026-1-1",
            "01.02.2026",
            "20260101",
            "today",
            "2026-01-01T00:00",
        ):
            yield {column: day}, column, f"'{day}' is not a date"
    yield {"effective_from": ""}, "effective_from", "'' is not a date"
    yield (
        {"effective_to": "2025-12-31"},
        "effective_to",
        "the policy ends on 2025-12-31, before it begins on 2026-01-01",
    )
    yield {"policy_id": "p1"}, "policy_id", "the policy_id 'p1' is taken by pack_a.csv, line 2"


@pytest.mark.parametrize(("change", "column", "said"), _cells())
def test_a_cell_that_means_nothing_is_refused_with_its_line_and_column(
    seeds: Path, change: dict[str, str], column: str, said: str
) -> None:
    (fault,) = faults_of(seeds, text(GOOD, {**OTHER, **change}))
    assert (fault.line, fault.column) == (3, column)
    assert said in fault.what
    assert fault.todo
    assert str(fault).startswith(f"{' '.join(fault.what.split())} (")
    assert f"pack_a.csv, line 3, column {column}): " in str(fault)


def test_a_name_that_is_not_known_is_answered_with_those_that_are(seeds: Path) -> None:
    (fault,) = faults_of(seeds, text({**GOOD, "measure": "shout"}))
    assert fault.todo == (
        "use one of notice, restrict_promotion, throttle, delist_product, close_shop,"
        " or add it to measures.csv"
    )


def test_names_come_from_the_seeds(seeds: Path) -> None:
    with (seeds / "measures.csv").open("a") as file:
        file.write("shout,6,Shout,喊,Loud\n")
    assert faults_of(seeds, text({**GOOD, "measure": "shout"})) == []


def test_a_line_is_the_one_on_which_the_record_begins(seeds: Path) -> None:
    above = {**GOOD, "source": "a page,\nof two lines"}
    (fault,) = faults_of(seeds, text(above, {**OTHER, "owner": ""}))
    assert fault.line == 4


# --- a file that is not a pack ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line", "column", "said"),
    [
        (lambda pack: "", 1, None, "the file is empty"),
        (lambda pack: "\n\n", 1, None, "the file is empty"),
        (lambda pack: f"{HEADER}\n", None, None, "the pack has no policies"),
        (
            lambda pack: pack.replace("basis,", ""),
            1,
            "basis",
            "the header lacks basis",
        ),
        (
            lambda pack: pack.replace("owner,source", "owner,source,note"),
            1,
            None,
            "columns that no pack has: 'note'",
        ),
        (
            lambda pack: pack.replace("owner,source", "owner,source,owner"),
            1,
            "owner",
            "the header names owner twice",
        ),
        (
            lambda pack: pack.replace("platform,category_id", "category_id,platform"),
            1,
            "category_id",
            "the header has category_id where platform belongs",
        ),
        (lambda pack: pack + "p3,*,*\n", 4, None, "has 3 fields where the header has 21"),
        (
            lambda pack: pack.replace("risk-team,ours", "risk-team,a page, 2026", 1),
            2,
            None,
            "has 22 fields where the header has 21",
        ),
        (lambda pack: pack + ' "p3\n', 4, None, "has 1 fields where the header has 21"),
        (lambda pack: pack + '"p3,*\n', 4, None, "cannot be read as CSV"),
        (lambda pack: pack[:-1] + "\r\n", 3, None, "the line ends otherwise than the first"),
        (lambda pack: pack.encode("utf-16"), 1, None, "not UTF-8"),
        (lambda pack: pack.replace("ours", "página").encode("latin-1"), 2, None, "not UTF-8"),
    ],
)
def test_a_file_that_is_no_pack_is_refused(
    seeds: Path,
    change: Callable[[str], str | bytes],
    line: int | None,
    column: str | None,
    said: str,
) -> None:
    (fault,) = faults_of(seeds, change(text(GOOD, OTHER)))
    assert (fault.line, fault.column) == (line, column)
    assert said in fault.what
    assert fault.file == seeds / "policies" / "pack_a.csv"


def test_a_file_with_other_separators_is_told_of_commas(seeds: Path) -> None:
    unknown, lacking = faults_of(seeds, text(GOOD).replace(",", ";"))
    assert "the header lacks policy_id, platform" in lacking.what
    assert "fields are separated by commas" in unknown.what
    assert len(str(unknown)) < 1000


def test_rows_below_a_header_in_disorder_are_judged_as_well(seeds: Path) -> None:
    content = text({**GOOD, "owner": ""}).replace("owner,source", "source,owner")
    assert [(fault.line, fault.column) for fault in faults_of(seeds, content)] == [
        (1, "source"),
        (2, "source"),
    ]


def test_a_folder_in_the_place_of_a_file_is_refused(seeds: Path) -> None:
    (seeds / "policies" / "pack_a.csv").mkdir()
    (fault,) = find_faults(["a"], seeds)
    assert "the file cannot be read" in fault.what


# --- the names of the packs in force ------------------------------------------------------------


def test_a_pack_that_is_not_there_is_answered_with_those_that_are(seeds: Path) -> None:
    write(seeds, text(GOOD), "one")
    write(seeds, text(GOOD), "two")
    with pytest.raises(PackError) as caught:
        check_packs(["three"], seeds)
    assert str(caught.value) == (
        "there is no policy pack 'three' (REDLINE_POLICIES): name one of one, two"
    )


def test_no_pack_at_all_is_refused(seeds: Path) -> None:
    write(seeds, text(GOOD))
    with pytest.raises(PackError) as caught:
        check_packs(read_settings({"REDLINE_POLICIES": " , "}).policies, seeds)
    assert str(caught.value) == "no policy pack is in force (REDLINE_POLICIES): name one of mine"


def test_an_empty_folder_of_packs_is_told_what_to_add(seeds: Path) -> None:
    (fault,) = find_faults(["mine"], seeds)
    assert "pack_<name>.csv" in fault.todo


@pytest.mark.parametrize(
    "name", ["../mine", "/etc/passwd", "a b", "a;b", "ä", "a\n", "a.csv", "a-b"]
)
def test_a_pack_is_named_with_letters_digits_and_underscores(seeds: Path, name: str) -> None:
    write(seeds, text(GOOD))
    (fault,) = find_faults(["mine", name], seeds)
    assert "cannot name a pack" in fault.what


def test_a_pack_is_named_once(seeds: Path) -> None:
    write(seeds, text(GOOD))
    (fault,) = find_faults(["mine", "mine"], seeds)
    assert fault.what == "the policy pack 'mine' is named twice"


def test_a_pack_may_lie_elsewhere_even_under_a_name_that_is_taken(
    seeds: Path, tmp_path: Path
) -> None:
    write(seeds, text({**GOOD, "basis": "x"}))
    elsewhere = {"mine": tmp_path / "draft.csv", "other": tmp_path / "other.csv"}
    elsewhere["mine"].write_text(text(GOOD))
    elsewhere["other"].write_text(text({**OTHER, "basis": "x"}))

    check_packs(["mine"], seeds, elsewhere=elsewhere)
    (fault,) = find_faults(["mine", "other"], seeds, elsewhere=elsewhere)
    assert (fault.file, fault.line, fault.column) == (elsewhere["other"], 2, "basis")


def test_what_named_the_packs_is_told(seeds: Path) -> None:
    with pytest.raises(PackError, match=r"no policy pack 'mine' \(PACK\)"):
        check_packs(["mine"], seeds, setting="PACK")


# --- rows beside each other ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("2026-01-01", ""), ("2026-01-01", "")),
        (("2026-01-01", ""), ("2026-02-01", "2026-02-28")),
        (("2026-01-01", "2026-02-01"), ("2026-02-01", "")),
        (("2026-02-01", ""), ("2026-01-01", "2026-02-01")),
    ],
)
@pytest.mark.parametrize("is_one_pack", [True, False])
def test_two_versions_of_a_policy_that_speak_on_the_same_evening_are_refused(
    seeds: Path, first: tuple[str, str], second: tuple[str, str], is_one_pack: bool
) -> None:
    dates = ("effective_from", "effective_to")
    upper = {**GOOD, **dict(zip(dates, first, strict=True))}
    lower = {**GOOD, "policy_id": "p2", **dict(zip(dates, second, strict=True))}
    packs = [text(upper, lower)] if is_one_pack else [text(upper), text(lower)]
    (fault,) = faults_of(seeds, *packs)
    assert fault.file == seeds / "policies" / ("pack_a.csv" if is_one_pack else "pack_b.csv")
    assert (fault.line, fault.column) == (3 if is_one_pack else 2, "effective_from")
    assert "speaks on the same evenings as pack_a.csv, line 2" in fault.what


def test_each_version_within_a_long_one_is_refused(seeds: Path) -> None:
    within = [
        {**GOOD, "policy_id": f"p{month}", "effective_from": f"2026-0{month}-01"}
        | {"effective_to": f"2026-0{month}-10"}
        for month in (2, 3, 4)
    ]
    assert [fault.line for fault in faults_of(seeds, text(GOOD, *within))] == [3, 4, 5]


def test_a_row_that_stands_twice_is_refused_for_its_name_and_its_evenings(seeds: Path) -> None:
    assert [(fault.line, fault.column) for fault in faults_of(seeds, text(GOOD, GOOD))] == [
        (3, "policy_id"),
        (3, "effective_from"),
    ]


def test_a_name_is_taken_across_packs(seeds: Path) -> None:
    (fault,) = faults_of(seeds, text(GOOD), text({**OTHER, "policy_id": "p1"}))
    assert fault.file == seeds / "policies" / "pack_b.csv"
    assert "'p1' is taken by pack_a.csv, line 2" in fault.what


def per_category(categories: Iterable[str] = CATEGORIES, **change: str) -> list[dict[str, str]]:
    """A row for each category, none for any."""
    named = "-".join(change.values())
    return [
        {**GOOD, "policy_id": f"{name}{named}", "category_id": name, **change}
        for name in categories
    ]


def test_a_row_for_each_category_covers_them_all(seeds: Path) -> None:
    assert faults_of(seeds, text(*per_category())) == []


def test_a_category_that_no_row_covers_is_refused(seeds: Path) -> None:
    rows = per_category(name for name in CATEGORIES if name not in ("food", "unknown"))
    (fault,) = faults_of(seeds, text(OTHER, *rows))
    assert (fault.line, fault.column) == (3, "category_id")
    assert fault.what == (
        "no row covers food, unknown from 2026-01-01 on"
        " (complaint_rate, service, merchant on platform *)"
    )
    assert "category_id *" in fault.todo


def test_what_a_platforms_own_rows_leave_out_those_of_any_platform_cover(seeds: Path) -> None:
    own = {**OTHER, **GOOD, "policy_id": "own", "platform": "market", "category_id": "food"}
    assert faults_of(seeds, text(GOOD), text(own)) == []
    (fault,) = faults_of(seeds, text({**GOOD, "risk_point": "safety"}), text(own))
    assert "on platform market" in fault.what and "food" not in fault.what


def test_rows_of_one_platform_cover_nothing_on_another(seeds: Path) -> None:
    food, rest = "food", [name for name in CATEGORIES if name != "food"]
    faults = faults_of(
        seeds, text(*per_category([food], platform="a"), *per_category(rest, platform="b"))
    )
    assert [fault.line for fault in faults] == [2, 3]


@pytest.mark.parametrize(
    ("dates", "line", "said"),
    [
        ([("2026-01-01", "2026-01-31"), ("2026-02-03", "")], 2, "from 2026-02-01 to 2026-02-02"),
        ([("2026-02-03", ""), ("2026-01-01", "2026-02-01")], 3, "from 2026-02-02 to 2026-02-02"),
    ],
)
def test_a_hole_between_two_versions_is_refused(
    seeds: Path, dates: list[tuple[str, str]], line: int, said: str
) -> None:
    versions = [
        {**GOOD, "policy_id": first, "effective_from": first, "effective_to": last}
        for first, last in dates
    ]
    (fault,) = faults_of(seeds, text(*versions))
    assert (fault.line, fault.column) == (line, "category_id")
    assert f"no row covers any category {said}" in fault.what


def test_a_category_whose_row_ends_before_those_of_others_is_refused(seeds: Path) -> None:
    rows = [
        row | ({"effective_to": "2026-03-31"} if row["category_id"] == "food" else {})
        for row in per_category()
    ]
    (fault,) = faults_of(seeds, text(*rows))
    assert "no row covers food from 2026-04-01 on" in fault.what
    assert fault.line == 2 + CATEGORIES.index("food")


def test_policies_may_all_end(seeds: Path) -> None:
    assert faults_of(seeds, text(*per_category(effective_to="2026-03-31"), OTHER)) == []


@pytest.mark.parametrize(
    "change",
    [{"category_id": "fodo"}, {"effective_from": "soon"}, {"metric": "complant_rate"}],
)
def test_a_row_with_a_fault_is_not_said_to_leave_its_category_out(
    seeds: Path, change: dict[str, str]
) -> None:
    rows = [row | (change if row["category_id"] == "food" else {}) for row in per_category()]
    (fault,) = faults_of(seeds, text(*rows))
    assert fault.column == next(iter(change))


# --- several faults -----------------------------------------------------------------------------


def test_all_faults_of_all_packs_are_found_at_once_in_their_order(seeds: Path) -> None:
    write(seeds, text({**GOOD, "metric": "x", "owner": ""}, *per_category(["food"])), "a")
    write(seeds, b"\xff", "b")
    again = {**OTHER, "policy_id": "p3"}
    write(seeds, text(OTHER, again, {**GOOD, "policy_id": "p1", "basis": "x"}), "c")
    write(
        seeds, text({**GOOD, "risk_point": "late", "policy_id": "p4", "category_id": "food"}), "d"
    )

    with pytest.raises(PackError) as caught:
        check_packs(["c", "a", "nowhere", "b", "d"], seeds)

    places = [
        (fault.file.name[5] if fault.file else None, fault.line, fault.column)
        for fault in find_faults(["c", "a", "nowhere", "b", "d"], seeds)
    ]
    assert places == [
        (None, None, None),
        ("c", 3, "effective_from"),
        ("c", 4, "basis"),
        ("a", 2, "policy_id"),
        ("a", 2, "metric"),
        ("a", 2, "owner"),
        ("b", 1, None),
    ]
    assert len(caught.value.faults) == len(places)
    assert str(caught.value) == f"{caught.value.faults[0]} (and 6 more)"
    assert all("\n" not in fault for fault in caught.value.faults)


def test_a_category_left_out_is_found_beside_faults_of_other_subjects(seeds: Path) -> None:
    faults = faults_of(
        seeds,
        text({**OTHER, "metric": "x"}, {**OTHER, "basis": "x"}, *per_category(["food"])),
    )
    assert [(fault.line, fault.column) for fault in faults] == [
        (2, "metric"),
        (3, "policy_id"),
        (3, "basis"),
        (4, "category_id"),
    ]


def test_a_single_fault_is_told_without_a_count(seeds: Path) -> None:
    write(seeds, text({**GOOD, "basis": "x"}))
    with pytest.raises(PackError) as caught:
        check_packs(["mine"], seeds)
    assert (str(caught.value),) == caught.value.faults


def test_a_seed_that_packs_refer_to_and_cannot_be_read_is_named(seeds: Path) -> None:
    write(seeds, text(GOOD))
    (seeds / "measures.csv").write_text("name\nnotice\n")
    with pytest.raises(
        SettingError, match=r"measures\.csv\): restore it, with its columns measure"
    ):
        check_packs(["mine"], seeds)


# --- against other means ------------------------------------------------------------------------

JAN = date(2026, 1, 1)
SPANS = st.tuples(st.integers(0, 8), st.one_of(st.none(), st.integers(0, 4)))
ROWS = st.lists(
    st.tuples(st.sampled_from(["*", "m", "n"]), st.sampled_from(["*", *CATEGORIES[:2]]), SPANS),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=200)
@given(ROWS)
def test_overlaps_and_holes_are_those_that_a_look_at_every_evening_finds(
    rows: list[tuple[str, str, tuple[int, int | None]]],
) -> None:
    evenings = range(20)
    speaking = [
        (
            platform,
            category,
            range(first, first + days + 1) if days is not None else range(first, 20),
        )
        for platform, category, (first, days) in rows
    ]
    content = text(
        *(
            {
                **GOOD,
                "policy_id": f"p{number}",
                "platform": platform,
                "category_id": category,
                "effective_from": str(JAN + timedelta(days=first)),
                "effective_to": "" if days is None else str(JAN + timedelta(days=first + days)),
            }
            for number, (platform, category, (first, days)) in enumerate(rows)
        )
    )
    voices = [
        sum(
            (platform, category) == line and evening in span
            for platform, category, span in speaking
        )
        for line in {(platform, category) for platform, category, _ in speaking}
        for evening in evenings
    ]
    silent = [
        (platform, category, evening)
        for platform in {platform for platform, *_ in speaking}
        for category in CATEGORIES
        for evening in evenings
        if min(span[0] for own, _, span in speaking if own == platform) <= evening
        and evening <= max(span[-1] for own, _, span in speaking if own == platform)
        and not any(
            where in (platform, "*") and what in (category, "*") and evening in span
            for where, what, span in speaking
        )
    ]

    with tempfile.TemporaryDirectory() as folder:
        columns = {fault.column for fault in faults_of(seeds_in(Path(folder) / "s"), content)}

    assert ("effective_from" in columns) == any(count > 1 for count in voices)
    assert ("category_id" in columns) == bool(silent)


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text(), st.lists(st.lists(st.text(max_size=8)), max_size=4)))
def test_whatever_a_file_holds_is_refused_in_single_lines(
    content: bytes | str | list[list[str]],
) -> None:
    if isinstance(content, list):
        wide = [(row + [""] * len(COLUMNS))[: len(COLUMNS)] for row in content]
        out = io.StringIO()
        csv.writer(out).writerows([COLUMNS, *wide])
        content = out.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        seeds = seeds_in(Path(folder) / "s")
        write(seeds, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        with pytest.raises(PackError) as caught:
            check_packs(["mine"], seeds)
    assert all(len(line.splitlines()) == 1 for line in caught.value.faults)


# --- where it is asked --------------------------------------------------------------------------


@pytest.fixture
def broken(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A broken pack is in force, in the project that the run takes its seeds from."""
    monkeypatch.setattr(policies, "check_packs", partial(check_packs, seeds=seeds))
    monkeypatch.setenv("REDLINE_POLICIES", "mine")
    monkeypatch.setenv("REDLINE_HOME", str(seeds.parent / "home"))
    return write(seeds, text({**GOOD, "basis": "x", "owner": ""}))


def test_no_run_is_planned_with_a_broken_pack(broken: Path) -> None:
    with pytest.raises(PackError, match=r"line 2, column basis\): .* \(and 1 more\)"):
        planning.make_plan(read_settings(), "simulator://", JAN, JAN, "scheduled")
    assert not read_settings().home.root.exists()


def test_make_run_refuses_a_broken_pack_before_it_makes_a_home(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["--source", "simulator://"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Error: 'x' is not a basis") and line.endswith("(and 1 more)")
    assert not read_settings().home.root.exists()


def test_the_command_prints_every_fault(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policies.main() == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "error: 'x' is not a basis",
        "error: the cell is empty",
    ]
    write(broken.parents[1], text(GOOD))
    assert policies.main() == 0
    assert "can be put in force: mine" in capsys.readouterr().out

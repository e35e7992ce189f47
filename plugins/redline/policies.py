"""Policy packs: seed files of red lines, held against their rules before a run is planned.

A pack is `policies/pack_<name>.csv` below the seeds; `REDLINE_POLICIES` names those in force.

`python -m redline.policies` prints every fault of the packs in force, one a line, and ends with 1
if there is any.
"""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from redline.errors import PackError, RedlineError, SettingError
from redline.marketplaces import is_platform_name
from redline.settings import PROJECT, read_settings

SEEDS = PROJECT / "dbt_project" / "seeds"
SETTING = "REDLINE_POLICIES"

# In this order: the packs in force are put below one another by position.
COLUMNS = (
    "policy_id",
    "platform",
    "category_id",
    "metric",
    "risk_point",
    "entity_type",
    "warning_threshold",
    "violation_threshold",
    "comparator",
    "basis",
    "evaluation_days",
    "min_denominator",
    "max_count",
    "min_component",
    "min_count",
    "min_days",
    "measure",
    "effective_from",
    "effective_to",
    "owner",
    "source",
)

# What all versions of a policy share; two of them never speak on the same evening.
LINE = ("platform", "category_id", "metric", "risk_point", "entity_type")

ANY = "*"
ENTITY_TYPES = ("merchant", "product", "category")
COMPARATORS = (">=", ">")
BASES = ("raw", "adjusted")
MOST_DAYS = 366
MOST_COUNTED = 1_000_000_000

_PACK_NAME = re.compile(r"[A-Za-z0-9_]+")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FOR_EVER = date.max.toordinal() + 1
_NOWHERE: Mapping[str, Path] = MappingProxyType({})

# What is wrong with a cell and what to do about it; None where nothing is.
Complaint = tuple[str, str] | None
Judge = Callable[[str], Complaint]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the packs in force.

    Attributes:
        what: what is wrong, in plain words.
        todo: what the reader should do about it.
        file: the pack's file; None where the setting itself is at fault.
        line, column: where in the file; None where it is the file as a whole.
        setting: what named the packs.
    """

    what: str
    todo: str
    file: Path | None = None
    line: int | None = None
    column: str | None = None
    setting: str = SETTING

    @property
    def where(self) -> str:
        """The setting, or the file with the line and the column."""
        parts = [str(self.file or self.setting)]
        parts += [f"line {self.line}"] if self.line else []
        parts += [f"column {self.column}"] if self.column else []
        return ", ".join(parts)

    def __str__(self) -> str:
        return str(PackError(self.what, self.where, self.todo))


@dataclass(frozen=True)
class _Row:
    """One row of a pack.

    Attributes:
        file: the pack's file.
        line: the line on which the row begins.
        cells: its text by column.
        faulty: the columns that cannot be relied upon.
    """

    file: Path
    line: int
    cells: Mapping[str, str]
    faulty: frozenset[str] = frozenset()

    @property
    def is_placed(self) -> bool:
        """Whether it is known of what, and on which evenings, the row speaks."""
        return self.faulty.isdisjoint((*LINE, "effective_from", "effective_to"))

    @property
    def begins(self) -> int:
        """The first evening on which it speaks, as an ordinal."""
        return date.fromisoformat(self.cells["effective_from"]).toordinal()

    @property
    def ends(self) -> int:
        """The first evening on which it no longer speaks, as an ordinal."""
        last = self.cells["effective_to"]
        return date.fromisoformat(last).toordinal() + 1 if last else _FOR_EVER

    def key(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The texts of some columns."""
        return tuple(self.cells[column] for column in columns)

    def may_be(self, columns: Sequence[str], key: tuple[str, ...]) -> bool:
        """Whether the columns would hold the key, once those at fault are mended."""
        return all(
            column in self.faulty or self.cells[column] == text
            for column, text in zip(columns, key, strict=True)
        )

    def may_speak_on(self, platform: str) -> bool:
        """Whether it speaks on a platform, once its cells at fault are mended."""
        return "platform" in self.faulty or self.cells["platform"] in (ANY, platform)

    def fault(self, column: str, what: str, todo: str) -> Fault:
        """A fault of one of its cells."""
        return Fault(what, todo, self.file, self.line, column)


@dataclass(frozen=True)
class _Known:
    """The names that a pack may use, as the other seeds have them.

    Attributes:
        metrics, categories, measures, components: names.
        shares: metrics that never exceed 1: their numerator counts an order once, or some of the
            things that the denominator counts.
    """

    metrics: Collection[str]
    categories: Collection[str]
    measures: Collection[str]
    components: Collection[str]
    shares: Collection[str]


@dataclass(frozen=True)
class _Pack:
    """What was read of a pack.

    Attributes:
        rows: those that have one field for each column.
        faults: of the file and of each row on its own.
        is_whole: whether the rows are all there are.
    """

    rows: Sequence[_Row]
    faults: Sequence[Fault]
    is_whole: bool


def check_packs(
    names: Sequence[str],
    seeds: Path = SEEDS,
    *,
    elsewhere: Mapping[str, Path] = _NOWHERE,
    setting: str = SETTING,
) -> None:
    """Refuse packs that cannot be put in force together.

    Args:
        names: the packs in force, as `REDLINE_POLICIES` has them.
        seeds: the folder of the dbt project's seeds.
        elsewhere: by name, the files of packs that do not lie below the seeds, or not yet.
        setting: what named the packs, for the message.

    Raises:
        PackError: naming the first fault, in the order of the packs and their lines, and holding
            all of them.
        SettingError: a seed that the packs refer to cannot be read.
    """
    faults = find_faults(names, seeds, elsewhere=elsewhere, setting=setting)
    if faults:
        first = faults[0]
        raise PackError(first.what, first.where, first.todo, [str(fault) for fault in faults])


def find_faults(
    names: Sequence[str],
    seeds: Path = SEEDS,
    *,
    elsewhere: Mapping[str, Path] = _NOWHERE,
    setting: str = SETTING,
) -> list[Fault]:
    """All faults of the packs in force, in the order of the packs and their lines.

    Args are those of `check_packs`.

    Raises:
        SettingError: a seed that the packs refer to cannot be read.
    """
    known = _read_known(seeds)
    there = {**shipped_packs(seeds), **elsewhere}
    files = [there[name] for name in dict.fromkeys(names) if name in there]
    packs = [_read_pack(file, known) for file in files]
    rows = [row for pack in packs for row in pack.rows]
    placed = [row for row in rows if row.is_placed]
    faults = [
        *(replace(fault, setting=setting) for fault in _faults_of_names(names, [*there])),
        *(fault for pack in packs for fault in pack.faults),
        *_repeated_ids(rows),
        *_overlaps(placed),
    ]
    # A row that could not be read may be the one that seems to be left out.
    if len(packs) == len({*names}) and all(pack.is_whole for pack in packs):
        unplaced = [row for row in rows if not row.is_placed]
        faults += _uncovered(placed, unplaced, known.categories)

    def place(fault: Fault) -> tuple[int, int, int]:
        return (
            files.index(fault.file) if fault.file else -1,
            fault.line or 0,
            COLUMNS.index(fault.column) if fault.column else -1,
        )

    return sorted(faults, key=place)


def asks_buyers(names: Iterable[str], seeds: Path = SEEDS) -> bool:
    """Whether a policy of the packs asks a minimum of distinct buyers, which cost more to count."""
    with (seeds / "components.csv").open(newline="", encoding="utf-8") as file:
        buyers = {row["component"] for row in csv.DictReader(file) if row["counts"] == "buyers"}
    for name in names:
        with (seeds / "policies" / f"pack_{name}.csv").open(newline="", encoding="utf-8") as file:
            if any(row["min_component"] in buyers for row in csv.DictReader(file)):
                return True
    return False


def shipped_packs(seeds: Path = SEEDS) -> dict[str, Path]:
    """The files of the packs below the seeds, by name."""
    files = sorted((seeds / "policies").glob("pack_*.csv"))
    return {pack_name(file): file for file in files}


def pack_name(file: Path) -> str:
    """The name of the pack that a file holds."""
    return file.stem.removeprefix("pack_")


def _faults_of_names(names: Sequence[str], there: Sequence[str]) -> Iterator[Fault]:
    choice = f"name one of {', '.join(there)}" if there else "add a file policies/pack_<name>.csv"
    if not names:
        yield Fault("no policy pack is in force", choice)
    for name in dict.fromkeys(names):
        if not _PACK_NAME.fullmatch(name):
            yield Fault(f"'{name}' cannot name a pack", "use letters, digits and _")
        elif name not in there:
            yield Fault(f"there is no policy pack '{name}'", choice)
        if names.count(name) > 1:
            yield Fault(f"the policy pack '{name}' is named twice", "name it once")


# The names that packs refer to -----------------------------------------------------------------


def _read_known(seeds: Path) -> _Known:
    parts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for metric, part, component in _seeded(seeds, "metric_components"):
        parts[metric, part].add(component)
    counts = {component: how for component, _, how in _seeded(seeds, "components")}
    metrics = [name for name, *_ in _seeded(seeds, "metrics")]

    def is_share(metric: str) -> bool:
        numerator, denominator = parts[metric, "numerator"], parts[metric, "denominator"]
        counted_once = [counts.get(component, "events") != "events" for component in numerator]
        return counted_once == [True] or (bool(numerator) and numerator <= denominator)

    return _Known(
        metrics=metrics,
        categories=[name for name, *_ in _seeded(seeds, "categories")],
        measures=[name for name, *_ in _seeded(seeds, "measures")],
        components=list(counts),
        shares={metric for metric in metrics if is_share(metric)},
    )


_SEED_COLUMNS = {
    "metrics": ("metric",),
    "categories": ("category_id",),
    "measures": ("measure",),
    "components": ("component", "cohort", "counts"),
    "metric_components": ("metric", "part", "component"),
}


def _seeded(seeds: Path, name: str) -> list[tuple[str, ...]]:
    """The rows of a seed of the project, those columns that matter here."""
    path = seeds / f"{name}.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
            return [tuple(row[column] for column in _SEED_COLUMNS[name]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise SettingError(
            f"the seed {name} cannot be read ({error})",
            str(path),
            f"restore it, with its columns {', '.join(_SEED_COLUMNS[name])}",
        ) from error


# One pack --------------------------------------------------------------------------------------


def _read_pack(file: Path, known: _Known) -> _Pack:
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return _Pack([], [Fault("not UTF-8", "save the file as UTF-8", file, line)], False)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror or error}"
        return _Pack([], [Fault(what, "mend the file or its rights", file)], False)

    records, broken = _records(file, text.removeprefix("\ufeff"))
    header = records[0].fields if records else []
    faults = [*broken, *_faults_of_line_ends(file, records), *_faults_of_header(file, header)]
    if sorted(header) != sorted(COLUMNS):
        return _Pack([], faults, False)
    rows, judges, is_whole = [], _judges(known), not broken
    for record in records[1:]:
        if len(record.fields) != len(header):
            what = f"the line has {len(record.fields)} fields where the header has {len(header)}"
            todo = "put a field in quotes if it holds a comma"
            faults.append(Fault(what, todo, file, record.line))
            is_whole = False
            continue
        row = _Row(file, record.line, dict(zip(header, record.fields, strict=True)))
        of_row = [*_faults_of_cells(row, judges), *_faults_between_cells(row, known)]
        faults += of_row
        rows.append(replace(row, faulty=frozenset(fault.column or "" for fault in of_row)))
    if not rows and is_whole:
        todo = f"add its policies, or take it out of {SETTING}"
        faults.append(Fault("the pack has no policies", todo, file))
    return _Pack(rows, faults, is_whole)


class _Record(NamedTuple):
    """A record of a CSV text: the line on which it begins, its fields, and how its line ends."""

    line: int
    fields: list[str]
    end: str


def _records(file: Path, text: str) -> tuple[list[_Record], list[Fault]]:
    """The records of a CSV text, up to one that is broken."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, strict=True)
    records, begin = [], 1
    try:
        for fields in reader:
            last = lines[reader.line_num - 1]
            if fields:  # a blank line is no record
                records.append(_Record(begin, fields, last[len(last.rstrip("\r\n")) :]))
            begin = reader.line_num + 1
    except csv.Error as error:
        what = f"the line cannot be read as CSV ({error})"
        todo = "close each quote, and double one within quotes"
        return records, [Fault(what, todo, file, begin)]
    return records, []


def _faults_of_line_ends(file: Path, records: Sequence[_Record]) -> Iterator[Fault]:
    """DuckDB, which loads the file, takes one kind of line end; within quotes any may stand."""
    for record in records:
        if record.end and record.end != records[0].end:
            what = "the line ends otherwise than the first one (CR LF and LF)"
            yield Fault(what, "save the file with one kind of line end", file, record.line)
            return


def _faults_of_header(file: Path, header: Sequence[str]) -> Iterator[Fault]:
    todo = f"begin the file with {','.join(COLUMNS)}"
    missing = [column for column in COLUMNS if column not in header]
    unknown = [f"'{_cut(name)}'" for name in header if name not in COLUMNS]
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if not header:
        yield Fault("the file is empty where a header is due", todo, file, 1)
        return
    if missing:
        yield Fault(f"the header lacks {', '.join(missing)}", todo, file, 1, missing[0])
    if unknown:
        hint = " (fields are separated by commas)" if len(header) == 1 else ""
        what = f"the header has columns that no pack has: {', '.join(unknown)}{hint}"
        yield Fault(what, todo, file, 1)
    if twice:
        yield Fault(f"the header names {', '.join(twice)} twice", todo, file, 1, twice[0])
    if not missing and not unknown and not twice and tuple(header) != COLUMNS:
        name, due = next(pair for pair in zip(header, COLUMNS, strict=True) if len({*pair}) == 2)
        yield Fault(f"the header has {name} where {due} belongs", todo, file, 1, name)


# One row ---------------------------------------------------------------------------------------


def _judges(known: _Known) -> dict[str, Judge]:
    """By column, what is asked of a cell on its own."""
    days, count = _whole_number(1, MOST_DAYS), _whole_number(0, MOST_COUNTED)
    return {
        "policy_id": _filled,
        "platform": _platform,
        "category_id": _among([ANY, *known.categories], "a category", "categories.csv"),
        "metric": _among(known.metrics, "a metric", "metrics.csv"),
        "risk_point": _risk_point,
        "entity_type": _among(ENTITY_TYPES, "an entity type"),
        "warning_threshold": _threshold,
        "violation_threshold": _threshold,
        "comparator": _among(COMPARATORS, "a comparator"),
        "basis": _among(BASES, "a basis"),
        "evaluation_days": days,
        "min_denominator": count,
        "max_count": _or_empty(count),
        "min_component": _or_empty(_among(known.components, "a component", "components.csv")),
        "min_count": _or_empty(_whole_number(1, MOST_COUNTED)),
        "min_days": _or_empty(days),
        "measure": _among(known.measures, "a measure", "measures.csv"),
        "effective_from": _date,
        "effective_to": _or_empty(_date),
        "owner": _filled,
        "source": _filled,
    }


def _faults_of_cells(row: _Row, judges: Mapping[str, Judge]) -> Iterator[Fault]:
    for column, judge in judges.items():
        if complaint := judge(row.cells[column]):
            yield row.fault(column, *complaint)


def _filled(text: str) -> Complaint:
    return None if text.strip() else ("the cell is empty", "fill it in")


def _platform(text: str) -> Complaint:
    if text == ANY or is_platform_name(text):
        return None
    return (
        f"'{_cut(text)}' cannot be the name of a platform",
        f"use {ANY} for any, or small letters, digits, - and _, but not 'all'",
    )


def _risk_point(text: str) -> Complaint:
    if "/" in text:  # it would split the name of the policy's line
        return f"'{_cut(text)}' cannot name a risk point", "leave the slash out"
    return _filled(text)


def _threshold(text: str) -> Complaint:
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)) and float(text) > 0:
        return None
    return f"'{_cut(text)}' is not a number above 0", "write a fraction, such as 0.03 for 3%"


def _date(text: str) -> Complaint:
    try:
        if _DATE.fullmatch(text) and date.fromisoformat(text):
            return None
    except ValueError:
        pass
    return f"'{_cut(text)}' is not a date", "write it as YYYY-MM-DD, such as 2026-03-01"


def _whole_number(least: int, most: int) -> Judge:
    def judge(text: str) -> Complaint:
        if _WHOLE_NUMBER.fullmatch(text) and least <= int(text) <= most:
            return None
        what = f"'{_cut(text)}' is not a whole number from {least} to {most}"
        return what, "write one, without a fraction or separators"

    return judge


def _among(names: Collection[str], kind: str, seed: str = "") -> Judge:
    def judge(text: str) -> Complaint:
        if text in names:
            return None
        todo = f"use one of {', '.join(names)}" + (f", or add it to {seed}" if seed else "")
        return f"'{_cut(text)}' is not {kind}", todo

    return judge


def _or_empty(judge: Judge) -> Judge:
    return lambda text: judge(text) if text else None


def _faults_between_cells(row: _Row, known: _Known) -> Iterator[Fault]:
    """What is wrong with cells beside each other, each being fine on its own."""
    cells = row.cells
    warning, violation = cells["warning_threshold"], cells["violation_threshold"]
    if _threshold(warning) is None and _threshold(violation) is None:
        if float(warning) > float(violation):
            yield row.fault(
                "warning_threshold",
                f"the warning threshold {warning} lies beyond the violation threshold {violation}",
                "let it warn at the violation threshold or below",
            )
        if cells["metric"] in known.shares and float(violation) > 1:
            yield row.fault(
                "violation_threshold",
                f"{cells['metric']} never exceeds 1, so it never reaches {violation}",
                "write a fraction, such as 0.03 for 3%",
            )
    if cells["min_component"] and not cells["min_count"]:
        yield row.fault(
            "min_count",
            f"how many {_cut(cells['min_component'])} are needed is not said",
            "fill it in, or leave min_component empty",
        )
    for column in ("min_count", "min_days"):
        if cells[column] and not cells["min_component"]:
            what = f"{column} is given without a min_component"
            yield row.fault("min_component", what, f"fill it in, or leave {column} empty")
            break
    first, last = cells["effective_from"], cells["effective_to"]
    if last and _date(first) is None and _date(last) is None and last < first:
        what = f"the policy ends on {last}, before it begins on {first}"
        yield row.fault("effective_to", what, "correct one of the dates")


def _cut(text: str) -> str:
    """A text short enough for a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


# Rows beside each other ------------------------------------------------------------------------


def _repeated_ids(rows: Sequence[_Row]) -> Iterator[Fault]:
    seen: dict[str, _Row] = {}
    for row in rows:
        policy_id = row.cells["policy_id"]
        if policy_id.strip() and seen.setdefault(policy_id, row) is not row:
            what = f"the policy_id '{_cut(policy_id)}' is taken by {_place(seen[policy_id])}"
            yield row.fault("policy_id", what, "give each version of a policy a name of its own")


def _overlaps(rows: Sequence[_Row]) -> Iterator[Fault]:
    """Of two rows of one line that speak on the same evening, the one that stands further down."""
    order = {id(row): number for number, row in enumerate(rows)}
    for versions in _grouped(rows, LINE).values():
        versions.sort(key=lambda row: row.begins)
        longest = versions[0]
        for row in versions[1:]:
            if row.begins < longest.ends:
                upper, lower = sorted((longest, row), key=lambda each: order[id(each)])
                yield lower.fault(
                    "effective_from",
                    f"the policy speaks on the same evenings as {_place(upper)}, of the same"
                    f" {', '.join(LINE)}",
                    "end one before the other begins, or let each speak for its own platform",
                )
            longest = max(longest, row, key=lambda each: each.ends)


def _uncovered(
    rows: Sequence[_Row], unplaced: Sequence[_Row], categories: Collection[str]
) -> Iterator[Fault]:
    """Categories for which nothing speaks, between the first and the last evening of a subject.

    A subject is what the rows of a platform speak of: a metric, a risk point and an entity type.
    The rows of any platform fill what the platform's own leave out. One that a row with a fault
    may fill is passed over: mending that row may mend this as well.
    """
    subject = ("metric", "risk_point", "entity_type")
    of_any = _grouped([row for row in rows if row.cells["platform"] == ANY], subject)
    for (platform, *about), own in _grouped(rows, ("platform", *subject)).items():
        key = tuple(about)
        if any(row.may_be(subject, key) and row.may_speak_on(platform) for row in unplaced):
            continue
        speaking = own if platform == ANY else [*own, *of_any.get(key, [])]
        for first, end, missing in _holes(own, speaking, categories):
            until = "on" if end == _FOR_EVER else f"to {date.fromordinal(end - 1)}"
            named = "any category" if len(missing) == len(categories) else ", ".join(missing)
            yield next((row for row in own if row.ends == first), own[0]).fault(
                "category_id",
                f"no row covers {named} from {date.fromordinal(first)} {until}"
                f" ({', '.join(key)} on platform {platform})",
                f"add a row that does, such as one with category_id {ANY}",
            )


def _holes(
    own: Sequence[_Row], speaking: Sequence[_Row], categories: Collection[str]
) -> Iterator[tuple[int, int, list[str]]]:
    """First evening, the one after the last, and the categories that nothing covers meanwhile."""
    begin, end = min(row.begins for row in own), max(row.ends for row in own)
    between = {turn for row in speaking for turn in (row.begins, row.ends) if begin < turn < end}
    turns = [begin, *sorted(between), end]
    hole: tuple[int, int, list[str]] | None = None
    for first, after in pairwise(turns):
        covered = {row.cells["category_id"] for row in speaking if row.begins <= first < row.ends}
        missing = [] if ANY in covered else [name for name in categories if name not in covered]
        if hole and hole[2] == missing:
            hole = (hole[0], after, missing)
            continue
        if hole and hole[2]:
            yield hole
        hole = (first, after, missing)
    if hole and hole[2]:
        yield hole


def _grouped(rows: Sequence[_Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[_Row]]:
    groups: dict[tuple[str, ...], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.key(columns)].append(row)
    return groups


def _place(row: _Row) -> str:
    return f"{row.file.name}, line {row.line}"


def main() -> int:
    """Print all faults of the packs in force; the exit code is 1 where there is one."""
    try:
        names = read_settings().policies
        check_packs(names)
    except PackError as error:
        print(*(f"error: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        return 1
    except RedlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"These policy packs can be put in force: {', '.join(names)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

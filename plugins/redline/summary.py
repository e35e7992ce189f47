"""What a run ends with: who is in breach and why, what was refused, where everything lies."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape

from redline.landing import quarantine_summary
from redline.plan import Plan, load_plan
from redline.publish import published_state
from redline.publish.gaps import told
from redline.settings import PROJECT, Home, Settings
from redline.verdict import Fate, missing

if TYPE_CHECKING:
    from redline.progress import Watch
    from redline.run import Outcome

SHOWN = 15


@dataclass(frozen=True)
class Breach:
    """One entity in violation or warned on the published evening.

    Attributes:
        name: the merchant's name, or the entity's id.
        value: the fraction that is held against the thresholds; of cohorts still open to change
            where `is_projected`.
        numerator, denominator: of the official (mature) window.
        threshold: the one that was reached, a fraction.
        why: the ledger entries behind it, in one line.
    """

    entity_id: str
    name: str
    metric: str
    status: str
    value: float | None
    is_projected: bool
    numerator: int
    denominator: int
    threshold: float
    is_confirmed: bool
    why: str


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know of a metric, from the seeds.

    Attributes:
        noun: what the numerator counts, in the plural.
        window_days: its window.
        raw, adjusted: the components of the numerator, and those without overturned events.
        denominator: its components.
    """

    noun: str
    window_days: int
    raw: tuple[str, ...]
    adjusted: tuple[str, ...]
    denominator: tuple[str, ...]


def metrics(seeds: Path = PROJECT / "dbt_project" / "seeds") -> dict[str, Metric]:
    """The metrics by name, with their components."""
    events = {
        row["component"] for row in _rows(seeds / "components.csv") if row["is_event"] == "true"
    }
    parts = _rows(seeds / "metric_components.csv")
    result = {}
    for row in _rows(seeds / "metrics.csv"):
        raw, denominator = (
            tuple(
                part["component"]
                for part in parts
                if (part["metric"], part["part"]) == (row["metric"], name)
            )
            for name in ("numerator", "denominator")
        )
        result[row["metric"]] = Metric(
            noun=re.sub(" (rate|share)$", "", row["name"]).lower().replace("-", " ") + "s",
            window_days=int(row["window_days"]),
            raw=raw,
            adjusted=tuple(f"{name}_adjusted" if name in events else name for name in raw),
            denominator=denominator,
        )
    return result


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Evaluations of the evening with what their policy says; the worst first.
_BREACHES = """
    select
        evaluations.entity_id, evaluations.entity_type, evaluations.metric, evaluations.status,
        evaluations.value, evaluations.projected_value, evaluations.numerator,
        evaluations.denominator, evaluations.warning_threshold, evaluations.violation_threshold,
        evaluations.is_confirmed, policies.basis, policies.evaluation_days,
        case evaluations.entity_type
            when 'merchant' then coalesce(merchants.merchant_name, evaluations.entity_id)
            when 'product' then 'product ' || coalesce(products.title, evaluations.entity_id)
            else 'category ' || coalesce(categories.category_name, evaluations.entity_id)
        end as name
    from marts.fct_policy_evaluations as evaluations
    inner join marts.dim_policies as policies on policies.policy_id = evaluations.policy_id
    left join marts.dim_merchants as merchants
        on merchants.platform = evaluations.platform
        and merchants.merchant_id = evaluations.entity_id
    left join marts.dim_products as products
        on products.platform = evaluations.platform
        and products.product_id = evaluations.entity_id
    left join marts.dim_categories as categories
        on categories.platform = evaluations.platform
        and categories.category_id = evaluations.entity_id
    where evaluations.platform = $platform
        and evaluations.as_of_date = $as_of
        and evaluations.status in ('violation', 'warning')
    order by
        evaluations.status = 'violation' desc,
        coalesce(evaluations.value, evaluations.projected_value)
            / nullif(evaluations.violation_threshold, 0) desc,
        evaluations.denominator desc, evaluations.entity_id, evaluations.metric
"""

# Ledger entries of a numerator, per report and cohort date.
_ENTRIES = """
    select report_date, cohort_date, sum(quantity)::bigint as quantity
    from marts.fct_cohort_ledger
    where platform = $platform
        and component in (select unnest($components::varchar[]))
        and lag_days < $window_days
        and cohort_date between $first and $last
        and report_date <= $as_of
        and case $entity_type
            when 'merchant' then merchant_id = $entity_id
            when 'product' then product_id = $entity_id
            else merchant_id in (
                select merchant_id from marts.dim_merchants
                where platform = $platform and category_id = $entity_id
            ) end
    group by all
    order by all
"""


def breaches(
    database: Path, platform: str, as_of: date, limit: int = SHOWN
) -> tuple[list[Breach], int]:
    """The evening's violations, then its warnings, the worst first; and how many in all."""
    known = metrics()
    with duckdb.connect(str(database), read_only=True) as connection:
        cursor = connection.execute(_BREACHES, {"platform": platform, "as_of": as_of})
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return [
            _breach(connection, row, known[row["metric"]], platform, as_of) for row in rows[:limit]
        ], len(rows)


def _breach(
    connection: duckdb.DuckDBPyConnection,
    row: dict[str, Any],
    metric: Metric,
    platform: str,
    as_of: date,
) -> Breach:
    is_violation = row["status"] == "violation"
    # A warning by projection alone: the official value is below even the warning threshold.
    is_projected = not is_violation and (
        row["value"] is None or row["value"] < row["warning_threshold"]
    )
    last = as_of if is_projected else as_of - timedelta(days=metric.window_days - 1)
    first = last - timedelta(days=row["evaluation_days"] - 1)
    entries = connection.execute(
        _ENTRIES,
        {
            "platform": platform,
            "components": list(metric.adjusted if row["basis"] == "adjusted" else metric.raw),
            "window_days": metric.window_days,
            "first": first,
            "last": last,
            "as_of": as_of,
            "entity_type": row["entity_type"],
            "entity_id": row["entity_id"],
        },
    ).fetchall()
    return Breach(
        entity_id=row["entity_id"],
        name=row["name"],
        metric=row["metric"],
        status=row["status"],
        value=row["projected_value"] if is_projected else row["value"],
        is_projected=is_projected,
        numerator=int(row["numerator"] or 0),
        denominator=int(row["denominator"] or 0),
        threshold=row[
            "violation_threshold" if is_violation or is_projected else "warning_threshold"
        ],
        is_confirmed=bool(row["is_confirmed"]),
        why=explain(entries, metric.noun, as_of, None if is_projected else last),
    )


def explain(
    entries: list[tuple[date, date, int]], noun: str, as_of: date, matured: date | None
) -> str:
    """Say in one line which ledger entries moved a numerator.

    Args:
        entries: (report date, cohort date, quantity) of the numerator within the window.
        noun: what is counted, in the plural.
        as_of: the evening.
        matured: the cohort date that entered the window this evening; None if it may still move.
    """
    of_cohort: dict[date, int] = {}
    for _, cohort, quantity in entries:
        of_cohort[cohort] = of_cohort.get(cohort, 0) + quantity
    counted = {cohort: quantity for cohort, quantity in of_cohort.items() if quantity}
    if not counted:
        return f"no {noun} in the window"
    worst = max(counted, key=lambda cohort: (counted[cohort], cohort))
    total = sum(counted.values())
    what = noun.removesuffix("s") if total == 1 else noun
    held = f"{total} {what} on {_cohorts(list(counted))}"
    if len(counted) > 1:
        held += f", most ({counted[worst]}) on {worst}"

    today = [(cohort, quantity) for report, cohort, quantity in entries if report == as_of]
    gained = sum(quantity for _, quantity in today if quantity > 0)
    lost = sum(quantity for _, quantity in today if quantity < 0)
    moves = [f"{gained:+d} reported"] if gained else []
    moves += [f"{lost:+d} withdrawn or corrected"] if lost else []
    if moves:
        moved = _cohorts([cohort for cohort, quantity in today if quantity])
        return f"{held}; since yesterday {' and '.join(moves)} on {moved}"
    if matured is not None and counted.get(matured):
        return f"{held}; cohort {matured} became final today with {counted[matured]}"
    return f"{held}; unchanged since {max(report for report, _, _ in entries)}"


def _cohorts(dates: list[date]) -> str:
    first, last = min(dates), max(dates)
    if first == last:
        return f"cohort {first}"
    # 2026-02-20..24 where only the day differs: a line is narrow.
    in_one_month = (first.year, first.month) == (last.year, last.month)
    return f"cohorts {first}..{last:%d}" if in_one_month else f"cohorts {first}..{last}"


def refused(home: Home, plans: list[Plan]) -> list[tuple[str, int]]:
    """Rows that the runs put into quarantine, per entity and reason, the most frequent first."""
    counted: Counter[str] = Counter()
    for plan in plans:
        for entity, reason, rows, *_ in quarantine_summary(home, plan):
            counted[f"{entity} {reason}"] += rows
    return counted.most_common()


def waiting(home: Home, plans: list[Plan]) -> dict[str, int]:
    """Events that still wait for their order after the last of the runs, per entity."""
    taken = [plan for plan in plans if plan.has_open_dates]
    if not taken:
        return {}
    report = json.loads((taken[-1].folder(home) / "transform.json").read_text())
    counts: dict[str, int] = report["waiting"]
    return counts


def new_columns(home: Home, plans: list[Plan]) -> list[str]:
    """Columns that the runs were the first to drop, as `entity.column`."""
    reports = (
        json.loads(path.read_text())
        for plan in plans
        for path in sorted(plan.folder(home).glob("land_*.json"))
    )
    found = [f"{each['entity']}.{name}" for each in reports for name in each["new_columns"]]
    return list(dict.fromkeys(found))


def show(settings: Settings, outcome: Outcome, console: Console) -> None:
    """Print the summary of the runs that an outcome is of: who published, who is missing.

    Breaches are shown of all its marketplaces, each on its own last published evening.
    """
    home, state = settings.home, published_state(settings.home)
    several = len(outcome.parts) > 1
    shown: dict[str, tuple[date, list[Plan], Watch]] = {}
    for part in outcome.parts:
        name, platform = part.marketplace.name, part.marketplace.platform
        watch = outcome.watch.of(name)
        plans = [load_plan(home, run_id) for run_id in watch.run_ids]
        evening = state.as_of.get(platform) if state else None
        failure = outcome.failure(part)
        if failure is not None:
            line = missing(Fate(name, evening, False, failure))
            console.print(f"\n[bold red]Missing:[/] {escape(line)}", soft_wrap=True)
        elif evening is not None and plans:
            seconds = watch.seconds if several else outcome.seconds
            console.print(_headline(plans, platform, evening, seconds), soft_wrap=True)
        if evening is not None:
            published = [plan for plan in plans if (plan.folder(home) / "publish.json").is_file()]
            shown[platform] = evening, published, watch
    if not shown:
        console.print("Nothing is published.")
        return
    if several:
        console.print()
    for platform, (evening, _, _) in shown.items():
        _show_breaches(home, platform, evening, console, several=several)
    for platform, (_, plans, watch) in shown.items():
        for line in told((state.gaps if state else {}).get(platform, [])):
            console.print(f"Gap of {platform}, {line}.", soft_wrap=True, markup=False)
        _show_counts(home, platform, plans, _gate_warnings(watch), console, several=several)
    for line in held_back(outcome.watch):
        console.print(f"[yellow]Held:[/] {escape(line)}.", soft_wrap=True)
    evenings = {platform: evening for platform, (evening, _, _) in shown.items()}
    _show_places(home, evenings, outcome.log, console)


def _headline(plans: list[Plan], platform: str, as_of: date, seconds: float) -> str:
    taken = [plan for plan in plans if plan.has_open_dates]
    if not taken:
        return (
            f"\n[bold]Nothing new:[/] {escape(platform)} was published up to {as_of} already; "
            f"checked for late and corrected records in {seconds:.0f} s."
        )
    days = sum((plan.end - plan.start).days + 1 for plan in taken)
    verb = "Restated" if taken[-1].restated_from else "Published"
    return (
        f"\n[bold]{verb}[/] {escape(platform)} from {taken[0].start} to {taken[-1].end} "
        f"({days} business date{'s' if days > 1 else ''}) in {seconds:.0f} s."
    )


def _show_breaches(
    home: Home, platform: str, as_of: date, console: Console, *, several: bool
) -> None:
    found, total = breaches(home.published / "redline.duckdb", platform, as_of)
    where = f" on {escape(platform)}" if several else ""
    if not found:
        console.print(f"No merchant is in violation or warned{where} on the evening of {as_of}.\n")
        return
    console.print(f"[bold]In breach{where} on the evening of {as_of}[/]")
    rows = [_cells(row) for row in found]
    heads = ("", "merchant", "metric", "value", "threshold", "orders")
    widths = [max(cell_len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    console.print(_aligned(heads, widths), style="dim", soft_wrap=True, markup=False)
    for row, cells in zip(found, rows, strict=True):
        colour = "red" if row.status == "violation" else "yellow"
        console.print(_aligned(cells, widths), style=colour, soft_wrap=True, markup=False)
        console.print(f"  {row.why}", soft_wrap=True, markup=False)
    marks = []
    if any(row.is_confirmed for row in found):
        marks.append("* beyond doubt: the 95% lower bound is over the threshold too")
    if any(row.is_projected for row in found):
        marks.append("~ projected from cohorts that are still moving")
    if total > len(found):
        marks.append(f"{total - len(found)} more in marts.fct_policy_evaluations")
    console.print("; ".join(marks), style="dim", soft_wrap=True)
    console.print()


def _cells(row: Breach) -> tuple[str, ...]:
    value = "-" if row.value is None else f"{row.value:.2%}"
    return (
        f"{row.status}{'*' if row.is_confirmed else ''}",
        row.name if row.name == row.entity_id else f"{row.name} ({row.entity_id})",
        row.metric,
        f"~{value}" if row.is_projected else value,
        f"{row.threshold:.2%}",
        f"{row.numerator}/{row.denominator}",
    )


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """Cells side by side, numbers to the right; a Chinese character is two columns wide."""
    padded = [
        set_cell_size(cell, width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded)


def held_back(watch: Watch) -> list[str]:
    """Which alerts were held, and how to send them; nobody is asked by a run of this kind."""
    done = [event for event in watch.events if event["state"] == "done"]
    lines = [f"a storm: {event['held']}" for event in done if event.get("held")]
    count = sum(event["deliveries"]["held"] for event in done if "deliveries" in event)
    if count:
        lines.append(f"{count:,} new alerts of a first publication or of evenings long past")
    return [f"{line}; see `make alerts`, send with `make alerts RETRY=held`" for line in lines]


def _gate_warnings(watch: Watch) -> list[tuple[str, str]]:
    """What the gates of the last run let pass with a warning: (gate, its first sentence)."""
    last: dict[str, list[str]] = {}
    for event in watch.events:
        if event["state"] == "done" and event["stage"].startswith("validate "):
            last[event["stage"].removeprefix("validate ")] = event["report"].get("warnings", [])
    return [(gate, message.split("; ")[0]) for gate in last for message in last[gate][:3]]


def _show_counts(
    home: Home,
    platform: str,
    plans: list[Plan],
    warnings: list[tuple[str, str]],
    console: Console,
    *,
    several: bool,
) -> None:
    of = f" on {platform}" if several else ""
    with duckdb.connect(str(home.published / "redline.duckdb"), read_only=True) as connection:
        row = connection.execute(
            """
            select coalesce(sum(quantity), 0)::bigint, count(distinct merchant_id)
            from marts.fct_cohort_ledger where platform = $platform and component = 'orders_paid'
            """,
            {"platform": platform},
        ).fetchone()
    orders, merchants = row or (0, 0)
    counted = f"{orders:,} paid orders of {merchants:,} merchants{of}."
    console.print(counted, soft_wrap=True, markup=False)
    reasons = refused(home, plans)
    if reasons:
        told = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons[:6])
        more = f" and {len(reasons) - 6} more reasons" if len(reasons) > 6 else ""
        total = sum(rows for _, rows in reasons)
        console.print(
            f"{total:,} rows in quarantine{of}: {told}{more}.", soft_wrap=True, markup=False
        )
    orphans = waiting(home, plans)
    if orphans:
        told = ", ".join(f"{entity} {rows:,}" for entity, rows in orphans.items())
        console.print(f"Events waiting for their order{of}: {told}.", soft_wrap=True, markup=False)
    columns = new_columns(home, plans)
    if columns:
        told = ", ".join(columns)
        console.print(
            f"New columns{of}, unknown to the contract and dropped: {told}.",
            soft_wrap=True,
            markup=False,
        )
    for gate, warning in warnings:
        console.print(f"Warning of the {gate} gate{of}: {warning}", soft_wrap=True, markup=False)


def _show_places(home: Home, evenings: Mapping[str, date], log: Path, console: Console) -> None:
    files = [home.alerts / f"{evening}.jsonl" for evening in sorted({*evenings.values()})]
    alerts = [
        f"{_near(file)} ({sum(1 for _ in file.open())} new)" for file in files if file.exists()
    ]
    reports = sorted(
        page for platform in evenings for page in home.data_docs.glob(f"*/{platform}/index.html")
    )
    places = [
        (
            "Marts",
            f"{_near(home.published / 'redline.duckdb')} and {_near(home.published / 'parquet')}",
        ),
        (
            "Alerts",
            " and ".join(alerts) or _near(home.alerts),
        ),
        ("Data docs", " and ".join(map(_near, reports)) or _near(home.data_docs)),
        ("Refused", _near(home.quarantine)),
        ("Full log", _near(log)),
    ]
    console.print()
    for name, place in places:
        console.print(f"{name:<10}{place}", soft_wrap=True, markup=False)
    console.print(
        "\nNext: `make serve` for Airflow's web page, `make run` again for what has come in since,"
        "\n      `make run SOURCE=files:///your/data` for your own records.",
        soft_wrap=True,
    )


def _near(path: Path) -> str:
    """The path as one would type it here."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)

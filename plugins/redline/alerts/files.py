"""One JSON Lines file per published evening, `alerts/<evening>.jsonl`, sorted by alert id."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from redline.alerts.text import sentence
from redline.alerts.words import reason
from redline.plan import days
from redline.publish.gaps import Gaps, told
from redline.publish.state import DATABASE, current_run, locked, run_folder, sync_folder
from redline.settings import Home, Settings
from redline.summary import metrics

# What a receiver needs beside the alert itself. A record's evaluation may be missing on the evening
# (the record can close without one), and an entity may be a merchant, a product or a category.
_ALERTS = """
    select
        alerts.*,
        coalesce(merchants.merchant_id, products.merchant_id) as merchant_id,
        coalesce(merchants.merchant_name, sellers.merchant_name) as merchant_name,
        products.title as product_title,
        coalesce(merchants.category_id, products.category_id,
            case when alerts.entity_type = 'category' then alerts.entity_id end) as category_id,
        records.opened_on,
        evaluations.is_confirmed,
        evaluations.projected_value,
        evaluations.projected_lower_80,
        evaluations.projected_upper_80,
        evaluations.violation_threshold,
        policies.comparator,
        policies.evaluation_days
    from marts.fct_alerts as alerts
    left join marts.dim_products as products
        on alerts.entity_type = 'product'
        and products.platform = alerts.platform
        and products.product_id = alerts.entity_id
    left join marts.dim_merchants as merchants
        on alerts.entity_type = 'merchant'
        and merchants.platform = alerts.platform
        and merchants.merchant_id = alerts.entity_id
    left join marts.dim_merchants as sellers
        on sellers.platform = alerts.platform
        and sellers.merchant_id = products.merchant_id
    left join (
        select platform, record_id, 'warning' as record_type, opened_on
        from marts.fct_warning_records
        union all
        select platform, record_id, 'violation' as record_type, opened_on
        from marts.fct_violation_records
    ) as records
        on records.platform = alerts.platform
        and records.record_id = alerts.record_id
        and records.record_type = alerts.record_type
    left join marts.fct_policy_evaluations as evaluations
        on evaluations.platform = alerts.platform
        and evaluations.as_of_date = alerts.as_of_date
        and evaluations.policy_id = alerts.policy_id
        and evaluations.entity_type = alerts.entity_type
        and evaluations.entity_id = alerts.entity_id
    left join marts.dim_policies as policies on policies.policy_id = alerts.policy_id
    where alerts.platform = $platform and alerts.as_of_date between $start and $end
    order by alerts.as_of_date, alerts.alert_id
"""
# What moved an alert's numerator since the evening before, the greatest change first.
_REASONS = """
    select reasons.alert_id, reasons.kind, reasons.key, products.title, reasons.quantity
    from marts.fct_alert_reasons as reasons
    left join marts.dim_products as products
        on reasons.kind = 'product'
        and products.platform = reasons.platform
        and products.product_id = reasons.key
    where reasons.platform = $platform and reasons.as_of_date between $start and $end
    order by reasons.alert_id, reasons.kind, reasons.rank
"""
# The official values of what an alert is about, on its evening and those before; one policy speaks
# of it on each.
_HISTORY_DAYS = 30
_HISTORY = f"""
    select
        alerts.alert_id, evaluations.as_of_date, evaluations.value, evaluations.numerator,
        evaluations.denominator
    from marts.fct_alerts as alerts
    inner join marts.fct_policy_evaluations as evaluations
        on evaluations.platform = alerts.platform
        and evaluations.entity_type = alerts.entity_type
        and evaluations.entity_id = alerts.entity_id
        and evaluations.metric = alerts.metric
        and evaluations.risk_point = alerts.risk_point
        and evaluations.as_of_date
            between alerts.as_of_date - {_HISTORY_DAYS - 1} and alerts.as_of_date
    where alerts.platform = $platform and alerts.as_of_date between $start and $end
        and evaluations.as_of_date between $start::date - {_HISTORY_DAYS - 1} and $end
    order by alerts.alert_id, evaluations.as_of_date
"""
_HAS_REASONS = """
    select 1 from information_schema.tables
    where table_schema = 'marts' and table_name = 'fct_alert_reasons'
"""
_EVENINGS = """
    select distinct as_of_date from marts.fct_alerts
    where platform = $platform and as_of_date between $start and $end
"""


@dataclass(frozen=True)
class _Evenings:
    """The evenings that a published run added, for one platform, and the gaps it knew of."""

    run_id: str
    platform: str
    start: date
    end: date
    restated: bool
    gaps: Gaps


def write_alerts(settings: Settings, run_id: str | None = None) -> list[Path]:
    """Write the alert files of the evenings that a published run added.

    An evening without alerts has an empty file. The run's platform is written anew and
    what other platforms have in the same file stays, so the same run twice makes the same bytes.
    A run that was not published or that restated closed dates writes nothing.

    Args:
        settings: names the home.
        run_id: the published run; by default the current one, and with it every evening of an
            earlier one whose alerts were never written (it was killed before).

    Returns:
        The files of those evenings, oldest first.

    Raises:
        BusyError: another process is writing alerts.
        RedlineError: the folder cannot be written; a StorageError where that may pass.
    """
    home = settings.home
    current = current_run(home)
    if current is None:
        return []
    wanted = run_id or current
    published = [run for run in _published(home) if not run.restated]
    if run_id is not None:
        published = [run for run in published if run.run_id == run_id]
    if not published:
        return []
    paths: set[Path] = set()
    with locked(home.alerts):
        for run in published:
            evenings = days(run.start, run.end) if run.run_id == wanted else _missing(home, run)
            if evenings:
                paths.update(_write_evenings(home, run, evenings))
        sync_folder(home.alerts)
    return sorted(paths)


def read_alerts(home: Home, path: Path) -> list[dict[str, Any]]:
    """The alerts of a file, each with the `run_id` of the published run that it rests on.

    Files do not name it: the same evenings make the same bytes, in however many runs.
    """
    evening = date.fromisoformat(path.stem)
    runs = {
        run.platform: run.run_id
        for run in _published(home)
        if run.start <= evening <= run.end and not run.restated
    }
    return [{**alert, "run_id": runs.get(alert["platform"])} for alert in _read(path)]


def first_runs(home: Home) -> set[str]:
    """The first published run of each platform."""
    firsts: dict[str, str] = {}
    for run in _published(home):
        firsts.setdefault(run.platform, run.run_id)
    return {*firsts.values()}


def _write_evenings(home: Home, run: _Evenings, evenings: list[date]) -> Iterable[Path]:
    alerts = _alerts(_database(home, run), run)
    for evening in evenings:
        path = _path(home, evening)
        kept = [line for line in _read(path) if line["platform"] != run.platform]
        _write(path, [*kept, *alerts.get(evening, [])])
        yield path


def _missing(home: Home, run: _Evenings) -> list[date]:
    """The evenings of a run that were never written.

    Such an evening has no file; or its file, in which the run's platform does not occur, is another
    platform's. Only the run's own marts tell that from an evening without alerts: later ones may
    have been restated.
    """
    told: set[date] = set()
    own = run_folder(home, run.run_id) / DATABASE
    if own.exists():
        with duckdb.connect(str(own), read_only=True) as connection:
            told = {day for (day,) in connection.execute(_EVENINGS, _parameters(run)).fetchall()}
    return [
        evening
        for evening in days(run.start, run.end)
        if not _path(home, evening).exists()
        or (
            evening in told
            and not any(line["platform"] == run.platform for line in _read(_path(home, evening)))
        )
    ]


def _published(home: Home) -> list[_Evenings]:
    """What the published history says of runs: a folder alone does not make one published."""
    if current_run(home) is None:
        return []
    with duckdb.connect(str(home.published / DATABASE), read_only=True) as connection:
        rows = connection.execute(
            """
            select run_id, platform, start_date, as_of_date, restated_from is not null, gaps
            from marts.published_run
            order by published_at, as_of_date
            """
        ).fetchall()
    return [
        _Evenings(run_id, platform, start, end, restated, json.loads(gaps))
        for run_id, platform, start, end, restated, gaps in rows
    ]


def _database(home: Home, run: _Evenings) -> Path:
    """The run's own marts, since a later restatement must not change what is sent; or today's."""
    own = run_folder(home, run.run_id) / DATABASE
    return own if own.exists() else home.published / DATABASE


def _path(home: Home, evening: date) -> Path:
    return home.alerts / f"{evening}.jsonl"


def _parameters(run: _Evenings) -> dict[str, Any]:
    return {"platform": run.platform, "start": run.start, "end": run.end}


def _alerts(database: Path, run: _Evenings) -> dict[date, list[dict[str, Any]]]:
    """The alerts of a platform's evenings as JSON objects, per evening."""
    with duckdb.connect(str(database), read_only=True) as connection:
        cursor = connection.execute(_ALERTS, _parameters(run))
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        why = _why(connection, run)
        history = _history(connection, run)
    result: dict[date, list[dict[str, Any]]] = {}
    windows = {name: metric.window_days for name, metric in metrics().items()}
    for row in rows:
        reach = (row["evaluation_days"] or 1) + windows.get(row["metric"], 1) - 2
        alert = {name: _plain(value) for name, value in row.items()}
        alert["known_gaps"] = _known_gaps(run.gaps, row["as_of_date"], reach)
        if why is not None:
            alert["why"] = why.get(row["alert_id"], [])
        measured = history.get(row["alert_id"], {})
        alert["before"] = measured.get(row["as_of_date"] - timedelta(days=1))
        alert["history"] = _every_evening(measured, row["as_of_date"])
        result.setdefault(row["as_of_date"], []).append({**alert, "text": sentence(alert)})
    return result


def _why(
    connection: duckdb.DuckDBPyConnection, run: _Evenings
) -> dict[str, list[dict[str, Any]]] | None:
    """What moved each alert's numerator; None of marts from before that was published."""
    if not connection.execute(_HAS_REASONS).fetchall():
        return None
    result: dict[str, list[dict[str, Any]]] = {}
    for alert_id, kind, key, title, quantity in connection.execute(
        _REASONS, _parameters(run)
    ).fetchall():
        name = reason(key, "en") if kind == "reason" else title
        move = {"kind": kind, "key": key, "name": name, "quantity": quantity}
        result.setdefault(alert_id, []).append(move)
    return result


def _history(
    connection: duckdb.DuckDBPyConnection, run: _Evenings
) -> dict[str, dict[date, dict[str, Any]]]:
    """By alert and evening: what was measured, officially."""
    result: dict[str, dict[date, dict[str, Any]]] = {}
    for alert_id, evening, value, numerator, denominator in connection.execute(
        _HISTORY, _parameters(run)
    ).fetchall():
        measured = {"value": value, "numerator": numerator, "denominator": denominator}
        result.setdefault(alert_id, {})[evening] = measured
    return result


def _every_evening(measured: dict[date, dict[str, Any]], last: date) -> list[list[Any]]:
    """Each evening from the first known one to the last, null where there is no value."""
    if not measured:
        return []
    return [[str(day), measured.get(day, {}).get("value")] for day in days(min(measured), last)]


def _known_gaps(gaps: Gaps, evening: date, reach: int) -> list[str]:
    """The gaps among the dates that an alert's numbers rest on.

    Args:
        reach: from the first cohort date of its window to the evening (days); the window ends on
            the evening where the value is projected.
    """
    first = str(evening - timedelta(days=reach))
    return told(gap for gap in gaps if gap["to"] >= first and gap["from"] <= str(evening))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value


def _read(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    # Not splitlines(): a name may hold one of the separators that only Unicode takes for line ends.
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _write(path: Path, alerts: list[dict[str, Any]]) -> None:
    """Write a file aside, then rename it: a reader sees all of it or none."""
    alerts.sort(key=lambda alert: str(alert["alert_id"]))
    aside = path.with_name(f".{path.name}.aside")
    with aside.open("w", encoding="utf-8") as file:
        for alert in alerts:
            text = json.dumps(alert, sort_keys=True, ensure_ascii=False, allow_nan=False)
            file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)

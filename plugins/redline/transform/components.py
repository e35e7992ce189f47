"""What the ledger counts and which metrics are rated, when the seeds or the packs have changed.

Components and metrics are rows of seeds. A component that is new is filled for the report dates
that are closed already; one whose meaning has changed would rewrite them, and is refused.
"""

from __future__ import annotations

import csv
import hashlib
import json
from contextlib import closing
from pathlib import Path

import duckdb

from redline.errors import SettingError
from redline.policies import SEEDS
from redline.settings import Home, Settings

FILE = "components.json"

# What a fill makes anew: the ledger from the versions kept, and how its events develop.
FILLED = (
    "components",
    "component_events",
    "metric_components",
    "metrics",
    "int_metric_parts",
    "int_reason_codes_effective",
    "int_merchant_spells",
    "int_merchant_categories",
    "int_orders_touched",
    "int_order_spells",
    "int_event_spells",
    "int_event_standings",
    "fct_cohort_ledger",
    "int_category_development",
)


def new(home: Home, platform: str, seeds: Path = SEEDS) -> list[str]:
    """The components that the platform's ledger does not have yet.

    Raises:
        SettingError: a component that it has means something else by now.
    """
    known, said = _known(home).get(platform), definitions(seeds)
    if known is None:  # a home of a version that kept no account
        return []
    for component, definition in said.items():
        if known.get(component, definition) != definition:
            raise SettingError(
                f"the component {component} means something else than on the dates published",
                "components.csv or component_events.csv",
                "give it a new name, or rewrite all dates with restate FROM=the first one",
            )
    return sorted(said.keys() - known.keys())


def remember(home: Home, platform: str, seeds: Path = SEEDS) -> None:
    """Note that the platform's ledger has all components, with the meanings they have now."""
    path = home.root / FILE
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(_known(home) | {platform: definitions(seeds)}, indent=2))
    aside.replace(path)


def definitions(seeds: Path = SEEDS) -> dict[str, str]:
    """A hash of what the seeds say of each component of the ledger."""
    rules: dict[str, list[dict[str, str]]] = {}
    for row in _rows(seeds / "component_events.csv"):
        rules.setdefault(row["component"], []).append(row)
    found = {}
    for row in _rows(seeds / "components.csv"):
        if row["counts"] != "buyers":  # they are counted window by window
            meaning = [row["cohort"], row["counts"], row["is_event"], rules.get(row["component"])]
            digest = hashlib.sha256(json.dumps(meaning).encode()).hexdigest()
            found[row["component"]] = digest[:16]
    return found


def rated_otherwise(settings: Settings, platform: str, seeds: Path = SEEDS) -> bool:
    """Whether other metrics are in force than those the platform has rates of.

    Metrics whose denominator the platform has never counted have no rates, and none to make.
    """
    in_force = {
        row["metric"] for row in _rows(seeds / "metrics.csv") if row["computed"] == "always"
    }
    for pack in settings.policies:
        in_force |= {row["metric"] for row in _rows(seeds / "policies" / f"pack_{pack}.csv")}
    denominators: dict[str, set[str]] = {}
    for row in _rows(seeds / "metric_components.csv"):
        if row["part"] == "denominator" and row["metric"] in in_force:
            denominators.setdefault(row["metric"], set()).add(row["component"])
    query = "select distinct {} from marts.{} where platform = $platform"
    with closing(duckdb.connect(str(settings.home.warehouse), read_only=True)) as connection:

        def distinct(column: str, mart: str) -> set[str]:
            rows = connection.execute(query.format(column, mart), {"platform": platform})
            return {value for (value,) in rows.fetchall()}

        rated = distinct("metric", "fct_merchant_daily_rates")
        counted = distinct("component", "fct_cohort_ledger")
    return rated != {metric for metric, parts in denominators.items() if parts & counted}


def _known(home: Home) -> dict[str, dict[str, str]]:
    try:
        known: dict[str, dict[str, str]] = json.loads((home.root / FILE).read_text())
    except FileNotFoundError:
        return {}
    return known


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))

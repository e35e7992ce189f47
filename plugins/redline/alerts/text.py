"""An alert as one sentence that a person can act on."""

from __future__ import annotations

from typing import Any


def sentence(alert: dict[str, Any]) -> str:
    """Who, which number against which threshold, what happened to the record, which measure.

    For example `Lotus Beauty (beauty): complaint_rate 3.4% (17 of 500 orders) >= 3.0%; violation
    opened 2026-03-01; measure: restrict_promotion`; then the known gaps of its data.
    """
    parts = [
        f"{_who(alert)}: {alert['metric']} {_finding(alert)}",
        _event(alert),
        f"measure: {alert['measure']}" if alert.get("measure") else "",
        *alert.get("known_gaps", ()),
    ]
    return "; ".join(part for part in parts if part)


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal, or two where the second says something."""
    whole, _, decimals = f"{fraction:.2%}"[:-1].partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}%"


def _who(alert: dict[str, Any]) -> str:
    name = alert.get("merchant_name") or alert.get("merchant_id")
    if alert["entity_type"] == "merchant":
        who = name or alert["entity_id"]
    else:
        who = f"{alert['entity_type']} {alert.get('product_title') or alert['entity_id']}"
        who += f" of {name}" if name else ""
    category = alert.get("category_id")
    return f"{who} ({category})" if category and alert["entity_type"] != "category" else str(who)


def _finding(alert: dict[str, Any]) -> str:
    """The value against the threshold; a warning may be about where the value is heading."""
    value, threshold = alert["value"], alert["threshold"]
    if value is None:
        return "has no value this evening"
    finding = f"{percent(value)} ({alert['numerator']} of {alert['denominator']} orders)"
    if threshold is None:
        return finding
    comparator = alert.get("comparator") or ">="
    if _reaches(value, comparator, threshold):
        return f"{finding} {comparator} {percent(threshold)}"
    if alert["transition"] != "resolved":
        projected, limit = alert.get("projected_value"), alert.get("violation_threshold")
        if projected is not None and limit is not None and _reaches(projected, comparator, limit):
            return f"{finding}, heading for {percent(projected)} {comparator} {percent(limit)}"
    return f"{finding}, threshold {percent(threshold)}"


def _reaches(value: float, comparator: str, threshold: float) -> bool:
    return value > threshold if comparator == ">" else value >= threshold


def _event(alert: dict[str, Any]) -> str:
    record, opened, evening = alert["record_type"], alert.get("opened_on"), alert["as_of_date"]
    if alert["transition"] == "resolved":
        since = f"{record} open since {opened} " if opened else f"{record} "
        return f"{since}resolved {evening}"
    if alert["transition"] == "escalated":
        since = f"warning of {opened} " if record == "warning" and opened else ""
        return f"{since}escalated to violation {evening}"
    return f"{record} opened {opened or evening}"

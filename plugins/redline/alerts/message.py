"""What an alert says to a person, in this order: what happened, how sure, what follows, on what."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any, Literal

from redline.alerts.text import percent
from redline.settings import PROJECT

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Message:
    """An alert in words.

    Attributes:
        title: one line.
        parts: headings and their text, one line each.
        severity: `violation`, `warning` or `resolved`; senders colour by it.
        evening: that the alert is of, ISO.
    """

    title: str
    parts: tuple[tuple[str, str], ...]
    severity: str
    evening: str


def message(
    alert: Mapping[str, Any],
    language: Language,
    appeal: str | None = None,
    appeal_days: int | None = None,
) -> Message:
    """Put an alert into words.

    Args:
        alert: as its file tells it.
        appeal: how to appeal, in the channel's own words.
        appeal_days: days from the evening within which an appeal is heard.
    """
    words = _WORDS[language]
    resolved = alert["transition"] == "resolved"
    parts = (
        (words["happened"], _happened(alert, words)),
        (words["sure"], _sure(alert, words)),
        (words["follows"], _follows(alert, words, language, appeal, appeal_days)),
        (words["rests"], _rests(alert, words)),
    )
    title = words["title"].format(
        event=words[f"{alert['record_type']} {alert['transition']}"],
        who=_who(alert, words),
        metric=_name("metrics", alert["metric"], language),
    )
    return Message(
        title=_line(title),
        parts=tuple((label, _line(text)) for label, text in parts if text),
        severity="resolved" if resolved else str(alert["record_type"]),
        evening=str(alert["as_of_date"]),
    )


def _who(alert: Mapping[str, Any], words: Mapping[str, str]) -> str:
    name = alert.get("merchant_name") or alert.get("merchant_id")
    kind = alert["entity_type"]
    if kind == "merchant":
        who = str(name or alert["entity_id"])
    else:
        who = words[kind].format(name=alert.get("product_title") or alert["entity_id"])
        who = words["of"].format(what=who, whose=name) if name else who
    category = alert.get("category_id")
    return f"{who} ({category})" if category and kind != "category" else who


def _happened(alert: Mapping[str, Any], words: Mapping[str, str]) -> str:
    value, threshold = alert["value"], alert["threshold"]
    opened = alert.get("opened_on") or alert["as_of_date"]
    since = words["since"].format(opened=opened)
    if value is None:
        return f"{words['no value']}{words['stop']}{since}"
    told = words["rate"].format(
        value=percent(value), numerator=alert["numerator"], denominator=alert["denominator"]
    )
    if threshold is not None:
        more = ">" if alert.get("comparator") == ">" else "≥"
        reached = value > threshold or (more == "≥" and value == threshold)
        sign = f"{more} " if reached else ""
        told += words["threshold"].format(sign=sign, threshold=percent(threshold))
    if window := _window(alert):
        told += words["window"].format(first=window[0], last=window[1])
    return f"{told}{words['stop']}{since}"


def _window(alert: Mapping[str, Any]) -> tuple[date, date] | None:
    """The cohort dates that the official value covers: the last ones whose own window has ended."""
    days, metric = alert.get("evaluation_days"), _rows("metrics").get(alert["metric"])
    if days is None or metric is None:
        return None
    last = date.fromisoformat(alert["as_of_date"]) - timedelta(int(metric["window_days"]) - 1)
    return last - timedelta(int(days) - 1), last


def _sure(alert: Mapping[str, Any], words: Mapping[str, str]) -> str:
    told = []
    if alert["record_type"] == "violation" and alert["transition"] != "resolved":
        told.append(words["confirmed" if alert.get("is_confirmed") else "unconfirmed"])
    projected = alert.get("projected_value")
    if projected is not None:
        text = words["projected"].format(value=percent(projected))
        low, high = alert.get("projected_lower_80"), alert.get("projected_upper_80")
        if low is not None and high is not None:
            text += words["interval"].format(low=percent(low), high=percent(high))
        told.append(text)
    return words["stop"].join(told)


def _follows(
    alert: Mapping[str, Any],
    words: Mapping[str, str],
    language: Language,
    appeal: str | None,
    appeal_days: int | None,
) -> str:
    if alert["transition"] == "resolved":
        return words["over"].format(evening=alert["as_of_date"])
    told = []
    if measure := alert.get("measure"):
        told.append(words["measure"].format(measure=_name("measures", measure, language)))
    if alert["record_type"] == "warning":
        limit = alert.get("violation_threshold")
        told.append(words["warned"].format(limit=percent(limit)) if limit is not None else "")
    else:
        if appeal_days is not None:
            until = date.fromisoformat(alert["as_of_date"]) + timedelta(appeal_days)
            told.append(words["until"].format(until=until))
        told.append(appeal or "")
    return words["stop"].join(text for text in told if text)


def _rests(alert: Mapping[str, Any], words: Mapping[str, str]) -> str:
    gaps = ", ".join(alert.get("known_gaps") or ())
    told = words["data"].format(
        evening=alert["as_of_date"],
        platform=alert["platform"],
        run=alert.get("run_id") or "-",
        policy=alert["policy_id"],
        alert=alert["alert_id"],
    )
    return told + words["stop"] + words["gaps"].format(gaps=gaps) if gaps else told


def _name(seed: str, key: str, language: Language) -> str:
    row = _rows(seed).get(key)
    return (row["name"] if language == "en" else row["name_zh"]) if row else key


@cache
def _rows(seed: str) -> dict[str, dict[str, str]]:
    """The rows of a seed by their first column."""
    path = PROJECT / "dbt_project" / "seeds" / f"{seed}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def _line(text: str) -> str:
    """One line of printable characters: names come from merchants."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "happened": "What happened",
        "sure": "How sure",
        "follows": "What follows",
        "rests": "Rests on",
        "title": "{event}: {who}, {metric}",
        "warning opened": "Warning",
        "warning resolved": "Warning resolved",
        "warning escalated": "Warning escalated",
        "violation opened": "Violation",
        "violation escalated": "Warning became a violation",
        "violation resolved": "Violation resolved",
        "product": "product {name}",
        "category": "category {name}",
        "of": "{what} of {whose}",
        "rate": "{value} ({numerator} of {denominator} orders)",
        "threshold": ", threshold {sign}{threshold}",
        "window": ", cohorts {first} to {last}",
        "since": "since {opened}",
        "no value": "no orders to judge this evening",
        "stop": "; ",
        "confirmed": "confirmed: the 95% lower bound is over the threshold too",
        "unconfirmed": "not confirmed: over the threshold, the 95% lower bound is not",
        "projected": "heading for {value}",
        "interval": " (80%: {low} to {high})",
        "measure": "measure: {measure}",
        "warned": "becomes a violation at {limit}",
        "until": "appeal by {until}",
        "over": "closed on {evening}; no measure begins",
        "data": "evening {evening} of {platform}, policy {policy}, run {run}, alert {alert}",
        "gaps": "never delivered: {gaps}",
    },
    "zh": {
        "happened": "发生了什么",
        "sure": "确定程度",
        "follows": "后续措施",
        "rests": "数据依据",
        "title": "{event}：{who}，{metric}",
        "warning opened": "预警",
        "warning resolved": "预警解除",
        "warning escalated": "预警升级",
        "violation opened": "违规",
        "violation escalated": "预警升级为违规",
        "violation resolved": "违规解除",
        "product": "商品 {name}",
        "category": "类目 {name}",
        "of": "{whose} 的{what}",
        "rate": "{value}（{denominator} 单中 {numerator} 单）",
        "threshold": "，红线 {sign}{threshold}",
        "window": "，统计 {first} 至 {last}",
        "since": "自 {opened} 起",
        "no value": "当日没有可评估的订单",
        "stop": "；",
        "confirmed": "已确认：95% 置信下限也超过红线",
        "unconfirmed": "未确认：数值超过红线，但 95% 置信下限未超过",
        "projected": "预计达到 {value}",
        "interval": "（80% 区间：{low} 至 {high}）",
        "measure": "措施：{measure}",
        "warned": "达到 {limit} 即为违规",
        "until": "申诉截止 {until}",
        "over": "已于 {evening} 关闭；不再采取新措施",
        "data": "{platform} {evening} 数据，策略 {policy}，运行 {run}，预警 {alert}",
        "gaps": "从未交付的日期：{gaps}",
    },
}

"""The file of alerts (`REDLINE_ALERTS`): which channels there are, and who gets what, how and when.

    channels: {...}                     # see channels/config.py
    routes:                             # without them every channel gets each alert at once
      - to: [risk-team]
        send: by_severity               # violations at once, the rest as a digest; at_once, digest
        escalate: {after_hours: 4, to: [head-of-risk]}      # if nobody acknowledges
      - to: [beauty-desk]
        when: {platform: douyin, category: [beauty], severity: [violation]}
        send: digest
      - to: [merchant-mail]
        audience: merchant              # that merchant's own figures only, a message for each
    digest_at: "08:00"                  # else with the run; in REDLINE_TIMEZONE
    operators: [on-call]                # hear of failures and late runs
    page: https://risk.example.com/redline                  # where links lead
    storm: {multiple: 5, share: 0.2, at_least: 20, answer_hours: 8}     # these are the defaults

A channel gets an alert by the first route that names the channel and matches the alert. `when` may
name `platform`, `category`, `merchant`, `metric` and `severity` (warning, violation), one or many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Literal

import yaml

from redline.alerts.channels.config import Channel, ChannelReader
from redline.alerts.letter import Audience
from redline.alerts.storm import LONGEST_HOURS, StormLimits
from redline.errors import SettingError
from redline.summary import metrics

Send = Literal["by_severity", "at_once", "digest"]

# What a route may ask of an alert, by the alert's own field.
FIELDS: Mapping[str, str] = {
    "platform": "platform",
    "category": "category_id",
    "merchant": "merchant_id",
    "metric": "metric",
    "severity": "record_type",
}
_SEVERITIES = ("warning", "violation")
_SENDS: tuple[Send, ...] = ("by_severity", "at_once", "digest")
_AUDIENCES: tuple[Audience, ...] = ("operator", "merchant")
_KEYS = ("channels", "routes", "digest_at", "operators", "page", "storm")
_LONGEST_HOURS = 7 * 24


@dataclass(frozen=True)
class Escalation:
    """Whom to remind of an alert that nobody acknowledged.

    Attributes:
        after_hours: since it was sent.
        to: names of channels.
    """

    after_hours: int
    to: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """Who gets which alerts, how.

    Attributes:
        to: names of channels.
        when: allowed values by the alert's field; no field: every alert.
    """

    to: tuple[str, ...]
    when: Mapping[str, frozenset[str]]
    send: Send
    audience: Audience
    escalate: Escalation | None


@dataclass(frozen=True)
class Rules:
    """What a file of alerts says.

    Attributes:
        digest_at: the time of day at which digests are sent; None: with the run.
        operators: names of the channels that hear about the pipeline itself.
        page: the address below which records have their pages.
        storm: from when on new alerts wait for a person's answer.
    """

    channels: tuple[Channel, ...]
    routes: tuple[Route, ...]
    digest_at: time | None
    operators: tuple[str, ...]
    page: str | None
    storm: StormLimits


def read_rules(path: Path) -> Rules:
    """Read the file of alerts.

    Raises:
        SettingError: the file is missing, not YAML, or says something that means nothing, with the
            line and never with a value that may be secret.
    """
    if not path.is_absolute():
        raise SettingError("it is not an absolute path", "REDLINE_ALERTS", "write /dir/alerts.yml")
    reader = _Reader(path, "the file of alerts", SettingError)
    root = reader.root()
    given = dict(reader.items(root, "the file", _KEYS))
    channels = reader.channels(given["channels"]) if "channels" in given else ()
    if not channels:
        raise SettingError("it names no channel", str(path), "name one, or unset REDLINE_ALERTS")
    known = {channel.name: channel for channel in channels}
    if "routes" in given:
        routes = tuple(reader.route(each, known) for each in reader.listed(given["routes"]))
    else:
        routes = (Route(tuple(known), {}, "at_once", "operator", None),)
    return Rules(
        channels=channels,
        routes=routes,
        digest_at=reader.clock(given["digest_at"]) if "digest_at" in given else None,
        operators=(
            reader.names(given["operators"], "operators", known) if "operators" in given else ()
        ),
        page=reader.page(given["page"]) if "page" in given else None,
        storm=reader.storm(given["storm"]) if "storm" in given else StormLimits(),
    )


class _Reader(ChannelReader):
    """Reads the rest of a file of alerts."""

    def route(self, node: yaml.Node, known: Mapping[str, Channel]) -> Route:
        given = dict(self.items(node, "a route", ("to", "when", "send", "audience", "escalate")))
        if "to" not in given:
            raise self.fail(node, "the route leads nowhere", "write to: [channel]")
        to = self.names(given["to"], "to", known)
        send = self.among(given["send"], "send", _SENDS) if "send" in given else "by_severity"
        audience = (
            self.among(given["audience"], "audience", _AUDIENCES)
            if "audience" in given
            else "operator"
        )
        for name in to:
            if audience != "merchant" and known[name].is_of_merchant:
                raise self.fail(
                    given["to"],
                    f"channel {name} has {{merchant_id}} in its address",
                    "write audience: merchant in this route, or another address",
                )
        return Route(
            to,
            self.when(given["when"]) if "when" in given else {},
            next(each for each in _SENDS if each == send),
            next(each for each in _AUDIENCES if each == audience),
            self.escalation(given["escalate"], known) if "escalate" in given else None,
        )

    def when(self, node: yaml.Node) -> Mapping[str, frozenset[str]]:
        found = {}
        for name, each in self.items(node, "when", (*FIELDS,)):
            values = self.texts(each, name)
            allowed = {"metric": (*metrics(),), "severity": _SEVERITIES}.get(name)
            for value in values:
                if allowed is not None and value not in allowed:
                    raise self.fail(each, f"unknown {name} '{value}'", f"use {', '.join(allowed)}")
            found[FIELDS[name]] = frozenset(values)
        return found

    def escalation(self, node: yaml.Node, known: Mapping[str, Channel]) -> Escalation:
        given = dict(self.items(node, "escalate", ("after_hours", "to")))
        if len(given) < 2:
            raise self.fail(
                node, "the escalation is incomplete", "write {after_hours: 4, to: [channel]}"
            )
        hours = self.number(given["after_hours"], "after_hours")
        if hours > _LONGEST_HOURS:
            raise self.fail(
                given["after_hours"], f"after_hours is over {_LONGEST_HOURS}", "write fewer"
            )
        to = self.names(given["to"], "to", known)
        for name in to:
            if known[name].is_of_merchant:
                raise self.fail(given["to"], f"channel {name} is merchants'", "name another")
        return Escalation(hours, to)

    def names(self, node: yaml.Node, told: str, known: Mapping[str, Channel]) -> tuple[str, ...]:
        """Names of channels."""
        found = self.texts(node, told)
        for name in found:
            if name not in known:
                raise self.fail(node, f"no channel is named '{name}'", f"use {', '.join(known)}")
        return tuple(dict.fromkeys(found))

    def texts(self, node: yaml.Node, told: str) -> tuple[str, ...]:
        """One text or several."""
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not several:
            raise self.fail(node, f"{told} is empty", "name one")
        return tuple(self.text(each, told) for each in several)

    def listed(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.fail(node, "routes is not a list", "write - to: [channel]")
        return list(node.value)

    def clock(self, node: yaml.Node) -> time:
        text = self.text(node, "digest_at")
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
            raise self.fail(node, "digest_at is no time of day", 'write "08:00"')
        return time.fromisoformat(text)

    def page(self, node: yaml.Node) -> str:
        text = self.text(node, "page")
        if not re.fullmatch(r"https?://[!-;=?-~]+", text):
            raise self.fail(node, "page is no web address", "write https://host/path")
        return text.rstrip("/")

    def storm(self, node: yaml.Node) -> StormLimits:
        given = dict(self.items(node, "storm", ("multiple", "share", "at_least", "answer_hours")))

        def decimal(name: str, default: float, most: float, todo: str) -> float:
            if name not in given:
                return default
            text = self.text(given[name], name)
            if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= most:
                raise self.fail(given[name], f"{name} is '{text}'", todo)
            return float(text)

        usual = StormLimits()
        return StormLimits(
            decimal("multiple", usual.multiple, 10_000, "write how often the usual number, as 5"),
            decimal("share", usual.share, 1, "write a share of the merchants, as 0.2"),
            self.number(given["at_least"], "at_least") if "at_least" in given else usual.at_least,
            decimal(
                "answer_hours",
                usual.answer_hours,
                LONGEST_HOURS,
                f"write {LONGEST_HOURS} hours at most: the next run must not wait",
            ),
        )

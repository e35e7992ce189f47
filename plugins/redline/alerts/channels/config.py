"""The channels of the file of alerts, read and checked, with lines in every refusal.

    channels:
      risk-team:                        # a name of your own; deliveries are kept by it
        kind: email
        language: zh                    # en where it is left out
        host: smtp.example.com
        security: starttls              # or tls, or none
        user: redline
        password: ${SMTP_PASSWORD}      # secrets are names of environment variables
        from: Redline <redline@example.com>
        to: [risk@example.com]
      ticketing:
        kind: webhook                   # signed: see webhook.py
        url: ${TICKETS_URL}
        secret: ${TICKETS_SECRET}
        allow_private: true             # it may be on a private address
      chat:
        kind: feishu                    # or lark, dingtalk, wecom, slack, teams
        token: ${FEISHU_TOKEN}          # what its address ends with; of teams the whole address
        secret: ${FEISHU_SECRET}        # where the robot asks for a signature
      anything-else:
        kind: apprise                   # a hundred services more: see longtail.py
        url: ${NTFY_URL}                # as apprise writes it, such as ntfys://topic

Any channel may have `appeal` (how to appeal, in its own words) and `appeal_days`. An address in
`to` may hold the merchant's id, where a route sends merchants their own:
`{merchant_id}@shops.example.com`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from redline.alerts.channels.cards import PLATFORMS
from redline.alerts.message import LANGUAGES, Language
from redline.errors import SettingError
from redline.yaml_lines import Lines

_SECRET = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SECURITIES = ("starttls", "tls", "none")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}

# Stands for the merchant's id in an address of e-mail.
MERCHANT = "{merchant_id}"

_COMMON = ("kind", "language", "appeal", "appeal_days")
_REQUIRED: dict[str, tuple[str, ...]] = {
    "email": ("host", "from", "to"),
    "webhook": ("url", "secret"),
    "apprise": ("url",),
    **dict.fromkeys(PLATFORMS, ("token",)),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "email": ("port", "security", "user", "password", "ca_file"),
    "webhook": ("allow_private",),
    "apprise": ("allow_private",),
    **dict.fromkeys(PLATFORMS, ("secret", "base", "allow_private")),
}


@dataclass(frozen=True)
class Secret:
    """The name of an environment variable. The value is nowhere but in the environment."""

    variable: str
    where: str

    def reveal(self) -> str:
        """The value, for the one who sends.

        Raises:
            SettingError: the variable is not set.
        """
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise SettingError(
                f"the environment variable {self.variable} is not set",
                self.where,
                "set it where Redline runs",
            )
        return value


@dataclass(frozen=True)
class Channel:
    """A place that alerts go to.

    Attributes:
        kind: `email`, `webhook` or a chat platform.
        appeal, appeal_days: what its messages say of appeals.
        options: what else the file says, by name; secrets as `Secret`.
    """

    name: str
    kind: str
    language: Language
    appeal: str | None
    appeal_days: int | None
    options: Mapping[str, Any]

    @property
    def is_of_merchant(self) -> bool:
        """Whether each merchant has an address of its own, made of its id."""
        return any(MERCHANT in address for address in self.options.get("to", ()))


class ChannelReader(Lines):
    """Reads the channels of a file of alerts."""

    def channels(self, node: yaml.Node) -> tuple[Channel, ...]:
        """The channels that a mapping names.

        Raises:
            RedlineError: of `kind`; one of them means nothing.
        """
        found = []
        for name, each in self.items(node, "channels", None):
            if not _NAME.fullmatch(name):
                raise self.fail(each, "that is no name for a channel", "use letters and digits")
            found.append(self.channel(name, each))
        return tuple(found)

    def channel(self, name: str, node: yaml.Node) -> Channel:
        """A channel that a mapping describes."""
        every = {*_COMMON, *(n for m in (_REQUIRED, _OPTIONAL) for ns in m.values() for n in ns)}
        kinds = dict(self.items(node, f"channel {name}", sorted(every)))
        if "kind" not in kinds:
            raise self.fail(node, f"channel {name} has no kind", f"use {', '.join(_REQUIRED)}")
        kind = self.among(kinds["kind"], "kind", tuple(_REQUIRED))
        known = (*_COMMON, *_REQUIRED[kind], *_OPTIONAL[kind])
        given = dict(self.items(node, f"channel {name} ({kind})", known))
        for required in _REQUIRED[kind]:
            if required not in given:
                raise self.fail(node, f"channel {name} has no {required}", f"write {required}: ...")
        named = given.get("language")
        language = self.among(named, "language", LANGUAGES) if named is not None else "en"
        options = {
            option: self.option(option, value)
            for option, value in given.items()
            if option not in _COMMON
        }
        if kind == "email":
            options.setdefault("security", "starttls")
            options.setdefault("port", _PORTS[options["security"]])
            if ("user" in options) != ("password" in options):
                raise self.fail(node, f"channel {name} has half a login", "give user and password")
            if "user" in options and options["security"] == "none":
                raise self.fail(
                    node, "a password would be sent in the clear", "use starttls or tls"
                )
        return Channel(
            name,
            kind,
            "zh" if language == "zh" else "en",
            self.text(given["appeal"], "appeal") if "appeal" in given else None,
            self.number(given["appeal_days"], "appeal_days") if "appeal_days" in given else None,
            options,
        )

    def option(self, name: str, node: yaml.Node) -> Any:
        """What a channel's kind asks for, by name."""
        match name:
            case "password" | "secret" | "token" | "url":
                return self.secret(node, name)
            case "port":
                return self.number(node, name)
            case "allow_private":
                return self.among(node, name, ("true", "false")) == "true"
            case "security":
                return self.among(node, name, _SECURITIES)
            case "to":
                many = node.value if isinstance(node, yaml.SequenceNode) else [node]
                if not many:
                    raise self.fail(node, "nobody is named", "write an address")
                return tuple(self.address(each, name) for each in many)
            case "from":
                return self.address(node, name)
            case "base":
                base = self.text(node, name)
                if not base.startswith(("https://", "http://")):
                    raise self.fail(node, "base is no web address", "write https://host")
                return base
            case _:
                return self.text(node, name)

    def secret(self, node: yaml.Node, told: str) -> Secret:
        """The name of an environment variable."""
        found = _SECRET.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
        if found is None:
            raise self.fail(
                node,
                f"{told} must not stand in the file",
                f"write {told}: ${{NAME}} and set the environment variable NAME",
            )
        return Secret(found[1], self.where(node))

    def address(self, node: yaml.Node, told: str) -> str:
        """An address of e-mail, with or without a name."""
        text = self.text(node, told)
        bare = text.rpartition("<")[2].rstrip(">")
        if not re.fullmatch(r"[!-;=?A-~]+@[!-;=?A-~]+", bare) or not text.isprintable():
            raise self.fail(node, f"{told} is no e-mail address", "write name@domain")
        return text

    def among(self, node: yaml.Node, told: str, known: tuple[str, ...]) -> str:
        """One of the texts that mean something."""
        text = self.text(node, told)
        if text not in known:
            raise self.fail(node, f"unknown {told} '{text}'", f"use {', '.join(known)}")
        return text

    def number(self, node: yaml.Node, told: str) -> int:
        """A whole number of at least 1."""
        text = self.text(node, told)
        if not text.isdecimal() or not 0 < int(text) < 65_536:
            raise self.fail(node, f"{told} is no count", "write a whole number of at least 1")
        return int(text)

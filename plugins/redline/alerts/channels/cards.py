"""Cards for group chats: per platform its address, its template and how its answer is to be read.

After the platforms' own pages on incoming webhooks (Feishu and Lark custom bots, DingTalk custom
robots, WeCom group robots, Slack incoming webhooks, Teams workflows). What comes from data goes in
as plain text or without the characters that mean something: no name may mention everyone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from redline.alerts.channels import http
from redline.alerts.channels.outcome import Outcome
from redline.alerts.channels.parts import Part, fitted, parts
from redline.alerts.message import Message

Json = dict[str, Any]


@dataclass(frozen=True)
class Platform:
    """A chat platform.

    Attributes:
        base: where its addresses begin; None where the whole address is the secret.
        path: what follows, before the token.
        template: the message as the platform's JSON.
        read: what its answer says, given the text of the body.
        sign: adds a signature to query and body, by the time and the secret; None: no signatures.
        limit: how large its JSON may be.
        size: of its JSON, in the limit's unit; bytes, if nothing else is said.
    """

    base: str | None
    path: str
    template: Callable[[Message], Json]
    read: Callable[[str], Outcome]
    sign: Callable[[Json, str, float], str] | None = None
    limit: int = 20_000  # of Feishu's and DingTalk's robots
    size: Callable[[Json], int] = lambda body: len(_json(body))


def _json(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def send(
    platform: Platform,
    message: Message,
    *,
    base: str | None,
    token: str,
    secret: str | None,
    allow_private: bool,
    seconds: float = http.SECONDS,
) -> Outcome:
    """Send a message as a card.

    Args:
        base: instead of the platform's own.
        token: what makes the address the channel's; the whole address where there is no base.
        secret: signs, where the platform's robot asks for it.
    """
    body = card(platform, message)
    base = base or platform.base
    url = token if base is None else f"{base.rstrip('/')}{platform.path}{token}"
    if secret is not None and platform.sign is not None:
        url += platform.sign(body, secret, time.time())
    reply = http.post(
        url,
        _json(body),
        {"Content-Type": "application/json; charset=utf-8"},
        allow_private=allow_private,
        seconds=seconds,
    )
    if isinstance(reply, Outcome):
        return reply
    return reply.refusal or platform.read(reply.body.decode("utf-8", "replace"))


def card(platform: Platform, message: Message) -> Json:
    """A message as the platform's JSON, a digest with as many alerts as the platform takes."""
    return platform.template(
        fitted(message, lambda each: platform.size(platform.template(each)), platform.limit)
    )


# What means something in Markdown, or mentions someone.
_HARMLESS = str.maketrans("<>[]*`#|~", "＜＞［］＊'＃｜～")


def _harmless(text: str) -> str:
    return text.translate(_HARMLESS)


def _address(link: str) -> str:
    """An address that no Markdown ends early."""
    return link.replace("(", "%28").replace(")", "%29")


def _linked(part: Part) -> str:
    """A part's label in Markdown, as a link where it has one."""
    label = _harmless(part.label)
    return f"[{label}]({_address(part.link)})" if part.link else label


def _button(message: Message) -> str:
    """The message's link in Markdown, or nothing."""
    return f"[{message.link_label}]({_address(message.link)})" if message.link else ""


# --- Feishu and Lark ----------------------------------------------------------------------------


def _feishu(message: Message) -> Json:
    colours = {"violation": "red", "warning": "orange", "operations": "blue"}
    colour = colours.get(message.severity, "green")
    elements: list[Json] = [
        {
            "tag": "div",
            "text": {
                "tag": "lark_md",
                "content": f"{part.mark}**{_linked(part)}**\n{_harmless(part.text)}",
            },
        }
        if part.kind
        else {
            "tag": "div",
            "fields": [
                {
                    "is_short": False,
                    "text": {"tag": "lark_md", "content": f"**{_harmless(part.label)}**"},
                },
                {"is_short": False, "text": {"tag": "plain_text", "content": part.text}},
            ],
        }
        for part in parts(message)
    ]
    if message.link:
        button = {
            "tag": "button",
            "text": {"tag": "plain_text", "content": message.link_label},
            "type": "primary",
            "url": message.link,
        }
        elements.append({"tag": "action", "actions": [button]})
    return {
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": True},
            "header": {
                "title": {"tag": "plain_text", "content": message.title},
                "template": colour,
            },
            "elements": elements,
        },
    }


def _sign_feishu(body: Json, secret: str, now: float) -> str:
    stamp = str(int(now))
    digest = hmac.digest(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256)
    body |= {"timestamp": stamp, "sign": base64.b64encode(digest).decode()}
    return ""


# --- DingTalk and WeCom -------------------------------------------------------------------------


def _dingtalk(message: Message) -> Json:
    title = _harmless(message.title)
    lines = [f"### {title}"]
    lines += [
        f"{part.mark}**{_linked(part)}**  \n{_harmless(part.text)}" for part in parts(message)
    ]
    lines += [_button(message)] if message.link else []
    text = "\n\n".join(lines)
    return {"msgtype": "markdown", "markdown": {"title": title, "text": text}}


def _sign_dingtalk(body: Json, secret: str, now: float) -> str:
    stamp = str(round(now * 1000))
    digest = hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)
    return f"&timestamp={stamp}&sign={quote_plus(base64.b64encode(digest))}"


_WECOM_BYTES = 4096  # of the Markdown


def _wecom(message: Message) -> Json:
    colour = "info" if message.severity == "resolved" else "warning"
    lines = [f'<font color="{colour}">**{_harmless(message.title)}**</font>']
    lines += [f"{part.mark}**{_linked(part)}**\n{_harmless(part.text)}" for part in parts(message)]
    content = "\n".join(lines)
    button = f"\n{_button(message)}" if message.link else ""
    if not message.shorter:  # of an alert the end goes, and the link stays
        content = _bytes(content, _WECOM_BYTES - len(button.encode()))
    return {"msgtype": "markdown", "markdown": {"content": content + button}}


def _size_of_wecom(body: Json) -> int:
    return len(body["markdown"]["content"].encode())


def _bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode("utf-8", "ignore")


# --- Slack and Teams ----------------------------------------------------------------------------


def _slack(message: Message) -> Json:
    blocks: list[Json] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.title[:150]}}
    ]
    for part in parts(message):
        if part.kind:
            label = _slack_link(part.link, part.label)
            text = f"{part.mark}*{label}*\n{_escaped(part.text)}"
            # Verbatim: nothing in it becomes a link or a mention by itself.
            told = {"type": "mrkdwn", "text": text, "verbatim": True}
            blocks.append({"type": "section", "text": told})
            continue
        label = f"*{_escaped(part.label)}*"
        blocks += [
            {"type": "context", "elements": [{"type": "mrkdwn", "text": label}]},
            {"type": "section", "text": {"type": "plain_text", "text": part.text}},
        ]
    if message.link:
        link = {"type": "mrkdwn", "text": _slack_link(message.link, message.link_label)}
        blocks.append({"type": "section", "text": link})
    return {"text": _escaped(message.title), "blocks": blocks}


def _slack_link(link: str | None, text: str) -> str:
    address = quote(link, safe="/:?=&%#+,@") if link else None
    return f"<{address}|{_escaped(text)}>" if address else _escaped(text)


def _escaped(text: str) -> str:
    return _harmless(text).replace("&", "&amp;")


def _teams(message: Message) -> Json:
    colours = {"violation": "Attention", "warning": "Warning", "operations": "Accent"}
    colour = colours.get(message.severity, "Good")
    body: list[Json] = [
        {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "color": colour}
        | {"text": _harmless(message.title), "wrap": True}
    ]
    for part in parts(message):
        label = f"{part.mark}{_linked(part)}"
        body += [
            {"type": "TextBlock", "weight": "Bolder", "text": label, "wrap": True},
            {"type": "TextBlock", "text": _harmless(part.text), "wrap": True, "spacing": "None"},
        ]
    card: Json = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if message.link:
        open_it = {"type": "Action.OpenUrl", "title": message.link_label, "url": message.link}
        card["actions"] = [open_it]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


# --- what they answer ---------------------------------------------------------------------------


def _coded(names: tuple[str, ...], busy: frozenset[int]) -> Callable[[str], Outcome]:
    """Read a body whose code says how it went: zero is sent."""

    def read(text: str) -> Outcome:
        try:
            body = json.loads(text)
            code = next(body[name] for name in names if name in body)
        except (ValueError, TypeError, StopIteration):
            return Outcome("later", "HTTP 200 with a body that holds no code")
        if code == 0:
            return Outcome("sent", "code 0")
        return Outcome("later" if code in busy else "refused", f"HTTP 200, code {code}")

    return read


def _read_slack(text: str) -> Outcome:
    if text.strip() == "ok":
        return Outcome("sent", "ok")
    return Outcome("later", "HTTP 200 with a body that is not ok")


def _read_teams(text: str) -> Outcome:
    # A workflow answers 202 with nothing, a connector 200 with `1`; or with 200 and how it failed.
    if text.strip() in ("", "1"):
        return Outcome("sent", "taken")
    return Outcome("later", "HTTP 200 with a body that tells a failure")


_FEISHU = Platform(
    base="https://open.feishu.cn",
    path="/open-apis/bot/v2/hook/",
    template=_feishu,
    read=_coded(("code", "StatusCode"), frozenset({9499, 11232})),  # too many requests
    sign=_sign_feishu,
)

PLATFORMS: Mapping[str, Platform] = {
    "feishu": _FEISHU,
    "lark": Platform(
        "https://open.larksuite.com", _FEISHU.path, _FEISHU.template, _FEISHU.read, _FEISHU.sign
    ),
    "dingtalk": Platform(
        base="https://oapi.dingtalk.com",
        path="/robot/send?access_token=",
        template=_dingtalk,
        read=_coded(("errcode",), frozenset({-1, 130101, 410100})),  # busy; too fast
        sign=_sign_dingtalk,
    ),
    "wecom": Platform(
        base="https://qyapi.weixin.qq.com",
        path="/cgi-bin/webhook/send?key=",
        template=_wecom,
        read=_coded(("errcode",), frozenset({-1, 45009, 45033})),  # busy; too often
        limit=_WECOM_BYTES,
        size=_size_of_wecom,
    ),
    "slack": Platform(
        base="https://hooks.slack.com",
        path="/services/",
        template=_slack,
        read=_read_slack,
        limit=50,
        size=lambda body: len(body["blocks"]),
    ),
    "teams": Platform(None, "", _teams, _read_teams, limit=28_000),
}

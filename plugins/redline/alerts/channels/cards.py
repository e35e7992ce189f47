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
from urllib.parse import quote_plus

from redline.alerts.channels import http
from redline.alerts.channels.outcome import Outcome
from redline.alerts.message import Message

Json = dict[str, Any]


@dataclass(frozen=True)
class Platform:
    """A chat platform.

    Attributes:
        base: where its addresses begin; None where the whole address is the secret.
        path: what follows, before the token.
        template: the message as the platform's JSON.
        sign: adds a signature to query and body, by the time and the secret; None: no signatures.
        read: what its answer says, given the text of the body.
    """

    base: str | None
    path: str
    template: Callable[[Message], Json]
    read: Callable[[str], Outcome]
    sign: Callable[[Json, str, float], str] | None = None


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
    body = platform.template(message)
    base = base or platform.base
    url = token if base is None else f"{base.rstrip('/')}{platform.path}{token}"
    if secret is not None and platform.sign is not None:
        url += platform.sign(body, secret, time.time())
    reply = http.post(
        url,
        json.dumps(body, ensure_ascii=False).encode(),
        {"Content-Type": "application/json; charset=utf-8"},
        allow_private=allow_private,
        seconds=seconds,
    )
    if isinstance(reply, Outcome):
        return reply
    return reply.refusal or platform.read(reply.body.decode("utf-8", "replace"))


# --- Feishu and Lark ----------------------------------------------------------------------------


def _feishu(message: Message) -> Json:
    colour = {"violation": "red", "warning": "orange"}.get(message.severity, "green")
    elements = [
        {
            "tag": "div",
            "fields": [
                {"is_short": False, "text": {"tag": "lark_md", "content": f"**{label}**"}},
                {"is_short": False, "text": {"tag": "plain_text", "content": text}},
            ],
        }
        for label, text in message.parts
    ]
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

_HARMLESS = str.maketrans("<>[]*`#|", "＜＞［］＊'＃｜")


def _dingtalk(message: Message) -> Json:
    title = _harmless(message.title)
    lines = [f"### {title}"]
    lines += [f"**{label}**  \n{_harmless(text)}" for label, text in message.parts]
    text = "\n\n".join(lines)
    return {"msgtype": "markdown", "markdown": {"title": title, "text": text}}


def _sign_dingtalk(body: Json, secret: str, now: float) -> str:
    stamp = str(round(now * 1000))
    digest = hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)
    return f"&timestamp={stamp}&sign={quote_plus(base64.b64encode(digest))}"


def _wecom(message: Message) -> Json:
    colour = "info" if message.severity == "resolved" else "warning"
    lines = [f'<font color="{colour}">**{_harmless(message.title)}**</font>']
    lines += [f"**{label}**\n{_harmless(text)}" for label, text in message.parts]
    return {"msgtype": "markdown", "markdown": {"content": _bytes("\n".join(lines), 4096)}}


def _harmless(text: str) -> str:
    return text.translate(_HARMLESS)


def _bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode("utf-8", "ignore")


# --- Slack and Teams ----------------------------------------------------------------------------


def _slack(message: Message) -> Json:
    blocks: list[Json] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.title[:150]}}
    ]
    for label, text in message.parts:
        blocks += [
            {"type": "context", "elements": [{"type": "mrkdwn", "text": f"*{label}*"}]},
            {"type": "section", "text": {"type": "plain_text", "text": text[:3000]}},
        ]
    title = message.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": title, "blocks": blocks}


def _teams(message: Message) -> Json:
    colour = {"violation": "Attention", "warning": "Warning"}.get(message.severity, "Good")
    body: list[Json] = [
        {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "color": colour}
        | {"text": _harmless(message.title), "wrap": True}
    ]
    for label, text in message.parts:
        body += [
            {"type": "TextBlock", "weight": "Bolder", "text": label, "wrap": True},
            {"type": "TextBlock", "text": _harmless(text), "wrap": True, "spacing": "None"},
        ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
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
    ),
    "slack": Platform("https://hooks.slack.com", "/services/", _slack, _read_slack),
    "teams": Platform(None, "", _teams, _read_teams),
}

"""Channels: the places that alerts go to, each by one function that says what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redline.alerts.channels import cards, mail, webhook
from redline.alerts.channels.config import Channel, Secret, read_channels
from redline.alerts.channels.outcome import Outcome
from redline.alerts.message import message

__all__ = ["Channel", "Outcome", "check", "preview", "read_channels", "send"]


def send(channel: Channel, alert: Mapping[str, Any], key: str) -> Outcome:
    """Send an alert to a channel.

    Args:
        key: the idempotency key, where the channel's kind can carry one.

    Raises:
        SettingError: an environment variable of the channel is not set.
    """
    given: dict[str, Any] = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in channel.options.items()
    }
    if channel.kind == "webhook":
        return webhook.send(
            alert,
            key,
            url=given["url"],
            secret=given["secret"],
            allow_private=given.get("allow_private", False),
        )
    said = message(alert, channel.language, channel.appeal, channel.appeal_days)
    if channel.kind == "email":
        sender = given.pop("from")
        return mail.send(said, key, sender=sender, **given)
    return cards.send(
        cards.PLATFORMS[channel.kind],
        said,
        base=given.get("base"),
        token=given["token"],
        secret=given.get("secret"),
        allow_private=given.get("allow_private", False),
    )


def check(channel: Channel) -> None:
    """See that a channel has what it needs, without sending.

    Raises:
        SettingError: an environment variable of the channel is not set.
    """
    for value in channel.options.values():
        if isinstance(value, Secret):
            value.reveal()


def preview(channel: Channel, alert: Mapping[str, Any]) -> str:
    """What a channel would show of an alert, as text; needs no secret and sends nothing."""
    return mail.text(message(alert, channel.language, channel.appeal, channel.appeal_days))

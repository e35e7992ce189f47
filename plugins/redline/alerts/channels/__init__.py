"""Channels: the places that messages go to, each by one function that says what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redline.alerts.channels import cards, longtail, mail, webhook
from redline.alerts.channels.config import MERCHANT, Channel, Secret
from redline.alerts.channels.outcome import Outcome
from redline.alerts.letter import Letter
from redline.alerts.message import Message, digest, message, reminded
from redline.alerts.notices import Notice, notice_message

__all__ = ["Channel", "Outcome", "check", "preview", "send"]

# What an id may hold to be part of an address.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def send(channel: Channel, letter: Letter, key: str, page: str | None = None) -> Outcome:
    """Send a letter to a channel.

    Args:
        key: the idempotency key, where the channel's kind can carry one.
        page: the address below which records have their pages.

    Raises:
        SettingError: an environment variable of the channel is not set.
    """
    given: dict[str, Any] = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in channel.options.items()
    }
    if channel.kind == "webhook":
        return webhook.send(
            _body(letter),
            key,
            url=given["url"],
            secret=given["secret"],
            allow_private=given.get("allow_private", False),
        )
    said = put_into_words(channel, letter, page)
    if channel.kind == "apprise":
        return longtail.send(
            said, url=given["url"], allow_private=given.get("allow_private", False)
        )
    if channel.kind == "email":
        if channel.is_of_merchant:
            merchant_id = str(letter.alerts[0]["merchant_id"])
            if not _PLAIN.fullmatch(merchant_id):
                return Outcome("refused", "the merchant's id can be no part of an address")
            given["to"] = [each.replace(MERCHANT, merchant_id) for each in given["to"]]
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


def preview(channel: Channel, letter: Letter, page: str | None = None) -> str:
    """What a channel would show of a letter, as text; needs no secret and sends nothing."""
    return mail.text(put_into_words(channel, letter, page))


def put_into_words(channel: Channel, letter: Letter, page: str | None = None) -> Message:
    """A letter in the channel's language, for its audience."""
    if letter.form == "notice":
        return notice_message(Notice(**(letter.notice or {})), channel.language)
    if letter.form == "digest":
        return digest(
            letter.alerts,
            channel.language,
            page=page,
            audience=letter.audience,
            appeal=channel.appeal,
            appeal_days=channel.appeal_days,
        )
    said = message(
        letter.alerts[0],
        channel.language,
        channel.appeal,
        channel.appeal_days,
        page=page,
        audience=letter.audience,
    )
    if letter.form == "reminder":
        return reminded(said, int((letter.notice or {})["hours"]), channel.language)
    return said


def _body(letter: Letter) -> Mapping[str, Any]:
    """What a system gets: an alert as its file tells it, or a notice."""
    if letter.form == "notice":
        return {"notice": letter.notice}
    alert = letter.alerts[0]
    return {**alert, "reminder": letter.notice} if letter.form == "reminder" else alert

"""Every other service, through the library apprise: Telegram, Discord, ntfy, Pushover, SMS, ...

Apprise speaks to a service by an address that holds its secrets (`tgram://TOKEN/CHAT`), and says of
an attempt only whether it was taken. It connects by itself: a host that the address names is looked
up before, and refused if it is private, but a second look-up could lead elsewhere.
"""

from __future__ import annotations

import logging
import socket
from typing import Any

from redline.alerts.channels import http, mail
from redline.alerts.channels.outcome import Outcome
from redline.alerts.channels.parts import fitted
from redline.alerts.message import Message

SECONDS = 30.0


def send(
    message: Message, *, url: str, allow_private: bool = False, seconds: float = SECONDS
) -> Outcome:
    """Send a message as plain text; what is not taken may be later.

    Args:
        url: one service's address, as apprise's pages describe it.
        allow_private: whether a host that it names may be on a private address.
        seconds: after which the service counts as one that does not answer.
    """
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

    _hush()
    service = Apprise.instantiate(url, asset=AppriseAsset(http_redirects=False))
    if service is None:
        return Outcome("refused", "apprise knows no service by that address")
    if not allow_private and _is_private(service):
        return Outcome("refused", "the host is on a private address: set allow_private to allow it")
    told = fitted(message, lambda each: len(mail.body(each)), service.body_maxlen)
    kinds = {
        "violation": NotifyType.FAILURE,
        "warning": NotifyType.WARNING,
        "operations": NotifyType.INFO,
    }
    one = Apprise()
    one.add(service)
    taken = one.notify(
        title=told.title,
        body=mail.body(told),
        notify_type=kinds.get(told.severity, NotifyType.SUCCESS),
        body_format=NotifyFormat.TEXT,
        timeout=seconds,
    )
    if taken:
        return Outcome("sent", f"taken by {service.service_name}")
    return Outcome("later", f"not taken by {service.service_name}")


def _is_private(service: Any) -> bool:
    """Whether the service is one on a host of the address's own, and that host is not public."""
    if not any("{host}" in template for template in service.templates):
        return False
    try:
        found = socket.getaddrinfo(service.host, service.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return not all(http.is_public(str(entry[4][0])) for entry in found)


def _hush() -> None:
    """Keep addresses out of the logs: apprise tells them, and urllib3 when it is debugged."""
    logging.getLogger("apprise").disabled = True
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

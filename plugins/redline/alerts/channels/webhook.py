"""A signed webhook: the alert as JSON, for a system that checks who sent it.

    POST, Content-Type: application/json; charset=utf-8
    Idempotency-Key: the same in every attempt to deliver this alert to this channel
    X-Redline-Timestamp: seconds since 1970 UTC; refuse what is older than some minutes
    X-Redline-Signature: sha256=<hex of HMAC-SHA-256, by the secret, over "<timestamp>.<body>">

`alert.schema.json` beside this package is the body's JSON schema; that of a notice about the
pipeline, which only operators get, is `notice.schema.json`. Any 2xx is taken as received.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from redline.alerts.channels import http
from redline.alerts.channels.outcome import Outcome


def send(
    alert: Mapping[str, Any],
    key: str,
    *,
    url: str,
    secret: str,
    allow_private: bool,
    seconds: float = http.SECONDS,
) -> Outcome:
    """Send an alert, signed."""
    body = json.dumps(alert, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    stamp = str(int(time.time()))
    reply = http.post(
        url,
        body,
        {
            "Content-Type": "application/json; charset=utf-8",
            "Idempotency-Key": key,
            "X-Redline-Timestamp": stamp,
            "X-Redline-Signature": f"sha256={signature(secret, stamp, body)}",
        },
        allow_private=allow_private,
        seconds=seconds,
    )
    if isinstance(reply, Outcome):
        return reply
    return reply.refusal or Outcome("sent", f"HTTP {reply.status}")


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The hex digest that a receiver must come to as well."""
    signed = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()

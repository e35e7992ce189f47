"""One POST over HTTP: to an address that was checked, within a time, following nothing."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from redline.alerts.channels.outcome import Outcome

SECONDS = 20.0  # for all of it: resolving, connecting, sending, reading
_LONGEST_BODY = 65_536
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 529})


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    body: bytes
    retry_after: float | None

    @property
    def refusal(self) -> Outcome | None:
        """Why its status says that the message was not taken; None where it was."""
        if 200 <= self.status < 300:
            return None
        told = f"HTTP {self.status}"
        if self.status in _BUSY or self.retry_after is not None:
            return Outcome("later", told, self.retry_after)
        if 300 <= self.status < 400:
            told += ": redirections are not followed"
        return Outcome("refused", told)


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    seconds: float = SECONDS,
) -> Reply | Outcome:
    """Send a body; an Outcome says why there was no reply. Neither holds the address.

    Unless `allow_private`, a host is refused if any of its addresses is not public; the connection
    goes to an address that was checked, so that a second look-up cannot lead elsewhere.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in ("http", "https"):
        return Outcome("refused", "the address is not one of http:// or https://")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Outcome("later", "the host's name is not known")
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        return Outcome("refused", "the host is on a private address: set allow_private to allow it")
    connection = (
        _CheckedHTTPS(host, port, addresses, seconds)
        if parts.scheme == "https"
        else _Checked(host, port, addresses, seconds)
    )
    # A server may send one byte at a time for ever: after the time the socket is shut under it.
    alarm = threading.Timer(seconds, connection.abort)
    alarm.daemon = True
    alarm.start()
    try:
        connection.request("POST", target, body, dict(headers))
        response = connection.getresponse()
        read = response.read(_LONGEST_BODY)
        if connection.aborted:
            raise TimeoutError
        if response.length and len(read) < _LONGEST_BODY:  # what was promised did not come
            raise http.client.IncompleteRead(read)
        return Reply(response.status, read, _seconds(response.getheader("Retry-After")))
    except ssl.SSLCertVerificationError:
        return Outcome("later", "the host's certificate is not valid")
    except TimeoutError:
        return Outcome("later", "no answer in time")
    except (OSError, http.client.HTTPException) as error:
        late = connection.aborted
        told = "no answer in time" if late else f"the connection broke: {type(error).__name__}"
        return Outcome("later", told)
    except ValueError:  # a character that no header or path may hold
        return Outcome("refused", "the address holds characters that no address may hold")
    finally:
        alarm.cancel()
        connection.close()


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, also one wrapped in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour:
            return is_public(str(ip.sixtofour))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class _Checked(http.client.HTTPConnection):
    """A connection to addresses that were looked up before, by the name that was given."""

    def __init__(self, host: str, port: int, addresses: list[str], seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self._addresses = addresses
        self.aborted = False

    def connect(self) -> None:
        began, failure = time.monotonic(), OSError("no address")
        for address in self._addresses:
            left = (self.timeout or SECONDS) - (time.monotonic() - began)
            try:
                self.sock: Any = socket.create_connection((address, self.port), max(left, 0.1))
                return
            except OSError as error:
                failure = error
        raise failure

    def abort(self) -> None:
        """End the exchange from another thread."""
        self.aborted = True
        held = getattr(self, "sock", None)
        if held is not None:
            with suppress(OSError):  # it may be closed already
                held.shutdown(socket.SHUT_RDWR)


class _CheckedHTTPS(_Checked):
    """The same with TLS, whose certificate must be the name's."""

    default_port = 443

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _seconds(header: str | None) -> float | None:
    """`Retry-After`: seconds, or a date."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None

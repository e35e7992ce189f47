"""`s3://bucket/prefix`: dated files as `files://` reads them, in S3 or what speaks its protocol.

`s3://KEY:SECRET@bucket/prefix`, each part percent-encoded, or `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; without either the bucket is read as anyone may.
`?endpoint=http://host:9000` names another server than AWS, `&region=` its region.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
from pyarrow import fs

from redline.errors import SourceError, StorageError
from redline.extensions import load_extension
from redline.sources import Address
from redline.sources._storage import Entry, Part, part_source, told, unreadable
from redline.sources.files import FilesSource, make_source

OPTIONS = ("endpoint", "region")

_ADDRESS = re.compile(
    r"(?:(?P<key>[^:@/]+):(?P<secret>.+?)@)?(?P<bucket>[a-z0-9][a-z0-9._-]{1,62})"
    r"(?:/(?P<prefix>.*))?",
    re.DOTALL,
)
_ENDPOINT = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/?")
_REGION = re.compile(r"[a-z0-9-]+")
_FORM = "write s3://bucket/prefix, or s3://KEY:SECRET@bucket/prefix, percent-encoded"

# A run asks for each date of each entity; one listing answers for all of them.
_LISTING_SECONDS = 60.0
_BUFFER = 4 << 20

# What waiting does not mend, in the words of S3, of Arrow and of DuckDB.
_LASTING = re.compile(
    r"ACCESS_DENIED|NO_SUCH|INVALID_ACCESS_KEY|SIGNATURE|RESOURCE_NOT_FOUND|does not exist"
    r"|\b40[0134]\b|Forbidden|Not Found",
    re.IGNORECASE,
)
_OF_NETWORK = re.compile(r"HTTP|curl|connect|time[d ]*out|\b5\d\d\b|ETag", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """How to get at a bucket; none of it is ever shown.

    Attributes:
        key, secret, token: credentials, empty where anyone may read.
        region: of the bucket.
        endpoint: another server's `host:port`; empty for AWS.
        is_secure: whether it is spoken to by TLS.
    """

    key: str
    secret: str
    token: str
    region: str
    endpoint: str
    is_secure: bool

    def __repr__(self) -> str:
        """Nothing: it may end up in a log."""
        return "Access(...)"

    def hidden(self, text: str) -> str:
        """The text without any of the credentials."""
        for word in (self.key, self.secret, self.token):
            text = text.replace(word, "***") if word else text
        return re.sub(r" ?\(?Request ID: [^)]*\)?", "", text)


@dataclass(frozen=True)
class Bucket:
    """A bucket, or what lies below a prefix of it.

    Attributes:
        name: of the bucket.
        prefix: without slashes around it.
        access: how to get at it.
    """

    name: str
    prefix: str
    access: Access
    _listings: dict[str, tuple[float, dict[str, Entry]]] = field(default_factory=dict, repr=False)

    @property
    def settles(self) -> bool:
        """An object appears whole."""
        return False

    def has(self, folder: str) -> bool:
        """Whether any object lies below a folder's name."""
        return bool(self._listing(folder))

    def list(self, parts: Sequence[Part]) -> list[Entry]:
        """What matches, in order of name; hidden names are passed over."""
        fixed: list[str] = []
        for part in parts[:-1]:
            if not isinstance(part, str):
                break
            fixed.append(part)
        folder = "/".join(fixed)
        pattern = re.compile("/".join(map(part_source, parts)), re.DOTALL)
        return [
            entry
            for name, entry in sorted(self._listing(folder).items())
            if name.count("/") == len(parts) - 1
            and not any(word.startswith((".", "_")) for word in name.split("/"))
            and pattern.fullmatch(name)
        ]

    def look(self, name: str) -> Entry | None:
        """What lay under a name within the last minute."""
        try:
            return self._listing(name.rpartition("/")[0]).get(name)
        except (SourceError, StorageError):
            return None

    def refuse_outside(self, name: str) -> None:
        """There are no links."""

    def open(self, name: str) -> BinaryIO:
        """Open an object's bytes, fetched as they are asked for."""
        content = self._files().open_input_file(self._key(name))
        return cast(BinaryIO, io.BufferedReader(cast(Any, content), _BUFFER))

    def place(self, name: str) -> str:
        """The object's address, without credentials."""
        return f"s3://{self._key(name)}"

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection that knows the credentials for this bucket alone, in memory."""
        connection = duckdb.connect()
        load_extension(connection, "httpfs")
        access = self.access
        told = {
            "key_id": access.key,
            "secret": access.secret,
            "session_token": access.token,
            "region": access.region,
            "endpoint": access.endpoint,
            "url_style": "path" if access.endpoint else "",
            "scope": f"s3://{self.name}",
        }
        parameters = [f"{name} {_quoted(value)}" for name, value in told.items() if value]
        parameters.append(f"use_ssl {str(access.is_secure).lower()}")
        connection.execute(f"create secret (type s3, {', '.join(parameters)})")
        return connection

    def fault(self, error: Exception, name: str) -> SourceError | StorageError:
        """A damaged object, one that may not be read, or a server that failed."""
        reason, place = self.access.hidden(told(error)), self.place(name)
        full = str(error)
        of_server = isinstance(error, OSError | duckdb.IOException | duckdb.HTTPException) and (
            isinstance(error, OSError | duckdb.HTTPException) or _OF_NETWORK.search(full)
        )
        if of_server and _LASTING.search(full):
            return SourceError(
                f"it cannot be read ({reason})", place, "see the address and what its key may read"
            )
        if of_server:
            return StorageError(
                f"it cannot be read ({reason})", place, "see that the server is well"
            )
        return unreadable(place, reason)

    def _listing(self, folder: str) -> dict[str, Entry]:
        """All objects below a folder, by name, of the last minute."""
        now = time.monotonic()
        for seen, (at, entries) in self._listings.items():
            if now - at < _LISTING_SECONDS and (not seen or f"{folder}/".startswith(f"{seen}/")):
                return _below(entries, folder, seen)
        begin = len(f"{self._key('')}".rstrip("/")) + 1
        try:
            found = self._files().get_file_info(
                fs.FileSelector(self._key(folder).rstrip("/"), allow_not_found=True, recursive=True)
            )
        except (OSError, pa.ArrowException) as error:
            raise self.fault(error, folder) from None
        entries = {
            info.path[begin:]: Entry(info.path[begin:], info.size, info.mtime_ns)
            for info in found
            if info.type == fs.FileType.File
        }
        odd = next((name for name in entries if "?" in name), None)
        if odd is not None:
            raise SourceError("a question mark in a name", self.place(odd), "rename the object")
        self._listings[folder] = now, entries
        return entries

    def _files(self) -> fs.S3FileSystem:
        access = self.access
        return fs.S3FileSystem(
            access_key=access.key or None,
            secret_key=access.secret or None,
            session_token=access.token or None,
            anonymous=not access.key,
            region=access.region,
            endpoint_override=access.endpoint or None,
            scheme="https" if access.is_secure else "http",
            force_virtual_addressing=False,
        )

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self.name, self.prefix, name) if part)


def open_source(address: Address, environ: Mapping[str, str] = os.environ) -> FilesSource:
    """Open the bucket at an address; nothing is asked of it yet.

    Raises:
        SourceError: the address or an option means nothing.
    """
    parts = urlsplit(address.text)
    match = _ADDRESS.fullmatch(unquote(parts.netloc + parts.path))
    if match is None:
        raise SourceError("the address names no bucket", "s3://", _FORM)
    endpoint = _ENDPOINT.fullmatch(
        address.options.get("endpoint", environ.get("AWS_ENDPOINT_URL", "")) or "https://-"
    )
    if endpoint is None:
        raise SourceError(
            "the endpoint is not a server", "endpoint of s3://", "write endpoint=http://host:9000"
        )
    region = address.options.get("region") or (
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    )
    if not _REGION.fullmatch(region):
        raise SourceError("the region is not a name", "region of s3://", "write region=eu-west-1")
    own = match["key"] is not None
    access = Access(
        key=match["key"] if own else environ.get("AWS_ACCESS_KEY_ID", ""),
        secret=match["secret"] if own else environ.get("AWS_SECRET_ACCESS_KEY", ""),
        token="" if own else environ.get("AWS_SESSION_TOKEN", ""),
        region=region,
        endpoint="" if endpoint[2] == "-" else endpoint[2],
        is_secure=endpoint[1] != "http",
    )
    if bool(access.key) != bool(access.secret):
        raise SourceError("half of the credentials", "s3://", "give both a key and its secret")
    prefix = (match["prefix"] or "").strip("/")
    return make_source(address, Bucket(match["bucket"], prefix, access), OPTIONS)


def _below(entries: dict[str, Entry], folder: str, seen: str) -> dict[str, Entry]:
    if folder == seen:
        return entries
    return {name: entry for name, entry in entries.items() if name.startswith(f"{folder}/")}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Personal values: keyed pseudonyms for whole columns, masks within free text.

A pseudonym is HMAC-SHA-256 (RFC 2104) of the value's UTF-8 bytes, as 64 hexadecimal digits. It is
calculated by DuckDB in the first projection over what a source delivers, so that the value itself
is never written, not even to a spill file.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from redline.errors import SettingError, StorageError, is_lasting
from redline.landing.partitions import report_dates
from redline.landing.scope import scope_of
from redline.plan import Plan
from redline.settings import Settings

_BLOCK = 64  # bytes that SHA-256 takes at a time

# Masks are cautious: a long number that only looks like a phone number is masked too. Letters may
# stand right before a number ("tel138..."), another digit may not. RE2 has no look-behind, so the
# character before is taken along and put back.
_EMAIL = r"[[:alnum:]._%+-]+@[[:alnum:]-]+(\.[[:alnum:]-]+)+"
_IDENTITY = (
    r"(^|[^0-9])[1-9][0-9]{16}[0-9Xx]",  # Chinese resident identity number
    r"(^|[^0-9])[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}",  # Brazilian CPF, as it is printed
    r"(^|[^0-9])[0-9]{9}-[0-9]{2}\b",
)
_PHONE = (
    r"(^|[^0-9+])(?:(?:\+|00)?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}",  # Chinese mobile
    r"(^|[^0-9])(?:\+|00)[1-9][0-9]{0,2}(?:[ .()-]{0,2}[0-9]){6,12}",  # international
    r"(^|[^0-9])\([0-9]{2,4}\) ?[0-9]{4,5}[ .-]?[0-9]{4}",  # area code in brackets
    r"(^|[^0-9])(?:0?[0-9]{2}[ .-]?)?9[0-9]{4}[ .-]?[0-9]{4}\b",  # Brazilian mobile
    r"(^|[^0-9])0[0-9]{2,3}[ -]?[0-9]{7,8}\b",  # Chinese landline
    r"(^|[^0-9])[0-9]{2} [0-9]{4}-[0-9]{4}\b",  # Brazilian landline
)
_BARE_CPF = r"(^|[^0-9])[0-9]{11}\b"  # after the phone numbers, which may have eleven digits too


@dataclass(frozen=True)
class PseudonymKey:
    """The key, already mixed into the two blocks that HMAC begins with.

    Attributes:
        inner, outer: the blocks.
        id: tells one key from another, and nothing else of it.
    """

    inner: bytes
    outer: bytes
    id: str

    def __repr__(self) -> str:
        """Leave the key out of logs."""
        return "PseudonymKey()"


def read_key(settings: Settings) -> PseudonymKey:
    """The key of the settings, else of the home's key file, which the first use makes.

    Raises:
        SettingError: others may read the key file, it is empty, or it is gone while landed data
            still carries its pseudonyms.
        StorageError: the storage of the key file failed.
    """
    text = settings.pseudonym_key or _read_key_file(settings)
    key = text.encode()
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    block = key.ljust(_BLOCK, b"\0")
    return PseudonymKey(
        inner=bytes(byte ^ 0x36 for byte in block),
        outer=bytes(byte ^ 0x5C for byte in block),
        id=hmac.digest(key, b"which key is this", "sha256").hex()[:16],
    )


def check_key(settings: Settings, plan: Plan, key: PseudonymKey) -> None:
    """See that a platform's landed pseudonyms are of this key, or are all about to be made anew.

    A key is rotated by restating from the platform's first landed date on: until that is published,
    no other run of the platform is let in.

    Raises:
        SettingError: they are of another key, and the run rewrites only some of them or none.
    """
    folder = settings.home.landing / plan.platform
    path = folder / "pseudonym_key.json"
    known = json.loads(path.read_text())["key_id"] if path.exists() else None
    if known == key.id:
        return
    if known is not None:
        landed = {d for each in folder.iterdir() if each.is_dir() for d in report_dates(each)}
        if not landed <= {*scope_of(plan).open_dates}:
            raise SettingError(
                "the pseudonym key is not the one that the landed records were hidden with",
                f"platform {plan.platform}",
                f"put the old key back, or rotate it: make restate FROM={min(landed)}",
            )
    folder.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    aside.write_text(json.dumps({"key_id": key.id}) + "\n")
    aside.replace(path)


def pseudonym_sql(text: str) -> str:
    """The pseudonym of a text expression; needs the parameters `$inner` and `$outer`."""
    return f"sha256($outer::BLOB || unhex(sha256($inner::BLOB || encode({text}))))"


def scrub_sql(text: str) -> str:
    """A text expression with e-mail addresses, identity and phone numbers masked."""
    sql = f"regexp_replace({text}, '{_EMAIL}', '[email]', 'g')"
    for pattern in _IDENTITY:
        sql = f"regexp_replace({sql}, '{pattern}', '\\1[id]', 'g')"
    for pattern in _PHONE:
        sql = f"regexp_replace({sql}, '{pattern}', '\\1[phone]', 'g')"
    sql = f"regexp_replace({sql}, '{_BARE_CPF}', '\\1[id]', 'g')"
    # Most texts hold neither two digits nor an @; asking first is far cheaper than eleven passes.
    return f"CASE WHEN regexp_matches({text}, '[0-9]{{2}}|@') THEN {sql} ELSE {text} END"


def _read_key_file(settings: Settings) -> str:
    path = settings.home.root / "pseudonym.key"
    try:
        if not path.exists():
            if any(settings.home.landing.glob("*/*/report_date=*")):
                raise SettingError(
                    "the key of the landed pseudonyms is gone, a new one would not fit them",
                    str(path),
                    "put the key file back or set REDLINE_PSEUDONYM_KEY to the old key",
                )
            _make_key_file(path)
        if path.stat().st_mode & 0o077:
            raise SettingError(
                "others may read or write the pseudonym key", str(path), "run chmod 600 on it"
            )
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and not is_lasting(error):
            raise StorageError(
                f"cannot read or make the pseudonym key: {error}",
                str(path),
                "free some space, see that its disk or mount is well, and run again",
            ) from error
        raise SettingError(
            f"cannot read or make the pseudonym key: {error}",
            str(path),
            "make the file readable and its folder writable, or set REDLINE_PSEUDONYM_KEY",
        ) from error
    if not text:
        raise SettingError(
            "the pseudonym key is empty", str(path), "put the key back into the file"
        )
    return text


def _make_key_file(path: Path) -> None:
    """Entities are landed by processes of their own: only the first one's key may stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)

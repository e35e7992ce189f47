"""What the open APIs of platforms share: paging, pacing, retries, tokens, rows from JSON.

A platform adds a table of endpoints, a mapping file and a signer (see tiktok.py). Its lists must
give whole records: one that gives ids only, to be asked for in a second request, needs more.

dlt's RESTClient asks and turns the pages. Two things of dlt are left aside, on purpose:

- its pipelines: they write raw rows to disk, and personal values may not lie there;
- the retries of its session: they send the same signed request again, whose signature has a time
  in it, and they know neither a failure within an answer of status 200 nor an expired token.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import requests
from requests.auth import AuthBase

from redline.contract import Entity
from redline.errors import SettingError, SourceError, StorageError, is_lasting
from redline.settings import Settings
from redline.sources import Address
from redline.sources.mapping import SourceMapping, read_mapping, select

Row = dict[str, Any]
Verdict = Literal["ok", "expired", "later", "refused"]

ATTEMPTS = 6  # with the pauses between them about half a minute, unless the platform asks for more
LONGEST_WAIT = 300.0  # seconds that one request may wait in all
TIMEOUTS = (10.0, 30.0)  # seconds to connect, and until the next byte
MOST_PAGES = 10_000

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPTIONS = ("base",)
log = logging.getLogger("redline")


@dataclass(frozen=True)
class Clock:
    """Time, so that a test need not wait for it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()


@dataclass(frozen=True)
class Account:
    """Who asks, for which shops.

    Attributes:
        key: names the app.
        secret: signs its requests.
        shops: name the shops towards the platform; none: all that the app is authorised for.
    """

    key: str
    secret: str = field(repr=False)
    shops: tuple[str, ...]


@dataclass(frozen=True)
class Tokens:
    """What a shop has given the app: a short-lived access token, and what renews it."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True)
class Endpoint:
    """One list that a platform can be asked for.

    Attributes:
        path: below the base address.
        items: where the rows lie in an answer, as dotted names.
        id: the field that names a row.
        method: of the request.
        params, body: what every request says.
        since, until: what the bounds of a time range are called, in seconds since 1970 UTC; they
            go into the body of a POST, else into the query. None: it cannot be asked by time.
        until_is_inside: whether the upper bound belongs to the range.
        cursor: where an answer names the next page; None: there is one page only.
        cursor_param: what that name is called in the query of the next request.
        total: where an answer tells how many rows there are, if it does.
        per_second: how often it is asked at most.
    """

    path: str
    items: str
    id: str
    method: Literal["GET", "POST"] = "POST"
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    until_is_inside: bool = False
    cursor: str | None = None
    cursor_param: str = ""
    total: str | None = None
    per_second: float = 10.0


def as_it_is(row: Row) -> Iterable[Row]:
    """One row of the contract for one of theirs."""
    return (row,)


@dataclass(frozen=True)
class Offer:
    """How an entity of the contract is got.

    Attributes:
        endpoint: where from.
        rows: the rows of the contract that one of theirs holds, still under their names.
        updated: the field with the second that a row was last changed at, which says for which
            business date it is delivered; None: the list tells the present only, and is delivered
            for every date, with the begin of the date as `day`.
    """

    endpoint: Endpoint
    rows: Callable[[Row], Iterable[Row]] = as_it_is
    updated: str | None = None


@dataclass(frozen=True)
class Platform:
    """All that sets a platform apart.

    Attributes:
        name: as a person knows it.
        base, renewal_base: `https://` addresses of its API and of what renews tokens.
        mapping: the file that says which of its fields is which column (see mapping.py); fields
            within fields are named with dots. Those of the shop are under `shop`.
        offers: what it has, by the contract's entity.
        not_offered: what it has not, and why.
        shops, shop_field: the list of authorised shops, and the field of it that names one.
        shop_param: what that name is called in the query of all other requests.
        signer: signs a request, again if it was signed before, with the tokens of that moment.
        judge: what an answer means, from its status and its body (None: no JSON object).
        told: what is said of a refusal: the platform's code for it.
        remedies: what to do about some of these codes.
        renewal: path and query (or body) of the request that renews tokens.
        renewed: the tokens in its answer; a KeyError or TypeError where there are none.
    """

    name: str
    base: str
    renewal_base: str
    mapping: Path
    offers: Mapping[str, Offer]
    not_offered: Mapping[str, str]
    shops: Endpoint
    shop_field: str
    shop_param: str
    signer: Callable[[Account, Callable[[], Tokens]], AuthBase]
    judge: Callable[[int, Row | None], Verdict]
    told: Callable[[Row], str]
    renewal: Callable[[Account, Tokens], tuple[str, dict[str, str]]]
    renewed: Callable[[Row], Tokens]
    remedies: Mapping[str, str] = field(default_factory=dict)


# --- one request --------------------------------------------------------------------------------


class _Send(Protocol):
    def __call__(self, attempt: int) -> requests.Response: ...


@dataclass
class _Caller:
    """Sends a request until it is answered, refused, or not worth another try."""

    platform: Platform
    clock: Clock
    _free_at: dict[str, float] = field(default_factory=dict)

    def call(
        self,
        path: str,
        send: _Send,
        per_second: float,
        renew: Callable[[], None] | None = None,
    ) -> requests.Response:
        where = f"{self.platform.name} {path}"
        waited, problem = 0.0, ""
        for attempt in range(ATTEMPTS):
            self._pace(path, per_second)
            pause = 2.0**attempt
            response, problem = self._try(send, attempt)
            if response is not None:
                body = _json_object(response)
                verdict = self.platform.judge(response.status_code, body)
                if verdict == "ok":
                    return response
                code = self.platform.told(body) if body else ""
                problem = f"status {response.status_code}" + (f", code {code}" if code else "")
                if body is None and response.status_code < 400:
                    problem += ", not whole JSON"
                if verdict == "expired" and renew is not None:
                    renew()
                    renew = None  # once: a token that is new and expired is another trouble
                    continue
                if verdict != "later":
                    raise SourceError(
                        f"the platform refused ({problem})",
                        where,
                        self.platform.remedies.get(code, "see what its documentation says of it"),
                    )
                pause = max(pause, _retry_after(response))
            if waited + pause > LONGEST_WAIT:
                problem += f", and asks to wait {pause:.0f} s"
                break
            if attempt + 1 < ATTEMPTS:
                self.clock.sleep(pause)
                waited += pause
        raise StorageError(
            f"the platform does not answer: {problem}", where, "run again when it is well"
        )

    def _try(self, send: _Send, attempt: int) -> tuple[requests.Response | None, str]:
        """An answer, or what went wrong: never the error itself, whose text has the address."""
        try:
            return send(attempt), ""
        except requests.Timeout:
            return None, "no answer in time"
        except requests.ConnectionError:
            return None, "the connection failed"
        except requests.RequestException as error:
            return None, f"the connection was cut ({type(error).__name__})"

    def _pace(self, path: str, per_second: float) -> None:
        now = self.clock.now()
        free_at = self._free_at.get(path, now)
        if free_at > now:
            self.clock.sleep(free_at - now)
        self._free_at[path] = max(free_at, now) + 1 / per_second


def _json_object(response: requests.Response) -> Row | None:
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return 0.0


class _Session(requests.Session):
    """The session that RESTClient sends with."""

    def __init__(self, caller: _Caller, signer: AuthBase, renew: Callable[[], None]) -> None:
        super().__init__()
        self._caller, self._signer, self._renew = caller, signer, renew
        self.per_second = 1.0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and again where that may help, each time with a fresh signature."""
        kwargs |= {"allow_redirects": False, "timeout": TIMEOUTS}  # tokens go to one host only

        def send(attempt: int) -> requests.Response:
            signed = self._signer(request.copy()) if attempt else request
            return super(_Session, self).send(signed, **kwargs)

        path = urlsplit(request.url or "").path
        return self._caller.call(str(path), send, self.per_second, self._renew)


# --- tokens -------------------------------------------------------------------------------------


@dataclass
class TokenFile:
    """The tokens of a shop: those of the setting, until the platform has renewed them.

    Renewed ones lie in `REDLINE_HOME/tokens/<platform>.json`, for their owner only: platforms may
    give a new refresh token each time, and then the old one is worth nothing.
    """

    path: Path
    given: Tokens
    _held: Tokens | None = None

    def now(self) -> Tokens:
        """The newest tokens known.

        Raises:
            SettingError: others may read the file, or it cannot be read.
        """
        if self._held is None:
            self._held = self._read() or self.given
        return self._held

    def renew(self, ask: Callable[[Tokens], Tokens]) -> None:
        """Take what another process has renewed meanwhile, else ask for new ones and keep them."""
        stale = self.now()
        found = self._read()
        if found is not None and found.access != stale.access:
            self._held = found
            return
        self._held = ask(stale)
        self._write(self._held)

    def _seed(self) -> str:
        """Which tokens of the setting these come from: a new authorisation replaces the file."""
        return hashlib.sha256(f"{self.given.access}:{self.given.refresh}".encode()).hexdigest()

    def _read(self) -> Tokens | None:
        try:
            if self.path.stat().st_mode & 0o077:
                raise SettingError(
                    "others may read the tokens", str(self.path), f"chmod 600 {self.path}"
                )
            kept = json.loads(self.path.read_text())
            if kept["seed"] != self._seed():
                return None
            return Tokens(kept["access"], kept["refresh"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError):
            raise SettingError(
                "the file of tokens is damaged",
                str(self.path),
                "remove it and set REDLINE_API_TOKENS anew",
            ) from None

    def _write(self, tokens: Tokens) -> None:
        text = json.dumps(
            {"seed": self._seed(), "access": tokens.access, "refresh": tokens.refresh}
        )
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside.unlink(missing_ok=True)
            with os.fdopen(
                os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SettingError | StorageError:
        kind = SettingError if is_lasting(error) else StorageError
        return kind(
            f"the tokens cannot be kept: {error.strerror}",
            str(self.path),
            "make the folder writable and see that its disk is well",
        )


def given_tokens(settings: Settings, platform: str) -> Tokens:
    """The tokens that the setting REDLINE_API_TOKENS gives for a platform.

    Raises:
        SettingError: there are none, or they cannot be read.
    """
    for each in filter(None, (part.strip() for part in (settings.api_tokens or "").split(","))):
        name, _, pair = each.partition("=")
        access, colon, refresh = pair.partition(":")
        if name.strip() == platform and colon and (access or refresh):
            return Tokens(access.strip(), refresh.strip())
    raise SettingError(
        f"no tokens for the platform {platform}",
        "REDLINE_API_TOKENS",
        f"set it to {platform}=ACCESS_TOKEN:REFRESH_TOKEN",
    )


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep addresses out of the debug log: that of a renewal holds the secret and the token."""
    logger = logging.getLogger("urllib3.connectionpool")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# --- lists --------------------------------------------------------------------------------------


@dataclass
class ApiClient:
    """Asks one platform for lists, in the name of one app."""

    platform: Platform
    account: Account
    tokens: TokenFile
    base: str
    renewal_base: str
    clock: Clock

    def __post_init__(self) -> None:
        self._caller = _Caller(self.platform, self.clock)
        self._signer = self.platform.signer(self.account, self.tokens.now)
        self._session = _Session(self._caller, self._signer, self._renew)
        self._unsigned = requests.Session()
        is_here = urlsplit(self.base).hostname in _LOOPBACK
        self._session.trust_env = self._unsigned.trust_env = not is_here  # no proxy leads here

    def rows(
        self, endpoint: Endpoint, shop: str | None = None, since: int = 0, until: int = 0
    ) -> Iterator[Row]:
        """Yield the rows of a shop's list whose time lies in [since, until), each once.

        Raises:
            SourceError: the platform refuses.
            StorageError: it does not answer, turns in a circle, or gives fewer rows than it tells.
        """
        from dlt.common.configuration.specs import RuntimeConfiguration
        from dlt.sources.helpers.rest_client.client import RESTClient
        from dlt.sources.helpers.rest_client.paginators import (
            JSONResponseCursorPaginator,
            SinglePagePaginator,
        )

        client = RESTClient(
            self.base,
            auth=self._signer,
            session=self._session,
            # Given, it is not looked for: dlt then reads no configuration and sends no telemetry.
            config=RuntimeConfiguration(dlthub_telemetry=False),
        )
        params: dict[str, Any] = dict(endpoint.params)
        if shop is not None:
            params[self.platform.shop_param] = shop
        body: dict[str, Any] = dict(endpoint.body)
        if endpoint.since and endpoint.until:
            last = until - 1 if endpoint.until_is_inside else until
            target = body if endpoint.method == "POST" else params
            target |= {endpoint.since: since, endpoint.until: last}
        self._session.per_second = endpoint.per_second
        pages = client.paginate(
            endpoint.path,
            method=endpoint.method,
            params=params,
            json=body or None,
            paginator=JSONResponseCursorPaginator(endpoint.cursor, endpoint.cursor_param)
            if endpoint.cursor
            else SinglePagePaginator(),
            data_selector=endpoint.items,
            hooks={"response": []},  # the session has judged the answer
        )
        where = f"{self.platform.name} {endpoint.path}"
        cursors: set[str] = set()
        seen: dict[str, set[bytes]] = {}
        told: Any = None
        for number, page in enumerate(pages, 1):
            answer = page.response.json()
            _refuse_other_names(answer, endpoint.items, where)
            for row in page:
                if not isinstance(row, dict):
                    raise SourceError(
                        "a row is no JSON object", where, "see whether the API has changed"
                    )
                # A page that comes twice brings the same; a row that changed meanwhile differs.
                content = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()
                versions = seen.setdefault(str(row.get(endpoint.id)), set())
                if content not in versions:
                    versions.add(content)
                    yield row
            told = _at(answer, endpoint.total) if endpoint.total else None
            cursor = _at(answer, endpoint.cursor) if endpoint.cursor else None
            if cursor in cursors:
                raise StorageError(
                    f"the platform turns its pages in a circle: page {number} leads to one that "
                    "was read",
                    where,
                    "run again; if it stays so, ask the platform",
                )
            if number == MOST_PAGES:
                raise SourceError(
                    f"more than {MOST_PAGES} pages for one date", where, "ask the platform"
                )
            if cursor:
                cursors.add(str(cursor))
        if isinstance(told, int) and len(seen) < told:
            raise StorageError(
                f"the platform tells of {told} rows and gave {len(seen)}", where, "run again"
            )

    def _renew(self) -> None:
        self.tokens.renew(self._ask_for_tokens)

    def _ask_for_tokens(self, stale: Tokens) -> Tokens:
        path, params = self.platform.renewal(self.account, stale)

        def send(attempt: int) -> requests.Response:
            return self._unsigned.get(
                f"{self.renewal_base}{path}", params=params, timeout=TIMEOUTS, allow_redirects=False
            )

        todo = "authorise the app again and set REDLINE_API_TOKENS"
        try:
            with _unlogged():
                answer = self._caller.call(path, send, 1.0).json()
            return self.platform.renewed(answer)
        except SourceError as error:
            raise SourceError(
                f"the access token has expired and is not renewed: {error.what}", error.where, todo
            ) from None
        except (KeyError, TypeError):
            raise SourceError(
                "the renewal's answer has no tokens", f"{self.platform.name} {path}", todo
            ) from None


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _refuse_other_names(answer: Row, items: str, where: str) -> None:
    """Where a list has got another name, no rows would be found: that must not look like none."""
    above, _, name = items.rpartition(".")
    fields = _at(answer, above) if above else answer
    if not isinstance(fields, dict) or name in fields:
        return
    lists = [other for other, value in fields.items() if isinstance(value, list) and value]
    if lists:
        raise SourceError(
            f"expects the list '{items}'; found {', '.join(lists)}",
            where,
            "see whether the API has changed",
        )


# --- the source ---------------------------------------------------------------------------------


@dataclass
class ApiSource:
    """Shops on a platform, as a source.

    A record is delivered for the business date of its last change: what changes later moves to a
    later date by itself, so a closed date has no fingerprint and need not be asked again.
    """

    platform: str
    api: Platform
    client: ApiClient
    timezone: ZoneInfo
    mapping: SourceMapping
    _kept: dict[tuple[str, str | None, date | None], list[Row]] | None = None
    _told: set[str] = field(default_factory=set)

    @property
    def not_offered(self) -> Mapping[str, str]:
        """Entities that the platform's API has not, and why: no rows of them ever come."""
        return self.api.not_offered

    def span(self) -> tuple[date, date] | None:
        """A shop has no end of its own."""
        return None

    def fingerprint(self, entity: Entity, day: date) -> str | None:
        """Unknown: see the class."""
        return None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it a list is fetched once: orders and their lines are of the same answer."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """Yield the rows changed on the business dates `start` to `end`.

        Raises:
            SourceError: the platform refuses, or a required field is gone.
            StorageError: it does not answer.
        """
        offer = self.api.offers.get(entity.name)
        if offer is None:
            if entity.name not in self._told and not entity.optional:
                self._told.add(entity.name)
                why = self.api.not_offered.get(entity.name, "its API has no such list")
                log.info("%s offers no %s: %s", self.api.name, entity.name, why)
            return
        shops = self._shops()
        day = start
        while day <= end:
            rows = [row for shop in shops for row in self._rows_of(offer, shop, day)]
            if rows:
                yield from self._batches(entity, offer.endpoint, rows, day)
            day += timedelta(days=1)

    def _rows_of(self, offer: Offer, shop: Row, day: date) -> Iterator[Row]:
        if offer.endpoint is self.api.shops:
            found = [shop]
        else:
            name = str(shop[self.api.shop_field])
            found = self._fetch(offer.endpoint, name, day if offer.updated else None)
        for theirs in found:
            if offer.updated is not None:
                self._refuse_other_date(offer, theirs, day)
            for row in offer.rows(theirs):
                yield {**row, "shop": shop, "day": _begin(day, self.timezone).isoformat()}

    def _refuse_other_date(self, offer: Offer, row: Row, day: date) -> None:
        changed = row.get(offer.updated or "")
        if not isinstance(changed, int):
            return  # the door refuses the row
        if not self._second(day) <= changed < self._second(day + timedelta(days=1)):
            raise SourceError(
                "the platform answers with rows of other dates than were asked for",
                f"{self.api.name} {offer.endpoint.path} {day}",
                "see whether the API has changed",
            )

    def _shops(self) -> list[Row]:
        named = self.client.account.shops
        there = {
            str(row[self.api.shop_field]): row
            for row in self._fetch(self.api.shops, None, None)
            if self.api.shop_field in row
        }
        missing = sum(name not in there for name in named)
        if missing or not there:
            raise SourceError(
                f"the app is not authorised for {missing or 'any'} of the shops",
                f"{self.api.name} {self.api.shops.path}",
                "name authorised shops in the address, or authorise the app",
            )
        return [there[name] for name in named or there]

    def _fetch(self, endpoint: Endpoint, shop: str | None, day: date | None) -> list[Row]:
        key = (endpoint.path, shop, day)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        bounds = (self._second(day), self._second(day + timedelta(days=1))) if day else (0, 0)
        rows = list(self.client.rows(endpoint, shop, *bounds))
        if self._kept is not None:
            self._kept[key] = rows
        return rows

    def _second(self, day: date) -> int:
        return int(_begin(day, self.timezone).timestamp())

    def _batches(
        self, entity: Entity, endpoint: Endpoint, rows: list[Row], day: date
    ) -> Iterator[pa.RecordBatch]:
        flat = [dict(_leaves(row)) for row in rows]
        there = {name for row in flat for name in row}
        origins = [self.mapping.of(entity).column(name).column for name in entity.column_names]
        # Only what is mapped goes on: addresses and telephone numbers of buyers end here.
        wanted = [name for name in dict.fromkeys(origins) if name in there]
        where = f"{self.api.name} {endpoint.path} {day}"
        chosen = select(self.mapping, entity, dict.fromkeys(wanted, "VARCHAR"), where)
        table = pa.table(
            {name: pa.array([row.get(name) for row in flat], pa.string()) for name in wanted}
            | {"": pa.nulls(len(flat))}
        )
        columns = ", ".join(f'{sql} as "{name}"' for name, sql in chosen.expressions.items())
        # No folder to spill raw values to.
        with duckdb.connect(config={"temp_directory": ""}) as connection:
            connection.register("theirs", table)
            connection.execute(
                f"select {columns}, $day::date as report_date, $file as source_file from theirs",
                {"day": day, "file": f"{self.api.name} {endpoint.path}"},
            )
            yield from connection.to_arrow_reader()


def _begin(day: date, timezone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock_time(), timezone).astimezone(UTC)


def _leaves(row: Row, before: str = "") -> Iterator[tuple[str, str]]:
    """Fields as text under dotted names; lists are not among them, and null is absent."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        elif isinstance(value, bool):
            yield f"{before}{name}", "true" if value else "false"
        elif isinstance(value, str | int | float) and value != "":
            yield f"{before}{name}", str(value)


def open_api(address: Address, api: Platform, settings: Settings) -> ApiSource:
    """Open `scheme://APP_KEY:APP_SECRET@SHOPS?base=...`; nothing is asked yet.

    SHOPS are names separated by commas, or `all` that the app is authorised for.

    Raises:
        SourceError: the address says too little, or dlt is not installed.
        SettingError: the tokens are not set.
    """
    form = f"{address.scheme}://APP_KEY:APP_SECRET@SHOPS"
    if importlib.util.find_spec("dlt") is None:
        raise SourceError("dlt is not installed", f"{address.scheme}://", "run make api")
    if unknown := sorted(address.options.keys() - {*_OPTIONS}):
        raise SourceError(
            f"unknown option '{unknown[0]}'",
            f"{address.scheme}://",
            "the options are base and platform",
        )
    shops = tuple(filter(None, address.path.strip("/").split(",")))
    key, _, secret = (
        unquote(each) for each in urlsplit(address.text).netloc.rpartition("@")[0].partition(":")
    )
    if not (key and secret and shops):
        raise SourceError("the address says too little", f"{address.scheme}://", f"write {form}")
    base = address.options.get("base", "").rstrip("/")
    parts = urlsplit(base)
    if (
        base
        and parts.scheme != "https"
        and (parts.scheme, parts.hostname) not in {("http", host) for host in _LOOPBACK}
    ):
        raise SourceError(
            "the base address is not https://", f"{address.scheme}://", "write base=https://..."
        )
    client = ApiClient(
        api,
        Account(key, secret, () if shops == ("all",) else shops),
        TokenFile(
            settings.home.root / "tokens" / f"{address.platform}.json",
            given_tokens(settings, address.platform),
        ),
        base or api.base,
        base or api.renewal_base,
        CLOCK,
    )
    mapping = read_mapping(str(api.mapping), ())
    return ApiSource(address.platform, api, client, ZoneInfo(settings.timezone), mapping)

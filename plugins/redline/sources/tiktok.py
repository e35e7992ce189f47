"""TikTok Shop's open API: `tiktok://APP_KEY:APP_SECRET@SHOP_CIPHER`, or `@all`.

From the pages of the TikTok Shop Partner Center (partner.tiktokshop.com/docv2), in stored copies
read in November 2026; this was never run against the platform itself. Pages that were not to be
had in full are known through public code that calls the API, and are marked with a star:

- "Sign your API request": `sign`, with the example that a test repeats; the access token in the
  header `x-tts-access-token` since version 202309; times within five minutes.
- "Get Authorized Shops": the shops, and the cipher that names one.
- "Get Order List": orders by time of change, with their lines. One line is one piece.
- "Search Products"*, "Search Returns"*: products, and requests for refund with or without return.
- "Refresh Access Token"*: `/api/v2/token/refresh`; codes 105001 and 105002 for an access token that
  is not valid (any more)*, 106001 for a wrong signature, 36009004 for a wrong time.

No page that we could read offers reviews or complaints. Conversations of the customer service are
chat without an outcome, and requests for refund come as refunds: to take them for complaints too
would count them twice. Refunds of orders cancelled before shipment show in the order only.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase

from redline.settings import read_settings
from redline.sources import Address
from redline.sources._api import (
    Account,
    ApiSource,
    Endpoint,
    Offer,
    Platform,
    Row,
    Tokens,
    Verdict,
    open_api,
)

_EXPIRED = ("105001", "105002")
_COMPLETE = "RETURN_OR_REFUND_REQUEST_COMPLETE"


def sign(secret: str, path: str, query: Iterable[tuple[str, str]], body: bytes = b"") -> str:
    """The signature of a request ("Sign your API request"), as 64 hexadecimal digits."""
    pairs = sorted((name, value) for name, value in query if name not in ("sign", "access_token"))
    told = path + "".join(name + value for name, value in pairs)
    key = secret.encode()
    return hmac.new(key, key + told.encode() + body + key, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class TikTokSigner(AuthBase):
    """Adds app, time and signature to a request's query, and the token to its header."""

    account: Account
    tokens: Callable[[], Tokens]

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request, or sign it anew."""
        parts = urlsplit(str(r.url))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        query |= {"app_key": self.account.key, "timestamp": str(int(time.time()))}
        body = r.body.encode() if isinstance(r.body, str) else r.body or b""
        assert isinstance(body, bytes)  # a list is never sent as a stream
        query["sign"] = sign(self.account.secret, parts.path, query.items(), body)
        r.url = urlunsplit(parts._replace(query=urlencode(query)))
        r.headers["x-tts-access-token"] = self.tokens().access
        r.headers["content-type"] = "application/json"
        return r


def _judge(status: int, body: Row | None) -> Verdict:
    if status == 429 or status >= 500:
        return "later"
    if body is None:
        return "later" if status < 300 else "refused"
    if _told(body) in _EXPIRED:
        return "expired"
    return "ok" if status < 300 and body.get("code") == 0 else "refused"


def _told(body: Row) -> str:
    code = body.get("code")
    return str(code) if isinstance(code, int) else ""


def _renewal(account: Account, stale: Tokens) -> tuple[str, dict[str, str]]:
    return "/api/v2/token/refresh", {
        "app_key": account.key,
        "app_secret": account.secret,
        "refresh_token": stale.refresh,
        "grant_type": "refresh_token",
    }


def _renewed(answer: Row) -> Tokens:
    data = answer["data"]
    return Tokens(str(data["access_token"]), str(data["refresh_token"]))


def _product(row: Row) -> Iterable[Row]:
    skus = row.get("skus")
    first = skus[0] if isinstance(skus, list) and skus and isinstance(skus[0], dict) else {}
    yield {**row, "first_sku": first}


def _lines(order: Row) -> Iterable[Row]:
    """An order's lines, numbered by their ids: the order within an answer is not promised."""
    lines = [line for line in order.get("line_items") or () if isinstance(line, dict)]
    ids = [str(line.get("id", "")) for line in lines]
    for number, at in enumerate(sorted(range(len(ids)), key=lambda i: (len(ids[i]), ids[i])), 1):
        yield {**lines[at], "order": {"id": order.get("id")}, "line_no": number}


def _refund(row: Row) -> Iterable[Row]:
    done = row.get("return_status") == _COMPLETE  # there is no time of its own for it
    yield {**row, "completed_time": row.get("update_time") if done else None}


_NEXT, _TOTAL = "data.next_page_token", "data.total_count"
_SHOPS = Endpoint("/authorization/202309/shops", "data.shops", "id", "GET")
_ORDERS = Endpoint(
    "/order/202309/orders/search",
    "data.orders",
    "id",
    params={"page_size": "100", "sort_field": "update_time", "sort_order": "ASC"},
    since="update_time_ge",
    until="update_time_lt",
    cursor=_NEXT,
    cursor_param="page_token",
    total=_TOTAL,
)
_PRODUCTS = Endpoint(
    "/product/202309/products/search",
    "data.products",
    "id",
    params={"page_size": "100"},
    body={"status": "ALL"},
    since="update_time_ge",
    until="update_time_le",
    until_is_inside=True,
    cursor=_NEXT,
    cursor_param="page_token",
    total=_TOTAL,
)
_RETURNS = Endpoint(
    "/return_refund/202309/returns/search",
    "data.return_orders",
    "return_id",
    params={"page_size": "50", "sort_field": "update_time", "sort_order": "ASC"},
    body={"return_types": ["REFUND", "RETURN_AND_REFUND"]},
    since="update_time_ge",
    until="update_time_lt",
    cursor=_NEXT,
    cursor_param="page_token",
    total=_TOTAL,
)

TIKTOK = Platform(
    name="TikTok Shop",
    base="https://open-api.tiktokglobalshop.com",
    renewal_base="https://auth.tiktok-shops.com",
    mapping=Path(__file__).with_suffix(".yml"),
    offers={
        "merchants": Offer(_SHOPS),
        "products": Offer(_PRODUCTS, _product, "update_time"),
        "orders": Offer(_ORDERS, updated="update_time"),
        "order_items": Offer(_ORDERS, _lines, "update_time"),
        "refunds": Offer(_RETURNS, _refund, "update_time"),
    },
    not_offered={
        "reviews": "its API has none",
        "complaints": "its API has none; requests for refund come as refunds",
    },
    shops=_SHOPS,
    shop_field="cipher",
    shop_param="shop_cipher",
    signer=TikTokSigner,
    judge=_judge,
    told=_told,
    renewal=_renewal,
    renewed=_renewed,
    remedies={
        "105001": "authorise the app again and set REDLINE_API_TOKENS",
        "105002": "authorise the app again and set REDLINE_API_TOKENS",
        "105005": "give the app the scopes for shops, products, orders and returns",
        "106001": "correct the app key and secret in the address",
        "36009004": "set this machine's clock right",
    },
)


def open_source(address: Address) -> ApiSource:
    """Open a shop.

    Raises:
        SourceError: the address says too little, or dlt is not installed.
        SettingError: the tokens are not set.
    """
    return open_api(address, TIKTOK, read_settings())

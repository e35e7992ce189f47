"""A stand-in for TikTok Shop's open API: documented answers over HTTP, misbehaving on request.

It checks signatures by the documented algorithm on its own, not with the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

APP_KEY, APP_SECRET, CIPHER = "29a39d", "e59af819cc-of-the-app", "ROW_xkMbgAAA-cipher"
OTHER = "ROW_another-cipher"
ACCESS, REFRESH = "TTP_access-first", "TTP_refresh-first"
SHOPS = "/authorization/202309/shops"
ORDERS = "/order/202309/orders/search"
PRODUCTS = "/product/202309/products/search"
RETURNS = "/return_refund/202309/returns/search"
RENEWAL = "/api/v2/token/refresh"
LISTS = {
    ORDERS: ("orders", "id", "update_time_lt", 0),
    PRODUCTS: ("products", "id", "update_time_le", 1),
    RETURNS: ("return_orders", "return_id", "update_time_lt", 0),
}
PHONE, STREET = "(+1)213-555-1234", "1199 Coleman Ave San Jose"


def order(number: int, changed: int, **more: Any) -> dict[str, Any]:
    """An order as "Get Order List" shows one."""
    return {
        "id": f"5764614130387857{number:02}",
        "status": "AWAITING_SHIPMENT",
        "create_time": changed - 900,
        "update_time": changed,
        "user_id": f"70214368104682304{number:02}",
        "buyer_email": "v2b2V5@chat.seller.tiktok.com",
        "paid_time": changed - 600,
        "rts_sla_time": changed + 86_400,
        "payment": {"currency": "USD", "total_amount": "50.10", "sub_total": "40", "tax": "0.10"},
        "recipient_address": {"name": "David Kong", "phone_number": PHONE, "address_line1": STREET},
        "line_items": [
            {"id": f"5770{number:02}2", "product_id": "1729582718312380", "sale_price": "20.05"},
            {"id": f"5770{number:02}1", "product_id": "1729582718312381", "sale_price": "30.05"},
        ],
        **more,
    }


def product(number: int, changed: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"172958271831238{number}",
        "title": f"Tea {number}",
        "status": "ACTIVATE",
        "update_time": changed,
        "skus": [{"id": "1", "price": {"currency": "USD", "tax_exclusive_price": "30.05"}}],
        **more,
    }


def request_for_refund(number: int, changed: int, **more: Any) -> dict[str, Any]:
    return {
        "return_id": f"40352469402096{number:02}",
        "order_id": f"5764614130387857{number:02}",
        "return_type": "REFUND",
        "return_status": "RETURN_OR_REFUND_REQUEST_COMPLETE",
        "return_reason": "ecom_order_delivered_refund_reason_missing_product",
        "refund_amount": {"currency": "USD", "refund_total": "12.99"},
        "create_time": changed - 60,
        "update_time": changed,
        **more,
    }


@dataclass
class StandIn:
    """What it holds, how it misbehaves, and what it was asked.

    Attributes:
        faults: of a path: what the next requests meet, one each; `*` for the last stays.
        served: path and status of each answer.
    """

    rows: dict[str, list[dict[str, Any]]]
    page_size: int = 2
    access: str = ACCESS
    refresh: str = REFRESH
    faults: dict[str, list[str]] = field(default_factory=dict)
    served: list[tuple[str, str]] = field(default_factory=list)
    renewals: int = 0
    port: int = 0

    @property
    def address(self) -> str:
        return (
            f"tiktok://{APP_KEY}:{APP_SECRET}@{CIPHER}?platform=shop"
            f"&base=http://127.0.0.1:{self.port}"
        )

    def fault(self, path: str) -> str:
        waiting = self.faults.get(path) or [""]
        return waiting[0].rstrip("*") if waiting[0].endswith("*") else waiting.pop(0)

    def answer(self, path: str, query: dict[str, str], body: bytes, token: str) -> dict[str, Any]:
        """The documented answer; a code other than 0 is a failure."""
        if path == RENEWAL:
            return self.renew(query)
        if _signature(path, query, body) != query.get("sign"):
            return {"code": 106001, "message": "signature is invalid"}
        if abs(time.time() - int(query["timestamp"])) > 300:
            return {"code": 36009004, "message": "timestamp"}
        if token != self.access:
            return {"code": 105002, "message": f"access token {token} has expired"}
        if path == SHOPS:
            shop = {"id": "7494105515082810525", "name": "Tea house", "cipher": CIPHER}
            return _said({"shops": [shop, {**shop, "id": "8", "cipher": OTHER}]})
        if query.get("shop_cipher") not in (CIPHER, OTHER):
            return {"code": 36009001, "message": "shop_cipher"}
        items, _, until, inside = LISTS[path]
        asked = json.loads(body)
        found = [
            row
            for row in self.rows.get(path, ())
            if (query["shop_cipher"] == OTHER) == row.get("of_the_other_shop", False)
            and asked["update_time_ge"] <= row["update_time"] < asked[until] + inside
        ]
        at = int(query.get("page_token", "0").removeprefix("page"))
        end = at + self.page_size
        token = f"page{end}" if end < len(found) else ""
        return _said({items: found[at:end], "next_page_token": token, "total_count": len(found)})

    def renew(self, query: dict[str, str]) -> dict[str, Any]:
        expected = {
            "app_key": APP_KEY,
            "app_secret": APP_SECRET,
            "refresh_token": self.refresh,
            "grant_type": "refresh_token",
        }
        if query != expected:
            return {"code": 36004004, "message": "refresh token is invalid"}
        self.renewals += 1
        self.access, self.refresh = (f"TTP_{n}-{self.renewals}" for n in ("access", "refresh"))
        return _said({"access_token": self.access, "refresh_token": self.refresh})


def _said(data: dict[str, Any]) -> dict[str, Any]:
    return {"code": 0, "message": "Success", "request_id": "2021", "data": data}


def _signature(path: str, query: dict[str, str], body: bytes) -> str:
    text = path
    for name in sorted(query):
        if name not in ("sign", "access_token"):
            text += f"{name}{query[name]}"
    text = APP_SECRET + text + body.decode() + APP_SECRET
    return hmac.new(APP_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


@contextmanager
def serve(standin: StandIn) -> Iterator[StandIn]:
    """Serve it on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one piece: else each answer waits for the last one's

        def do_GET(self) -> None:
            self.reply(b"")

        def do_POST(self) -> None:
            self.reply(self.rfile.read(int(self.headers["Content-Length"])))

        def reply(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            fault = standin.fault(parts.path)
            standin.served.append((parts.path, fault))
            if fault == "slow":
                time.sleep(0.4)
            if fault == "cut":
                self.close_connection = True
                self.connection.close()
                return
            if fault == "again" and "page_token" in query:  # the page before, once more
                query["page_token"] = f"page{int(query['page_token'][4:]) - standin.page_size}"
                query["sign"] = _signature(parts.path, query, body)
            if fault == "expire":
                standin.access = "TTP_another"
            answer = standin.answer(
                parts.path, query, body, self.headers.get("x-tts-access-token", "")
            )
            if fault == "code":
                answer = {"code": 36009999, "message": f"{query} {PHONE}"}
            if fault == "renamed":
                answer["data"] = {f"{name}_v2": each for name, each in answer["data"].items()}
            if fault == "lost" and "data" in answer:
                for rows in answer["data"].values():
                    if isinstance(rows, list):
                        rows.pop()
            text = json.dumps(answer).encode()
            status, headers = 200, {"Content-Length": str(len(text))}
            if re.fullmatch("[0-9]{3}", fault):
                status = int(fault)
                headers |= {"Retry-After": "7"} if fault == "429" else {}
                headers |= {"Location": "http://127.0.0.1:9/"} if fault == "302" else {}
            elif answer["code"] == 105002:
                status = 401
            if fault == "truncated":
                text = text[: len(text) // 2]
                headers["Content-Length"] = str(len(text))
            if fault == "short":  # less than was promised
                text, self.close_connection = text[: len(text) // 2], True
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that gave up on a slow answer is no news."""

    server = Quiet(("127.0.0.1", 0), Handler)
    standin.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from requests.auth import AuthBase

from redline.check_source import check_source
from redline.contract import entity
from redline.errors import RedlineError, SettingError, SourceError, StorageError
from redline.landing import extract
from redline.plan import Plan
from redline.settings import PROJECT
from redline.sources import Source, _api, open_source, parse_address
from redline.sources._api import ApiSource, Endpoint, Offer, Platform
from redline.sources.tiktok import TIKTOK, sign
from tests.plugins.redline.sources import tiktok_standin as theirs
from tests.plugins.redline.sources.tiktok_standin import StandIn, serve
from tests.support import settings_of

pytest.importorskip("dlt")

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
MIDNIGHT = int(datetime(2026, 2, 28, 16, tzinfo=UTC).timestamp())  # DAY begins in Shanghai
HOUR = 3600
SECRETS = (theirs.APP_SECRET, "TTP_", "sign=")
PERSONAL = (theirs.PHONE, theirs.STREET, "David Kong", "702143681046823")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, without sleeping."""
    slept: list[float] = []
    at = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        at[0] += seconds

    monkeypatch.setattr(_api, "CLOCK", _api.Clock(lambda: at[0], sleep))
    return slept


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REDLINE_TIMEZONE", "Asia/Shanghai")
    monkeypatch.setenv("REDLINE_API_TOKENS", f"shop={theirs.ACCESS}:{theirs.REFRESH}")
    return tmp_path / "home"


@pytest.fixture
def standin(home: Path, clock: list[float]) -> Iterator[StandIn]:
    orders = [theirs.order(n, MIDNIGHT + n * HOUR) for n in range(5)]
    rows = {
        theirs.ORDERS: [
            theirs.order(90, MIDNIGHT - 1),
            *orders,
            theirs.order(
                6,
                MIDNIGHT + 24 * HOUR - 1,
                cancel_time=MIDNIGHT,
                cancel_reason=f"call {theirs.PHONE}",
                cancellation_initiator="SELLER",
            ),
            theirs.order(91, MIDNIGHT + 24 * HOUR),
            theirs.order(50, MIDNIGHT, of_the_other_shop=True),
        ],
        theirs.PRODUCTS: [theirs.product(n, MIDNIGHT + n) for n in range(3)],
        theirs.RETURNS: [
            theirs.request_for_refund(1, MIDNIGHT + HOUR),
            theirs.request_for_refund(
                2, MIDNIGHT + HOUR, return_status="A_NEW_STATUS", return_type="RETURN_AND_REFUND"
            ),
            theirs.request_for_refund(3, MIDNIGHT + HOUR, return_status="AWAITING_BUYER_SHIP"),
        ],
    }
    with serve(StandIn(rows)) as served:
        yield served


def rows_of(source: Source, name: str, start: date = DAY, end: date = DAY) -> list[dict[str, Any]]:
    batches = list(source.read(entity(name), start, end))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


# --- the documented API ----------------------------------------------------------------------


def test_the_documented_example_has_the_documented_signature() -> None:
    query = [("timestamp", "1623812664"), ("app_key", "29a39d"), ("access_token", "x")]
    documented = "b596b73e0cc6de07ac26f036364178ab16b0a907af13d43f0a0cd2345f582dc8"
    assert sign("e59af819cc", "/authorization/202309/shops", query) == documented


def test_records_come_for_the_business_date_of_their_last_change(standin: StandIn) -> None:
    source = open_source(standin.address)
    orders = rows_of(source, "orders")
    assert [row["order_id"][-2:] for row in orders] == ["00", "01", "02", "03", "04", "06"]
    assert {row["report_date"] for row in orders} == {DAY}
    assert orders[0] | {"source_file": ""} == {
        "order_id": "576461413038785700",
        "merchant_id": "7494105515082810525",
        "buyer_id": "7021436810468230400",
        "amount": "50.10",
        "currency": "USD",
        "paid_at": "2026-02-28 15:50:00",
        "ship_by_at": "2026-03-01 16:00:00",
        "status": "active",
        "updated_at": "2026-02-28 16:00:00",
        "report_date": DAY,
        "source_file": "",
    } | dict.fromkeys(("cancelled_at", "cancel_reason", "cancelled_by"))
    assert orders[-1]["cancelled_by"] == "merchant"
    assert [row["order_id"][-2:] for row in rows_of(source, "orders", NEXT, NEXT)] == ["91"]
    lines = [row for row in rows_of(source, "order_items") if row["order_id"].endswith("00")]
    assert [(row["line_no"], row["unit_price"], row["quantity"]) for row in lines] == [
        ("1", "30.05", "1"),
        ("2", "20.05", "1"),
    ]
    assert len(rows_of(source, "products")) == 3
    merchants = rows_of(source, "merchants", DAY, NEXT)
    assert [(row["merchant_name"], row["report_date"]) for row in merchants] == [
        ("Tea house", DAY),
        ("Tea house", NEXT),
    ]
    every_shop = open_source(standin.address.replace(theirs.CIPHER, "all"))
    assert {row["merchant_id"] for row in rows_of(every_shop, "merchants")} == {
        "7494105515082810525",
        "8",
    }
    assert len(rows_of(every_shop, "orders")) == 7
    with pytest.raises(SourceError, match="not authorised for 1 of the shops"):
        rows_of(open_source(standin.address.replace(theirs.CIPHER, "ROW_none")), "orders")
    refund = rows_of(source, "refunds")[0]
    assert (refund["status"], refund["kind"], refund["completed_at"]) == (
        "completed",
        "refund_only",
        "2026-02-28 17:00:00",
    )


def test_within_a_snapshot_orders_and_lines_are_fetched_once(standin: StandIn) -> None:
    source = open_source(standin.address)
    assert isinstance(source, ApiSource)
    with source.snapshot():
        rows_of(source, "orders")
        rows_of(source, "order_items")
    asked = [path for path, _ in standin.served]
    assert (asked.count(theirs.ORDERS), asked.count(theirs.SHOPS)) == (3, 1)


def test_what_the_api_does_not_offer_is_told_once(
    standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "redline")
    source = open_source(standin.address)
    for _ in range(2):
        assert rows_of(source, "reviews") == rows_of(source, "complaints") == []
    assert [r.getMessage().split(":")[0] for r in caplog.records if r.name == "redline"] == [
        "TikTok Shop offers no reviews",
        "TikTok Shop offers no complaints",
    ]


# --- misbehaviour ----------------------------------------------------------------------------

MENDED = ("429", "500", "503", "slow", "cut", "truncated", "short", "expire")


@pytest.mark.parametrize("path", [theirs.SHOPS, theirs.ORDERS, theirs.RETURNS])
@pytest.mark.parametrize("fault", MENDED)
def test_after_a_passing_fault_the_rows_are_those_of_a_server_without_faults(
    standin: StandIn, fault: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_api, "TIMEOUTS", (1.0, 0.2))
    name = "refunds" if path == theirs.RETURNS else "orders"
    expected = rows_of(open_source(standin.address), name)
    standin.faults[path] = ["", fault] if path != theirs.SHOPS and fault != "expire" else [fault]
    assert rows_of(open_source(standin.address), name) == expected
    assert fault in {told for _, told in standin.served}


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        ("429*", StorageError, "does not answer: status 429"),
        ("500*", StorageError, "does not answer: status 500"),
        ("slow*", StorageError, "no answer in time"),
        ("cut*", StorageError, "the connection failed"),
        ("truncated*", StorageError, "not whole JSON"),
        ("short*", StorageError, "the connection"),
        ("again*", StorageError, "in a circle"),
        ("lost*", StorageError, "tells of 6 rows and gave"),
        ("renamed*", SourceError, "expects the list 'data.orders'; found orders_v2"),
        ("expire*", SourceError, "code 105002"),
        ("code*", SourceError, "code 36009999"),
        ("302*", SourceError, "status 302"),
        ("403*", SourceError, "status 403"),
    ],
)
def test_a_lasting_fault_ends_in_one_clear_line_without_a_secret(
    standin: StandIn,
    home: Path,
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    kind: type[RedlineError],
    told: str,
) -> None:
    monkeypatch.setattr(_api, "TIMEOUTS", (1.0, 0.1))
    caplog.set_level(logging.DEBUG)
    standin.faults[theirs.ORDERS] = [fault]
    with pytest.raises(RedlineError) as caught:
        rows_of(open_source(standin.address), "orders")
    assert type(caught.value) is kind
    assert told in str(caught.value) and theirs.ORDERS in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert sum(clock) <= _api.LONGEST_WAIT + 10
    shown = "".join(traceback.format_exception(caught.value))
    secret = [*SECRETS[:2], *PERSONAL]
    assert not [word for word in secret if word in shown or word in caplog.text]


def test_a_page_that_comes_twice_is_taken_once(standin: StandIn) -> None:
    standin.rows[theirs.RETURNS] = standin.rows[theirs.RETURNS][:2] * 2  # two equal pages
    source = open_source(standin.address)
    with pytest.raises(StorageError, match="tells of 4 rows and gave 2"):
        rows_of(source, "refunds")


def test_the_platforms_wish_to_wait_is_heeded_up_to_a_limit(
    standin: StandIn, clock: list[float]
) -> None:
    standin.faults[theirs.ORDERS] = ["429"]
    rows_of(open_source(standin.address), "orders")
    assert 7.0 in clock


def test_a_list_is_not_asked_more_often_than_its_limit(
    standin: StandIn, clock: list[float]
) -> None:
    standin.page_size = 1
    rows_of(open_source(standin.address), "orders")
    asked = [path for path, _ in standin.served].count(theirs.ORDERS)
    assert asked == 6
    assert sum(clock) == pytest.approx((asked - 1) / 10)


def test_a_wrong_secret_says_what_to_correct(standin: StandIn) -> None:
    address = standin.address.replace(theirs.APP_SECRET, "another")
    with pytest.raises(SourceError, match=r"106001.*correct the app key and secret"):
        rows_of(open_source(address), "orders")


# --- tokens ----------------------------------------------------------------------------------


def test_renewed_tokens_outlive_the_process_in_a_file_for_its_owner(
    standin: StandIn, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    standin.access = "TTP_another"
    assert rows_of(open_source(standin.address), "orders")
    (kept,) = (home / "tokens").iterdir()
    assert kept.name == "shop.json" and kept.stat().st_mode & 0o777 == 0o600
    assert rows_of(open_source(standin.address), "orders")
    assert standin.renewals == 1
    assert not [word for word in SECRETS[:2] if word in caplog.text]

    # two processes notice the same expiry: the second takes what the first has got
    first, second = open_source(standin.address), open_source(standin.address)
    rows_of(first, "merchants"), rows_of(second, "merchants")
    standin.access = "TTP_yet another"
    assert rows_of(first, "orders") == rows_of(second, "orders")
    assert standin.renewals == 2

    kept.chmod(0o644)
    with pytest.raises(SettingError, match="others may read the tokens"):
        rows_of(open_source(standin.address), "orders")
    kept.chmod(0o600)
    # a new authorisation goes before what was kept
    standin.access, standin.refresh = "TTP_new", "TTP_new refresh"
    monkeypatch.setenv("REDLINE_API_TOKENS", "other=x:y, shop=TTP_new:TTP_new refresh")
    assert rows_of(open_source(standin.address), "orders")
    assert standin.renewals == 2


def test_a_refresh_token_that_is_worth_nothing_asks_for_a_new_authorisation(
    standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    standin.access, standin.refresh = "TTP_another", "TTP_another refresh"
    with pytest.raises(SourceError, match=r"not renewed.*code 36004004.*authorise") as caught:
        rows_of(open_source(standin.address), "orders")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert not [word for word in SECRETS[:2] if word in shown]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tiktok://key@cipher?platform=shop", "says too little"),
        ("tiktok://key:secret@?platform=shop", "says too little"),
        ("tiktok://key:secret@c?platform=shop&base=http://example.com", "not https"),
        ("tiktok://key:secret@c?platform=shop&page=1", "unknown option 'page'"),
        ("tiktok://key:secret@c?platform=other", "no tokens for the platform other"),
    ],
)
def test_an_address_that_says_too_little_is_refused(home: Path, address: str, told: str) -> None:
    with pytest.raises(RedlineError, match=told) as caught:
        open_source(address)
    assert "secret@" not in str(caught.value)


# --- the whole way ---------------------------------------------------------------------------


def test_a_shop_passes_the_door_and_nothing_personal_or_secret_lies_in_a_file(
    standin: StandIn, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    standin.access = "TTP_another"  # it must be renewed on the way
    report = check_source(standin.address, DAY, NEXT)
    assert report.is_usable
    settings = replace(
        settings_of(home, "Asia/Shanghai"), api_tokens=os.environ["REDLINE_API_TOKENS"]
    )
    plan = Plan("run-1", "shop", standin.address, DAY, NEXT, None, None, DAY, NEXT)
    reports = {each["entity"]: each for each in extract(plan, settings)["entities"]}
    landed = {name: each["rows_landed"] for name, each in reports.items() if each["rows_landed"]}
    assert landed == {
        "merchants": 2,
        "products": 3,
        "orders": 7,
        "order_items": 14,
        "refunds": 2,
    }
    assert reports["refunds"]["quarantined_by_reason"] == {"unknown_code:status": 1}
    (orders,) = (home / "landing/shop/orders").glob("report_date=2026-03-01/*.parquet")
    reasons = pq.read_table(orders).column("cancel_reason").to_pylist()
    assert [reason for reason in reasons if reason] == ["call ([phone]"]
    files = [path for path in home.rglob("*") if path.is_file() and path.parent.name != "tokens"]
    written = b"".join(path.read_bytes() for path in files)
    parquet = " ".join(
        str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"
    )
    for word in (theirs.APP_SECRET, "TTP_", *PERSONAL):
        assert word.encode() not in written and word not in parquet, word
        assert word not in caplog.text, word


def test_asking_through_dlt_writes_no_folders_and_needs_no_other_host(
    standin: StandIn, tmp_path: Path
) -> None:
    program = f"""
import socket, sys
from datetime import date
real = socket.getaddrinfo
def only_loopback(host, *a, **k):
    assert host == "127.0.0.1", host
    return real(host, *a, **k)
socket.getaddrinfo = only_loopback
from redline.contract import entity
from redline.sources import open_source
source = open_source({standin.address!r})
print(sum(b.num_rows for b in source.read(entity("orders"), date(2026,3,1), date(2026,3,1))))
"""
    home = tmp_path / "user"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=home,
        env=os.environ | {"HOME": str(home), "PYTHONPATH": str(PROJECT / "plugins")},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("6\n", "")
    assert not [*home.rglob("*")]


def test_without_dlt_one_line_says_what_to_install(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _api.importlib.util.find_spec
    monkeypatch.setattr(
        _api.importlib.util, "find_spec", lambda name: None if name == "dlt" else found(name)
    )
    with pytest.raises(SourceError, match=r"dlt is not installed.*run make api"):
        open_source(standin.address)


# --- another platform ------------------------------------------------------------------------

SHOPEE_MAPPING = """
entities:
  orders:
    columns:
      order_id: order_sn
      merchant_id: shop.shop_id
      buyer_id: buyer_user_id
      amount: total_amount
      currency: currency
      status: {value: active}
      updated_at: {column: update_time, epoch: seconds}
"""


def shopee_sign(path: str, at: str, token: str = "", shop: str = "") -> str:
    return hmac.new(b"key", f"7{path}{at}{token}{shop}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class ShopeeSigner(AuthBase):
    account: _api.Account
    tokens: Any

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        at, parts = str(int(time.time())), urlsplit(str(r.url))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        query |= {"partner_id": self.account.key, "timestamp": at}
        if shop := query.get("shop_id", ""):
            query["access_token"] = self.tokens().access
        query["sign"] = shopee_sign(parts.path, at, query.get("access_token", ""), shop)
        r.prepare_url(parts._replace(query="").geturl(), query)
        return r


def shopee(base: str, mapping: Path) -> Platform:
    shops = Endpoint("/api/v2/public/get_shops_by_partner", "authed_shop_list", "shop_id", "GET")
    orders = Endpoint(
        "/api/v2/order/get_order_list",
        "response.order_list",
        "order_sn",
        "GET",
        params={"time_range_field": "update_time"},
        since="time_from",
        until="time_to",
        until_is_inside=True,
        cursor="response.next_cursor",
        cursor_param="cursor",
    )
    return replace(
        TIKTOK,
        name="Shopee",
        base=base,
        mapping=mapping,
        offers={"orders": Offer(orders, updated="update_time")},
        shops=shops,
        shop_field="shop_id",
        shop_param="shop_id",
        signer=ShopeeSigner,
        judge=lambda status, body: "ok" if body and body.get("error") == "" else "refused",
        told=lambda body: str(body["error"]),
    )


def test_another_platform_is_a_mapping_a_signer_and_a_table(
    home: Path, tmp_path: Path, clock: list[float]
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            who = ("a", "42") if parts.path.endswith("order_list") else ("", "")
            expected = shopee_sign(parts.path, query["timestamp"], *who)
            row = {"order_sn": query.get("cursor", "1"), "update_time": MIDNIGHT}
            row |= {"buyer_user_id": 5, "total_amount": 12.5, "currency": "SGD"}
            answer = {
                "error": "" if query["sign"] == expected else "error_sign",
                "authed_shop_list": [{"shop_id": "42"}],
                "response": {
                    "order_list": [row],
                    "next_cursor": "" if "cursor" in query else "2",
                },
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(_api.json.dumps(answer).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    mapping = tmp_path / "shopee.yml"
    mapping.write_text(SHOPEE_MAPPING)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        address = replace(
            parse_address("tiktok://7:key@42?platform=sg"),
            options={"base": f"http://127.0.0.1:{server.server_port}"},
        )
        settings = replace(settings_of(home, "Asia/Shanghai"), api_tokens="sg=a:b")
        source = _api.open_api(address, shopee("https://unused", mapping), settings)
        found = rows_of(source, "orders")
        server.shutdown()
    assert [(row["order_id"], row["amount"], row["buyer_id"]) for row in found] == [
        ("1", "12.5", "5"),
        ("2", "12.5", "5"),
    ]

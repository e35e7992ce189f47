"""The same files in a bucket, served by a real S3-compatible server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from redline.contract import ENTITIES, entity
from redline.errors import SourceError, StorageError
from redline.landing import land
from redline.plan import Plan
from redline.planning import without_password
from redline.settings import Home, Settings
from redline.sources import open_source, parse_address
from redline.sources.s3 import open_source as open_bucket

pytestmark = pytest.mark.xdist_group("s3")

DAY = date(2024, 3, 5)
LINES = entity("order_items")
NAMES = LINES.column_names
HEADER = ",".join(NAMES)
SECRET = "wJalr/+@'XUtn=FEMI"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id="AKIAMINE",
        aws_secret_access_key=SECRET,
    )
    name = f"shop-{abs(hash(request.node.name)) % 10**8}"
    client.create_bucket(Bucket=name)

    class Filled:
        address = f"s3://AKIAMINE:{quote(SECRET, safe='')}@{name}/in/shop?endpoint={server}"
        plain = f"s3://{name}/in/shop?endpoint={server}"

        def put(self, key: str, content: bytes | str) -> None:
            body = content if isinstance(content, bytes) else content.encode()
            client.put_object(Bucket=name, Key=f"in/shop/{key}", Body=body)

    return Filled()


def read(address: str, end: date = DAY) -> list[dict[str, Any]]:
    batches = open_source(address).read(LINES, DAY, end)
    return [row for batch in batches for row in batch.to_pylist()]


def test_files_in_a_bucket_are_read_as_those_of_a_folder(bucket: Any, tmp_path: Path) -> None:
    columns = {name: ["1"] for name in NAMES}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    packed = pa.compress(f"{HEADER}\n3,1,p,1,2\n".encode(), codec="zstd", asbytes=True)
    files = {
        "2024-03-05.parquet": (tmp_path / "x.parquet").read_bytes(),
        "2024-03-06.csv": f"{HEADER}\n2,1,p,1,2\n",
        "2024-03-07.csv.zst": packed,
        "2024-03-08.csv": f"{HEADER}\n4,1,茶,1,2\n".encode("utf-16"),
        "2024-03-09.jsonl": json.dumps(dict.fromkeys(NAMES, "5")),
        "2024-03-10.csv.part": "half of",
        "_SUCCESS": "",
    }
    for name, content in files.items():
        bucket.put(f"order_items/{name}", content)
        path = tmp_path / "order_items" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    bucket.put("orders/2024-03-05.csv", "x")

    found = read(bucket.address, date(2024, 3, 9))

    assert sorted(row["order_id"] for row in found) == ["1", "2", "3", "4", "5"]
    key = repr
    assert sorted(found, key=key) == sorted(
        read(f"files://{tmp_path}?settle=0", date(2024, 3, 9)), key=key
    )
    source = open_source(bucket.address)
    assert source.span() == (DAY, DAY)
    assert list(source.read(entity("appeals"), DAY, DAY)) == []
    with pytest.raises(SourceError, match="no file of order_items for 2024-03-10") as refused:
        read(bucket.address, date(2024, 3, 10))
    assert "/in/shop/order_items/2024-03-10." in str(refused.value)


def test_damage_in_a_bucket_is_told_with_the_objects_address(bucket: Any, tmp_path: Path) -> None:
    packed = pa.compress(f"{HEADER}\n3,1,p,1,2\n".encode() * 999, codec="zstd", asbytes=True)
    for suffix, content, says in (
        ("csv.zst", packed[: len(packed) // 2], "cut off"),
        ("csv", f"{HEADER}\n1,1\n", "line 2 has 2 fields"),
        ("jsonl", "{", "line 1 is not a JSON object"),
        ("parquet", b"PAR1", "not a whole Parquet file"),
    ):
        day = date(2024, 3, 6) + timedelta(days=len(says))
        bucket.put(f"order_items/{day}.{suffix}", content)
        with pytest.raises(SourceError) as refused:
            list(open_source(bucket.address).read(LINES, day, day))
        assert says in str(refused.value)
        assert f"/in/shop/order_items/{day}.{suffix}" in str(refused.value)
        assert "s3://shop-" in str(refused.value)


def test_a_mapping_and_markers_work_in_a_bucket(bucket: Any, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(
        "entities: {order_items: {files: 'dt={date}/lines/*.csv', columns: {order_id: id}}}"
    )
    for part in ("a", "b"):
        bucket.put(
            f"dt={DAY}/lines/{part}.csv", f"{HEADER.replace('order_id', 'id')}\n{part},1,p,1,2\n"
        )
    address = f"{bucket.address}&mapping={mapping}&done=_SUCCESS"
    with pytest.raises(SourceError, match="no file of order_items"):
        read(address)
    bucket.put(f"dt={DAY}/lines/_SUCCESS", "")
    assert sorted(row["order_id"] for row in read(address)) == ["a", "b"]


def test_half_a_year_of_all_entities_costs_one_listing_each(
    bucket: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dates = [DAY + timedelta(days=n) for n in range(180)]
    for day in dates:
        bucket.put(f"order_items/{day}.csv", HEADER + "\n")
    bucket.put(f"orders/{DAY}.csv", HEADER + "\n")
    source = open_source(bucket.address)
    caplog.set_level(logging.INFO, "werkzeug")
    caplog.clear()
    first = {day: source.fingerprint(LINES, day) for day in dates}
    for each in ENTITIES:
        for day in dates:
            source.fingerprint(each, day)
    asked = [record.getMessage() for record in caplog.records if "GET" in record.getMessage()]
    assert len(set(first.values())) >= 1 and None not in first.values()
    assert 0 < len(asked) <= len(ENTITIES), asked[:3]


def test_a_fingerprint_changes_with_the_object(bucket: Any) -> None:
    bucket.put(f"order_items/{DAY}.csv", HEADER)
    before = open_source(bucket.address).fingerprint(LINES, DAY)
    bucket.put(f"order_items/{DAY}.csv", HEADER + "\n1,1,p,1,2")
    assert open_source(bucket.address).fingerprint(LINES, DAY) not in (None, before)


def test_credentials_come_from_the_address_or_environment_and_are_shown_nowhere(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bucket.put(f"order_items/{DAY}.csv", f"{HEADER}\n1,1,p,1,2\n")
    told = [repr(open_source(bucket.address)), without_password(bucket.address)]
    for end in (DAY, DAY + timedelta(days=1)):
        try:
            told.append(str(read(bucket.address, end)))
        except SourceError as error:
            told.append(repr(error))
    nowhere = bucket.address.replace("shop-", "nobody-")
    with pytest.raises(SourceError, match="no folder of order_items") as refused:
        read(nowhere)
    told.append(repr(refused.value))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATHEIRS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN'")
    assert len(read(bucket.plain)) == 1
    source = open_bucket(parse_address(bucket.plain), {"AWS_REGION": "eu-west-1"})
    told.append(repr(source))
    told.extend(record.getMessage() for record in caplog.records if record.name != "werkzeug")
    for text in told:
        assert SECRET not in text and quote(SECRET, safe="") not in text and "TOKEN'" not in text


def test_a_server_that_is_away_is_worth_a_retry(bucket: Any) -> None:
    address = bucket.address.rpartition(":")[0] + ":1"
    with pytest.raises(StorageError, match="cannot be read") as refused:
        read(address)
    assert SECRET not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://", "names no bucket"),
        ("s3:///dir", "names no bucket"),
        ("s3://Bucket_", "names no bucket"),
        ("s3://KEY@bucket", "names no bucket"),
        ("s3://KEY:s3/cret@bucket/x", "a password with a slash"),
        ("s3://bucket?endpoint=http://a b", "the endpoint is not a server"),
        ("s3://bucket?endpoint=http://a/../b", "the endpoint is not a server"),
        ("s3://bucket?region=x'y", "the region is not a name"),
        ("s3://bucket?regoin=x", "unknown option 'regoin'"),
    ],
)
def test_an_address_that_means_nothing_is_refused_without_its_secret(
    address: str, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        open_source(address)
    assert "cret" not in str(refused.value)
    assert "cret" not in without_password(address)


def test_a_run_from_a_bucket_leaves_no_credentials_behind(bucket: Any, tmp_path: Path) -> None:
    bucket.put(f"order_items/{DAY}.csv", f"{HEADER}\n1,1,p,1,2\n2,x,p,1,2\n")
    home = Home(tmp_path / "home")
    settings = Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7)
    plan = Plan("run-1", "s3", bucket.address, DAY, DAY, None, None, DAY, DAY)

    report = land(plan, settings, "order_items")

    assert (report["rows_landed"], report["rows_quarantined"]) == (1, 1)
    written = [path.read_bytes() for path in home.root.rglob("*") if path.is_file()]
    assert len(written) >= 4
    for content in written:
        assert SECRET.encode() not in content and quote(SECRET, safe="").encode() not in content
        assert b"AKIAMINE" not in content

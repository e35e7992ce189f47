"""A folder of dated files: what is read, and what is refused in one line."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.contract import entity
from redline.errors import SourceError, StorageError
from redline.plan import days
from redline.sources import open_source

DAY = date(2024, 3, 5)
LINES = entity("order_items")
HEADER = "order_id,line_no,product_id,quantity,unit_price"

Row = dict[str, Any]


def put(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def put_lines(root: Path, *rows: str, day: date = DAY, header: str = HEADER) -> Path:
    return put(root, f"order_items/{day}.csv", "\n".join((header, *rows)) + "\n")


def read(
    root: Path, name: str = "order_items", start: date = DAY, end: date | None = None
) -> list[Row]:
    batches = open_source(f"files://{root}?settle=0").read(entity(name), start, end or start)
    return [row for batch in batches for row in batch.to_pylist()]


def refusal(
    root: Path, name: str = "order_items", start: date = DAY, end: date | None = None
) -> str:
    with pytest.raises(SourceError) as refused:
        read(root, name, start, end)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 600
    return line


# What is read ---------------------------------------------------------------------------------


def test_a_row_arrives_as_text_with_its_report_date_and_file(tmp_path: Path) -> None:
    put_lines(tmp_path, "o1,1,p1,two,-0.50")
    assert read(tmp_path) == [
        {
            "order_id": "o1",
            "line_no": "1",
            "product_id": "p1",
            "quantity": "two",  # for landing to refuse
            "unit_price": "-0.50",
            "report_date": DAY,
            "source_file": f"order_items/{DAY}.csv",
        }
    ]


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\ufeff", exclude_categories=["Cs"]),
    max_size=8,
)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), max_size=8),
    order=st.permutations(range(6)),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    form=st.sampled_from(["csv", "jsonl", "parquet"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_in_any_column_order_comes_back_as_it_was_written(
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    order: list[int],
    line_end: str,
    mark: bool,
    form: str,
) -> None:
    names = [*LINES.column_names, "not in the contract"]
    full = [(*row, "dropped") for row in rows]
    written = io.StringIO(newline="")
    if form == "csv":
        writer = csv.writer(written, lineterminator=line_end)
        writer.writerow([names[place] for place in order])
        writer.writerows([row[place] for place in order] for row in full)
    else:
        for row in full:
            line = json.dumps({names[place]: row[place] for place in order}, ensure_ascii=False)
            written.write(line + line_end)
    path = tmp_path / "order_items" / f"{DAY}.{form}"
    path.parent.mkdir(exist_ok=True)
    for other in path.parent.iterdir():
        other.unlink()
    if form == "parquet":
        columns = {
            names[place]: pa.array([row[place] for row in full], pa.string()) for place in order
        }
        pq.write_table(pa.table(columns), path)
    else:
        path.write_text(written.getvalue(), encoding="utf-8-sig" if mark else "utf-8", newline="")
    found = [tuple(row[name] for name in LINES.column_names) for row in read(tmp_path)]
    empty = None if form == "csv" else ""  # CSV cannot tell an empty text from none
    assert sorted(map(repr, found)) == sorted(
        repr(tuple(value or empty for value in row)) for row in rows
    )


def test_json_values_of_any_kind_arrive_as_text(tmp_path: Path) -> None:
    lines = [
        (
            '{"order_id": "o1", "line_no": 1, "product_id": null,'
            ' "quantity": true, "unit_price": 12.34}'
        ),
        "",
        '{"order_id": {"a": 1}, "line_no": 9007199254740993, "product_id": "p"}',
    ]
    for mark in ("", "\ufeff"):
        put(tmp_path, f"order_items/{DAY}.jsonl", mark + "\r\n".join(lines))
        first, second = sorted(read(tmp_path), key=lambda row: str(row["line_no"]))
        assert tuple(first[name] for name in LINES.column_names) == (
            "o1",
            "1",
            None,
            "true",
            "12.34",
        )
        assert second["order_id"].replace(" ", "") == '{"a":1}'
        assert second["line_no"] == "9007199254740993"
        assert second["quantity"] is None


def test_parquet_values_stay_typed_and_their_times_become_utc(tmp_path: Path) -> None:
    shanghai = timezone(timedelta(hours=8))
    paid = datetime(2024, 3, 5, 7, 30, tzinfo=shanghai)
    for day, (zone, unit) in enumerate(
        [("Asia/Shanghai", "us"), ("UTC", "ms"), (None, "ns")], start=5
    ):
        moment = paid if zone else paid.astimezone(UTC).replace(tzinfo=None)
        path = put(tmp_path, f"orders/2024-03-0{day}.parquet", b"")
        columns = {
            "order_id": ["o"],
            "merchant_id": ["m"],
            "buyer_id": ["b"],
            "amount": [Decimal("12.34")],
            "currency": ["CNY"],
            "status": ["active"],
            "paid_at": pa.array([moment], pa.timestamp(unit, zone)),
            "updated_at": pa.array([moment], pa.timestamp(unit, zone)),
        }
        pq.write_table(pa.table(columns), path)
    rows = read(tmp_path, "orders", date(2024, 3, 5), date(2024, 3, 7))
    assert len(rows) == 3
    assert {row["paid_at"] for row in rows} == {datetime(2024, 3, 4, 23, 30)}
    assert {row["amount"] for row in rows} == {Decimal("12.34")}


def test_formats_columns_and_their_order_may_differ_between_dates(tmp_path: Path) -> None:
    put_lines(tmp_path, "o1,1,p1,1,2.00")
    put_lines(
        tmp_path,
        "7,o2,1,p1,1",
        day=date(2024, 3, 6),
        header="unit_price,order_id,line_no,product_id,quantity",
    )
    put(
        tmp_path,
        "order_items/2024-03-07.jsonl",
        '{"order_id":"o3","line_no":1,"product_id":"p1","quantity":1,"unit_price":3}',
    )
    rows = read(tmp_path, start=DAY, end=date(2024, 3, 7))
    assert sorted((row["report_date"].day, row["order_id"], row["unit_price"]) for row in rows) == [
        (5, "o1", "2.00"),
        (6, "o2", "7"),
        (7, "o3", "3"),
    ]


def test_a_date_without_rows_is_an_answer(tmp_path: Path) -> None:
    put_lines(tmp_path)
    put(tmp_path, "order_items/2024-03-06.jsonl", "")
    schema = pa.schema([(name, pa.string()) for name in LINES.column_names])
    pq.write_table(schema.empty_table(), put(tmp_path, "order_items/2024-03-07.parquet", b""))
    assert read(tmp_path, start=DAY, end=date(2024, 3, 7)) == []


def test_an_optional_entity_may_be_left_out_whole(tmp_path: Path) -> None:
    assert read(tmp_path, "appeals") == []
    (tmp_path / "appeals").mkdir()
    assert "no file of appeals for 2024-03-05" in refusal(tmp_path, "appeals")


def test_folders_with_special_characters_are_read_as_they_are_named(tmp_path: Path) -> None:
    root = tmp_path / "a [1]*? =ü"
    put_lines(root, "o1,1,p1,1,2.00")
    put_lines(tmp_path / "a 1 =ü", "o2,1,p1,1,2.00")
    address = "files://" + str(root).replace("?", "%3F") + "?settle=0"
    (batch,) = open_source(address).read(LINES, DAY, DAY)
    assert batch.column("order_id").to_pylist() == ["o1"]


def test_hidden_files_and_other_dates_are_passed_over(tmp_path: Path) -> None:
    put_lines(tmp_path, "o1,1,p1,1,2.00")
    put(tmp_path, "order_items/.DS_Store", "x")
    put(tmp_path, "order_items/_SUCCESS", "")
    put(tmp_path, "order_items/2024-03-06.csv.part", "being written")
    assert len(read(tmp_path)) == 1


def test_the_span_is_that_of_the_orders(tmp_path: Path) -> None:
    for day in ("2024-02-28", "2024-03-02", "2024-03-01"):
        put(tmp_path, f"orders/{day}.jsonl", "")
    source = open_source(f"files://{tmp_path}")
    assert source.span() == (date(2024, 2, 28), date(2024, 3, 2))
    assert source.platform == "files"
    assert open_source(f"files://{tmp_path}?platform=shop").platform == "shop"


def test_a_fingerprint_changes_with_the_file_and_only_with_it(tmp_path: Path) -> None:
    source = open_source(f"files://{tmp_path}")
    assert source.fingerprint(LINES, DAY) is None
    path = put_lines(tmp_path, "o1,1,p1,1,2.00")
    first = source.fingerprint(LINES, DAY)
    assert first is not None and first == source.fingerprint(LINES, DAY)
    put_lines(tmp_path, "o1,1,p1,1,2.00", day=date(2024, 3, 6))
    assert source.fingerprint(LINES, DAY) == first
    os.utime(path, ns=(1, 1))
    assert source.fingerprint(LINES, DAY) != first


def test_many_dates_are_read_at_once(tmp_path: Path) -> None:
    dates = days(date(2022, 1, 1), date(2024, 3, 10))
    for day in dates:
        put_lines(tmp_path, f"o{day},1,p1,1,2.00", day=day)
    rows = read(tmp_path, start=dates[0], end=dates[-1])
    assert sorted((row["report_date"], row["order_id"]) for row in rows) == [
        (day, f"o{day}") for day in dates
    ]


# What is refused ------------------------------------------------------------------------------


def test_an_address_without_a_folder_is_refused(tmp_path: Path) -> None:
    for address, says in (
        (f"files://{tmp_path / 'nowhere'}", "no such folder"),
        ("files://relative/folder", "three slashes"),
        (f"files://{tmp_path}?separator=;", "unknown option 'separator'"),
        (f"files://{tmp_path}?delimiter=;;", "the delimiter is not one character"),
        (f"files://{tmp_path}?quote=%0A", "the quote is not one character"),
        (f"files://{tmp_path}?encoding=klingon", "unknown encoding 'klingon'"),
        (f"files://{tmp_path}?encoding=base64", "unknown encoding 'base64'"),
        (f"files://{tmp_path}?settle=soon", "not a number of seconds"),
        (f"files://{tmp_path}?settle=nan", "not a number of seconds"),
        (f"files://{tmp_path}?done=../x", "done is not a name"),
        (f"files://{tmp_path}?mapping=orders.yml", "not an absolute path"),
    ):
        with pytest.raises(SourceError, match=says):
            open_source(address)


def test_a_missing_folder_or_date_is_named(tmp_path: Path) -> None:
    assert "no folder of order_items" in refusal(tmp_path)
    put_lines(tmp_path)
    put_lines(tmp_path, day=date(2024, 3, 8))
    assert f"no file of order_items for 2024-03-04 ({tmp_path}/order_items/2024-03-04." in refusal(
        tmp_path, start=date(2024, 3, 4), end=DAY
    )
    assert "for 2024-03-06 and 1 more dates up to 2024-03-07" in refusal(
        tmp_path, start=DAY, end=date(2024, 3, 8)
    )
    with pytest.raises(SourceError, match="no folder of orders"):
        open_source(f"files://{tmp_path}").span()


def test_two_files_for_one_date_are_refused(tmp_path: Path) -> None:
    put_lines(tmp_path)
    put(tmp_path, f"order_items/{DAY}.jsonl", "")
    assert f"two files of order_items for {DAY}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("2024-03-05.csv.bz2", "unpack it"),
        ("2024-03-05.parquet.gz", "unpack it"),
        ("2024-03-05.csv.done", "?done=.done"),
        ("2024-03-05.CSV", "rename it"),
        ("2024-03-05 (1).csv", "rename it"),
        ("2024-03-05csv", "rename it"),
        ("2024-3-5.csv", "rename it"),
        ("2024-02-30.csv", "rename it"),
        ("orders.csv", "rename it"),
    ],
)
def test_a_name_that_says_no_date_or_format_is_refused(
    tmp_path: Path, name: str, todo: str
) -> None:
    put_lines(tmp_path)
    put(tmp_path, f"order_items/{name}", HEADER)
    assert name in (line := refusal(tmp_path)) and todo in line


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "order_items" / f"{DAY}.csv").mkdir(parents=True)
    assert "not a file" in refusal(tmp_path)


def test_links_are_followed_within_the_folder_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    put_lines(inside, "o1,1,p1,1,2.00")
    put_lines(outside, "secret,1,p1,1,2.00")
    link = inside / "order_items" / "2024-03-06.csv"
    link.symlink_to(inside / "order_items" / f"{DAY}.csv")
    assert len(read(inside, end=date(2024, 3, 6))) == 2
    link.unlink()
    link.symlink_to(outside / "order_items" / f"{DAY}.csv")
    assert "a symbolic link out of" in refusal(inside, end=date(2024, 3, 6))
    link.unlink()
    link.symlink_to(inside / "nowhere")
    assert "leads nowhere" in refusal(inside, end=date(2024, 3, 6))
    (inside / "orders").symlink_to(outside / "order_items")
    assert "a symbolic link out of" in refusal(inside, "orders")


def test_the_source_itself_may_be_a_link(tmp_path: Path) -> None:
    put_lines(tmp_path / "real", "o1,1,p1,1,2.00")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(read(tmp_path / "link")) == 1


ROWS = [f"o{number},1,p1,1,2.00" for number in range(1, 4)]


def csv_of(*lines: str, end: str = "\n") -> bytes:
    return end.join((HEADER, *lines, "")).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty where a header is due"),
        (b"\xef\xbb\xbf", "empty where a header is due"),
        (b"\n" + csv_of(*ROWS), "empty where a header is due"),
        (b"order_id,line_no,product_id,quantity\no1,1,p1,1\n", "without the column unit_price"),
        (csv_of(*ROWS).replace(b",", b"/"), "how are fields separated?"),
        (csv_of(*ROWS).replace(b"quantity", b"line_no"), "names 'line_no' twice"),
        (csv_of(*ROWS)[:-12], "line 4 has 2 fields where the header has 5"),
        (csv_of(*ROWS, "o4,1,p1,1,2,00"), "line 5 has 6 fields where the header has 5"),
        (csv_of(*ROWS, "o4,1,p1,1,2.00,"), "line 5 has 6 fields where the header has 5"),
        (csv_of('o1,1,"two\nlines",1,2', "o2,1"), "line 4 has 2 fields"),
        (csv_of(*ROWS) + b'o4,1,"p', "line 5 holds a quote that is not closed"),
        (csv_of(*ROWS) + b'o4,1,"p"x,1,2\n', "line 5 holds a quote that is not closed"),
        (b'order_id,"line_no\n', "line 1 holds a quote that is not closed"),
        (
            csv_of(ROWS[0], "o2,1,caf\xe9,1,2.00").decode().encode("latin-1"),
            "not UTF-8 at line 3, byte 71",
        ),
        (b"\xff\xfe" + csv_of(*ROWS).decode().encode("utf-16-le") + b"\0", "not utf-16 at line 5"),
        (csv_of(*ROWS).replace(b"\n", b"\r\n", 1), "lines end in different ways"),
    ],
)
def test_a_damaged_csv_file_is_refused_with_its_place(
    tmp_path: Path, content: bytes, says: str
) -> None:
    put_lines(tmp_path, *ROWS, day=date(2024, 3, 4))
    path = put(tmp_path, f"order_items/{DAY}.csv", content)
    put_lines(tmp_path, *ROWS, day=date(2024, 3, 6))
    line = refusal(tmp_path, start=date(2024, 3, 4), end=date(2024, 3, 6))
    assert says in line and str(path) in line


OBJECT = b'{"order_id":"o1","line_no":1,"product_id":"p1","quantity":1,"unit_price":2}\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (OBJECT * 3 + OBJECT[:30], "line 4 is not a JSON object"),
        (OBJECT[:30], "line 1 is not a JSON object"),
        (OBJECT + b"[1]\n", "line 2 is not a JSON object (not an object)"),
        (OBJECT + OBJECT[:-1] + OBJECT, "line 2 is not a JSON object"),
        (OBJECT + b'{"order_id":1,"order_id":2}\n', "names order_id twice"),
        (OBJECT + b'{"order_id":"\xe9"}\n', "not UTF-8 at line 2"),
        (b"\xef\xbb\xbf" + OBJECT + b"{", "line 2 is not a JSON object"),
        (OBJECT.replace(b"order_id", b"orderId") * 2, "without the column order_id"),
    ],
)
def test_a_damaged_json_lines_file_is_refused_with_its_place(
    tmp_path: Path, content: bytes, says: str
) -> None:
    put(tmp_path, "order_items/2024-03-04.jsonl", OBJECT)
    path = put(tmp_path, f"order_items/{DAY}.jsonl", content)
    line = refusal(tmp_path, start=date(2024, 3, 4), end=DAY)
    assert says in line and str(path) in line


def test_damage_in_a_column_outside_the_contract_is_damage_all_the_same(tmp_path: Path) -> None:
    header = "internal," + HEADER
    put_lines(tmp_path, *(f"x,{row}" for row in ROWS), "o4,1,p1,1,2.00", header=header)
    assert "line 5 has 5 fields where the header has 6" in refusal(tmp_path)
    put_lines(tmp_path, *(f"x,{row}" for row in ROWS), '"x,o4,1,p1,1,2.00', header=header)
    assert "line 5 holds a quote that is not closed" in refusal(tmp_path)


def test_a_json_line_without_a_required_key_is_a_row_fault_only(tmp_path: Path) -> None:
    put(tmp_path, f"order_items/{DAY}.jsonl", b'{"order_id":"o2"}\n' + OBJECT)
    assert sorted(str(row["line_no"]) for row in read(tmp_path)) == ["1", "None"]


@pytest.mark.parametrize("keep", [0, 4, 100, -4])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = put(tmp_path, f"order_items/{DAY}.parquet", b"")
    pq.write_table(pa.table({name: ["1"] * 50 for name in LINES.column_names}), path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a whole Parquet file" in (line := refusal(tmp_path)) and str(path) in line


def test_a_parquet_file_damaged_inside_or_without_a_column_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, f"order_items/{DAY}.parquet", b"")
    names: Iterable[str] = LINES.column_names
    pq.write_table(pa.table({name: ["1"] * 50 for name in names}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 60 + whole[64:])
    assert "cannot be read" in (line := refusal(tmp_path)) and str(path) in line
    pq.write_table(pa.table({"order_id": ["1"]}), path)
    assert (
        "expected order_id, line_no, product_id, quantity, unit_price; found order_id"
        in refusal(tmp_path)
    )


@pytest.mark.parametrize(
    "rows",
    ["b1,Li Lei,+86 138 0013 8000,2024", "b1,+86 138 0013 8000,+86 138 0013 8000,2024"],
)
def test_a_file_without_its_header_is_refused_without_its_values(tmp_path: Path, rows: str) -> None:
    put(tmp_path, f"buyers/{DAY}.csv", f"{rows}\nb2,Han Mei,+86 139 0013 9000,2024\n")
    line = refusal(tmp_path, "buyers")
    assert "unknown column" in line
    assert not [value for value in rows.split(",") if value != "2024" and value in line]


def test_known_columns_are_named_and_unknown_ones_counted(tmp_path: Path) -> None:
    put_lines(tmp_path, header="order_id,line_no,secret,other")
    assert "found order_id, line_no and 2 unknown columns" in refusal(tmp_path)
    put(tmp_path, f"order_items/{DAY}.csv", "order_id,secret\n")
    assert "found order_id and 1 unknown column" in refusal(tmp_path)


@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, StorageError), (errno.EACCES, SourceError)])
def test_a_file_that_its_disk_does_not_give_is_worth_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    path = put_lines(tmp_path, "o1,1,p1,1,2.00")

    def failing(self: Path, *args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(kind) as refused:
        read(tmp_path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert os.strerror(code) in str(refused.value)


@pytest.mark.parametrize(
    "name", ["../../etc", "o'brien", "*", "all", "/", "_a", "-a", "Shop", "a.b", "a b", "a\u0301"]
)
def test_a_platform_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="cannot be the name of a platform") as refused:
        open_source(f"files://{tmp_path}?platform={quote(name)}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["shop", "9to5", "shop-2_b", "allmart"])
def test_a_plain_platform_is_taken(tmp_path: Path, name: str) -> None:
    assert open_source(f"files://{tmp_path}?platform={name}").platform == name

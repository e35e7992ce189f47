"""Bad input by the dozen: what a folder holds, and what must become of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redline.contract import entity
from tests.plugins.redline.landing.shop import DAY, Row, row

NAMES = entity("orders").column_names
FILE = f"{DAY}.csv"
OBJECTS = f"{DAY}.jsonl"
PARQUET = f"{DAY}.parquet"

Content = bytes | Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One kind of bad input, of orders unless another entity is named.

    Attributes:
        name: what is bad.
        files: contents by name, or what makes them in their folder.
        lands: values by key of the rows that are landed.
        refused: quarantined rows by reason.
        collapsed: identical copies that are dropped.
        stops: what the error says where the entity stops.
        options: of the address.
        entity: whose files they are.
    """

    name: str
    files: dict[str, Content]
    lands: dict[str, Row] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    collapsed: int = 0
    stops: str | None = None
    options: str = ""
    entity: str = "orders"


def order(key: str = "k", **changes: Any) -> Row:
    """An order without faults but for the changes."""
    return row("orders", key, **changes)


def sheet(*rows: Row, end: str = "\n", delimiter: str = ",") -> bytes:
    """The rows as CSV."""
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(name for each in rows for name in each)) or list(NAMES)
    # Python's writer sees no need to quote a line feed that ends no line.
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, names, lineterminator=end, delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def objects(*rows: Row) -> bytes:
    """The rows as JSON Lines."""
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows).encode()


def table(**columns: Any) -> bytes:
    """One order as Parquet, with columns of other types."""
    fields = {name: pa.array([value]) for name, value in order().items()}
    fields.update({name: value for name, value in columns.items() if value is not None})
    for name in (name for name, value in columns.items() if value is None):
        del fields[name]
    sink = io.BytesIO()
    pq.write_table(pa.table(fields), sink)
    return sink.getvalue()


def _int96() -> bytes:
    sink = io.BytesIO()
    fields = {name: pa.array([value]) for name, value in order().items()}
    fields["paid_at"] = pa.array([datetime(2026, 2, 28, 1)])
    pq.write_table(pa.table(fields), sink, use_deprecated_int96_timestamps=True)
    return sink.getvalue()


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_out(path: Path) -> None:
    outside = path.parents[2] / "outside.csv"
    outside.write_bytes(sheet(order()))
    path.symlink_to(outside)


def _link_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.csv")


def _link_loop(path: Path) -> None:
    path.symlink_to(path)


def value(name: str, column: str, text: str, becomes: Any) -> Case:
    """A value of one column that lands as something, or is refused for a reason."""
    case = {FILE: sheet(order(**{column: text}))}
    if isinstance(becomes, Refused):
        return Case(name, dict(case), refused={becomes.reason: 1})
    return Case(name, dict(case), {"k": {column: becomes}})


@dataclass(frozen=True)
class Refused:
    """The reason of a quarantined row."""

    reason: str


_NOT_A_TIME = Refused("not_a_timestamp:paid_at")
_NOT_A_NUMBER = Refused("not_a_number:amount")
_PLAIN = sheet(order())
_TWO = sheet(order("a"), order("b"))
_HEADER, _ROW = _PLAIN.splitlines()
_GZ = gzip.compress(_TWO * 1, mtime=0)
_ZST = bytes(pa.compress(_TWO, codec="zstd", asbytes=True))
_OBJECT = objects(order())
_BIG = "x" * 10_000_000
_BOMB = _HEADER + b"\n" + (b" " * 1023 + b"\n") * (257 << 10)
_HUGE_LINE = _HEADER + b"\n" + _ROW.replace(b"m1", b"m" * (17 << 20)) + b"\n"


def _json_with(column: str, raw: str) -> bytes:
    return _OBJECT.rstrip()[:-1] + f', "{column}": {raw}}}\n'.encode()


CASES: tuple[Case, ...] = (
    # Encodings and lines
    Case("UTF-8 with a mark", {FILE: b"\xef\xbb\xbf" + _PLAIN}, {"k": {}}),
    Case("UTF-16 with a mark", {FILE: _PLAIN.decode().encode("utf-16")}, {"k": {}}),
    Case(
        "UTF-16 without its mark", {FILE: _PLAIN.decode().encode("utf-16-le")}, stops="without the"
    ),
    Case("UTF-32 with a mark", {FILE: _PLAIN.decode().encode("utf-32")}, {"k": {}}),
    Case(
        "GB18030 that is declared",
        {FILE: sheet(order(cancel_reason="没货了")).decode().encode("gb18030")},
        {"k": {"cancel_reason": "没货了"}},
        options="encoding=gb18030",
    ),
    Case(
        "GB18030 that is not",
        {FILE: sheet(order(cancel_reason="没货了")).decode().encode("gb18030")},
        stops="not UTF-8 at line 2",
    ),
    Case(
        "Latin-1 that is not declared",
        {FILE: sheet(order(cancel_reason="é")).decode().encode("latin-1")},
        stops="not UTF-8 at line 2",
    ),
    Case(
        "an overlong UTF-8 sequence", {FILE: _PLAIN.replace(b"m1", b"\xc0\xaf")}, stops="not UTF-8"
    ),
    Case(
        "half a surrogate pair in UTF-8",
        {FILE: sheet(order(cancel_reason="\ud800"))},
        stops="not UTF-8 at line 2",
    ),
    Case("CR LF", {FILE: sheet(order("a"), order("b"), end="\r\n")}, {"a": {}, "b": {}}),
    Case("CR alone", {FILE: sheet(order("a"), order("b"), end="\r")}, {"a": {}, "b": {}}),
    Case(
        "CR alone, with line feeds within quotes",
        {FILE: sheet(order("a", **{"\n,,,": "one\ntwo"}), end="\r")},
        {"a": {}},
    ),
    Case(
        "CR LF in a column's name, between lines that end otherwise",
        {FILE: sheet(order("a", **{"x\r\n": ""}))},
        {"a": {}},
    ),
    Case(
        "line ends of both kinds",
        {FILE: _TWO.replace(b"\n", b"\r\n", 1)},
        stops="its lines end in different ways",
    ),
    Case("no end of the last line", {FILE: _TWO[:-1]}, {"a": {}, "b": {}}),
    Case("empty lines between", {FILE: _TWO.replace(b"\n", b"\n\n")}, {"a": {}, "b": {}}),
    Case(
        "a line end within quotes",
        {FILE: sheet(order(cancel_reason="one\ntwo"))},
        {"k": {"cancel_reason": "one\ntwo"}},
    ),
    Case(
        "a NUL byte", {FILE: sheet(order(cancel_reason="a\0b"))}, {"k": {"cancel_reason": "a\0b"}}
    ),
    # Shape
    Case("an empty file", {FILE: b""}, stops="empty where a header is due"),
    Case("white space only", {FILE: b" \n \n"}, stops="empty where a header is due"),
    Case("a header only", {FILE: _HEADER + b"\n"}),
    Case("a header without a line end", {FILE: _HEADER}),
    Case(
        "the header once more among the rows",
        {FILE: _PLAIN + _HEADER + b"\n"},
        {"k": {}},
        {"not_a_number:amount": 1},
    ),
    Case("no header", {FILE: _ROW + b"\n"}, stops="without the column"),
    Case("a column twice", {FILE: sheet(order()).replace(b"currency", b"amount")}, stops="twice"),
    Case("a column too few", {FILE: _TWO + b"c,m1\n"}, stops="line 4 has 2 fields"),
    Case("a column too many", {FILE: _TWO + _ROW + b",x\n"}, stops="line 4 has 8 fields"),
    Case("an empty column too many", {FILE: _TWO + _ROW + b",\n"}, stops="line 4 has 8 fields"),
    Case("a file cut off in a row", {FILE: _TWO[:-30]}, stops="line 3 has"),
    Case("a quote that is not closed", {FILE: _TWO + b'"c,m1\n'}, stops="quote that is not closed"),
    Case(
        "a quote that is not doubled",
        {FILE: _TWO + _ROW.replace(b"m1", b'"m"1"') + b"\n"},
        stops="quote that is not closed",
    ),
    Case("semicolons", {FILE: sheet(order(), delimiter=";")}, {"k": {}}),
    Case("tabs", {FILE: sheet(order(), delimiter="\t")}, {"k": {}}),
    Case("bars", {FILE: sheet(order(), delimiter="|")}, {"k": {}}),
    Case(
        "delimiters other than declared",
        {FILE: sheet(order(), delimiter=";")},
        stops="how are fields separated",
        options="delimiter=|",
    ),
    Case("a required column missing", {FILE: _PLAIN.replace(b"amount", b"total")}, stops="amount"),
    Case("a line of 17 MiB", {FILE: _HUGE_LINE}, stops="line 2 is longer than 16 MiB"),
    Case(
        "a text of 10 MB",
        {FILE: sheet(order(cancel_reason=_BIG))},
        {"k": {"cancel_reason": _BIG}},
    ),
    Case(
        "a text of 10 MB in JSON",
        {OBJECTS: objects(order(cancel_reason=_BIG))},
        {"k": {"cancel_reason": _BIG}},
    ),
    # Numbers
    value("NaN", "amount", "NaN", _NOT_A_NUMBER),
    value("infinity", "amount", "inf", _NOT_A_NUMBER),
    value("negative infinity", "amount", "-Infinity", _NOT_A_NUMBER),
    value("negative zero", "amount", "-0", Decimal("0.00")),
    value("a negative amount", "amount", "-0.01", Refused("below_minimum:amount")),
    value("an exponent", "amount", "1.5e3", Decimal("1500.00")),
    value("thousands apart", "amount", "1,234.50", _NOT_A_NUMBER),
    value("a decimal comma", "amount", "12,50", _NOT_A_NUMBER),
    value("a currency sign", "amount", "¥12", _NOT_A_NUMBER),
    value("full-width digits", "amount", "１２", _NOT_A_NUMBER),
    value("hexadecimal", "amount", "0x10", _NOT_A_NUMBER),
    value("an amount beyond all", "amount", "9" * 40, _NOT_A_NUMBER),
    value("three decimals", "amount", "1.005", Decimal("1.01")),
    value("a number within spaces", "amount", " 7 ", Decimal("7.00")),
    value("a number of 5000 digits", "amount", "1" * 5000, _NOT_A_NUMBER),
    # Times
    value("the year 1", "paid_at", "0001-01-01T00:00:00Z", _NOT_A_TIME),
    value("the year 9999", "paid_at", "9999-12-31T23:59:59Z", _NOT_A_TIME),
    value("24:00", "paid_at", "2026-02-28 24:00:00", datetime(2026, 3, 1)),
    value("a leap second", "paid_at", "2026-02-28T23:59:60Z", _NOT_A_TIME),
    value("29 February of a leap year", "updated_at", "2024-02-29", datetime(2024, 2, 29)),
    value("29 February of a common year", "paid_at", "2026-02-29", _NOT_A_TIME),
    value("a day and month exchanged", "paid_at", "28/02/2026", _NOT_A_TIME),
    value("seconds since 1970", "paid_at", "1772150400", _NOT_A_TIME),
    value(
        "the hour that summer time skips",
        "paid_at",
        "2026-03-08T02:30:00-05:00",
        datetime(2026, 3, 8, 7, 30),
    ),
    value(
        "the hour that winter time repeats",
        "paid_at",
        "2025-11-02T01:30:00-04:00",
        datetime(2025, 11, 2, 5, 30),
    ),
    value("an odd offset", "paid_at", "2026-03-01T05:45:00+05:45", datetime(2026, 3, 1)),
    value("a time alone", "paid_at", "12:30", _NOT_A_TIME),
    value(
        "nanoseconds",
        "paid_at",
        "2026-03-01T00:00:00.123456789Z",
        datetime(2026, 3, 1, microsecond=123456),
    ),
    value("from the future", "updated_at", "2026-03-02T00:00:00Z", Refused("future:updated_at")),
    value("beyond the horizon", "paid_at", "2020-01-01", Refused("beyond_horizon")),
    # Texts
    value("emoji", "cancel_reason", "👩‍👩‍👧 🧨", "👩‍👩‍👧 🧨"),
    value("Chinese and Japanese", "cancel_reason", "缺货，ごめん", "缺货，ごめん"),
    value("right to left", "cancel_reason", "\u202eabc\u202c שלום", "\u202eabc\u202c שלום"),
    value("zero width", "merchant_id", "m\u200b1", "m\u200b1"),
    value("a blank key", "order_id", "\u3000 ", Refused("missing:order_id")),
    value(
        "SQL in a value", "merchant_id", "'; drop table arrived; --", "'; drop table arrived; --"
    ),
    value("a formula", "cancel_reason", "=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    value("markup", "cancel_reason", "<script>alert(1)</script>", "<script>alert(1)</script>"),
    value("an unknown code", "status", "ACTIVE", Refused("unknown_code:status")),
    value("the word null", "cancelled_by", "NULL", Refused("unknown_code:cancelled_by")),
    value("a path in a code", "status", "../../etc/passwd", Refused("unknown_code:status")),
    Case(
        "a path in a key",
        {FILE: sheet(order("../../../x"))},
        {"../../../x": {}},
    ),
    Case(
        "SQL in a column's name",
        {FILE: sheet(order(**{'x"); drop table arrived; --': "1"}))},
        {"k": {}},
    ),
    Case(
        "a column named as one of ours",
        {FILE: sheet(order(source_file="/etc"))},
        {"k": {"source_file": f"orders/{FILE}"}},
    ),
    # Versions
    Case("identical copies", {FILE: sheet(order(), order())}, {"k": {}}, collapsed=1),
    Case(
        "copies that differ",
        {FILE: sheet(order(), order(amount="11"))},
        refused={"conflicting_duplicate": 2},
    ),
    Case(
        "two versions",
        {FILE: sheet(order(), order(amount="11", updated_at="2026-03-01T03:00:00Z"))},
        {"k": {}},
    ),
    Case(
        "a broken copy beside a whole one",
        {FILE: sheet(order(), order(amount="x"))},
        {"k": {}},
        {"not_a_number:amount": 1},
    ),
    # JSON
    Case("no line", {OBJECTS: b""}),
    Case("an array of objects", {OBJECTS: b"[" + _OBJECT + b"]"}, stops="line 1 is not"),
    Case("JSON over many lines", {OBJECTS: json.dumps(order(), indent=1).encode()}, stops="line 1"),
    Case("a key twice", {OBJECTS: _json_with("order_id", '"z"')}, stops="names order_id twice"),
    Case(
        "half a surrogate pair", {OBJECTS: _json_with("cancel_reason", '"\\ud800"')}, stops="line 1"
    ),
    Case(
        "a NUL that is escaped",
        {OBJECTS: _json_with("cancel_reason", '"a\\u0000b"')},
        {"k": {"cancel_reason": "a\0b"}},
    ),
    Case("a NUL that is not", {OBJECTS: _json_with("cancel_reason", '"a\0b"')}, stops="line 1"),
    Case(
        "NaN as a number",
        {OBJECTS: objects(order(amount=float("nan")))},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "infinity as a number",
        {OBJECTS: objects(order(amount=float("inf")))},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "an integer of 5000 digits",
        {OBJECTS: objects(order()).replace(b'"10.00"', b"1" * 5000)},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "1e400",
        {OBJECTS: objects(order()).replace(b'"10.00"', b"1e400")},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "an object where an amount is due",
        {OBJECTS: objects(order(amount={"value": 1}))},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "a truth value where a code is due",
        {OBJECTS: objects(order(status=True))},
        refused={"unknown_code:status": 1},
    ),
    Case(
        "a thousand levels of nesting",
        {OBJECTS: _json_with("extra", "[" * 1000 + "]" * 1000)},
        stops="line 1",
    ),
    Case("a comment", {OBJECTS: _OBJECT + b"# done\n"}, stops="line 2 is not a JSON object"),
    Case("a comma too many", {OBJECTS: _OBJECT.rstrip()[:-1] + b",}\n"}, stops="line 1"),
    Case(
        "an object cut off", {OBJECTS: _OBJECT + _OBJECT[:40]}, stops="line 2 is not a JSON object"
    ),
    Case(
        "a required key missing in one line",
        {OBJECTS: _OBJECT + b'{"order_id":"j"}\n'},
        {"k": {}},
        {"missing:merchant_id": 1},
    ),
    Case("JSON in UTF-16", {OBJECTS: _OBJECT.decode().encode("utf-16")}, {"k": {}}),
    # Parquet
    Case("an empty Parquet file", {PARQUET: b""}, stops="not a whole Parquet file"),
    Case("Parquet cut off", {PARQUET: table()[:-40]}, stops="not a whole Parquet file"),
    Case("Parquet by name only", {PARQUET: _PLAIN}, stops="not a whole Parquet file"),
    Case(
        "nested columns",
        {PARQUET: table(cancel_reason=pa.array([[1, 2]]))},
        stops="expects text; found BIGINT[]",
    ),
    Case(
        "a struct",
        {PARQUET: table(status=pa.array([{"a": 1}]))},
        stops="expects text; found STRUCT",
    ),
    Case(
        "text as bytes",
        {PARQUET: table(cancel_reason=pa.array([b"late"]))},
        {"k": {"cancel_reason": "late"}},
    ),
    Case(
        "bytes that are no text",
        {PARQUET: table(cancel_reason=pa.array([b"\xff\xfe"]))},
        stops="cannot be read",
    ),
    Case(
        "decimals of 76 digits",
        {PARQUET: table(amount=pa.array([Decimal(1)], pa.decimal256(76, 2)))},
        {"k": {"amount": Decimal(1)}},
    ),
    Case(
        "unsigned integers",
        {PARQUET: table(amount=pa.array([2**64 - 1], pa.uint64()))},
        refused={"not_a_number:amount": 1},
    ),
    Case("a column named filename", {PARQUET: table(filename=pa.array(["x"]))}, {"k": {}}),
    Case("INT96 times", {PARQUET: _int96()}, {"k": {"paid_at": datetime(2026, 2, 28, 1)}}),
    Case(
        "dates where times are due",
        {PARQUET: table(paid_at=pa.array([date(2026, 2, 28)], pa.date64()))},
        {"k": {"paid_at": datetime(2026, 2, 28)}},
    ),
    Case(
        "a time of day where a time is due",
        {PARQUET: table(paid_at=pa.array([time(12)]))},
        stops="expects timestamp; found TIME",
    ),
    Case(
        "a date of the year 5 million",
        {PARQUET: table(paid_at=pa.array([2**31 - 2], pa.int32()).cast(pa.date32()))},
        refused={"not_a_timestamp:paid_at": 1},
    ),
    Case(
        "NaN as a double",
        {PARQUET: table(amount=pa.array([float("nan")]))},
        refused={"not_a_number:amount": 1},
    ),
    Case(
        "an amount that became a truth value",
        {PARQUET: table(amount=pa.array([True]))},
        stops="expects money; found BOOLEAN",
    ),
    Case(
        "a required column gone", {PARQUET: table(amount=None)}, stops="without the column amount"
    ),
    Case(
        "codes as a dictionary",
        {PARQUET: table(status=pa.array(["active"]).dictionary_encode())},
        {"k": {}},
    ),
    # Packing
    Case("gzip", {f"{FILE}.gz": _GZ}, {"a": {}, "b": {}}),
    Case("Zstandard", {f"{FILE}.zst": _ZST}, {"a": {}, "b": {}}),
    Case("gzip cut off", {f"{FILE}.gz": _GZ[:-9]}, stops="cut off or damaged"),
    Case(
        "gzip with another checksum",
        {f"{FILE}.gz": _GZ[:-8] + b"\0" * 8},
        stops="cut off or damaged",
    ),
    Case("Zstandard cut off", {f"{FILE}.zst": _ZST[:-9]}, stops="cut off or damaged"),
    Case("gzip with something after it", {f"{FILE}.gz": _GZ + b"\1\2"}, stops="cut off or damaged"),
    Case(
        "two gzip members",
        {f"{FILE}.gz": gzip.compress(_HEADER + b"\n") + gzip.compress(_ROW)},
        {"k": {}},
    ),
    Case("gzip by name only", {f"{FILE}.gz": _PLAIN}, stops="not a gzip file"),
    Case("a gzip bomb", {f"{FILE}.gz": gzip.compress(_BOMB, 9)}, stops="unpack to more than"),
    Case(
        "a Zstandard bomb",
        {f"{FILE}.zst": bytes(pa.compress(_BOMB, codec="zstd", asbytes=True))},
        stops="unpack to more than",
    ),
    Case("packed JSON cut off", {f"{OBJECTS}.gz": gzip.compress(_OBJECT)[:-4]}, stops="cut off or"),
    Case("an archive", {f"{FILE}.zip": b"PK\3\4"}, stops="unpack it"),
    # Names and folders
    Case("a folder named as a file", {FILE: _folder}, stops="not a file"),
    Case("a pipe", {FILE: _pipe}, stops="not a file"),
    Case("a link out of the folder", {FILE: _link_out}, stops="a symbolic link out of"),
    Case("a link that leads nowhere", {FILE: _link_nowhere}, stops="leads nowhere"),
    Case("a link to itself", {FILE: _link_loop}, stops="leads nowhere"),
    Case("two files for a date", {FILE: _PLAIN, OBJECTS: _OBJECT}, stops="two files of orders"),
    Case("packed and unpacked", {FILE: _PLAIN, f"{FILE}.gz": _GZ}, stops="two files of orders"),
    Case("a name without a date", {FILE: _PLAIN, "orders.csv": _PLAIN}, stops="orders.csv is not"),
    Case(
        "a date that is none",
        {FILE: _PLAIN, "2026-02-30.csv": _PLAIN},
        stops="2026-02-30.csv is not",
    ),
    Case(
        "hidden and unfinished files", {FILE: _PLAIN, ".x": b"", f"{OBJECTS}.part": b"{"}, {"k": {}}
    ),
    Case(
        "no file for the date", {"2026-02-28.csv": _PLAIN}, stops="no file of orders for 2026-03-01"
    ),
    Case("no folder", {}, stops="no folder of orders"),
)

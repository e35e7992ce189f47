"""Fuzzing of the readers and the door: `python -m tests.plugins.redline.sources.fuzz MINUTES`.

Whatever the bytes are, either rows come, as many as the file holds, or a RedlineError tells in one
line what is wrong, without a value of the file. Anything else is a finding, shrunk and printed.
"""

from __future__ import annotations

import csv
import faulthandler
import gzip
import io
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from redline.contract import Entity, entity
from redline.errors import RedlineError
from redline.landing.batches import read_chunks
from redline.landing.door import admit, evening
from redline.landing.pseudonyms import PseudonymKey
from redline.sources import open_source

DAY = date(2026, 3, 1)
ORDERS = entity("orders")
SECRET = "Zq7-planted-value"
HANG_SECONDS = 60

_KEY = PseudonymKey(b"i" * 64, b"o" * 64, "fuzz")
_EVENING = evening(DAY, DAY, "Asia/Shanghai", 180)


@dataclass(frozen=True)
class Delivery:
    """One file: its bytes, how its name ends, and the address options."""

    content: bytes
    suffix: str
    options: str = ""


@dataclass
class Tally:
    """What became of the deliveries."""

    outcomes: Counter[str] = field(default_factory=Counter)


def _rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "order_id": f"o{number}",
            "merchant_id": "m1",
            "buyer_id": SECRET,
            "amount": f"{number}.50",
            "currency": "CNY",
            "cancel_reason": 'none, "really"\nnone' if number % 3 else "茶 🍵",
            "status": "active",
            "paid_at": "2026-02-28T10:00:00+08:00",
            "updated_at": f"2026-03-01T0{number % 10}:00:00Z",
        }
        for number in range(count)
    ]


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


def _typed() -> bytes:
    """Rows as a database would export them."""
    table = pa.Table.from_pylist(_rows(40)).drop_columns(["amount", "paid_at", "status"])
    moments = pa.array([1772150400000000 + n for n in range(40)], pa.timestamp("us", "UTC"))
    columns = {
        "amount": pa.array([Decimal(n) / 4 for n in range(40)], pa.decimal128(18, 2)),
        "paid_at": moments,
        "shipped_at": moments.cast(pa.timestamp("us")).cast(pa.date32(), safe=False),
        "status": pa.array(["active"] * 40).dictionary_encode(),
        "lines": pa.array([[n] for n in range(40)]),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=16)
    return sink.getvalue()


def _zst(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


_MANY = _rows(12)
_WHOLE: tuple[Delivery, ...] = (
    Delivery(_csv(_MANY), "csv"),
    Delivery(_csv(_MANY, ";"), "csv"),
    Delivery(_csv(_MANY).decode().encode("utf-16"), "csv"),
    Delivery(_csv(_MANY), "csv", "encoding=latin-1"),
    Delivery(gzip.compress(_csv(_MANY), mtime=0), "csv.gz"),
    Delivery(_zst(_csv(_MANY)), "csv.zst"),
    Delivery(gzip.compress(_csv(_rows(1200)), mtime=0), "csv.gz"),
    Delivery(_zst(_csv(_rows(1200))), "csv.zst"),  # of more than one block
    Delivery(_jsonl(_MANY), "jsonl"),
    Delivery(b"\xef\xbb\xbf" + _jsonl(_MANY), "jsonl"),
    Delivery(gzip.compress(_jsonl(_MANY), mtime=0), "jsonl.gz"),
    Delivery(_zst(_jsonl(_MANY)), "jsonl.zst"),
    Delivery(_parquet(_MANY), "parquet"),
    Delivery(_typed(), "parquet"),
    Delivery(_parquet(_MANY, compression="zstd", use_dictionary=False), "parquet"),
    Delivery(_parquet(_MANY, compression="none", data_page_version="2.0"), "parquet"),
)
_TOKENS = (
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x92\xa9",
        b"\\ud800",
        b"\\u0000",
    ),
    *(b"NaN", b"-0", b"1e999", b"null", b"true", b'""', b'","', b"=1+1", b"PAR1", b"\x1f\x8b\x08"),
    *(b"0001-01-01", b"9999-12-31T24:00:00", b"294247-01-11", b" infinity", b"9" * 400),
)

_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "double", "insert", "token", "token", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.binary(max_size=12),
        st.sampled_from(_TOKENS),
    ),
    min_size=1,
    max_size=6,
)


def _edited(content: bytes, edits: list[Any]) -> bytes:
    for kind, at, to, bits, noise, token in edits:
        begin = int(at * len(content))
        end = min(len(content), begin + 1 + int(to * 60))
        if kind == "flip" and content:
            content = content[:begin] + bytes([content[begin] ^ bits]) + content[begin + 1 :]
        elif kind == "cut":
            content = content[:begin] + content[end:]
        elif kind == "double":
            content = content[:end] + content[begin:]
        elif kind == "insert":
            content = content[:begin] + noise + content[begin:]
        elif kind == "token":
            content = content[:begin] + token + content[begin:]
        elif kind == "end" and to < 0.5:
            content = content[:begin]
    return content


@st.composite
def _mutated(draw: st.DrawFn) -> Delivery:
    whole = draw(st.sampled_from(_WHOLE))
    return Delivery(_edited(whole.content, draw(_EDITS)), whole.suffix, whole.options)


@st.composite
def _mutated_within(draw: st.DrawFn) -> Delivery:
    """Damage below an intact packing."""
    form, packing = draw(st.sampled_from(["csv", "jsonl"])), draw(st.sampled_from(["gz", "zst"]))
    whole = _csv(_MANY) if form == "csv" else _jsonl(_MANY)
    content = _edited(whole, draw(_EDITS))
    packed = gzip.compress(content, mtime=0) if packing == "gz" else _zst(content)
    return Delivery(packed, f"{form}.{packing}")


_FIELD = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["", '"', '""', '"a', 'a"', '"a,b"', "a\rb", "\n", "1e5", "nan", "\u3000", SECRET]
    ),
)


@st.composite
def _odd_csv(draw: st.DrawFn) -> Delivery:
    """Fields put together without a writer's care."""
    names = [*(column.name for column in ORDERS.columns if column.required), draw(_FIELD)]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    rows = draw(st.lists(st.lists(_FIELD, min_size=6, max_size=8), max_size=4))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(delimiter.join(row) for row in [names, *rows])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return Delivery(text.encode(encoding, "surrogatepass"), "csv")


@st.composite
def _quoted_csv(draw: st.DrawFn) -> Delivery:
    """Any text in quotes, as a careful writer puts it."""
    text = st.text(st.sampled_from('a"\r\n,;|\t \0=茶') | st.characters(codec="utf-8"), max_size=5)
    names = [*(column.name for column in ORDERS.columns if column.required), "x" + draw(text)]
    rows = draw(st.lists(st.lists(text, min_size=len(names), max_size=len(names)), max_size=5))
    written = io.StringIO(newline="")
    writer = csv.writer(
        written,
        delimiter=draw(st.sampled_from(",;\t|")),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    )
    writer.writerows([names, *rows])
    packing = draw(st.sampled_from(["", ".gz", ".zst"]))
    content = written.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    if packing:
        content = gzip.compress(content, mtime=0) if packing == ".gz" else _zst(content)
    return Delivery(content, f"csv{packing}")


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@st.composite
def _odd_jsonl(draw: st.DrawFn) -> Delivery:
    """Objects whose values are of any kind."""
    names = [column.name for column in ORDERS.columns]
    objects = draw(
        st.lists(
            st.dictionaries(st.sampled_from([*names, "x", ""]), _VALUE, max_size=16), max_size=4
        )
    )
    first = {column.name: "1" for column in ORDERS.columns if column.required}
    text = "\n".join(
        json.dumps(each, ensure_ascii=draw(st.booleans())) for each in [first, *objects]
    )
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    return Delivery(text.encode(encoding, "surrogatepass"), "jsonl")


deliveries: st.SearchStrategy[Delivery] = st.one_of(
    _mutated(), _mutated_within(), _odd_csv(), _quoted_csv(), _odd_jsonl()
)


def check(delivery: Delivery, root: Path, tally: Tally) -> None:
    """Bring a delivery through the readers and the door; assert what the module promises."""
    folder = root / "orders"
    folder.mkdir(exist_ok=True)
    path = folder / f"{DAY}.{delivery.suffix}"
    path.write_bytes(delivery.content)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    try:
        source = open_source(f"files://{root}?settle=0&{delivery.options}")
        with duckdb.connect(config={"temp_directory": "", "threads": 1}) as connection:
            connection.execute("set timezone = 'UTC'")
            batches = list(source.read(ORDERS, DAY, DAY))
            chunks = read_chunks(Read(source.platform, batches), ORDERS, DAY, DAY)
            admitted = admit(connection, ORDERS, chunks, [_EVENING], _KEY, "admitted")
            kept = connection.execute("select count(*) from admitted").fetchall()[0][0]
    except RedlineError as error:
        line = str(error)
    else:
        line = ""
    finally:
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
    if line:
        assert "\n" not in line and len(line) < 700 and str(folder) in line, line
        assert SECRET not in line, line
        tally.outcomes[f"{delivery.suffix} refused"] += 1
        return
    rows = sum(admitted.rows_read.values())
    assert rows == kept + sum(admitted.rows_collapsed.values())
    keys = Counter(key for batch in batches for key in batch.column("order_id").to_pylist())
    assert rows == keys.total()
    _compare(keys, delivery)
    tally.outcomes[f"{delivery.suffix} taken"] += 1


@dataclass(frozen=True)
class Read:
    """A source of what has been read."""

    platform: str
    batches: list[pa.RecordBatch]

    def span(self) -> None:
        """No end of its own."""

    def read(self, entity: Entity, start: date, end: date) -> Iterator[pa.RecordBatch]:
        """What was read."""
        yield from self.batches

    def fingerprint(self, entity: Entity, day: date) -> None:
        """Unknown."""


def _compare(found: Counter[Any], delivery: Delivery) -> None:
    """Hold rows and keys against those that Python's own readers find."""
    form, _, packing = delivery.suffix.partition(".")
    content = delivery.content
    if form == "parquet":
        assert found.total() == pq.read_metadata(io.BytesIO(content)).num_rows
        return
    if packing == "gz":
        content = gzip.decompress(content)
    elif packing == "zst":
        content = pa.CompressedInputStream(io.BytesIO(content), "zstd").read()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if "latin-1" in delivery.options and not content.startswith(b"\xef\xbb\xbf"):
        encoding = "latin-1" if encoding != "utf-16" else encoding
    text = content.decode(encoding)
    if form == "jsonl":
        lines = [json.loads(line) for line in text.split("\n") if line and not line.isspace()]
        assert len(lines) == found.total()
        wanted = Counter(line.get("order_id") for line in lines if _is_plain(line))
        assert wanted <= found, "keys differ"
        return
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    rows = [row for row in rows if row]
    assert {len(row) for row in rows} <= {len(header)}, "ragged rows were taken"
    at = [name.strip() for name in header].index("order_id")
    assert found == Counter(row[at] or None for row in rows), "keys differ"


def _is_plain(line: dict[str, Any]) -> bool:
    return isinstance(line.get("order_id"), str | None)


def _delimiter(text: str) -> str:
    required = {column.name for column in ORDERS.columns if column.required}
    for delimiter in ",;\t|":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        if required <= {name.strip() for name in next(reader, [])}:
            return delimiter
    return ","


def fuzz(minutes: float, report: Callable[[str], None] = print) -> Tally:
    """Fuzz for a time; the first finding is raised, shrunk."""
    tally, until, rounds = Tally(), time.monotonic() + 60 * minutes, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            rounds += 1

            @seed(secrets.randbits(64))
            @settings(
                max_examples=500,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(deliveries)
            def one(delivery: Delivery) -> None:
                check(delivery, Path(folder), tally)

            one()
    report(f"{sum(tally.outcomes.values())} files in {minutes:g} minutes, no finding:")
    for outcome, count in sorted(tally.outcomes.items()):
        report(f"  {count:>8} {outcome}")
    return tally


if __name__ == "__main__":
    fuzz(float(sys.argv[1]) if len(sys.argv) > 1 else 10)

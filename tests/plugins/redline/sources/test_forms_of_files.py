"""Files as other systems write them: packed, delimited, encoded, placed and marked their way."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.contract import entity
from redline.errors import SourceError, StorageError
from redline.settings import PROJECT
from redline.sources import open_source
from redline.sources._layout import layout_of
from redline.sources.files import MAPPED
from redline.sources.mapping import read_mapping

DAY = date(2024, 3, 5)
LINES = entity("order_items")
NAMES = LINES.column_names
ROW = dict(zip(NAMES, ("o1", "1", "p1", "2", "3.50"), strict=True))
HEADER = ",".join(NAMES)
LINE = ",".join(ROW.values())


def put(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(root: Path, options: str = "settle=0", end: date = DAY) -> list[dict[str, Any]]:
    batches = open_source(f"files://{root}?{options}").read(LINES, DAY, end)
    return [row for batch in batches for row in batch.to_pylist()]


def packed(content: bytes, packing: str) -> bytes:
    if packing == "gz":
        return gzip.compress(content)
    return bytes(pa.compress(content, codec="zstd", asbytes=True)) if packing == "zst" else content


# A byte order mark, a null and what CSV readers call a line end are other tests' matter.
TEXT = st.text(st.characters(codec="gb18030", exclude_characters="\0\r\n\ufeff"), max_size=8)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    form=st.sampled_from(["csv", "jsonl"]),
    packing=st.sampled_from(["", "gz", "zst"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_however_text_is_delimited_encoded_and_packed_it_comes_back_as_it_was(
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    delimiter: str,
    encoding: str,
    form: str,
    packing: str,
    line_end: str,
) -> None:
    written = io.StringIO(newline="")
    if form == "csv":
        writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end)
        writer.writerow([*NAMES, "extra"])
        writer.writerows((*row, "x") for row in rows)
    else:
        for row in rows:
            line = json.dumps(
                {**dict(zip(NAMES, row, strict=True)), "extra": 1}, ensure_ascii=False
            )
            written.write(line + line_end)
    suffix = f"{form}.{packing}" if packing else form
    content = packed(written.getvalue().encode(encoding), packing)
    path = put(tmp_path, f"order_items/{DAY}.{suffix}", content)
    declared = "&encoding=gb18030" if encoding == "gb18030" else ""
    try:
        batches = list(open_source(f"files://{tmp_path}?settle=0{declared}").read(LINES, DAY, DAY))
    finally:
        path.unlink()
    found = [row for batch in batches for row in batch.to_pylist()]

    empty = None if form == "csv" else ""
    assert sorted(repr([row[name] for name in NAMES]) for row in found) == sorted(
        repr([value or empty for value in row]) for row in rows
    )
    dropped = {batch.schema.metadata[b"redline.dropped"] for batch in batches if batch.num_rows}
    assert dropped == ({b'["extra"]'} if rows else set())


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_packed_file_that_is_damaged_loses_no_row_in_silence(
    tmp_path: Path, packing: str
) -> None:
    content = "\n".join([HEADER, *(f"o{n},1,p{n * 7919 % 997},1,2" for n in range(9999))]).encode()
    whole = packed(content, packing)
    two = whole + packed(b"\no,1,p,1,2\n", packing)
    cases = [
        (whole[: len(whole) // 2], "cut off or damaged"),
        (whole[:-1], "cut off or damaged"),
        (whole[:-6] + b"xxxxxx" if packing == "gz" else whole[:5000], "cut off or damaged"),
        (whole + b"garbage!", "cut off or damaged"),
        (content, "not a"),
        (b"", "not a"),
    ]
    for damaged, says in cases:
        path = put(tmp_path, f"order_items/{DAY}.csv.{packing}", damaged)
        with pytest.raises(SourceError, match=says) as refused:
            read(tmp_path)
        assert str(path) in str(refused.value)
    put(tmp_path, f"order_items/{DAY}.csv.{packing}", two)
    assert len(read(tmp_path)) == 10_000


@pytest.mark.parametrize("suffix", ["csv.gz", "jsonl.zst"])
def test_what_unpacks_without_end_is_refused(tmp_path: Path, suffix: str) -> None:
    content = f"{HEADER}\n".encode() + (b" " * 1023 + b"\n") * (257 << 10)
    bomb = packed(content, suffix.rpartition(".")[2])
    path = put(tmp_path, f"order_items/{DAY}.{suffix}", bomb)
    with pytest.raises(SourceError, match="unpack to more than 25") as refused:
        read(tmp_path)
    assert str(path) in str(refused.value)


MAPPING = """\
timezone: Asia/Shanghai
entities:
  order_items:
    files: {files}
    delimiter: ";"
    quote: "'"
    columns:
      order_id: 单号
      unit_price: price
      quantity: {{value: "1"}}
"""


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("export/lines_{date}.csv.gz", ["export/lines_2024-03-05.csv.gz"]),
        (
            "dt={date}/lines/*.csv",
            ["dt=2024-03-05/lines/a.csv", "dt=2024-03-05/lines/b.csv"],
        ),
        ("{yyyy}/{mm}/{dd}/lines.csv", ["2024/03/05/lines.csv"]),
        ("{yyyy}/{date}-*.csv", ["2024/2024-03-05-1.csv"]),
    ],
)
def test_a_mapping_tells_where_files_lie_and_which_columns_are_which(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    mapping = put(tmp_path, "mapping.yml", MAPPING.format(files=f'"{pattern}"'))
    root = tmp_path / "root"
    for number, name in enumerate(names):
        content = f"price;tip;单号;line_no;product_id\n1,5;0;'o;{number}';1;p\n".encode()
        put(root, name, packed(content, name.rpartition(".")[2]))
    for other in ("export/other_2024-03-05.csv.gz", "dt=old/lines/a.parquet", "2024/03/notes.txt"):
        if not other.startswith(names[0].partition("/")[0]) or "=" not in other:
            put(root, other, "not ours")
    source = open_source(f"files://{root}?settle=0&mapping={mapping}")
    rows = [row for batch in source.read(LINES, DAY, DAY) for row in batch.to_pylist()]

    assert sorted(row["source_file"] for row in rows) == names
    assert sorted(row["order_id"] for row in rows) == [f"o;{n}" for n in range(len(names))]
    assert {(row["quantity"], row["unit_price"]) for row in rows} == {("1", "1,5")}
    assert source.columns(LINES, DAY, DAY) == [*NAMES, "tip"]  # type: ignore[attr-defined]
    before = source.fingerprint(LINES, DAY)
    assert before is not None and source.fingerprint(LINES, date(2024, 3, 6)) is None
    os.utime(root / names[-1], ns=(1, 1))
    assert source.fingerprint(LINES, DAY) != before


def test_a_pattern_or_column_that_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    for pattern, says in (
        ("../{date}.csv", "'..' cannot be a folder"),
        ("/etc/{date}.csv", "'' cannot be a folder"),
        ("lines.csv", "no {date}"),
        ("{day}.csv", "unknown {day}"),
    ):
        mapping = put(tmp_path, "mapping.yml", MAPPING.format(files=f'"{pattern}"'))
        with pytest.raises(SourceError, match="line 4") as refused:
            open_source(f"files://{tmp_path}?mapping={mapping}")
        assert says in str(refused.value)
    mapping = put(tmp_path, "mapping.yml", MAPPING.format(files='"x/{date}.csv"'))
    put(tmp_path, f"x/{DAY}.csv", "order;line_no;product_id;price\n")
    with pytest.raises(SourceError) as refused:
        read(tmp_path, f"mapping={mapping}")
    assert f"change {mapping}, line 8" in str(refused.value)
    assert "without the column 单号" in str(refused.value)
    put(tmp_path, "x/2024-3-6.csv", "")
    with pytest.raises(SourceError, match=r"is not x/\{date\}.csv with a date"):
        read(tmp_path, f"mapping={mapping}")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_names_that_differ_in_case_only_are_told_apart(tmp_path: Path, suffix: str) -> None:
    columns = "{order_id: ID, product_id: id, line_no: Filename}"
    mapping = put(tmp_path, "m.yml", f"entities: {{order_items: {{columns: {columns}}}}}")
    names, values = ("ID", "id", "Filename", "quantity", "unit_price"), ("o", "p", "1", "2", "3")
    row = json.dumps(dict(zip(names, values, strict=True)))
    content = row if suffix == "jsonl" else f"{','.join(names)}\n{','.join(values)}\n"
    put(tmp_path, f"order_items/{DAY}.{suffix}", content)
    (found,) = read(tmp_path, f"settle=0&mapping={mapping}")
    assert (found["order_id"], found["product_id"], found["line_no"]) == ("o", "p", "1")


def test_a_changed_type_is_told_expected_against_found(tmp_path: Path) -> None:
    columns = {name: pa.array([value]) for name, value in ROW.items()}
    path = put(tmp_path, f"order_items/{DAY}.parquet", b"")
    for kind, told in (
        (pa.array([[1]], pa.list_(pa.int64())), "BIGINT[]"),
        (pa.array([{"a": 1}]), "STRUCT(a BIGINT)"),
        (pa.array([True]), "BOOLEAN"),
        (pa.array([date(2024, 1, 1)]), "DATE"),
    ):
        pq.write_table(pa.table({**columns, "quantity": kind}), path)
        with pytest.raises(SourceError) as refused:
            read(tmp_path)
        assert f"order_items.quantity expects integer; found {told}" in str(refused.value)
        assert str(path) in str(refused.value)


@pytest.mark.parametrize("quoted", ["?quote=none", "?encoding=latin-1&quote=none"])
def test_a_file_without_quotes_may_hold_them_as_text(tmp_path: Path, quoted: str) -> None:
    put(tmp_path, f"order_items/{DAY}.csv", f'{HEADER}\n"o1,1,5" nail,1,2\n')
    (row,) = read(tmp_path, f"settle=0&{quoted[1:]}")
    assert (row["order_id"], row["product_id"]) == ('"o1', '5" nail')


def test_a_declared_encoding_that_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    path = put(
        tmp_path, f"order_items/{DAY}.csv", f"{HEADER}\n{LINE}\nо1,1,p,1,2\n".encode("cp866")
    )
    with pytest.raises(SourceError) as refused:
        read(tmp_path, "settle=0&encoding=gb18030")
    assert "not gb18030 at line 3" in str(refused.value) and str(path) in str(refused.value)
    assert [row["order_id"] for row in read(tmp_path, "settle=0&encoding=cp866")] == ["o1", "о1"]


def test_a_file_that_is_marked_has_arrived_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, f"order_items/{DAY}.csv", f"{HEADER}\n{LINE}\n")
    for option, marker in ((".done", f"{DAY}.csv.done"), ("_SUCCESS", "_SUCCESS")):
        source = open_source(f"files://{tmp_path}?done={option}")
        with pytest.raises(SourceError, match=f"no file of order_items.*mark it with {option}"):
            list(source.read(LINES, DAY, DAY))
        assert source.fingerprint(LINES, DAY) is None
        marked = put(tmp_path, f"order_items/{marker}", "")
        assert len(read(tmp_path, f"done={option}")) == 1
        assert source.fingerprint(LINES, DAY) is not None
        marked.unlink()


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    path = put(tmp_path, f"order_items/{DAY}.csv", f"{HEADER}\n")
    begun = time.monotonic()
    assert read(tmp_path, "settle=0.3") == []  # a young file is looked at twice
    assert time.monotonic() - begun > 0.1
    os.utime(path, (1, 1))
    begun = time.monotonic()
    assert read(tmp_path, "settle=60") == []  # an old one is not
    assert time.monotonic() - begun < 30

    with path.open("a") as file:

        def write() -> None:
            for _ in range(40):
                file.write(f"{LINE}\n")
                file.flush()
                time.sleep(0.02)

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.05)
        with pytest.raises(StorageError, match="still being written") as refused:
            read(tmp_path, "settle=0.3")
        writer.join()
    assert str(path) in str(refused.value)


def test_unfinished_names_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, f"order_items/{DAY}.csv", f"{HEADER}\n{LINE}\n")
    for ending in (".part", ".tmp", "~", ".crdownload"):
        put(tmp_path, f"order_items/{DAY}.csv{ending}", "half of")
    assert len(read(tmp_path)) == 1


def test_the_mapping_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    (text,) = re.findall(r"^```yaml\n(timezone:.*?)^```", readme, re.MULTILINE | re.DOTALL)
    mapping = read_mapping(str(put(tmp_path, "mapping.yml", text)), MAPPED)
    layout = layout_of(mapping, entity("orders"))
    assert layout.path_of(DAY) == "export/orders_2024-03-05.csv.gz"
    assert len(mapping.of(entity("orders")).columns) == 4

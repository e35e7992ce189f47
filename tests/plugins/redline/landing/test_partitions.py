from __future__ import annotations

import errno
import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redline import landing
from redline.errors import RedlineError, SettingError, SourceError, StorageError
from redline.plan import days
from tests.plugins.redline.landing.shop import DAY, Shop, row

NEXT = DAY + timedelta(days=1)
LAST = DAY + timedelta(days=2)


def test_each_date_has_a_partition_with_a_manifest_even_without_rows(shop: Shop) -> None:
    shop.fingerprints[("orders", DAY)] = "f1"
    shop.deliver("orders", DAY, row("orders", "o1"), row("orders", "o1"), row("orders", "o2"))
    shop.deliver("orders", LAST, row("orders", "o3"), row("orders", "o4", amount="-1"))
    report = shop.land("orders", DAY, LAST)
    assert report["dates"] == 3 and len(shop.reads) == 1
    for day, rows in zip(days(DAY, LAST), (2, 0, 1), strict=True):
        file = shop.partition("orders", day) / f"source_date={day}.parquet"
        assert pq.ParquetFile(file).metadata.num_rows == rows
        manifest = json.loads((file.parent / "manifest.json").read_text())
        assert (manifest["report_date"], manifest["run_id"]) == (str(day), "run-1")
        (entry,) = manifest["files"]
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert entry["rows_landed"] == rows
    first = json.loads((shop.partition("orders", DAY) / "manifest.json").read_text())["files"][0]
    assert (first["rows_read"], first["rows_collapsed"], first["fingerprint"]) == (3, 1, "f1")
    refused = shop.home.quarantine / "shop" / "orders"
    assert [path.name for path in refused.iterdir()] == [f"report_date={LAST}"]
    assert json.loads((shop.home.runs / "run-1" / "land_orders.json").read_text()) == report


def test_landing_the_same_again_gives_the_same_bytes_in_whatever_order_rows_come(
    shop: Shop,
) -> None:
    rows = [row("orders", f"o{i * 7919 % 5000}", amount=str(i % 5000)) for i in range(5000)]
    rows += [row("orders", "torn", amount=str(i)) for i in range(3)]
    shop.deliver("orders", DAY, *rows)
    shop.land("orders", DAY, NEXT)
    before = shop.bytes_of("orders")
    shop.deliver("orders", DAY, *reversed(rows))
    shop.land("orders", DAY, NEXT, run_id="run-2")
    assert shop.bytes_of("orders") == before and len(before) == 3


def test_extracting_an_open_date_again_replaces_its_rows_and_refusals_whole(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"), row("orders", "o2", amount="-1"))
    shop.land("orders")
    shop.deliver("orders", DAY, row("orders", "o3"))
    shop.land("orders", run_id="run-2")
    assert [each["order_id"] for each in shop.landed("orders")] == ["o3"]
    assert shop.refused("orders") == []
    folder = shop.partition("orders").parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "dropped_columns.json",
        f"report_date={DAY}",
    ]


def test_a_failing_source_leaves_the_old_partitions_as_they_were(shop: Shop) -> None:
    shop.deliver("orders", DAY, row("orders", "o1"))
    shop.land("orders")
    before = shop.bytes_of("orders")

    def torn(*args: Any) -> Any:
        yield from ()
        raise SourceError("the file ends in the middle of a row", "orders.csv", "send it again")

    shop.read = torn  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="middle of a row"):
        shop.land("orders")
    assert shop.bytes_of("orders") == before
    assert not list(shop.home.landing.rglob(".aside*"))


class Killed(BaseException):
    """The process ends here: nothing is cleaned up."""


@pytest.mark.parametrize("renames", range(4))
def test_a_run_killed_half_way_leaves_whole_partitions_and_the_next_one_mends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    shop.deliver("orders", DAY, row("orders", "old", amount="1"))
    shop.deliver("orders", NEXT, row("orders", "old", amount="2"))
    shop.land("orders", DAY, NEXT)
    old = shop.bytes_of("orders")
    shop.deliver("orders", DAY, row("orders", "new", amount="3"))
    shop.deliver("orders", NEXT, row("orders", "new", amount="4"))

    rename = Path.rename
    done = 0

    def killed_later(self: Path, target: Path) -> Path:
        nonlocal done
        if "report_date=" in self.name and "landing" in self.parts:
            if done == renames:
                raise Killed
            done += 1
        return rename(self, target)

    with monkeypatch.context() as dying:
        dying.setattr(Path, "rename", killed_later)
        dying.setattr(landing, "close_aside", lambda aside: None)
        with pytest.raises(Killed):
            shop.land("orders", DAY, NEXT, run_id="killed")
    left = shop.partition("orders").parent / ".aside-killed"
    assert left.exists()
    # what is visible is old or new as a whole, with its own manifest
    for path in shop.partition("orders").parent.glob("report_date=*"):
        (file,) = path.glob("*.parquet")
        entry = json.loads((path / "manifest.json").read_text())["files"][0]
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()

    # the next run mends first, even if it goes no further
    shop.batches = [pa.RecordBatch.from_pydict({"wrong": ["header"]})]
    with pytest.raises(SourceError, match="wrong header"):
        shop.land("orders", DAY, NEXT, run_id="run-3")
    assert not left.exists()
    assert {*shop.bytes_of("orders")} == {*old}
    shop.batches = None
    shop.land("orders", DAY, NEXT, run_id="run-4")
    assert [each["order_id"] for each in shop.landed("orders")] == ["new", "new"]


def test_a_home_that_cannot_be_written_is_one_clear_line(shop: Shop) -> None:
    shop.home.root.write_text("a file where a folder should be")
    shop.deliver("orders", DAY, row("orders", "o1"))
    with pytest.raises(SettingError) as error:
        shop.land("orders")
    assert str(shop.home.root) in str(error.value) and "\n" not in str(error.value)


def test_a_source_without_an_optional_entity_lands_empty_partitions(shop: Shop) -> None:
    report = shop.land("appeals")
    assert report["rows_read"] == 0
    assert pq.read_schema(shop.partition("appeals") / f"source_date={DAY}.parquet").names[:2] == [
        "platform",
        "appeal_id",
    ]


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code), "some/file")


FAULTS = [
    (os_error(errno.ENOSPC), StorageError),
    (os_error(errno.EIO), StorageError),
    (os_error(errno.ENOENT), StorageError),
    (duckdb.IOException("IO Error: Could not write file: No space left on device"), StorageError),
    (duckdb.IOException("IO Error: no file that matches the pattern"), StorageError),
    (os_error(errno.EACCES), SettingError),
    (os_error(errno.EROFS), SettingError),
    (duckdb.IOException('IO Error: Cannot open "x": Read-only file system'), SettingError),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
@pytest.mark.parametrize("step", ["write_aside", "swap_in", "read_manifest", "open_aside"])
def test_a_home_whose_storage_fails_is_worth_a_retry_unless_it_stays_so(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    kind: type[RedlineError],
    step: str,
) -> None:
    def failing(*args: Any) -> Any:
        raise fault

    shop.deliver("orders", DAY, row("orders", "o1"))
    monkeypatch.setattr(landing, step, failing)
    with pytest.raises(kind) as error:
        shop.land("orders")
    assert str(shop.home.root) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (os_error(errno.EIO), StorageError),
        (os_error(errno.ESTALE), StorageError),
        (duckdb.IOException("IO Error: some/file: Input/output error\nmore"), StorageError),
        (os_error(errno.EACCES), SourceError),
    ],
)
def test_a_source_whose_storage_fails_is_worth_a_retry_unless_it_stays_so(
    shop: Shop, fault: Exception, kind: type[RedlineError]
) -> None:
    def failing(*args: Any) -> Any:
        yield from ()
        raise fault

    shop.read = failing  # type: ignore[method-assign]
    with pytest.raises(kind, match="cannot read what the source delivers") as error:
        shop.land("orders")
    assert "some/file" in str(error.value) and "\n" not in str(error.value)


def test_a_key_file_on_a_failing_disk_is_worth_a_retry(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any) -> Any:
        raise os_error(errno.ENOSPC)

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(StorageError, match=r"pseudonym\.key"):
        shop.land("orders")

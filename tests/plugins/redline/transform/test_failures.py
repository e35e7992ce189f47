"""Which failures of dbt get better by waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from redline.errors import BusyError, RedlineError, StorageError
from redline.settings import read_settings
from redline.transform import ModelRun, _failure


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("IO Error: Could not set lock on file", BusyError),
        ("IO Error: Could not write file: No space left on device", StorageError),
        ("[Errno 28] No space left on device", StorageError),
        ("IO Error: Cannot open file", StorageError),
        ("Binder Error: no such column", RedlineError),
    ],
)
def test_a_failure_of_the_storage_is_told_from_one_of_a_model(
    said: str, kind: type[RedlineError], tmp_path: Path
) -> None:
    settings = read_settings({"REDLINE_HOME": str(tmp_path)})
    failed = ModelRun("fct_alerts", "error", 0.1, said)
    assert type(_failure([failed], f"Runtime Error: {said}", settings)) is kind

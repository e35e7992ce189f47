"""The restatements that were begun and not published, in `restating.json` of the home.

A restatement changes closed landing before it publishes. Until it is published, no other run may
be built on that landing.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from redline.errors import SettingError
from redline.settings import Home


def check(home: Home, platform: str, restate_from: date | None) -> None:
    """Refuse a run while a restatement of its platform is unfinished, unless it redoes that.

    Args:
        restate_from: the first closed date that the run rewrites; None for an ordinary run.

    Raises:
        SettingError: naming the restatement to be finished first.
    """
    begun = _read(home).get(platform)
    if begun is None or (restate_from is not None and restate_from <= begun):
        return
    raise SettingError(
        f"a restatement from {begun} was not finished",
        f"platform {platform}",
        f"run `make restate FROM={begun}`",
    )


def begin(home: Home, platform: str, restate_from: date) -> None:
    """Note a restatement, before it changes anything."""
    _write(home, {**_read(home), platform: restate_from})


def finish(home: Home, platform: str, restated_from: date) -> None:
    """Forget a platform's restatement once one from that date or an earlier one is published."""
    begun = _read(home)
    if platform in begun and restated_from <= begun[platform]:
        del begun[platform]
        _write(home, begun)


def _file(home: Home) -> Path:
    return home.root / "restating.json"


def _read(home: Home) -> dict[str, date]:
    try:
        found: dict[str, str] = json.loads(_file(home).read_text())
    except FileNotFoundError:
        return {}
    return {platform: date.fromisoformat(day) for platform, day in found.items()}


def _write(home: Home, begun: dict[str, date]) -> None:
    if not begun:
        _file(home).unlink(missing_ok=True)
        return
    aside = _file(home).with_suffix(".tmp")
    aside.write_text(json.dumps(begun, default=str, indent=2, sort_keys=True))
    aside.replace(_file(home))

"""Backtest: what a candidate pack would have said, evening by evening, beside the active ones.

```
backtests/<id>/report.html        one page with plots, nothing from elsewhere
backtests/<id>/measures.parquet   one row per measure: active and candidate
backtests/<id>/changes.parquet    one row per entity and metric that gains or loses an alert
backtests/<id>/alerts.parquet     one row per alert of either
```

Both are replayed alike, over copies of what the warehouse keeps evening by evening, cut off after
the last one: what came later cannot be seen, and the warehouse itself is only read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from redline import lock
from redline.backtest.measures import measure
from redline.backtest.page import page
from redline.backtest.question import ask
from redline.backtest.replay import copy_past, find_chain, lay_out, run
from redline.backtest.report import Report, write_tables
from redline.errors import StorageError
from redline.publish.state import locked
from redline.settings import Settings
from redline.transform import DBT_PROJECT

__all__ = ["Report", "backtest"]

_ASIDE = ".aside-"


def backtest(
    settings: Settings,
    pack: str,
    start: str,
    end: str,
    *,
    project: Path = DBT_PROJECT,
    tell: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Replay a candidate over published evenings and compare it with the packs in force.

    The same question asked again replaces its report.

    Args:
        settings: the home, and the packs in force.
        pack: the candidate: a pack's name or its file's path; several are separated by commas.
        start, end: first and last evening, as a person writes them, inclusive.
        project: the folder of the dbt project, below whose seeds the named packs lie.
        tell: is told what is being done.

    Raises:
        SettingError: evenings that mean nothing or are not published, a home without a warehouse
            or with an unfinished restatement.
        PackError: a pack that is missing or broken.
        BusyError: a run or another backtest is at work.
        RedlineError: a replay failed; a StorageError where the disk did.
    """
    question = ask(settings, pack, start, end, project)
    folder = settings.home.backtests / question.name
    with locked(settings.home.backtests):
        _remove_leftovers(settings.home.backtests)
        try:
            with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=settings.home.backtests) as made:
                aside = Path(made)
                replays = [lay_out(aside, side, settings, project) for side in question.sides]
                tell("reading the models")
                chain = find_chain(replays)
                tell("copying what the evenings knew")
                with lock.hold(settings.home, "backtest", shared=True):
                    past = copy_past(question, chain, settings, aside)
                for replay in replays:
                    tell(f"replaying {replay.side.title}")
                    run(replay, question, chain, past)
                tell("comparing")
                report = measure(question, folder, [replay.warehouse for replay in replays])
                ready = aside / "report"
                ready.mkdir()
                write_tables(report, ready)
                (ready / "report.html").write_text(page(report), encoding="utf-8")
                _put(ready, folder)
        except OSError as error:
            raise StorageError(
                f"the backtest cannot be written: {error.strerror or error}",
                str(settings.home.backtests),
                "make room on the disk, or mend the folder's rights; nothing else was changed",
            ) from error
    return report


def _put(ready: Path, folder: Path) -> None:
    """Rename a finished report into its place; one that was there before goes with the rest."""
    if folder.exists():
        folder.rename(ready.with_name("replaced"))
    ready.rename(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed backtests left; to be called under the lock."""
    for path in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(path)

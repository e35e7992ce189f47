"""What the tests of the backtest share: homes, and replays of what is in force in them."""

from __future__ import annotations

from datetime import date
from functools import cache

import pytest

from redline.backtest.question import ask
from redline.backtest.replay import copy_past, find_chain, lay_out, run
from redline.settings import Settings
from tests.plugins.redline.backtest.made_homes import PACKS, Homes, Replay, Replayed, build


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """The homes of a simulated marketplace; see `made_homes.build`."""
    return build(tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="session")
def replayed(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Replay the packs in force over evenings, once, and keep the warehouse that this makes."""

    @cache
    def replay(settings: Settings, start: date, end: date) -> Replay:
        folder = tmp_path_factory.mktemp("replay")
        question = ask(settings, ",".join(PACKS), str(start), str(end), homes.project)
        made = lay_out(folder, question.active, settings, homes.project)
        chain = find_chain([made])
        run(made, question, chain, copy_past(question, chain, settings, folder))
        return Replay(question, chain, made.warehouse)

    return replay

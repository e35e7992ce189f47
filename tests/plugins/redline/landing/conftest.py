from __future__ import annotations

from pathlib import Path

import pytest

from redline import landing
from redline.settings import Home, Settings
from tests.plugins.redline.landing.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    home = Home(tmp_path / "home")
    shop = Shop(home, Settings(home, "Asia/Shanghai", ("douyin_laike",), 180, 7))
    monkeypatch.setattr(landing, "open_source", lambda address: shop)
    return shop

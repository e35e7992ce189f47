"""All settings, read from the environment in this one place.

The README lists every setting with its default; a test holds the two against each other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from redline.errors import SettingError
from redline.marketplaces import CONNECTION, is_platform_name

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Home:
    """The folder that holds all that a run writes, and the names within it."""

    root: Path

    @property
    def landing(self) -> Path:
        """`<platform>/<entity>/report_date=D/source_date=S.parquet` and `manifest.json`."""
        return self.root / "landing"

    @property
    def quarantine(self) -> Path:
        """`<platform>/<entity>/report_date=D/source_date=S.parquet`: refused rows and why."""
        return self.root / "quarantine"

    @property
    def warehouse(self) -> Path:
        """The private DuckDB file that dbt writes."""
        return self.root / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """`runs/<run_id>/`, the symlink `current`, and fixed links through it."""
        return self.root / "published"

    @property
    def alerts(self) -> Path:
        """One JSON Lines file per evening."""
        return self.root / "alerts"

    @property
    def backtests(self) -> Path:
        """One folder per backtest: its page and its tables."""
        return self.root / "backtests"

    @property
    def data_docs(self) -> Path:
        """The gates' reports as web pages."""
        return self.root / "data_docs"

    @property
    def runs(self) -> Path:
        """`<run_id>/`: the plan of a run and what its stages have reported so far."""
        return self.root / "runs"

    @property
    def logs(self) -> Path:
        """Full logs of every run."""
        return self.root / "logs"


@dataclass(frozen=True)
class Settings:
    """What a run needs to know that is not in the data.

    Attributes:
        home: where everything is written (`REDLINE_HOME`).
        timezone: the business time zone, an IANA name (`REDLINE_TIMEZONE`).
        policies: names of the activated policy packs (`REDLINE_POLICIES`).
        horizon_days: orders whose cohorts are older are refused (`REDLINE_HORIZON_DAYS`).
        kept_runs: how many published runs stay on disk (`REDLINE_KEPT_RUNS`).
        pseudonym_key: the HMAC key, or None for the key file in home (`REDLINE_PSEUDONYM_KEY`).
        alerts: the file of alert channels, or None for files only (`REDLINE_ALERTS`).
        outbox: PostgreSQL's address, or None for a file in home (`REDLINE_OUTBOX`).
        marketplaces: names of the Airflow connections, each a marketplace
            (`REDLINE_MARKETPLACES`).
        api_tokens: tokens of shops at platforms' APIs, or None (`REDLINE_API_TOKENS`).
        deadline: when the marts are late, a time of day in `timezone` (`REDLINE_DEADLINE`).
    """

    home: Home
    timezone: str
    policies: tuple[str, ...]
    horizon_days: int
    kept_runs: int
    pseudonym_key: str | None = None
    alerts: Path | None = None
    outbox: str | None = None
    marketplaces: tuple[str, ...] = (CONNECTION,)
    api_tokens: str | None = None
    deadline: time = time(6)

    def __repr__(self) -> str:
        """Leave key, password and tokens out: a settings object may end up in a log."""
        return (
            f"Settings(home={self.home.root}, timezone={self.timezone}, policies={self.policies})"
        )


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the `REDLINE_*` settings.

    Raises:
        SettingError: a value that cannot be used, named with what to put instead.
    """
    timezone = environ.get("REDLINE_TIMEZONE", "Asia/Shanghai")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingError(
            f"unknown time zone '{timezone}'",
            "REDLINE_TIMEZONE",
            "set an IANA name such as Asia/Shanghai or UTC",
        ) from error
    return Settings(
        home=Home(Path(environ.get("REDLINE_HOME", PROJECT / "data")).expanduser().absolute()),
        timezone=timezone,
        policies=_names(environ, "REDLINE_POLICIES", "douyin_laike"),
        horizon_days=_count(environ, "REDLINE_HORIZON_DAYS", 180),
        kept_runs=_count(environ, "REDLINE_KEPT_RUNS", 7),
        pseudonym_key=environ.get("REDLINE_PSEUDONYM_KEY") or None,
        alerts=Path(named) if (named := environ.get("REDLINE_ALERTS")) else None,
        outbox=environ.get("REDLINE_OUTBOX") or None,
        marketplaces=_connections(environ, "REDLINE_MARKETPLACES"),
        api_tokens=environ.get("REDLINE_API_TOKENS") or None,
        deadline=_clock(environ, "REDLINE_DEADLINE", "06:00"),
    )


def _connections(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Names of connections; they become those of platforms and of groups of tasks."""
    names = _names(environ, name, CONNECTION) or (CONNECTION,)
    for each in names:
        if not is_platform_name(each):
            raise SettingError(
                f"'{each}' cannot be the name of a marketplace",
                name,
                "use small letters, digits, - and _, beginning with a letter or digit, not 'all'",
            )
        if names.count(each) > 1:
            raise SettingError(f"'{each}' stands there twice", name, "name each connection once")
    return names


def _names(environ: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environ.get(name, default).split(",") if part.strip())


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(f"'{text}' is not a count", name, "set a whole number of at least 1")
    return int(text)


def _clock(environ: Mapping[str, str], name: str, default: str) -> time:
    text = environ.get(name) or default
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise SettingError(f"'{text}' is no time of day", name, f"set one such as {default}")
    return time.fromisoformat(text)

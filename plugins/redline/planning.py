"""Planning a run: is the home ours, which dates are open, under which name do we work."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from redline import policies, restating
from redline.errors import SettingError
from redline.marketplaces import CONNECTION
from redline.plan import ONE_DAY, Plan
from redline.settings import Home, Settings
from redline.sources import Source, open_source, parse_address
from redline.sources import without_password as without_password

HOME_FORMAT = 1
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")


def make_plan(
    settings: Settings,
    source_text: str,
    requested_start: date,
    requested_end: date,
    dag_run_id: str,
    restate_from: date | None = None,
    connection: str = CONNECTION,
) -> Plan:
    """Decide which dates a run takes, and save the decision for its stages.

    The first run takes what was asked for. A later one takes every date since the last published
    one up to the requested end, so publishing neither moves backwards nor leaves a hole; when all
    of them are closed it has no open dates (`start > end`). With `restate_from` it takes that
    closed date and all closed ones after it once more; until that is published, the platform's
    other runs are refused. The saved plan never holds a password.

    Args:
        dag_run_id: Airflow's name of the run; the same name gives the same `run_id`, so a retried
            or cleared task goes on in the same folder.
        connection: the Airflow connection that the source's address comes from.

    Raises:
        SettingError: dates in the wrong order or outside the source's, a restatement of a date
            that is not closed, a restatement that is to be finished first, a run that is already
            published, a home that cannot be written or was made for another time zone.
        SourceError: an address that means nothing.
        PackError: an active policy pack that is missing or broken.
    """
    check_dates(requested_start, requested_end)
    check_address(source_text)
    policies.check_packs(settings.policies)
    prepare_home(settings)
    source = open_known_source(source_text)  # may write below the home, so only now
    check_span(source, requested_start, requested_end)

    restating.check(settings.home, source.platform, restate_from)
    published_through, base_run = published(settings.home, source.platform)
    start, end = _open_dates(published_through, requested_start, requested_end, restate_from)
    if restate_from is not None:
        requested_start, requested_end = start, end
    plan = Plan(
        run_id=name_run(dag_run_id, source.platform, requested_end),
        platform=source.platform,
        source=without_password(source_text),
        requested_start=requested_start,
        requested_end=requested_end,
        published_through=published_through,
        base_run=base_run,
        start=start,
        end=end,
        restated_from=restate_from,
        connection=connection,
    )
    if plan.has_open_dates and _was_published(plan, settings.home):
        raise SettingError("already published", f"run {plan.run_id}", "trigger a new run")
    if restate_from is not None:
        restating.begin(settings.home, plan.platform, restate_from)
    plan.save(settings.home)
    return plan


def _was_published(plan: Plan, home: Home) -> bool:
    """Whether a run of that name is published: a cleared restatement keeps its name."""
    if plan.base_run == plan.run_id:
        return True
    try:
        report = json.loads((plan.folder(home) / "publish.json").read_text())
    except FileNotFoundError:
        return False
    return bool(report["published"])


def _open_dates(
    published_through: date | None,
    requested_start: date,
    requested_end: date,
    restate_from: date | None,
) -> tuple[date, date]:
    """First and last open date of the run, the first after the last when there is none."""
    if restate_from is not None:
        if published_through is None or restate_from > published_through:
            raise SettingError(
                f"cannot restate from {restate_from}: it is not published",
                "FROM or restate_from",
                f"name a date up to {published_through}"
                if published_through
                else "publish it with an ordinary run first",
            )
        # No further: the evenings of a restating run get no alerts, so it may not add any.
        return restate_from, published_through
    if published_through is None:
        return requested_start, requested_end
    return published_through + ONE_DAY, max(published_through, requested_end)


def read_date(text: str, where: str) -> date:
    """Read a business date as a person writes it, `2026-03-01`.

    Raises:
        SettingError: anything else.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise SettingError(
            f"'{text}' is not a date",
            where,
            "write it as YYYY-MM-DD, such as 2026-03-01",
        ) from None


def check_dates(start: date, end: date) -> None:
    """Raise SettingError unless start comes no later than end."""
    if end < start:
        raise SettingError(
            f"END {end} comes before START {start}",
            "START and END, or start_date and end_date",
            "swap them, or give the same date twice for one day",
        )


def check_span(source: Source, start: date, end: date) -> None:
    """Raise SettingError when the source has none of the dates."""
    span = source.span()
    if span is not None and (end < span[0] or start > span[1]):
        raise SettingError(
            f"the source has nothing from {start} to {end}",
            f"source '{source.platform}'",
            f"it has {span[0]} to {span[1]}: give START and END (start_date and end_date) within",
        )


def open_known_source(source_text: str) -> Source:
    """Open a source; what is wrong with an address is said without the password in it."""
    check_address(source_text)
    return open_source(source_text)


def check_address(source_text: str) -> None:
    """Raise SourceError unless the address names a source; nothing is opened."""
    parse_address(without_password(source_text))


def prepare_home(settings: Settings) -> None:
    """Make the home if absent, and make sure that it is one of ours and of our time zone.

    Raises:
        SettingError: it cannot be written, was made for another time zone or by a newer version.
    """
    home = settings.home
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        probe = home.root / ".write-probe"
        probe.write_text("")
        probe.unlink()
        marker = home.root / "home.json"
        if not marker.exists():
            _write_aside(
                marker,
                json.dumps({"format": HOME_FORMAT, "timezone": settings.timezone}, indent=2),
            )
        made = json.loads(marker.read_text())
    except OSError as error:
        raise SettingError(
            f"cannot write to the home: {error.strerror or error}",
            f"REDLINE_HOME={home.root}",
            "set REDLINE_HOME to a folder that you may write to",
        ) from error
    except ValueError as error:
        raise SettingError(
            "home.json is not readable as JSON",
            str(home.root / "home.json"),
            "restore it from a backup, or set another REDLINE_HOME",
        ) from error
    if made.get("timezone") != settings.timezone:
        raise SettingError(
            f"this home was made with {made.get('timezone')}, not with {settings.timezone}",
            f"REDLINE_HOME={home.root}",
            f"set REDLINE_TIMEZONE={made.get('timezone')} or another REDLINE_HOME",
        )
    if made.get("format", 0) > HOME_FORMAT:
        raise SettingError(
            f"this home has format {made['format']}, this version knows up to {HOME_FORMAT}",
            f"REDLINE_HOME={home.root}",
            "use the version of Redline that made it, or a newer one",
        )


def published(home: Home, platform: str) -> tuple[date | None, str | None]:
    """The platform's last published date and the published run, or Nones before the first."""
    from redline.publish import (
        published_state,
    )  # DuckDB comes with it: not for DAG parsing

    state = published_state(home)
    if state is None:
        return None, None
    return state.as_of.get(platform), state.run_id


def name_run(dag_run_id: str, platform: str, requested_end: date) -> str:
    """A name that reads well, is safe as a file name, and is the same for the same DAG run.

    `20260301T020000-simulator-1f3a9c`: when the DAG run was made (else the date that was asked
    for), the platform, and six digits of a hash of both and of Airflow's name.
    """
    found = _TIMESTAMP.search(dag_run_id)
    when = (found.group() if found else requested_end.isoformat()).replace("-", "").replace(":", "")
    digest = hashlib.sha256(f"{dag_run_id}\n{platform}".encode()).hexdigest()[:6]
    return f"{when}-{re.sub(r'[^A-Za-z0-9_]+', '_', platform)}-{digest}"


def last_complete_date(moment: datetime, timezone: str) -> date:
    """The last business date that had ended at that moment."""
    return moment.astimezone(ZoneInfo(timezone)).date() - ONE_DAY


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(text)
    aside.replace(path)

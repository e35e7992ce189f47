"""
### policy_backtest

Replays a candidate policy pack over published evenings, exactly as these knew the records, and
compares it with the packs in force (`REDLINE_POLICIES`): alerts an evening, merchants touched,
precision, recall and lead of warnings, records that reopen, and who gains or loses an alert.

**Runs** when triggered, with
`{"pack": "tiktok_shop", "start_date": "2026-02-01", "end_date": "2026-02-28"}`. The pack is one of
`dbt_project/seeds/policies`, by name, in force or not; several are separated by commas.
`make backtest` does the same, and takes a file's path too.

**Writes** `backtests/<id>/` in `REDLINE_HOME`: `report.html` for people, and tables as Parquet. The
warehouse is only read, what is published stays, and no alert is sent. The same question asked again
replaces its report.

**When it fails** there is no report, and nothing else has changed. The task's log ends with one
line: what is wrong (a pack, with line and column; evenings that are not published), where, what to
do. Mend that and trigger it again. While a run is at work it waits and tries again.

**Owner**: risk-data.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from redline.settings import read_settings
from redline.tasks import RETRIES, WRITER_POOL, reported


@dag(
    dag_id="policy_backtest",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # a replay takes both cores
    params={
        # Names only: who may trigger a DAG may not thereby have any file read.
        "pack": Param(type="string", pattern=r"^[A-Za-z0-9_, ]+$", description="The candidate."),
        "start_date": Param(type="string", format="date", description="First evening."),
        "end_date": Param(type="string", format="date", description="Last evening, included."),
    },
    default_args={"owner": "risk-data", **RETRIES},
    tags=["redline", "risk"],
)
def policy_backtest() -> None:
    """Replay a candidate beside the packs in force."""

    @task(pool=WRITER_POOL)  # DuckDB lets nobody read the warehouse while a run writes it
    def replay() -> dict[str, Any]:
        from redline.backtest import backtest

        with reported("backtest") as noted:
            params = get_current_context()["params"]
            report = backtest(
                read_settings(), params["pack"], params["start_date"], params["end_date"]
            )
            noted["report"] = {
                "page": str(report.page),
                "measures": {m.key: [m.active.value, m.candidate.value] for m in report.measures},
            }
            return noted["report"]

    replay()


policy_backtest()

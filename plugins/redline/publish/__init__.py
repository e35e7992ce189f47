"""Publishing: a finished run's marts become the ones everybody reads, all at once or not at all.

```
published/runs/<run_id>/redline.duckdb                         schema `marts`
published/runs/<run_id>/parquet/<table>/<platform>.parquet     the same tables
published/runs/<run_id>/parquet/<table>/<date>=D/<platform>.parquet   those that only grow
published/runs/<run_id>/run.json, content.json                 what the run is, what its files hold
published/current -> runs/<run_id>                             the one thing that is ever replaced
published/redline.duckdb -> current/redline.duckdb             fixed
published/parquet -> current/parquet                           fixed
```

A process that has `published/redline.duckdb` open keeps the run it opened; the next process to open
it gets the new one. A reader of Parquet opens many files one by one, so it should resolve
`published/current` once and read below that folder.
"""

from __future__ import annotations

from redline.publish.publication import publish
from redline.publish.state import PublishedState, published_since, published_state

__all__ = ["PublishedState", "publish", "published_since", "published_state"]

"""The process in which dbt runs: the command `dbt`, without what a run has no use for.

`python -P dbt_process.py RESULTS ARGUMENT...`

Where the command takes 6 CPU seconds over a small marketplace, this takes 4.5: dbt would write its
manifest twice, and look for cyclic garbage, of which a process of seconds needs none collected.
Results are still written.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Call dbt; write what it says of its nodes to the file that the first argument names.

    Returns:
        dbt's own exit code: 0, 1 if a node failed, 2 if dbt could not run.
    """
    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunner

    results, *command = arguments
    done = dbtRunner().invoke(command)
    if isinstance(done.result, RunExecutionResult):
        Path(results).parent.mkdir(parents=True, exist_ok=True)
        done.result.write(results)
    if done.exception is not None:
        print(done.exception, file=sys.stderr)
        return 2
    return 0 if done.success else 1


if __name__ == "__main__":
    gc.disable()
    sys.exit(main(sys.argv[1:]))

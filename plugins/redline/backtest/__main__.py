"""`make backtest`: replay a candidate policy pack over published evenings.

`python -m redline.backtest --pack NAME-OR-FILE --start DATE --end DATE`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from redline import progress
from redline.backtest import backtest
from redline.backtest.terminal import show
from redline.errors import RedlineError
from redline.settings import read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay, and tell what it came to; the exit code is 1 when there is no report."""
    parser = argparse.ArgumentParser(prog="redline.backtest", description=__doc__)
    parser.add_argument("--pack", default="")
    parser.add_argument("--start", default="")
    parser.add_argument("--end", default="")
    given = parser.parse_args(arguments)
    # In a log lines are not cut to the width of a terminal.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    try:
        with progress.line(console) as line:
            report = backtest(read_settings(), given.pack, given.start, given.end, tell=line.show)
    except RedlineError as error:
        console.print(f"[bold red]Error[/]: {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted: there is no report, and nothing else was changed.")
        return 130
    show(report, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

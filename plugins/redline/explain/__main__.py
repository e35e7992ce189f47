"""`make explain`: print one record's story, or list the open records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from redline.errors import RedlineError
from redline.explain.telling import open_records, story
from redline.explain.terminal import show, show_open
from redline.settings import read_settings

# Of a file or a pipe, which have no width: as wide as the tables are made for.
_WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Explain a record; the exit code is 1 where there is nothing to explain."""
    parser = argparse.ArgumentParser(prog="python -m redline.explain", description=__doc__)
    parser.add_argument("record", nargs="?", default="", help="id of a record or an alert")
    parser.add_argument("--all", action="store_true", help="leave nothing to `and N more`")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    try:
        if given.record.strip():
            show(story(read_settings(), given.record), console, everything=given.all)
        else:
            show_open(open_records(read_settings()), console, everything=given.all)
    except RedlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

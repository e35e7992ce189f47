"""The one line that says who published and who is missing."""

from __future__ import annotations

from datetime import date

from redline.verdict import Fate, told

DAY = date(2026, 3, 1)


def test_who_is_missing_comes_first_with_what_it_keeps_and_why() -> None:
    fates = [
        Fate("red", DAY, True),
        Fate("blue", DAY, False),
        Fate("green", DAY, False, "extract failed: no file"),
        Fate("new", None, False, "plan failed: no source"),
        Fate("grey", DAY, True),
    ]
    assert told(fates) == (
        "green is missing, keeps 2026-03-01: extract failed: no file; "
        "new is missing, has nothing published: plan failed: no source; "
        "published: red 2026-03-01, grey 2026-03-01; nothing new: blue"
    )


def test_a_run_that_was_asked_for_nobody_says_so() -> None:
    assert told([]) == "no marketplace was asked for"

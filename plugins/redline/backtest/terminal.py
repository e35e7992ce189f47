"""A backtest on the terminal: the measures, and who gains or loses an alert."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from redline.backtest import words
from redline.backtest.report import Change, Report

SHOWN = 4  # in each direction


def show(report: Report, console: Console) -> None:
    """Print the report."""
    question = report.question
    console.print(
        f"\n[bold]Backtest[/] of {escape(question.candidate.title)} against"
        f" {escape(question.active.title)}, {question.start} to {question.end}"
        f" ({len(question.evenings)} evenings, {escape(', '.join(question.platforms))})",
        soft_wrap=True,
    )
    if question.left_out:
        console.print(escape(words.say_left_out(question)), soft_wrap=True)
    console.print(_measures(report))
    if report.changes:
        console.print(_changes(report))
    more = len(report.changes) - len(_shown(report))
    if more:
        console.print(f"{more} more on the page.", style="dim")
    console.print(f"\nPage      {_near(report.page)}", soft_wrap=True, markup=False)
    console.print(f"Tables    {_near(report.folder)}/*.parquet", soft_wrap=True, markup=False)


def _measures(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("measure", no_wrap=True)
    for head in ("active", "candidate"):
        table.add_column(head, justify="right", no_wrap=True)
        table.add_column("", style="dim", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    for measure in report.measures:
        cells = [
            text
            for figure in (measure.active, measure.candidate)
            for text in (words.say(figure, measure.unit), words.say_parts(figure, measure.unit))
        ]
        difference = words.say_difference(measure.active, measure.candidate, measure.unit)
        table.add_row(("  " if measure.is_part else "") + measure.label, *cells, difference)
    return table


def _changes(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("", "who", "what they said of it on that evening"):
        table.add_column(head, overflow="fold")
    for change in _shown(report):
        table.add_row(
            f"{words.DIRECTIONS[change.direction]}\n[dim]{change.evening}[/]",
            f"{escape(words.say_entity(change, report.question))}\n[dim]{change.metric}[/]",
            f"[dim]active[/]    {words.say_judgement(change.active)}\n"
            f"[dim]candidate[/] {words.say_judgement(change.candidate)}",
        )
    return table


def _shown(report: Report) -> list[Change]:
    return [change for name in words.DIRECTIONS for change in report.changed(name)[:SHOWN]]


def _near(path: Path) -> str:
    """The path as one would type it here."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)

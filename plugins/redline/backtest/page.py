"""The page of a backtest: one HTML file with everything in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from redline.backtest import plots, words
from redline.backtest.report import Measure, Report

# Longer lists are for programs: they stand whole in changes.parquet.
MOST_CHANGES = 200

_STYLE = """
:root { color-scheme: light; --ink: #1d2433; --soft: #4a5468; --rule: #d9dee6; --wash: #f5f7fa; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 64rem; background: #fff;
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC",
  "PingFang SC", sans-serif; }
h1 { text-wrap: balance; margin: 0 0 .25rem; font-size: 1.75rem; line-height: 1.25; }
h2 { margin: 3rem 0 .5rem; font-size: 1.25rem; }
p { margin: .5rem 0; max-width: 46rem; }
.whole { white-space: nowrap; }
.sides { display: flex; flex-wrap: wrap; gap: .25rem 2rem; margin: 1rem 0 0; padding: 0;
  list-style: none; }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .45em;
  border-radius: .15em; vertical-align: -.05em; }
.scroll { margin-top: 1rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding: .25rem 0 .6rem; color: var(--soft); text-align: left; }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--rule);
  text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); font-size: .875rem; }
tbody th { font-weight: 500; }
.n { text-align: right; white-space: nowrap; }
.of { display: block; color: var(--soft); font-size: .8125rem; font-weight: 400; }
.part th { padding-left: 1rem; color: var(--soft); font-weight: 400; }
figure { margin: 1.25rem 0 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 36rem; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { color: var(--soft); }
dt { margin-top: .75rem; font-weight: 600; }
dd { margin: 0; max-width: 46rem; }
code { padding: 0 .25em; background: var(--wash); font-size: .9em; }
@media print { body { padding: 0; max-width: none; } figure, tr { break-inside: avoid; } }
"""


def page(report: Report) -> str:
    """The page, whole: no file, script or font comes from elsewhere."""
    question = report.question
    plots.keep_fonts_in(report.folder.parent / ".matplotlib")
    title = f"Backtest of {question.candidate.title}, {question.start} to {question.end}"
    parts = [
        f"<h1>{_unbroken_dates(escape(title))}</h1>",
        f"<p>{escape(_summary(report))}</p>",
        _sides(report),
        "<h2>Side by side</h2>",
        _measures(report),
        "<h2>Alerts per evening</h2>",
        _figure(
            plots.draw_alerts(report),
            "Transitions of records on each evening: opened, escalated and resolved.",
            "Neither alerts on any of these evenings.",
        ),
        "<h2>How early warnings come</h2>",
        _figure(
            plots.draw_lead_days(report),
            "Violation records that were warned of, by days from the first warning evening to the"
            " first violation evening.",
            "No violation between these evenings was warned of.",
        ),
        "<h2>Who gains and who loses an alert</h2>",
        _figure(
            plots.draw_changes(report),
            "Entities per metric that alert under the candidate only (gained) or under the active"
            " packs only (lost). A record that only resolves does not count.",
            "Nobody gains or loses an alert.",
        ),
        _changes(report),
        "<h2>How it is counted</h2>",
        _meanings(report),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *parts,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _unbroken_dates(text: str) -> str:
    return re.sub(r"\d{4}-\d{2}-\d{2}", r'<span class="whole">\g<0></span>', text)


def _summary(report: Report) -> str:
    """What matters most, in a sentence or two."""
    question, alerts = report.question, report.measures[0]
    told = (
        f"Over {len(question.evenings)} evenings the candidate makes {alerts.candidate.part:,}"
        f" alerts, the active packs {alerts.active.part:,}."
        f" Counted by entity and metric, {len(report.changed('gained'))} gain an alert and"
        f" {len(report.changed('lost'))} lose theirs."
    )
    if question.left_out:
        told += f" {words.say_left_out(question)}"
    return told


def _sides(report: Report) -> str:
    colours = {"active": plots.ACTIVE, "candidate": plots.CANDIDATE}
    items = [
        f'<li><span class="key" style="background: {colours[side.label]}"></span>'
        f"{side.label}: <strong>{escape(side.title)}</strong></li>"
        for side in report.question.sides
    ]
    return f'<ul class="sides">{"".join(items)}</ul>'


def _measures(report: Report) -> str:
    return _table(
        "What both would have said of the same evenings, each by its own thresholds.",
        ["measure", "active", "candidate", "difference"],
        [_measure_row(measure) for measure in report.measures],
        numbers=("active", "candidate", "difference"),
    )


def _measure_row(measure: Measure) -> str:
    unit = measure.unit
    figures = [
        escape(words.say(figure, unit)) + _small(words.say_parts(figure, unit))
        for figure in (measure.active, measure.candidate)
    ]
    difference = words.say_difference(measure.active, measure.candidate, unit)
    kind = ' class="part"' if measure.is_part else ""
    name = escape(measure.label)
    return (
        f'<tr{kind}><th scope="row">{name}</th>'
        + "".join(f'<td class="n">{cell}</td>' for cell in (*figures, escape(difference)))
        + "</tr>"
    )


def _figure(svg: str | None, caption: str, otherwise: str) -> str:
    if svg is None:
        return f"<p>{escape(otherwise)}</p>"
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _changes(report: Report) -> str:
    shown = report.changes[:MOST_CHANGES]
    if not shown:
        return ""
    rows = []
    for change in shown:
        judgements = [
            f"<td>{escape(words.say_judgement(judgement))}"
            f"{_small(words.say_thresholds(judgement))}</td>"
            for judgement in (change.active, change.candidate)
        ]
        rows.append(
            f'<tr><th scope="row">{escape(words.say_entity(change, report.question))}'
            f"{_small(change.category_id or '')}</th>"
            f"<td>{words.DIRECTIONS[change.direction]}</td>"
            f"<td>{escape(change.metric)}</td>"
            f'<td class="n">{change.evening}</td>{"".join(judgements)}</tr>'
        )
    caption = (
        "The first evening of the alert that only one side has, and what both said of it then: the"
        " official value, the projected one, and the thresholds of warning and violation."
    )
    if len(shown) < len(report.changes):
        caption += f" The first {len(shown)} of {len(report.changes)}; all are in changes.parquet."
    heads = ["who", "under the candidate", "metric", "evening", "active said", "candidate said"]
    return _table(caption, heads, rows, numbers=("evening",))


def _meanings(report: Report) -> str:
    question = report.question
    evenings = (
        f"{question.start} to {question.end}, both included, on {', '.join(question.platforms)}."
        f" Both sides are replayed from {question.replayed_from}, so that a record that had opened"
        f" earlier stands open on {question.start}. Nothing is seen that an evening did not know."
    )
    changes = (
        "By entity and metric: one is gained if a record opens or escalates under the candidate"
        " only, and lost if under the active packs only. Where both alert, it is raised or lowered"
        " if only the candidate, or only the active packs, see a violation."
    )
    terms = [
        ("Evenings", evenings),
        *((measure.label, measure.meaning) for measure in report.measures),
        ("Gains or loses an alert", changes),
    ]
    items = [f"<dt>{escape(term)}</dt><dd>{escape(told)}</dd>" for term, told in terms]
    return f"<dl>{''.join(items)}</dl>"


def _small(text: str) -> str:
    return f'<span class="of">{escape(text)}</span>' if text else ""


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[str], numbers: Sequence[str] = ()
) -> str:
    cells = [
        f'<th scope="col"{" class=n" if head in numbers else ""}>{escape(head)}</th>'
        for head in heads
    ]
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{''.join(cells)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )

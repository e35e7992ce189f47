"""A story as a person reads it, made for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redline.explain.model import (
    Appeal,
    Entry,
    Evening,
    Key,
    OpenRecord,
    PolicyVersion,
    RelatedRecord,
    Story,
    Transition,
    reaches,
)
from redline.explain.published import ID_SHOWN, telling_length
from redline.summary import explain

# What is beyond is counted, not told, unless everything is asked for.
EVENINGS_SHOWN = 21
ENTRIES_SHOWN = 20
KEYS_SHOWN = 4
APPEALS_SHOWN = 10
RECORDS_SHOWN = 20
PARTS_SHOWN = 4

_BAR_CELLS = 10
_COLOURS = {"violation": "red", "warning": "yellow"}
_STATUSES = {"insufficient_data": "too few", "not_applicable": "closed", "too_early": "too early"}
_HAPPENED = {"complaint": "raised", "review": "written", "refund": "requested"}
# Of orders that count by themselves.
_OWN_DATES = {"late_shipments": "deadline missed", "merchant_cancels": "cancelled"}


def show(story: Story, console: Console, *, everything: bool = False) -> None:
    """Print a story; with `everything` nothing is left to `and N more`."""
    _show_title(story, console)
    _show_policies(story, console)
    _show_evenings(story, console, everything)
    _show_projections(story, console, everything)
    _show_entries(story, console, everything)
    _show_appeals(story, console, everything)
    _show_transitions(story, console)


def show_open(records: Sequence[OpenRecord], console: Console, *, everything: bool = False) -> None:
    """Print the open records, the worst first, with ids to copy."""
    if not records:
        console.print("No record is open.")
        return
    shown = records if everything else records[:RECORDS_SHOWN]
    length = telling_length([each.record.record_id for each in records])
    several = len({each.record.platform for each in records}) > 1
    for level in ("violation", "warning"):
        of_level = [each for each in shown if each.record.record_type == level]
        if of_level:
            total = sum(each.record.record_type == level for each in records)
            _heading(console, f"{_count(total, f'open {level}')}, the worst first")
            console.print(_open_table(of_level, length, several))
    if len(records) > len(shown):
        console.print(f"(and {len(records) - len(shown)} more; ALL=1 tells them)", style="dim")
    console.print(f"\nWhy: make explain RECORD={records[0].record.record_id[:length]}")


def _open_table(records: Sequence[OpenRecord], length: int, several: bool) -> Table:
    table = _table("record", *(["platform"] if several else []), "who", "metric")
    table.columns[-2].no_wrap = False
    for heading in ("value", "limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("opened", no_wrap=True)
    for each in records:
        record = each.record
        table.add_row(
            record.record_id[:length],
            *([Text(record.platform)] if several else []),
            Text(_named(each.name, record.entity_id)),
            Text(record.metric),
            ("~" if each.is_projected else "") + _percent(each.reading),
            _percent(each.threshold),
            str(record.opened_on),
            style=_COLOURS[record.record_type],
        )
    return table


# --- who, and what became of it -------------------------------------------------------------


def _show_title(story: Story, console: Console) -> None:
    record = story.record
    title = Text(f"{record.record_type.capitalize()} of ", f"bold {_COLOURS[record.record_type]}")
    title.append(f"{_who(story)}: {record.metric}")
    console.print(title, soft_wrap=True)
    lines = [
        ("record", f"{record.record_id} on {record.platform}"),
        ("status", _status(story)),
        ("opened", _reading(story, record.opened_on)),
    ]
    if record.last_at_level_on > record.opened_on:
        lines.append(("latest", _reading(story, record.last_at_level_on)))
    if story.contributors:
        lines.append(("mostly", _parts(story)))
    for move in story.moves:
        verb = "joined" if move.joined else "left"
        lines.append((verb, f"merchant {move.merchant_id} on {move.as_of_date}"))
    lines += [("beside", _related(other)) for other in story.related]
    console.print(_lines(lines))


def _who(story: Story) -> str:
    record, subject = story.record, story.subject
    who = _named(subject.name, record.entity_id)
    if record.entity_type == "merchant":
        return who + (f" in {subject.category_id}" if subject.category_id else "")
    seller = subject.merchant_name or subject.merchant_id
    return f"{record.entity_type} {who}" + (f" of {seller}" if seller else "")


def _named(name: str, entity_id: str) -> str:
    return name if name == entity_id else f"{name} ({entity_id})"


def _status(story: Story) -> str:
    record = story.record
    open_on = f"since {record.opened_on}, still open on {story.as_of}"
    parts = [
        f"{record.opened_on} to {record.closed_on}" if record.closed_on else open_on,
        record.status.replace("_", " "),
    ]
    if record.measure:
        step = f" (step {record.severity} of the ladder)" if record.severity else ""
        parts.append(f"measure {record.measure}{step}")
    if record.record_type == "violation":
        parts.append(
            f"{_count(record.repeats or 0, 'earlier violation')} within 90 days"
            if record.repeats
            else "the first within 90 days"
        )
        parts.append("overturned by an appeal" if record.is_overturned else "not overturned")
    return "; ".join(parts)


def _reading(story: Story, day: date) -> str:
    """The numbers of an evening against their threshold, and the ledger entries behind them."""
    said = story.evening(day)
    if said is None:
        return f"{day}: not evaluated"
    is_projected = story.is_projected(day)
    threshold = said.violation_threshold
    if story.record.record_type == "warning" and not is_projected:
        threshold = said.warning_threshold
    policy = story.policy(day)
    told = f"{day}: "
    if is_projected:
        told += f"heading for {_percent(said.projected_value)}"
    else:
        told += f"{_percent(said.value)} ({said.numerator} of {said.denominator})"
    sign = policy.comparator if policy else "against"
    reached = reaches(said.projected_value if is_projected else said.value, policy, threshold)
    told += f" {sign if reached else 'against'} {_percent(threshold)}"
    if not reached and policy is not None and policy.max_count is not None:
        told += f" and at most {policy.max_count}"
    window = story.window(day)
    if window is None:
        return told
    moved = [
        (entry.report_date, entry.cohort_date, entry.quantity)
        for entry in story.entries
        if entry.report_date <= day
        and window[0] <= entry.cohort_date <= window[1]
        and story.has_member(entry.merchant_id, day)
    ]
    return f"{told}: {explain(moved, story.noun, day, None if is_projected else window[1])}"


def _parts(story: Story) -> str:
    """The products or merchants that the numerator comes from."""
    shown = story.contributors[:PARTS_SHOWN]
    told = [
        f"{_named(part.name, part.entity_id)} {part.numerator}/{part.denominator}" for part in shown
    ]
    more = len(story.contributors) - len(shown)
    return ", ".join(told) + (f" (and {more} more)" if more else "")


def _related(other: RelatedRecord) -> str:
    until = f"to {other.closed_on}" if other.closed_on else "still open"
    return (
        f"{other.record_type} {other.record_id[:ID_SHOWN]} from {other.opened_on} {until}"
        f"{', overturned' if other.is_overturned else ''}"
    )


# --- the rule -------------------------------------------------------------------------------


def _show_policies(story: Story, console: Console) -> None:
    _heading(console, f"Policy {story.record.policy_line}")
    if not story.policies:
        console.print("  No version of it is in an active pack any more.")
    for policy in story.policies:
        until = f"to {policy.effective_to}" if policy.effective_to else "on"
        console.print(Text(f"  {policy.policy_id}, from {policy.effective_from} {until}"))
        console.print(_lines([("", _rule(policy, story))]))


def _rule(policy: PolicyVersion, story: Story) -> str:
    sign = policy.comparator
    least = f"at least {policy.min_denominator} in the denominator"
    if policy.min_component:
        least += (
            f" and {policy.min_count} {policy.min_component.replace('_', ' ')}"
            f" in {policy.min_days or policy.evaluation_days} days"
        )
    if policy.max_count is not None:
        least += f", else at most {policy.max_count} in the numerator"
    return (
        f"warning {sign} {_percent(policy.warning_threshold)},"
        f" violation {sign} {_percent(policy.violation_threshold)}"
        f" over {policy.evaluation_days} cohort dates, each with a window of"
        f" {story.window_days} days; {least};"
        f" {'raw' if policy.basis == 'raw' else 'adjusted for upheld appeals'};"
        f" measure {policy.measure}; owner {policy.owner}; pack {policy.pack};"
        f" source: {policy.source}"
    )


# --- day by day -----------------------------------------------------------------------------


def _show_evenings(story: Story, console: Console, everything: bool) -> None:
    _heading(console, "Day by day")
    minimums = {policy.policy_id: policy.min_count for policy in story.policies}
    asks = any(minimums.values())
    table = _table("evening", "status")
    for heading in ("n/d", *(["minimum"] if asks else []), "value"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in ("limit", "lower", "projected", "80% interval", "pctl"):
        table.add_column(heading, justify="right", no_wrap=True)
    top = max((_ratio(story, evening) for evening in story.evenings), default=1.0)
    cells = _BAR_CELLS // 2 if asks else _BAR_CELLS
    days = _days(story)
    shown = days if everything else _telling_days(story, days)
    previous: date | None = None
    for day in shown:
        if previous is not None and (day - previous).days > 1:
            table.add_row(f"({(day - previous).days - 1} more)", style="dim")
        previous = day
        row = _evening_cells(story, day)
        said = story.evening(day)
        if said is not None:
            row.insert(4, _bar(_ratio(story, said), top, cells))
            if asks:
                row.insert(3, _minimum(said, minimums.get(said.policy_id)))
            for cell in row:
                cell.stylize("dim" if day < story.record.opened_on else "")
        table.add_row(*row)
    console.print(table)
    marks = []
    if any(evening.is_confirmed for evening in story.evenings):
        marks.append("* beyond doubt: the lower bound reaches the limit too")
    if any(not evening.is_of_line for evening in story.evenings):
        marks.append("† another policy line spoke, which counts as below")
    if any(day < story.record.opened_on for day in shown):
        marks.append("in brackets: before it opened")
    if asks:
        marks.append("minimum: of the other component, and asked")
    if marks:
        console.print("  " + "; ".join(marks), style="dim")


def _days(story: Story) -> list[date]:
    """Every evening of the story, also those without an evaluation."""
    first = min([story.record.opened_on, *(said.as_of_date for said in story.evenings)])
    count = (story.last_evening - first).days + 1
    return [first + timedelta(days=offset) for offset in range(count)]


def _telling_days(story: Story, days: list[date]) -> list[date]:
    """Of many evenings the first, the last and those on which something changed."""
    if len(days) <= EVENINGS_SHOWN:
        return days
    half = EVENINGS_SHOWN // 2
    told = {*days[:half], *days[-half:]}
    for day, next_day in pairwise(days):
        if _said(story, day) != _said(story, next_day):
            told.add(next_day)
    return sorted(told)


def _said(story: Story, day: date) -> tuple[str, str] | None:
    said = story.evening(day)
    return (said.status, said.policy_id) if said else None


def _ratio(story: Story, evening: Evening) -> float:
    """The value as a multiple of the record's own limit."""
    limit = _limit(story, evening)
    return (evening.value or 0) / limit if limit else 0


def _limit(story: Story, evening: Evening) -> float:
    if story.record.record_type == "violation" or story.is_projected(evening.as_of_date):
        return evening.violation_threshold
    return evening.warning_threshold


def _evening_cells(story: Story, day: date) -> list[Text]:
    said = story.evening(day)
    if said is None:
        return [Text(str(day)), Text("not evaluated", "dim")]
    status = _STATUSES.get(said.status, said.status)
    status += "*" * said.is_confirmed + "†" * (not said.is_of_line)
    if day < story.record.opened_on:
        status = f"({status})"
    interval = "-"
    if said.projected_lower_80 is not None and said.projected_upper_80 is not None:
        interval = _interval(said.projected_lower_80, said.projected_upper_80)
    percentile = "-" if said.category_percentile is None else f"{said.category_percentile:.0%}"
    return [
        Text(str(day)),
        Text(status, _COLOURS.get(said.status, "")),
        Text(f"{said.numerator}/{said.denominator}"),
        Text(_percent(said.value)),
        Text(_percent(_limit(story, said))),
        Text(_percent(said.lower_bound)),
        Text(_percent(said.projected_value)),
        Text(interval),
        Text(percentile),
    ]


def _minimum(said: Evening, asked: int | None) -> Text:
    return Text("-" if said.minimum_counted is None else f"{said.minimum_counted}/{asked}")


def _bar(ratio: float, top: float, width: int) -> Text:
    """A bar of the value, with a tick where the limit is."""
    scale = max(top, 1.0)
    filled = round(ratio / scale * width)
    tick = max(1, round(1 / scale * width)) - 1
    cells = ["█" if cell < filled else " " for cell in range(width)]
    if cells[tick] == " ":
        cells[tick] = "┆"
    return Text("".join(cells))


def _show_projections(story: Story, console: Console, everything: bool) -> None:
    made = story.projections
    if not made:
        return
    hits = sum(each.is_within for each in made)
    _heading(
        console, f"Projections against what came: {hits} of {len(made)} within their 80% interval"
    )
    table = _table("made on", "for")
    for heading in ("projected", "80% interval", "came", "off by"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = made if everything else made[-EVENINGS_SHOWN // 2 :]
    for each in shown:
        table.add_row(
            str(each.made_on),
            str(each.came_on),
            _percent(each.projected_value),
            _interval(each.lower_80, each.upper_80),
            _percent(each.value),
            f"{(each.value - each.projected_value) * 100:+.2f}",
            "" if each.is_within else Text("outside", "magenta"),
        )
    console.print(table)
    if len(made) > len(shown):
        console.print(f"  (and {len(made) - len(shown)} earlier ones)", style="dim")


# --- the ledger -----------------------------------------------------------------------------


def _show_entries(story: Story, console: Console, everything: bool) -> None:
    total = sum(entry.quantity for entry in story.entries)
    _heading(
        console,
        f"Ledger: {_count(len(story.entries), 'entry', 'entries')} of {story.noun} in the windows"
        f" of its evenings, {total:+d} in all",
    )
    if story.keys_missing:
        console.print(
            Text(f"  Event keys and appeals are left out: {story.keys_missing}", "yellow")
        )
    elif not all(entry.adds_up for entry in story.entries):
        console.print(
            Text(
                "  Some keys do not add up to their entry (≠): the warehouse has changed since.",
                "yellow",
            )
        )
    shown = story.entries if everything else story.entries[-ENTRIES_SHOWN:]
    if len(story.entries) > len(shown):
        earlier = len(story.entries) - len(shown)
        console.print(f"  (and {earlier} reported earlier; ALL=1 tells them)", style="dim")
    for entry in shown:
        console.print(_entry(story, entry), soft_wrap=True)
        keys = entry.keys or ()
        told = keys if everything else keys[:KEYS_SHOWN]
        for key in told:
            console.print(_key(entry, key), soft_wrap=True)
        if len(keys) > len(told):
            console.print(f"      (and {len(keys) - len(told)} more)", style="dim")


def _entry(story: Story, entry: Entry) -> Text:
    whose = f" of {entry.merchant_id}" if story.record.entity_type == "category" else ""
    told = Text(f"  {entry.report_date}  {entry.quantity:+d} {entry.component}{whose}")
    told.append(f", cohort {entry.cohort_date}, lag {entry.lag_days}", "dim")
    if not entry.adds_up:
        told.append(" ≠", "yellow")
    return told


def _key(entry: Entry, key: Key) -> Text:
    told = Text(f"    {key.quantity:+d}"[:-1] + " ")
    if key.event_kind is None:
        own = _OWN_DATES.get(entry.component, "dated")
        told.append(f"order {key.order_id}, {own} {key.happened_on}")
    else:
        told.append(f"{key.event_kind} {key.event_id}, order {key.order_id}")
        told.append(f", {_HAPPENED.get(key.event_kind, 'dated')} {key.happened_on}")
    if key.rating is not None:
        told.append(f", {_count(key.rating, 'star')}")
    if key.reason_code is not None:
        told.append(f", {key.reason_code}")
    if key.fault_party is not None and key.event_kind != "review":
        told.append(f" ({key.fault_party})")
    if key.why is not None:
        told.append(f": {key.why}", "cyan")
    elif key.overturned_on is not None:
        told.append(f": overturned since {key.overturned_on}", "cyan")
    return told


# --- what people did ------------------------------------------------------------------------


def _show_appeals(story: Story, console: Console, everything: bool) -> None:
    if story.appeals is None:
        return
    _heading(console, "Appeals" if story.appeals else "Appeals: none")
    against = sorted(story.appeals, key=lambda each: each.subject_type != "violation")
    shown = against if everything else against[:APPEALS_SHOWN]
    for appeal in shown:
        console.print(_appeal(appeal), soft_wrap=True)
    if len(against) > len(shown):
        console.print(f"  (and {len(against) - len(shown)} more; ALL=1 tells them)", style="dim")


def _appeal(appeal: Appeal) -> Text:
    subject = f"{appeal.subject_type} {appeal.subject_id}"
    if appeal.subject_type == "violation":
        subject = "this violation"
    steps = [f"submitted {appeal.submitted_on}"]
    for verdict in appeal.verdicts:
        if verdict.status != "submitted":
            step = f"{verdict.status} {verdict.decided_on or verdict.known_on}"
            if verdict.decided_on and verdict.known_on > verdict.decided_on:
                step += f" (known {verdict.known_on})"
            if step not in steps:
                steps.append(step)
    if len(steps) == 1:
        steps.append("not decided")
    return Text(f"  {appeal.appeal_id} against {subject}: {', '.join(steps)}")


def _show_transitions(story: Story, console: Console) -> None:
    _heading(console, "What happened to the record, and who was told")
    for each in story.transitions:
        console.print(_transition(each), soft_wrap=True)
        if each.alert_id is None:
            continue
        told = Text(f"    told by alert {each.alert_id}", "dim")
        for delivery in each.deliveries:
            told.append(f"; {delivery.channel} {delivery.status}")
            if delivery.delivered_at:
                told.append(f" {delivery.delivered_at:%Y-%m-%d %H:%M} UTC")
        console.print(told, soft_wrap=True)
    if not any(each.deliveries for each in story.transitions):
        console.print("  (no delivery of an alert was known when this was published)", style="dim")


def _transition(each: Transition) -> Text:
    told = Text(f"  {each.as_of_date}  ")
    told.append(each.transition.replace("_", " "), "bold")
    if each.from_status:
        told.append(f" (was {each.from_status.replace('_', ' ')})")
    if each.evaluation_status is None and each.value is None:
        told.append("; not evaluated that evening")
    else:
        said = (each.evaluation_status or "evaluated").replace("_", " ")
        told.append(f"; {said}: {_percent(each.value)} ({each.numerator}/{each.denominator})")
        told.append(f" of {_percent(each.threshold)}")
        if each.projected_value is not None:
            told.append(f", projected {_percent(each.projected_value)}")
    if each.measure and each.transition in ("opened", "escalated"):
        told.append(f"; measure {each.measure}")
    if each.alert_id is None:
        told.append("; no alert", "dim")
    return told


# --- forms ----------------------------------------------------------------------------------


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"), soft_wrap=True)


def _lines(rows: Iterable[tuple[str, str]]) -> Table:
    """Labelled lines that wrap beside their label; a stranger's words are no markup."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(f"  {label}"), Text(text))
    return grid


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="fold")
    return table


def _interval(lower: float, upper: float) -> str:
    return f"{lower * 100:.2f}..{upper:.2%}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

"""What the published marts know of a record. Reading them never blocks a run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import duckdb

from redline.errors import RedlineError, SettingError
from redline.explain.model import (
    Contributor,
    Delivery,
    Entry,
    Evening,
    Move,
    OpenRecord,
    PolicyVersion,
    Projection,
    Record,
    RelatedRecord,
    Story,
    Subject,
    Transition,
)
from redline.publish.state import DATABASE
from redline.settings import Home
from redline.summary import Metric, metrics

SHORTEST_ID = 6
CANDIDATES = 5
# As much of an id as is printed: enough to tell millions of records apart.
ID_SHOWN = 12
# How many evenings before the record opened are told with it.
LEAD = timedelta(days=3)
# Violations within that time before one make it a repetition.
REPEAT = timedelta(days=90)

Connection = duckdb.DuckDBPyConnection

_RECORDS = """
    select
        record_id, platform, 'warning' as record_type, policy_line, metric, risk_point,
        entity_type, entity_id, opened_on, last_at_level_on, closed_on, status, policy_id, measure,
        false as is_overturned, null::integer as repeats, null::integer as severity
    from marts.fct_warning_records
    union all by name
    select
        record_id, platform, 'violation' as record_type, policy_line, metric, risk_point,
        entity_type, entity_id, opened_on, last_at_level_on, closed_on, status, policy_id, measure,
        is_overturned, repeats, severity
    from marts.fct_violation_records
"""
_NAMES = """
    select platform, 'merchant' as entity_type, merchant_id as entity_id, merchant_name as name,
        category_id, null as merchant_id
    from marts.dim_merchants
    union all
    select platform, 'product', product_id, title, category_id, merchant_id
    from marts.dim_products
    union all
    select platform, 'category', category_id, category_name, null, null
    from marts.dim_categories
"""
_MATCHES = f"""
    with
        records as ({_RECORDS}),

        ids as (
            select record_id as id, record_id from records
            union
            select transition_id, record_id from marts.fct_record_transitions
            union
            select alert_id, record_id from marts.fct_alerts
        )

    select
        ids.id, records.record_id, records.record_type, records.entity_id, records.metric,
        records.opened_on
    from ids
    inner join records on records.record_id = ids.record_id
    where starts_with(ids.id, $given)
    order by ids.id = $given desc, ids.id
"""
_EVENINGS = """
    select
        as_of_date, policy_id, policy_line = $policy_line as is_of_line, status, is_confirmed,
        numerator, denominator, value, lower_bound, projected_value, projected_lower_80,
        projected_upper_80, warning_threshold, violation_threshold, category_percentile,
        minimum_counted
    from marts.fct_policy_evaluations
    where
        platform = $platform and entity_type = $entity_type and entity_id = $entity_id
        and metric = $metric and risk_point = $risk_point
        and as_of_date between $first and $last
    order by as_of_date
"""
_POLICIES = """
    select
        policy_id, pack, warning_threshold, violation_threshold, comparator, basis,
        evaluation_days, min_denominator, max_count, min_component, min_count, min_days, measure,
        effective_from, effective_to, owner, source
    from marts.dim_policies
    where
        policy_line = $policy_line and effective_from <= $last
        and coalesce(effective_to >= $first, true)
    order by effective_from
"""
# Where an evaluation has placed a merchant on the record's evenings; a merchant without any is
# placed where it is now.
_PLACES = """
    with
        placed as (
            select distinct entity_id as merchant_id, as_of_date, category_id
            from marts.fct_policy_evaluations
            where
                platform = $platform and entity_type = 'merchant'
                and as_of_date between $first and $last
        )

    select merchant_id, as_of_date, category_id = $category_id as is_in from placed
    union all
    select merchant_id, $first, true from marts.dim_merchants
    where
        platform = $platform and category_id = $category_id
        and merchant_id not in (select merchant_id from placed)
    order by merchant_id, as_of_date
"""
_LEDGER = """
    from marts.fct_cohort_ledger as ledger
    where
        platform = $platform and report_date <= $last and lag_days < $window_days
        and cohort_date between $first_cohort and $last_cohort
        and case when $entity_type = 'product' then product_id else merchant_id end
            in (select unnest($entity_ids::varchar[]))
"""
_ENTRIES = f"""
    select
        report_date, cohort_date, merchant_id, component, lag_days,
        sum(quantity)::bigint as quantity
    {_LEDGER} and component in (select unnest($components::varchar[]))
    group by all
    having sum(quantity) <> 0
    order by all
"""
_CONTRIBUTORS = f"""
    with
        parts as (
            select
                case when $by_merchant then merchant_id else product_id end as entity_id,
                coalesce(sum(quantity) filter (
                    component in (select unnest($components::varchar[]))
                ), 0)::bigint as numerator,
                coalesce(sum(quantity) filter (
                    component in (select unnest($denominator::varchar[]))
                ), 0)::bigint as denominator
            {_LEDGER}
            group by 1
        ),

        names as ({_NAMES})

    select parts.entity_id, coalesce(names.name, parts.entity_id), numerator, denominator
    from parts
    left join names
        on names.platform = $platform and names.entity_id = parts.entity_id
        and names.entity_type = case when $by_merchant then 'merchant' else 'product' end
    where numerator > 0
    order by numerator desc, denominator, parts.entity_id
"""
# An alert is a transition; those from before transitions were published stand alone.
_TRANSITIONS = """
    select
        coalesce(transition_id, alert_id), coalesce(t.as_of_date, a.as_of_date),
        coalesce(t.transition, a.transition), from_status,
        coalesce(to_status, a.transition), coalesce(t.policy_id, a.policy_id),
        evaluation_status, coalesce(t.numerator, a.numerator),
        coalesce(t.denominator, a.denominator), coalesce(t.value, a.value), projected_value,
        coalesce(t.threshold, a.threshold), coalesce(t.measure, a.measure), alert_id
    from (select * from marts.fct_record_transitions where record_id = $record_id) as t
    full join (select * from marts.fct_alerts where record_id = $record_id) as a
        on a.alert_id = t.transition_id
    order by 2, to_status = 'resolved', 1
"""
_DELIVERIES = """
    select alert_id, channel, status, attempts, delivered_at
    from marts.fct_alert_deliveries
    where alert_id in (select alert_id from marts.fct_alerts where record_id = $record_id)
    order by delivered_at, channel
"""
_RELATED = f"""
    select record_id, record_type, opened_on, closed_on, status, is_overturned
    from ({_RECORDS})
    where
        platform = $platform and policy_line = $policy_line and entity_type = $entity_type
        and entity_id = $entity_id and record_id <> $record_id
        and opened_on <= $last and coalesce(closed_on >= $since, true)
    order by opened_on, record_type desc
"""
_OPEN = f"""
    with
        records as ({_RECORDS}),

        names as ({_NAMES}),

        ends as (
            select platform, max(as_of_date) as as_of_date
            from marts.published_run
            group by platform
        )

    select
        records.*, coalesce(names.name, records.entity_id), evaluations.numerator,
        evaluations.denominator, evaluations.value, evaluations.projected_value,
        case
            when records.record_type = 'violation'
            then evaluations.violation_threshold
            else evaluations.warning_threshold
        end as threshold
    from records
    inner join ends on ends.platform = records.platform
    left join names
        on names.platform = records.platform and names.entity_type = records.entity_type
        and names.entity_id = records.entity_id
    left join marts.fct_policy_evaluations as evaluations
        on evaluations.as_of_date = ends.as_of_date
        and evaluations.platform = records.platform
        and evaluations.policy_line = records.policy_line
        and evaluations.entity_type = records.entity_type
        and evaluations.entity_id = records.entity_id
    where records.closed_on is null
"""


@contextmanager
def opened(home: Home) -> Iterator[Connection]:
    """The published marts; what is published meanwhile is not seen.

    Raises:
        RedlineError: nothing is published, or another version of Redline published it.
    """
    path = home.published / DATABASE
    if not path.exists():
        raise RedlineError("nothing is published", str(path), "run `make run` first")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            yield connection
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise RedlineError(
            "another version of Redline published the marts", str(path), "run once with this one"
        ) from error


def find(connection: Connection, home: Home, given: str) -> Record:
    """The record that an id, or the beginning of one, names: its own or an alert's.

    Raises:
        SettingError: it names no record, or several.
    """
    given = given.strip().lower()
    where = f"RECORD in {home.published / DATABASE}"
    if len(given) < SHORTEST_ID:
        raise SettingError(
            f"'{given}' is too short to name a record",
            where,
            f"give at least {SHORTEST_ID} characters of its id; `make explain` lists the open ones",
        )
    matches = connection.execute(_MATCHES, {"given": given}).fetchall()
    if not matches:
        raise SettingError(
            f"no record or alert has an id that begins with '{given}'",
            where,
            "copy one from fct_warning_records, fct_violation_records or fct_alerts; "
            "`make explain` lists the open ones",
        )
    if matches[0][0] == given:
        matches = matches[:1]
    # Several ids of one record name it.
    by_record = {match[1]: match for match in reversed(matches)}
    if len(by_record) > 1:
        raise SettingError(
            f"'{given}' names {len(by_record)} records",
            where,
            f"give more of the id: {_candidates(list(by_record.values())[::-1])}",
        )
    (record_id,) = by_record
    row = connection.execute(
        f"select * from ({_RECORDS}) where record_id = $record_id", {"record_id": record_id}
    ).fetchone()
    assert row is not None
    return _record(connection, row)


def _record(connection: Connection, row: tuple[Any, ...]) -> Record:
    names = [column[0] for column in connection.description or ()]
    return Record(**dict(zip(names, row, strict=True)))


def _candidates(matches: Sequence[tuple[Any, ...]]) -> str:
    length = telling_length([match[0] for match in matches])
    told = [
        f"{id_[:length]} ({record_type} of {entity_id}, {metric}, opened {opened_on})"
        for id_, _, record_type, entity_id, metric, opened_on in matches[:CANDIDATES]
    ]
    more = [f"and {len(matches) - CANDIDATES} more"] if len(matches) > CANDIDATES else []
    return ", ".join(told + more)


def telling_length(ids: Sequence[str]) -> int:
    """How many characters tell these ids apart, ID_SHOWN at least."""
    ordered = sorted(set(ids))
    longest = ID_SHOWN
    for one, next_one in pairwise(ordered):
        while one[:longest] == next_one[:longest]:
            longest += 1
    return longest


def open_records(connection: Connection) -> list[OpenRecord]:
    """Every record that is open on its platform's published evening, the worst first."""
    rows = connection.execute(_OPEN).fetchall()
    width = len(Record.__dataclass_fields__)
    found = [OpenRecord(Record(*row[:width]), *row[width:]) for row in rows]
    return sorted(
        found,
        key=lambda each: (
            each.record.record_type != "violation",
            -(each.reading or 0) / (each.threshold or 1),
            each.record.record_id,
        ),
    )


def told(connection: Connection, record: Record) -> Story:
    """A record's story as far as the marts tell it: without event keys and appeals.

    Raises:
        RedlineError: the record's metric is no longer among the seeds.
    """
    metric = _metric(record)
    as_of = _as_of(connection, record.platform)
    last = record.closed_on or as_of
    parameters = {
        name: getattr(record, name)
        for name in ("record_id", "platform", "policy_line", "entity_type", "entity_id", "metric")
    } | {"risk_point": record.risk_point}

    def ask(query: str, **more: object) -> list[tuple[Any, ...]]:
        given, wanted = parameters | more, set(re.findall(r"\$(\w+)", query))
        return connection.execute(query, {name: given[name] for name in wanted}).fetchall()

    # What was projected on its last evenings comes after it.
    came_by = min(as_of, last + timedelta(days=metric.window_days - 1))
    said = [Evening(*row) for row in ask(_EVENINGS, first=record.opened_on - LEAD, last=came_by)]
    policies = tuple(
        PolicyVersion(*row) for row in ask(_POLICIES, first=record.opened_on, last=last)
    )
    story = Story(
        record=record,
        subject=_subject(connection, record),
        as_of=as_of,
        noun=metric.noun,
        window_days=metric.window_days,
        policies=policies,
        evenings=tuple(evening for evening in said if evening.as_of_date <= last),
        projections=(),
        entries=(),
        contributors=(),
        moves=(),
        appeals=None,
        transitions=_transitions(ask(_TRANSITIONS), ask(_DELIVERIES)),
        related=tuple(
            RelatedRecord(*row) for row in ask(_RELATED, last=last, since=record.opened_on - REPEAT)
        ),
        keys_missing=None,
    )
    story = replace(story, projections=_projections(story, said))
    members, moves = [record.entity_id], tuple[Move, ...]()
    if record.entity_type == "category":
        members, moves = _members(
            ask(_PLACES, first=record.opened_on, last=last, category_id=record.entity_id)
        )
    reach = cohorts_in_reach(story)
    if reach is None:
        return story
    ledger = {
        "window_days": metric.window_days,
        "components": list(components(story)),
        "entity_ids": members,
    }
    entries = ask(_ENTRIES, **ledger, last=last, first_cohort=reach[0], last_cohort=reach[1])
    story = replace(story, entries=tuple(Entry(*row) for row in entries), moves=moves)

    peak, contributors = record.last_at_level_on, list[tuple[Any, ...]]()
    window = story.window(peak)
    if window is not None and record.entity_type != "product":
        ledger["entity_ids"] = [each for each in members if story.has_member(each, peak)]
        contributors = ask(
            _CONTRIBUTORS,
            **ledger,
            last=peak,
            first_cohort=window[0],
            last_cohort=window[1],
            denominator=list(metric.denominator),
            by_merchant=record.entity_type == "category",
        )
    return replace(story, contributors=tuple(Contributor(*row) for row in contributors))


def components(story: Story) -> tuple[str, ...]:
    """The ledger's components that make the numerator, for every basis a version had."""
    metric = _metric(story.record)
    named = [
        component
        for policy in story.policies
        for component in (metric.raw if policy.basis == "raw" else metric.adjusted)
    ]
    return tuple(dict.fromkeys(named))


def cohorts_in_reach(story: Story) -> tuple[date, date] | None:
    """First and last cohort date that a window of one of the record's evenings holds.

    None where no version of its policy is known any longer.
    """
    if not story.policies:
        return None
    longest = max(policy.evaluation_days for policy in story.policies)
    before = timedelta(days=story.window_days - 1 + longest - 1)
    return story.record.opened_on - before, story.last_evening


def _metric(record: Record) -> Metric:
    known = metrics()
    if record.metric not in known:
        raise RedlineError(
            f"the metric '{record.metric}' is unknown",
            f"record {record.record_id}",
            "put its row back into dbt_project/seeds/metrics.csv",
        )
    return known[record.metric]


def _as_of(connection: Connection, platform: str) -> date:
    row = connection.execute(
        "select max(as_of_date) from marts.published_run where platform = $platform",
        {"platform": platform},
    ).fetchone()
    assert row is not None
    as_of: date = row[0]
    return as_of


def _subject(connection: Connection, record: Record) -> Subject:
    row = connection.execute(
        f"""
        select one.name, one.category_id, one.merchant_id, seller.name
        from ({_NAMES}) as one
        left join ({_NAMES}) as seller
            on seller.platform = one.platform and seller.entity_type = 'merchant'
            and seller.entity_id = one.merchant_id
        where one.platform = $platform and one.entity_type = $type and one.entity_id = $id
        """,
        {"platform": record.platform, "type": record.entity_type, "id": record.entity_id},
    ).fetchone()
    name, *more = row or (None, None, None, None)
    return Subject(name or record.entity_id, *more)


def _projections(story: Story, said: Sequence[Evening]) -> tuple[Projection, ...]:
    """Projections of the record's evenings beside what came, under policies of one period."""
    later = {evening.as_of_date: evening for evening in said}
    days_of = {policy.policy_id: policy.evaluation_days for policy in story.policies}

    def pairs() -> Iterator[Projection]:
        for evening in story.evenings:
            came = later.get(evening.as_of_date + timedelta(days=story.window_days - 1))
            if (
                evening.as_of_date < story.record.opened_on
                or came is None
                or came.value is None
                or evening.projected_value is None
                or evening.projected_lower_80 is None
                or evening.projected_upper_80 is None
                or days_of.get(evening.policy_id) != days_of.get(came.policy_id)
            ):
                continue
            yield Projection(
                evening.as_of_date,
                came.as_of_date,
                evening.projected_value,
                evening.projected_lower_80,
                evening.projected_upper_80,
                came.value,
            )

    return tuple(pairs())


def _transitions(
    rows: Sequence[tuple[Any, ...]], deliveries: Sequence[tuple[Any, ...]]
) -> tuple[Transition, ...]:
    of_alert: defaultdict[str, list[Delivery]] = defaultdict(list)
    for alert_id, *delivery in deliveries:
        of_alert[alert_id].append(Delivery(*delivery))
    return tuple(replace(Transition(*row), deliveries=tuple(of_alert[row[-1]])) for row in rows)


def _members(places: Sequence[tuple[str, date, bool]]) -> tuple[list[str], tuple[Move, ...]]:
    """The merchants of a category on any of the evenings, and who joined or left meanwhile."""
    members, moves, was_in = dict[str, None](), list[Move](), dict[str, bool]()
    for merchant_id, day, is_in in places:
        if is_in:
            members[merchant_id] = None
        if was_in.get(merchant_id, is_in) != is_in:
            moves.append(Move(day, merchant_id, is_in))
        was_in[merchant_id] = is_in
    return list(members), tuple(sorted(moves, key=lambda move: (move.as_of_date, move.merchant_id)))

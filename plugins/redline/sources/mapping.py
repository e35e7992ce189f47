"""The mapping: one YAML file that says which of a user's columns is which of the contract's.

    timezone: Asia/Shanghai         # of times that carry no offset; UTC where it is left out
    entities:
      orders:
        table: shop.orders          # databases: their table, or `select: SELECT ...`
        columns:
          order_id: id              # the contract's column: theirs
          paid_at: {column: pay_time, epoch: seconds}
          status: {column: state, codes: {PAID: active, VOID: deleted}}
          currency: {value: CNY}    # the same in every row

A column that is not named is looked for under its own name. Everything else within an entity
(`table`, `select`, `files`, ...) is for the source that reads it, which names what it knows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from redline.contract import ENTITIES, Column, ColumnType, Entity, entity
from redline.errors import SourceError
from redline.yaml_lines import Lines

Epoch = Literal["seconds", "milliseconds"]

_PER_SECOND: dict[str, int] = {"seconds": 1, "milliseconds": 1000}
_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
_FRACTIONS = ("FLOAT", "DOUBLE", "DECIMAL")
_TEXT = ("VARCHAR", "ENUM", "UUID")

# What the door can make a value of, by the names that DuckDB gives to types.
_TAKEN: dict[ColumnType, tuple[str, ...]] = {
    "text": (*_TEXT, *_NUMBERS, *_FRACTIONS, "BOOLEAN", "DATE", "TIMESTAMP", "TIME", "JSON"),
    "timestamp": (*_TEXT, "TIMESTAMP", "DATE"),
    "money": (*_TEXT, *_NUMBERS, *_FRACTIONS),
    "integer": (*_TEXT, *_NUMBERS, *_FRACTIONS),
    "boolean": (*_TEXT, "BOOLEAN", *_NUMBERS),
}


@dataclass(frozen=True)
class MappedColumn:
    """Where a column of the contract comes from.

    Attributes:
        name: of the contract's column.
        column: theirs, or None where `value` stands for all rows.
        value: the same text in every row.
        codes: their codes and the contract's; a code that is not named stays as it is.
        epoch: the unit of a time that is a number since 1970 UTC.
        line: in the mapping file; 0 where the file does not name the column.
    """

    name: str
    column: str | None
    value: str | None = None
    codes: Mapping[str, str] = field(default_factory=dict)
    epoch: Epoch | None = None
    line: int = 0


@dataclass(frozen=True)
class MappedEntity:
    """Where an entity comes from.

    Attributes:
        entity: of the contract.
        columns: the columns that the file names.
        options: everything else that it says of the entity, for the source to read.
        lines: the line of each option and of the entity itself (under its name).
    """

    entity: Entity
    columns: Mapping[str, MappedColumn]
    options: Mapping[str, Any]
    lines: Mapping[str, int]

    def column(self, name: str) -> MappedColumn:
        """Where a column comes from; by default its own name."""
        return self.columns.get(name, MappedColumn(name, name))


@dataclass(frozen=True)
class SourceMapping:
    """A mapping file, read and checked.

    Attributes:
        path: the file, None where there is none: every column is looked for under its own name.
        timezone: of times without an offset.
        entities: those that the file names.
    """

    path: Path | None
    timezone: str
    entities: Mapping[str, MappedEntity]

    def of(self, wanted: Entity) -> MappedEntity:
        """Where an entity comes from; by default everything under its own name."""
        return self.entities.get(wanted.name, MappedEntity(wanted, {}, {}, {}))

    def where(self, wanted: Entity, name: str) -> str:
        """The place to change for a column or option: file and line."""
        if self.path is None:
            return f"no mapping names {wanted.name}.{name}"
        mapped = self.entities.get(wanted.name)
        line = 0
        if mapped is not None:
            named = mapped.columns.get(name)
            line = named.line if named else mapped.lines.get(name, 0) or mapped.lines[wanted.name]
        return f"{self.path}, line {line}" if line else str(self.path)


NO_MAPPING = SourceMapping(None, "UTC", {})


@dataclass(frozen=True)
class Selection:
    """What to select of a relation for an entity.

    Attributes:
        expressions: SQL over their columns for each column of the contract that is there, in the
            contract's order; absent optional ones are left out.
        dropped: their columns that nothing asks for, in their order.
        absent: optional columns of the contract that are not there, so null.
    """

    expressions: Mapping[str, str]
    dropped: tuple[str, ...]
    absent: tuple[str, ...]


def read_mapping(text: str, options: Collection[str]) -> SourceMapping:
    """Read a mapping file.

    Args:
        text: the file's absolute path.
        options: what the source knows of an entity beside its columns.

    Raises:
        SourceError: the file is missing, not YAML, or says something that means nothing, with the
            line.
    """
    path = Path(text)
    if not path.is_absolute():
        raise SourceError(f"'{text}' is not an absolute path", "mapping", "write mapping=/dir/file")
    reader = _Reader(path, "the mapping", SourceError)
    timezone, entities = "UTC", {}
    for key, node in reader.items(reader.root(), "the file", ("timezone", "entities")):
        if key == "timezone":
            timezone = reader.timezone(node)
        else:
            for name, each in reader.items(node, "entities", [e.name for e in ENTITIES]):
                entities[name] = reader.entity(entity(name), each, options)
    if not entities:
        raise SourceError("the mapping names no entity", str(path), "see README, Your own data")
    return SourceMapping(path, timezone, entities)


def select(
    mapping: SourceMapping,
    wanted: Entity,
    found: Mapping[str, str],
    where: str,
    names: Mapping[str, str] | None = None,
) -> Selection:
    """Hold a relation's columns against the contract.

    Args:
        found: the relation's columns and their DuckDB types.
        where: what a person calls the relation: a table, a file.
        names: what the columns are called in SQL, where that is not their own name.

    Raises:
        SourceError: a required column is missing, or a column has a type of which the contract's
            cannot be made; expected against found, and the line of the mapping to change.
    """
    mapped = mapping.of(wanted)
    expressions: dict[str, str] = {}
    absent: list[str] = []
    used: set[str] = set()
    for column in wanted.columns:
        origin = mapped.column(column.name)
        if origin.column is None:
            expressions[column.name] = f"{_literal(origin.value or '')}::varchar"
            continue
        kind = found.get(origin.column)
        if kind is None:
            if column.required:
                raise _missing(mapping, wanted, column, origin, found, where)
            absent.append(column.name)
            continue
        used.add(origin.column)
        _refuse_type(mapping, wanted, column, origin, kind, where)
        name = names[origin.column] if names else _quoted(origin.column)
        expressions[column.name] = expression(column, origin, name, kind, mapping.timezone)
    dropped = tuple(name for name in found if name not in used)
    return Selection(expressions, dropped, tuple(absent))


def _missing(
    mapping: SourceMapping,
    wanted: Entity,
    column: Column,
    origin: MappedColumn,
    found: Mapping[str, str],
    where: str,
) -> SourceError:
    names = ", ".join(found)
    return SourceError(
        f"{wanted.name}.{column.name} expects the column '{origin.column}' ({column.type}), "
        f"which is not there; found {names}",
        where,
        f"change {mapping.where(wanted, column.name)}"
        if mapping.path
        else f"deliver it, or name yours in a mapping ({mapping.where(wanted, column.name)})",
    )


def _refuse_type(
    mapping: SourceMapping,
    wanted: Entity,
    column: Column,
    origin: MappedColumn,
    kind: str,
    where: str,
) -> None:
    taken: tuple[str, ...]
    if origin.epoch is not None:
        taken = (*_TEXT, *_NUMBERS, *_FRACTIONS)
        expected = f"a number of {origin.epoch}"
    else:
        taken, expected = _TAKEN[column.type], column.type
    if kind.endswith("]") or not kind.upper().startswith(taken):
        raise SourceError(
            f"{wanted.name}.{column.name} expects {expected}; found {kind} in '{origin.column}'",
            where,
            f"change {mapping.where(wanted, column.name)}"
            if mapping.path
            else "deliver it as the contract says, or map another column",
        )


def expression(column: Column, origin: MappedColumn, name: str, kind: str, timezone: str) -> str:
    """SQL for a column of the contract over theirs; what has no meaning stays for the door.

    Args:
        name: their column, as SQL.
        kind: its DuckDB type.
        timezone: of times without an offset.
    """
    upper = kind.upper()
    if origin.epoch is not None:
        number = f"try_cast({name} as double) / {_PER_SECOND[origin.epoch]}"
        # What is no such number stays as it is, for the door to refuse.
        return (
            f"case when abs({number}) < 1e11 "
            f"then make_timestamp(cast({number} * 1000000 as bigint))::varchar "
            f"else {name}::varchar end"
        )
    if column.type == "timestamp":
        if upper.startswith("TIMESTAMP WITH TIME ZONE"):
            return f"({name} at time zone 'UTC')"
        if timezone != "UTC":
            local = (
                name
                if upper.startswith(("TIMESTAMP", "DATE"))
                # Text with an offset of its own says when it was.
                else f"case when not regexp_matches(trim({name}), '{_OFFSET}') "
                f"then try_cast({name} as timestamp) end"
            )
            moved = f"(({local}::timestamp at time zone {_literal(timezone)}) at time zone 'UTC')"
            if upper.startswith(("TIMESTAMP", "DATE")):
                return moved
            return f"coalesce({moved}::varchar, {name}::varchar)"
        return name  # of any unit: what no timestamp holds is for the door to refuse
    if origin.codes:
        whens = " ".join(
            f"when {_literal(theirs)} then {_literal(ours)}"
            for theirs, ours in origin.codes.items()
        )
        return f"case {name}::varchar {whens} else {name}::varchar end"
    if column.type == "boolean" and upper.startswith(_NUMBERS):
        return f"case {name} when 1 then 'true' when 0 then 'false' else {name}::varchar end"
    if column.type == "text" and not upper.startswith("VARCHAR"):
        return f"{name}::varchar"
    return name


_OFFSET = "[0-9]([Zz]| ?[+-][0-9]{2}(:?[0-9]{2})?)$"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Reader(Lines):
    """Reads the nodes of a mapping file."""

    def value(self, node: yaml.Node, told: str) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except yaml.YAMLError:
            raise self.fail(node, f"{told} is no plain value", "write a text or a list") from None

    def timezone(self, node: yaml.Node) -> str:
        name = self.text(node, "timezone")
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise self.fail(
                node, f"unknown time zone '{name}'", "write an IANA name such as Asia/Shanghai"
            ) from None
        return name

    def entity(self, wanted: Entity, node: yaml.Node, options: Collection[str]) -> MappedEntity:
        columns: dict[str, MappedColumn] = {}
        values: dict[str, Any] = {}
        lines = {wanted.name: node.start_mark.line + 1}
        for key, value in self.items(node, wanted.name, ("columns", *options)):
            if key != "columns":
                lines[key] = value.start_mark.line + 1
                values[key] = self.value(value, f"{wanted.name}.{key}")
                continue
            for name, origin in self.items(value, f"{wanted.name}.columns", wanted.column_names):
                columns[name] = self.column(wanted, name, origin)
        return MappedEntity(wanted, columns, values, lines)

    def column(self, wanted: Entity, name: str, node: yaml.Node) -> MappedColumn:
        line, told = node.start_mark.line + 1, f"{wanted.name}.{name}"
        if isinstance(node, yaml.ScalarNode):
            return MappedColumn(name, self.text(node, told), line=line)
        known = ("column", "value", "codes", "epoch")
        given = dict(self.items(node, told, known))
        if ("column" in given) == ("value" in given):
            raise self.fail(node, f"{told} needs either a column or a value", "write one of them")
        epoch: Epoch | None = None
        if "epoch" in given:
            unit = self.text(given["epoch"], "epoch")
            if unit not in _PER_SECOND:
                raise self.fail(
                    given["epoch"], f"unknown epoch '{unit}'", "write seconds or milliseconds"
                )
            epoch = "seconds" if unit == "seconds" else "milliseconds"
        return MappedColumn(
            name,
            self.text(given["column"], told) if "column" in given else None,
            self.text(given["value"], told) if "value" in given else None,
            self.codes(wanted, name, given["codes"]) if "codes" in given else {},
            epoch,
            line,
        )

    def codes(self, wanted: Entity, name: str, node: yaml.Node) -> dict[str, str]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, "codes is not a list of codes", "write theirs: ours")
        known = next(column.codes for column in wanted.columns if column.name == name)
        result: dict[str, str] = {}
        for theirs, ours in node.value:
            code = self.text(ours, f"{wanted.name}.{name}")
            if known and code not in known:
                raise self.fail(
                    ours, f"'{code}' is no code of {wanted.name}.{name}", f"use {', '.join(known)}"
                )
            result[self.text(theirs, "a code")] = code
        return result

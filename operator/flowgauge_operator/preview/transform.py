"""Transformations of tables, as Grafana does them. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowgauge_operator.preview.board import Json, mapping
from flowgauge_operator.preview.frames import Column, Table

_Step = Callable[[Sequence[Table], Json], list[Table]]


def transformed(tables: Sequence[Table], steps: Sequence[Json]) -> tuple[list[Table], list[str]]:
    """The tables after all steps, and the names of those that we do not know."""
    found, unknown = [table for table in tables if table], list[str]()
    for step in steps:
        if step.get("disabled"):
            continue
        apply = _STEPS.get(str(step.get("id")))
        if apply is None:
            unknown.append(str(step.get("id")))
        else:
            found = apply(found, mapping(step.get("options")))
    return found, unknown


def _merge(tables: Sequence[Table], _: Json) -> list[Table]:
    """Rows that agree in all fields that the tables share become one."""
    if len(tables) < 2:
        return list(tables)
    shared = set.intersection(*({column.name for column in table} for table in tables))
    heads: dict[str, Column] = {}
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for table in tables:
        for column in table:
            heads.setdefault(column.name, column)
        for cells in zip(*(column.cells for column in table), strict=True):
            row = {column.name: cell for column, cell in zip(table, cells, strict=True)}
            same = rows.setdefault(tuple(row[name] for name in sorted(shared)), [])
            fitting = next(
                (old for old in same if all(k not in old or old[k] == v for k, v in row.items())),
                None,
            )
            if fitting is None:
                same.append(row)
            else:
                fitting.update(row)
    everything = [row for same in rows.values() for row in same]
    return [tuple(_rebuilt(column, everything) for column in heads.values())]


def _rebuilt(column: Column, rows: Sequence[Mapping[str, Any]]) -> Column:
    return dataclasses.replace(column, cells=tuple(row.get(column.name) for row in rows))


def _join(tables: Sequence[Table], options: Json) -> list[Table]:
    """Outer join by one field."""
    key = str(options.get("byField") or "Time")
    joined = [table for table in tables if any(column.name == key for column in table)]
    if len(joined) < 2:
        return list(tables)
    heads: list[tuple[int, Column]] = []
    rows: dict[Any, dict[tuple[int, str], Any]] = {}
    for number, table in enumerate(joined):
        own = next(column for column in table if column.name == key)
        heads += [(number, column) for column in table if column is not own or not number]
        for index, value in enumerate(own.cells):
            rows.setdefault(value, {}).update(
                {(number, column.name): column.cells[index] for column in table}
            )
    return [
        tuple(
            dataclasses.replace(
                column,
                cells=tuple(
                    value if column.name == key else row.get((number, column.name))
                    for value, row in rows.items()
                ),
            )
            for number, column in heads
        )
    ]


def _organize(tables: Sequence[Table], options: Json) -> list[Table]:
    excluded, included = (
        mapping(options.get("excludeByName")),
        mapping(options.get("includeByName")),
    )
    order, names = mapping(options.get("indexByName")), mapping(options.get("renameByName"))
    found = []
    for table in tables:
        kept = [
            column
            for column in table
            if not excluded.get(column.name) and (not included or included.get(column.name))
        ]
        kept.sort(key=lambda column: _rank(order.get(column.name)))
        found.append(
            tuple(
                dataclasses.replace(column, heading=str(names.get(column.name) or column.heading))
                for column in kept
            )
        )
    return found


def _rank(found: object) -> float:
    return float(found) if isinstance(found, int | float) else 1e9


def _filter(tables: Sequence[Table], options: Json) -> list[Table]:
    included, excluded = mapping(options.get("include")), mapping(options.get("exclude"))

    def is_kept(column: Column) -> bool:
        return (not included or _matches(column, included)) and not (
            excluded and _matches(column, excluded)
        )

    return [tuple(column for column in table if is_kept(column)) for table in tables]


def _matches(column: Column, given: Json) -> bool:
    names = given.get("names")
    if isinstance(names, list) and (column.name in names or column.title in names):
        return True
    pattern = str(given.get("pattern") or "").strip("/")
    return bool(pattern) and is_match(pattern, column.title)


def is_match(pattern: str, text: str) -> bool:
    """Whether a regular expression of a dashboard is found in a text; one that is none is not."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _sort(tables: Sequence[Table], options: Json) -> list[Table]:
    given = options.get("sort")
    for entry in given if isinstance(given, list) else []:
        tables = [
            ordered(table, str(entry.get("field")), descending=bool(entry.get("desc")))
            for table in tables
        ]
    return list(tables)


def ordered(table: Table, name: str, *, descending: bool) -> Table:
    """Rows in the order of a column; rows without a number in it come last."""
    by = next((column for column in table if name in (column.name, column.title)), None)
    if by is None:
        return table

    def is_there(index: int) -> bool:
        cell = by.cells[index]
        return cell not in (None, "") and cell == cell  # noqa: PLR0124 - NaN is not itself

    there = [index for index in range(len(by.cells)) if is_there(index)]
    absent = [index for index in range(len(by.cells)) if not is_there(index)]
    texts = any(isinstance(by.cells[index], str) for index in there)
    there.sort(
        key=lambda index: str(by.cells[index]) if texts else by.cells[index], reverse=descending
    )
    return tuple(_picked(column, [*there, *absent]) for column in table)


def _picked(column: Column, order: Sequence[int]) -> Column:
    return dataclasses.replace(column, cells=tuple(column.cells[index] for index in order))


def _limit(tables: Sequence[Table], options: Json) -> list[Table]:
    most = options.get("limitField")
    bound = int(most) if isinstance(most, int | float | str) and str(most).isdigit() else 10
    return [
        tuple(_picked(column, range(min(bound, len(column.cells)))) for column in table)
        for table in tables
    ]


_STEPS: Mapping[str, _Step] = {
    "merge": _merge,
    "organize": _organize,
    "joinByField": _join,
    "seriesToColumns": _join,
    "filterFieldsByName": _filter,
    "sortBy": _sort,
    "limit": _limit,
}

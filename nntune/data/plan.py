"""A request carried out up to the encoder; reading, target, splits and roles meet here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.encoding import Encoder, Feature, fit
from nntune.data.reading import read
from nntune.data.request import Request
from nntune.data.roles import Role, forced, role_of
from nntune.data.splits import Parts, shares, split
from nntune.data.table import Rows, Table
from nntune.data.target import (
    Target,
    column_named,
    present_rows,
    refuse_small_classes,
    target_name,
    target_of,
)
from nntune.errors import DataError, UsageError

Array = NDArray[Any]
TASKS = ("auto", "binary", "multiclass", "regression")
DROPPED = ("id", "constant", "ignored", "target")


@dataclass(frozen=True)
class Plan:
    """A request carried out up to the encoder: tables, rows of each split, roles."""

    request: Request
    target: Target
    table: Table
    valid: Table
    test: Table
    parts: Parts
    kept: Rows
    roles: dict[str, Role]
    encoder: Encoder
    y: Array  # (kept,) of the source table


def plan_of(request: Request, table: Table | None = None) -> Plan:
    table = read(request.source, request.target) if table is None else table
    name = target_name(table, request)
    _check_options(table, request, name)
    if len(table.columns) < 2:
        raise DataError(f"{table.name} has one column; a target and at least one other are needed")
    kept = present_rows(table.columns[name])
    target = target_of(name, table.columns[name].take(kept), request.task, table.name)
    y = target.values(table.columns[name].take(kept), table.name)
    valid = read(request.valid, name) if request.valid else table
    test = read(request.test, name) if request.test else table.test or table
    parts = _parts(table, valid, test, target, kept, y, request.seed)
    roles = roles_of(table, parts.train, request, target)
    encoder = fitted(table, parts.train, roles)
    if not encoder.names:
        raise DataError(
            f"{table.name} has no column to learn from: all but {name} are constant, ids or "
            "ignored; --numeric or --categorical keeps one"
        )
    return Plan(request, target, table, valid, test, parts, kept, roles, encoder, y)


def _check_options(table: Table, request: Request, target: str) -> None:
    if request.task not in TASKS:
        raise UsageError(f"there is no task {request.task!r}; it is one of {', '.join(TASKS)}")
    for word in (*request.ignore, *request.categorical, *request.numeric):
        if column_named(table, word) == target:
            raise UsageError(
                f"{word} is the target; --ignore, --categorical and --numeric are for the others"
            )
    both = set(request.categorical) & set(request.numeric)
    if both:
        raise UsageError(f"{min(both)} is in --categorical and in --numeric; it can be one of them")


def _parts(
    table: Table, valid: Table, test: Table, target: Target, kept: Rows, y: Array, seed: int
) -> Parts:
    """Rows of the three splits, each of its own table."""
    of = shares(valid is not table, test is not table)
    classes = y if target.classes else None
    if classes is not None:
        counts = np.bincount(classes, minlength=len(target.classes))
        refuse_small_classes(target, counts, table.name, 1 + sum(share > 0 for share in of))
    parts = split(kept, classes, seed, of)
    own_valid = parts.valid if valid is table else _own_rows(valid, target)
    own_test = parts.test if test is table else _own_rows(test, target)
    if len(own_valid) == 0:
        raise DataError(f"{valid.name} has no row with a target to validate on")
    return Parts(parts.train, own_valid, own_test)


def _own_rows(table: Table, target: Target) -> Rows:
    """Rows with a target in a table of another file."""
    cells = table.columns[column_named(table, target.name)]
    rows = present_rows(cells)
    values = target.values(cells.take(rows), table.name)
    if np.isnan(values.astype(np.float64)).any():
        raise DataError(
            f"column {target.name} of {table.name} holds words; regression needs numbers"
        )
    return rows


def roles_of(table: Table, rows: Rows, request: Request, target: Target | None) -> dict[str, Role]:
    ignored = {column_named(table, word) for word in request.ignore}
    asked = {column_named(table, word): "categorical" for word in request.categorical}
    asked |= {column_named(table, word): "numeric" for word in request.numeric}
    roles = {}
    for name, cells in table.columns.items():
        if target is not None and name == target.name:
            roles[name] = Role("target", target.note)
        elif name in ignored:
            roles[name] = Role("ignored", "as asked")
        elif name in asked:
            roles[name] = forced(cells.take(rows), asked[name])
        else:
            roles[name] = role_of(name, cells.take(rows), rows)
    return roles


def fitted(table: Table, rows: Rows, roles: dict[str, Role]) -> Encoder:
    features: list[Feature] = []
    for name, role in roles.items():
        if role.name not in DROPPED:
            features.append(fit(name, role, table.columns[name].take(rows)))
    return Encoder(tuple(features))

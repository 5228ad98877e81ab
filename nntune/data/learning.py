"""Rows to learn from once a search is over: training rows, with validation rows, or all there are.

The roles of columns stay as the search had them; the encoding is learnt anew from the rows chosen.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.dataset import Fold, Split, encoded_folds, fingerprint_of
from nntune.data.encoding import Encoder
from nntune.data.fitting import kind_of
from nntune.data.plan import Array, Plan, fitted, plan_of
from nntune.data.request import Request
from nntune.data.roles import Role
from nntune.data.table import (
    Cells,
    Dates,
    Numbers,
    Strings,
    Table,
    has_wholes,
    labels,
    moments,
    strings,
)
from nntune.errors import DataError
from nntune.families import Grid

ROWS = {"train": ("train",), "train+valid": ("train", "valid"), "all": ("train", "valid", "test")}


@dataclass(frozen=True)
class Learning:
    """Rows to train on, and the validation rows in the same encoding.

    What a search with folds has trained on, 'train', is all its folds, the first of them here.

    Attributes:
        train: what `rows` named.
        valid: the validation rows of the study; part of `train` unless that is 'train'.
        encoder: fitted on `train`.
        columns: name, role, kind and style of each column of the table.
        others: the other folds.
        bins: how many of the features, the last ones, are bins of numbers; see `data.bins`.
    """

    task: str
    target: str
    classes: tuple[str, ...]
    train: Split
    valid: Split
    target_mean: float
    target_scale: float
    encoder: Encoder
    columns: tuple[dict[str, str], ...]
    fingerprint: str
    others: tuple[Fold, ...] = ()
    grid: Grid | None = None
    bins: int = 0

    @property
    def folds(self) -> tuple[Fold, ...]:
        """All rotations that a search trains on; one where there is a single split."""
        return (Fold(self.train, self.valid, self.target_mean, self.target_scale), *self.others)


def load(request: Request, rows: str = "train") -> Learning:
    """Read, and encode with what the chosen rows teach.

    Args:
        request: of the study.
        rows: 'train', 'train+valid' or 'all'.

    Raises:
        DataError: the data cannot be used as they are.
    """
    return learning_of(plan_of(request), rows)


def learning_of(plan: Plan, rows: str) -> Learning:
    """The same for a request that was carried out already."""
    columns = tuple(_column(plan, name, role) for name, role in plan.roles.items())
    if rows == "train" and len(plan.folds) > 1:
        _, bins, (fold, *others) = encoded_folds(plan)
        return Learning(
            plan.target.task, plan.target.name, plan.target.classes, fold.train, fold.valid,
            fold.target_mean, fold.target_scale, plan.encoder, columns, fingerprint_of(plan),
            tuple(others), grid=plan.grid, bins=bins,
        )  # fmt: skip
    dealt = plan.parts if rows == "train" else plan.whole
    places = {
        "train": (plan.table, dealt.train),
        "valid": (plan.valid, dealt.valid),
        "test": (plan.test, dealt.test),
    }
    needed = _needed(plan)
    table = _joined([places[name] for name in ROWS[rows]], needed, plan.table.name)
    table = replace(table, grid=plan.table.grid)
    everything = np.arange(table.rows)
    encoder = fitted(table, everything, needed, plan.request, plan.grid)
    y = _target(plan, table)
    mean, scale = (0.0, 1.0) if plan.target.classes else (float(y.mean()), float(y.std()) or 1.0)
    valid = _joined([places["valid"]], needed, plan.valid.name)
    return Learning(
        plan.target.task,
        plan.target.name,
        plan.target.classes,
        Split(encoder.transform(table), _standardised(y, mean, scale), encoder.terms),
        Split(
            encoder.transform(valid),
            _standardised(_target(plan, valid), mean, scale),
            encoder.terms,
        ),
        mean,
        scale,
        encoder,
        columns,
        fingerprint_of(plan),
        grid=plan.grid,
        bins=encoder.bins,
    )


def test_of(plan: Plan, learning: Learning) -> Split:
    """The locked test rows, in the encoding of what was learnt from others.

    For the verdict only: no search calls this.

    Raises:
        DataError: there are none.
    """
    if len(plan.parts.test) == 0:
        raise DataError(f"{plan.test.name} has no row with a target to test on")
    table = _joined([(plan.test, plan.parts.test)], _needed(plan), plan.test.name)
    y = _standardised(_target(plan, table), learning.target_mean, learning.target_scale)
    return Split(learning.encoder.transform(table), y, learning.encoder.terms)


def _needed(plan: Plan) -> dict[str, Role]:
    """Roles of the features and of the target."""
    left_out = ("id", "constant", "ignored")
    return {name: role for name, role in plan.roles.items() if role.name not in left_out}


def _column(plan: Plan, name: str, role: Role) -> dict[str, str]:
    cells = plan.table.columns[name]
    is_target = role.name == "target"
    kind = kind_of(
        cells, is_quantity=role.name == "numeric" or (is_target and not plan.target.classes)
    )
    style = plan.target.style if is_target else role.style
    return {"name": name, "role": role.name, "kind": kind, "style": style}


def _target(plan: Plan, table: Table) -> Array:
    y = plan.target.values(table.columns[plan.target.name], table.name)
    if not plan.target.classes and not np.isfinite(y).all():
        raise DataError(f"column {plan.target.name} of {table.name} has infinite values")
    return y


def _standardised(y: Array, mean: float, scale: float) -> Array:
    return y if y.dtype.kind == "i" else ((y - mean) / scale).astype(np.float32)


def _joined(parts: list[tuple[Table, NDArray[Any]]], needed: dict[str, Role], name: str) -> Table:
    """Rows of some tables below each other."""
    columns: dict[str, Cells] = {}
    for column, role in needed.items():
        for table, _ in parts:
            if column not in table.columns:
                raise DataError(f"{table.name} has no column {column!r}, which the network needs")
        columns[column] = _below([table.columns[column].take(rows) for table, rows in parts], role)
    return Table(name, columns)


def _are_names(parts: list[Numbers], role: Role) -> bool:
    """Whether all digits of large whole numbers count."""
    return role.name != "numeric" and any(map(has_wholes, parts))


def _below(parts: list[Cells], role: Role) -> Cells:
    """Cells of several columns as one; of different kinds as texts."""
    if len(parts) == 1:
        return parts[0]
    if role.name == "date":
        return Dates(np.concatenate([moments(each, role.style) for each in parts]))
    numbers = [each for each in parts if isinstance(each, Numbers)]
    if len(numbers) == len(parts) and not _are_names(numbers, role):
        return Numbers(np.concatenate([np.asarray(each.values, np.float64) for each in numbers]))
    texts = [labels(each).packed() for each in parts]
    levels = strings(sorted({level for each in texts for level in each.levels})).levels
    places = {level: place for place, level in enumerate(levels)}
    codes = [
        np.array([*(places[level] for level in each.levels), -1], np.int32)[each.codes]
        for each in texts
    ]
    return Strings(np.concatenate(codes), levels)

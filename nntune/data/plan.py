"""A request carried out up to the encoder; reading, target, splits and roles meet here."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune.data import bins, grids
from nntune.data.encoding import Encoder, Feature, fit
from nntune.data.fitting import Doubts, filled, fit_cells, kind_of
from nntune.data.grids import arranged, with_gaps
from nntune.data.history import History, history_of, is_looked_back_at, time_split
from nntune.data.reading import read
from nntune.data.request import Request
from nntune.data.roles import ORDERS, Role, forced, role_of
from nntune.data.splits import (
    Fold,
    Parts,
    folds,
    group_folds,
    group_split,
    shares,
    split,
    thinned,
)
from nntune.data.table import Rows, Strings, Table, labels
from nntune.data.target import (
    Target,
    column_named,
    listed,
    present_rows,
    refuse_small_classes,
    target_name,
    target_of,
)
from nntune.data.texts import spans
from nntune.errors import DataError, UsageError
from nntune.families import Grid

Array = NDArray[Any]
TASKS = ("auto", "binary", "multiclass", "regression")
ASKED = ("categorical", "numeric", "text")
DROPPED = ("id", "constant", "ignored", "target")


@dataclass(frozen=True)
class Plan:
    """A request carried out up to the encoder: tables, rows of each split, roles.

    Attributes:
        read: all tables as they were read; in `valid` and `test` the cells of other files are read
            in the way of the first table's columns.
        kept: rows of the table that have a target.
        parts: rows that the search sees, and those of the test.
        whole: the same without `subsample`.
        folds: rotations of training and validation rows that a search trains; one without folds.
        encoder: fitted on the training rows, with folds on those of the validation split too.
        y: (kept,) of the source table.
    """

    request: Request
    target: Target
    read: tuple[Table, ...]
    table: Table
    valid: Table
    test: Table
    parts: Parts
    whole: Parts
    folds: tuple[Fold, ...]
    kept: Rows
    roles: dict[str, Role]
    encoder: Encoder
    y: Array
    grid: Grid | None = None  # that the first features form
    form: Grid | None = None  # of the examples, as the source itself says it
    notes: tuple[str, ...] = ()  # on cells of other files

    @property
    def seen(self) -> Rows:
        """Rows of the table that roles and `encoder` were learnt from."""
        return _seen(self.parts, self.folds)


def plan_of(request: Request, table: Table | None = None) -> Plan:
    table = read(request.source, request.target, request.image) if table is None else table
    name = target_name(table, request)
    left_out, form = _left_out(table, request, name), table.grid
    _check_options(table, request, name)
    table = arranged(table, request, left_out)
    history = _history(table, request, name, left_out)
    table = history.lagged(table) if history else table
    if len(table.columns) < 2:
        nested = f" (left out as lists, structures or bytes: {listed([*table.nested])})"
        raise DataError(
            f"{table.name} has one column{nested * bool(table.nested)}; a target and at least one "
            "other are needed"
        )
    kept = _kept(table, name, history)
    target = target_of(table, name, kept, request.task)
    y = target.values(table.columns[name].take(kept), table.name)
    beside = partial(_beside, table, name, request=request, left_out=left_out, history=history)
    valid = beside(request.valid) if request.valid else table
    test = beside(request.test) if request.test else table.test or table
    rows = _Rows(table, target, kept, y, request, history)
    whole = _parts(rows, valid, test)
    parts = whole if request.subsample is None else _thinned(rows, whole, own=valid is not table)
    turns = _folds(rows, parts, given=valid is not table)
    seen = _seen(parts, turns)
    _refuse_unseen_classes(rows, seen)
    roles = roles_of(table, seen, request, target)
    grid = with_gaps(table, seen)
    request = binned(table, roles, request)
    encoder = fitted(table, seen, roles, request, grid)
    if not encoder.width:
        raise DataError(
            f"{table.name} has no column to learn from: all but {name} are constant, ids or "
            "ignored; --numeric, --categorical or --text keeps one"
        )
    files = table, valid, test
    for each in files[1:]:
        encoder.check(each)
    notes: list[str] = []
    valid, test = (_read_alike(each, table, roles, notes) for each in (valid, test))
    return Plan(
        request, target, files, table, valid, test, parts, whole, turns, kept, roles, encoder, y,
        grid, form, tuple(notes),
    )  # fmt: skip


def _beside(
    first: Table, target: str, source: str, request: Request, left_out: list[str],
    history: History | None,
) -> Table:  # fmt: skip
    """The table of another file, brought into form as the first was.

    Raises:
        DataError: its rows are images or series of another size.
    """
    table = read(source, target, first.grid.image if first.grid else None)
    table = arranged(table, request, left_out)
    table = history.lagged(table) if history else table
    if first.grid and table.grid and first.grid != table.grid:
        raise DataError(
            f"{table.name} holds {table.grid.text} and {first.name} {first.grid.text}; both need "
            "the same"
        )
    return table


def _read_alike(other: Table, first: Table, roles: dict[str, Role], notes: list[str]) -> Table:
    """The table with texts read as what the first table's column holds, as `predict` reads them.

    Notes take a sentence for each column with cells that could not be read.

    Raises:
        DataError: a column holds something else.
    """
    if other is first:
        return first
    columns, doubts = dict(other.columns), Doubts()
    for name, role in roles.items():
        cells = columns.get(name)
        if isinstance(cells, Strings) and role.name not in DROPPED:
            feature = Feature(name, role.name, role.style)
            kind = kind_of(first.columns[name], is_quantity=role.name == "numeric")
            columns[name], junk, example = fit_cells(cells, feature, kind)
            doubts.add(other.name, feature, junk, filled(columns[name]) + junk, example)
    notes += [f"{other.name}: {sentence}" for sentence in doubts.sentences()]
    return replace(other, columns=columns)


def _history(table: Table, request: Request, target: str, left_out: list[str]) -> History | None:
    if request.lags is None:
        return None
    time = None if request.time is None else column_named(table, request.time)
    return history_of(table, target, request.lags, time, left_out)


def _kept(table: Table, target: str, history: History | None) -> Rows:
    """Rows with a target, and with a whole past where that is needed."""
    rows = present_rows(table.columns[column_named(table, target)])
    return np.intersect1d(rows, history.rows(table)) if history else rows


def _seen(parts: Parts, folds: tuple[Fold, ...]) -> Rows:
    return parts.train if len(folds) == 1 else np.union1d(parts.train, parts.valid)


def _left_out(table: Table, request: Request, target: str) -> list[str]:
    """Columns that are part of no image or series: target, groups, time and what is ignored."""
    words = (*request.ignore, *filter(None, [request.group, request.time]))
    return [target, *(column_named(table, word) for word in words)]


def _check_options(table: Table, request: Request, target: str) -> None:
    if request.task not in TASKS:
        raise UsageError(f"there is no task {request.task!r}; it is one of {', '.join(TASKS)}")
    spans(request)
    asked = {flag: set(getattr(request, flag)) for flag in ASKED}
    for word in (*request.ignore, *chain(*asked.values())):
        if column_named(table, word) == target:
            raise UsageError(
                f"{word} is the target; --ignore, --categorical, --numeric and --text are for the "
                "others"
            )
    if request.group is not None and column_named(table, request.group) == target:
        raise UsageError(
            f"--group-col {request.group} is the target; name the column of the groups"
        )
    _check_time(table, request, target)
    if request.cv is not None and request.cv > 1 and request.valid:
        raise UsageError(
            "--cv makes folds of the rows and --valid gives a split; choose one of them"
        )
    _check_files(request)
    asked["ignore"] = set(request.ignore)
    for one, other in combinations(asked, 2):
        if both := asked[one] & asked[other]:
            raise UsageError(f"{min(both)} is in --{one} and in --{other}; it can be one of them")


def _check_files(request: Request) -> None:
    """Rows that a network has learnt from cannot judge it."""
    for flag, path in (("--valid", request.valid), ("--test", request.test)):
        if path is not None and Path(path).resolve() == Path(request.source).resolve():
            raise UsageError(
                f"{flag} {path} is the table itself; name a file with other rows, or leave it out, "
                "and a part of the table is kept apart"
            )


def _check_time(table: Table, request: Request, target: str) -> None:
    if request.time is not None and column_named(table, request.time) == target:
        raise UsageError(f"--time-col {request.time} is the target; name the column of the time")
    if not _in_time(request):
        return
    flag = "--time-col" if request.time is not None else "--lags"
    for other, given in (
        ("--cv", (request.cv or 1) > 1),
        ("--group-col", request.group is not None),
        ("--image", request.lags is not None and request.image is not None),
        ("--series", request.lags is not None and request.series),
    ):
        if given:
            what = "splits rows by time" if other in ("--cv", "--group-col") else "makes a series"
            raise UsageError(f"{flag} {what} and {other} does otherwise; choose one of them.")


def _in_time(request: Request) -> bool:
    """Whether earlier rows train and later ones judge."""
    return request.time is not None or request.lags is not None


class _Rows(NamedTuple):
    """Rows to be dealt out."""

    table: Table
    target: Target
    kept: Rows
    y: Array  # (kept,)
    request: Request
    history: History | None = None

    @property
    def time(self) -> str | None:
        """The column that orders the rows."""
        name = self.request.time
        return None if name is None else column_named(self.table, name)

    @property
    def classes(self) -> Array | None:
        return self.y if self.target.classes else None

    def groups(self) -> Array | None:
        """(kept,) codes of the groups; a row without a group is one of its own."""
        if self.request.group is None:
            return None
        name = column_named(self.table, self.request.group)
        codes = labels(self.table.columns[name]).codes[self.kept].astype(np.int64)
        return np.where(codes < 0, len(codes) + np.arange(len(codes)), codes)


def _parts(rows: _Rows, valid: Table, test: Table) -> Parts:
    """Rows of the three splits, each of its own table."""
    of = shares(valid is not rows.table, test is not rows.table)
    if rows.classes is not None:
        counts = np.bincount(rows.classes, minlength=len(rows.target.classes))
        least = 1 + sum(share > 0 for share in of)
        refuse_small_classes(rows.target, counts, rows.table.name, least)
    groups = rows.groups()
    if _in_time(rows.request):
        parts = time_split(rows.table, rows.kept, rows.time, of)
    elif groups is None:
        parts = split(rows.kept, rows.classes, rows.request.seed, of)
    else:
        parts = group_split(rows.kept, groups, rows.classes, rows.request.seed, of)
        _refuse_empty(rows, parts, of)
    own_valid = parts.valid if valid is rows.table else _own_rows(valid, rows)
    own_test = parts.test if test is rows.table else _own_rows(test, rows)
    if len(own_valid) == 0:
        raise DataError(f"{valid.name} has no row with a target to validate on")
    return Parts(parts.train, own_valid, own_test)


def _thinned(rows: _Rows, whole: Parts, *, own: bool) -> Parts:
    """Of training and validation rows `subsample`; validation rows of a file of their own stay."""
    assert rows.request.subsample is not None
    thin = (whole.train,) if own else (whole.train, whole.valid)
    share = rows.request.subsample / sum(map(len, thin))
    if share >= 1:
        return whole

    def kept(part: Rows) -> Rows:
        classes = None if rows.classes is None else rows.classes[np.searchsorted(rows.kept, part)]
        return thinned(part, classes, rows.request.seed, share)

    train = kept(whole.train)
    return Parts(train, whole.valid if own else kept(whole.valid), whole.test)


def _refuse_empty(rows: _Rows, parts: Parts, of: tuple[float, float]) -> None:
    wanted = [
        parts.train,
        *(p for p, share in zip((parts.valid, parts.test), of, strict=True) if share),
    ]
    if any(len(part) == 0 for part in wanted):
        raise DataError(
            f"column {rows.request.group} of {rows.table.name} has too few groups for "
            f"{len(wanted)} splits; --group-col needs a column with more values"
        )


def _refuse_unseen_classes(rows: _Rows, seen: Rows) -> None:
    """Groups and moments go as a whole, so that a class may have no row to learn from."""
    classes, learnt = rows.target.classes, rows.y[np.searchsorted(rows.kept, seen)]
    unseen = np.setdiff1d(np.arange(len(classes)), learnt)
    if len(unseen):
        names = listed([repr(classes[place]) for place in unseen], 3)
        raise DataError(
            f"as the rows of {rows.table.name} are split, none to train on has {names} in column "
            f"{rows.target.name}; drop the rows that have or merge the classes"
        )


def _folds(rows: _Rows, parts: Parts, *, given: bool) -> tuple[Fold, ...]:
    """Rotations of the rows that are not for the test; `given` validation rows are not rotated."""
    one = (Fold(parts.train, parts.valid),)
    count = rows.request.cv or 1
    if given or count < 2:
        return one
    here = np.isin(rows.kept, np.union1d(parts.train, parts.valid))
    kept, groups = rows.kept[here], rows.groups()
    classes = None if rows.classes is None else rows.classes[here]
    groups = None if groups is None else groups[here]
    most = _most_folds(classes, groups, len(kept))
    if count > most:
        needs = "a row of each class" if rows.target.classes else "a row"
        needs += "" if groups is None else " and a group of its own"
        raise UsageError(
            f"--cv {count}: every fold needs {needs}; {rows.table.name} has enough for {most}"
        )
    if groups is None:
        return folds(kept, classes, rows.request.seed, count)
    return group_folds(kept, groups, classes, rows.request.seed, count)


def _most_folds(classes: Array | None, groups: Array | None, rows: int) -> int:
    fewest = rows if classes is None else int(np.unique(classes, return_counts=True)[1].min())
    return fewest if groups is None else min(fewest, len(np.unique(groups)))


def _own_rows(table: Table, dealt: _Rows) -> Rows:
    """Rows with a target in a table of another file."""
    target = dealt.target
    rows = _kept(table, target.name, dealt.history)
    cells = table.columns[column_named(table, target.name)]
    values = target.values(cells.take(rows), table.name)
    if np.isnan(values.astype(np.float64)).any():
        raise DataError(
            f"column {target.name} of {table.name} holds words; regression needs numbers"
        )
    return rows


def roles_of(table: Table, rows: Rows, request: Request, target: Target | None) -> dict[str, Role]:
    ignored = {column_named(table, word) for word in request.ignore}
    asked = {column_named(table, word): role for role in ASKED for word in getattr(request, role)}
    ordering = None if request.time is None else column_named(table, request.time)
    grouping = None if request.group is None else column_named(table, request.group)
    roles = grids.roles(table, rows)
    for name, cells in table.columns.items():
        if name in roles:
            continue
        if target is not None and name == target.name:
            roles[name] = Role("target", target.note)
        elif name in ignored:
            roles[name] = Role("ignored", "as asked")
        elif name in asked:
            roles[name] = forced(cells.take(rows), asked[name])
        elif request.lags is not None and is_looked_back_at(name, table):
            style = forced(cells, "numeric").style
            roles[name] = Role("ignored", "its past is used", style)
        elif name == ordering:
            roles[name] = Role("ignored", ORDERS)
        elif name == grouping:
            roles[name] = Role("ignored", "its values are the groups")
        else:
            roles[name] = role_of(name, cells.take(rows), rows)
            if request.lags is not None and roles[name].name == "numeric":  # words follow later
                roles[name] = Role("ignored", "its numbers are not known before the row")
    return roles


def binned(table: Table, roles: dict[str, Role], request: Request) -> Request:
    """The request with a number of bins: what was asked for, or what is usual for the table."""
    names = [role.name for role in roles.values()]
    numeric = 0 if table.grid or "text" in names else names.count("numeric")
    usual = bins.usual(numeric, table.rows * max(request.cv or 1, 1))
    return replace(request, bins=(usual if request.bins is None else request.bins) * (numeric > 0))


def fitted(
    table: Table, rows: Rows, roles: dict[str, Role], request: Request, grid: Grid | None = None
) -> Encoder:
    features = [] if grid is None else grids.features(table, rows, grid, roles)
    known = {feature.column for feature in features}
    terms = spans(request)
    for name, role in roles.items():
        if role.name not in DROPPED and name not in known:
            cells = table.columns[name].take(rows)
            features.append(fit(name, role, cells, terms, request.vocabulary, request.bins or 0))
    return Encoder(tuple(features))

"""From a request to encoded splits, their fingerprint and what to warn of.

The test rows are encoded by `load_test` alone; a `Dataset` does not hold them.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np

from nntune.data import findings, splits
from nntune.data.description import Description
from nntune.data.encoding import Encoded, Encoder, Feature
from nntune.data.plan import Array, Plan, binned, fitted, plan_of, roles_of
from nntune.data.reading import read
from nntune.data.request import Request, refuse_one_fold, study_name
from nntune.data.roles import Column, Role, distinct, missing
from nntune.data.table import Numbers, Rows, Strings, Table, has_wholes, labels
from nntune.data.target import listed
from nntune.errors import DataError
from nntune.families import Grid


@dataclass(frozen=True)
class Split:
    """Rows of one split, encoded.

    Args:
        x: (N, D) float32: C-contiguous, or a sparse array in rows where there is text.
        y: (N,) int64 class index, or float32 target with the training mean and deviation taken out.
        terms: of the columns of x, the last so many stand for terms of text.
    """

    x: Encoded
    y: Array
    terms: int = 0


@dataclass(frozen=True)
class Fold:
    """One rotation of training and validation rows, encoded with what its training rows taught."""

    train: Split
    valid: Split
    target_mean: float
    target_scale: float


@dataclass(frozen=True)
class Dataset:
    """Everything a search may see.

    Where there are folds, `train`, `valid` and the target's mean and scale are those of the first.

    Args:
        name: of a study on this data.
        task: 'binary', 'multiclass' or 'regression'.
        classes: in the order of their indices; () for regression.
        features: names of the dense features, which come first.
        target_mean: for regression, a prediction p means p * target_scale + target_mean; else 0.
        target_scale: see target_mean; 1 for classes.
        counts: rows read, dropped (no target), train, valid, test.
        warnings: sentences for the user.
        doubts: those among them that a reader of the study should know too.
        fingerprint: SHA-256 of table, target, roles and split, independent of path and machine.
        split_summary: how the rows were dealt out, in plain values.
        encoder: what was fitted on the training rows.
        request: what was asked, with the usual number of bins where none was.
        others: the other folds, encoded to the same features.
        bins: how many of the features, the last ones, are bins of numbers; see `data.bins`.
        grid: how the first features form an image or a series, if they do.
    """

    name: str
    task: str
    target: str
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    features: tuple[str, ...]
    train: Split
    valid: Split
    target_mean: float
    target_scale: float
    counts: dict[str, int]
    warnings: tuple[str, ...]
    fingerprint: str
    split_summary: dict[str, Any]
    encoder: Encoder
    request: Request
    others: tuple[Fold, ...] = ()
    grid: Grid | None = None
    doubts: tuple[findings.Doubt, ...] = ()
    bins: int = 0

    @property
    def terms(self) -> int:
        """Of the encoded columns, the last so many stand for terms of text."""
        return self.train.terms

    @property
    def folds(self) -> tuple[Fold, ...]:
        """All rotations that a search trains on; one where there is a single split."""
        return (Fold(self.train, self.valid, self.target_mean, self.target_scale), *self.others)


def load(request: Request) -> Dataset:
    """Read, split and encode: training and validation rows, no test rows."""
    plan = plan_of(request)
    target = plan.target
    names, bins, (first, *others) = encoded_folds(plan)
    doubts = _doubts(plan)
    return Dataset(
        name=study_name(request.source),
        task=target.task,
        target=target.name,
        classes=target.classes,
        columns=_columns(plan.table, plan.roles, plan.encoder),
        features=names,
        train=first.train,
        valid=first.valid,
        target_mean=first.target_mean,
        target_scale=first.target_scale,
        counts=_counts(plan),
        warnings=_warnings(plan, doubts),
        fingerprint=fingerprint_of(plan),
        split_summary=_summary(plan),
        encoder=plan.encoder,
        others=tuple(others),
        grid=plan.grid,
        doubts=doubts,
        bins=bins,
        request=plan.request,
    )


def encoded_folds(plan: Plan) -> tuple[tuple[str, ...], int, list[Fold]]:
    """Names of the features, how many are bins, and every rotation as its own rows encode it.

    Folds have the features that any of them has, so that one network fits all: what a fold did
    not see, such as a category, is zero throughout.
    """
    if len(plan.folds) == 1:
        encoder = plan.encoder
        return encoder.names, encoder.bins, [_fold(plan, plan.folds[0], encoder)]
    encoders = [
        fitted(plan.table, fold.train, plan.roles, plan.request, plan.grid) for fold in plan.folds
    ]
    names, bins, places = aligned(encoders)
    terms, of_terms = aligned_terms(encoders)
    folds = [_fold(plan, *each) for each in zip(plan.folds, encoders, strict=True)]
    sizes = len(names), terms
    every = [
        at + [sizes[0] + place for place in of] for at, of in zip(places, of_terms, strict=True)
    ]
    spread = [
        replace(fold, train=_spread(fold.train, at, sizes), valid=_spread(fold.valid, at, sizes))
        for fold, at in zip(folds, every, strict=True)
    ]
    return names, bins, spread


def aligned(encoders: Sequence[Encoder]) -> tuple[tuple[str, ...], int, list[list[int]]]:
    """What encoders of the same columns have in all.

    Returns:
        Names of the dense features, how many of them are bins, where each encoder's are in them.
    """
    names: list[str] = []
    places: list[list[int]] = [[] for _ in encoders]
    plain = 0
    for names_of in (attrgetter("names"), attrgetter("bin_names")):
        plain = len(names)
        for column in zip(*(encoder.features for encoder in encoders), strict=True):
            union = list(dict.fromkeys(name for feature in column for name in names_of(feature)))
            for at, feature in zip(places, column, strict=True):
                at += [len(names) + union.index(name) for name in names_of(feature)]
            names += union
    return tuple(names), len(names) - plain, places


def aligned_terms(encoders: Sequence[Encoder]) -> tuple[int, list[list[int]]]:
    """How many terms encoders of the same columns have in all, and where each one's are."""
    count = 0
    places: list[list[int]] = [[] for _ in encoders]
    for column in zip(*(encoder.features for encoder in encoders), strict=True):
        for kind in zip(*(feature.vocabularies for feature in column), strict=True):
            union = sorted({term for vocabulary in kind for term in vocabulary.terms})
            known = {term: count + place for place, term in enumerate(union)}
            for at, vocabulary in zip(places, kind, strict=True):
                at += [known[term] for term in vocabulary.terms]
            count += len(union)
    return count, places


def _fold(plan: Plan, rows: splits.Fold, encoder: Encoder) -> Fold:
    mean, scale = _target_scale(plan, rows.train)
    train, valid = (
        _encoded(plan, table, part, encoder, (mean, scale))
        for table, part in ((plan.table, rows.train), (plan.valid, rows.valid))
    )
    return Fold(train, valid, mean, scale)


def _spread(split: Split, places: list[int], sizes: tuple[int, int]) -> Split:
    """The same rows with columns at other places, among so many features and terms."""
    shape = len(split.y), sum(sizes)
    if not sizes[1]:
        x: Encoded = np.zeros(shape, np.float32)
        x[:, places] = split.x
        return Split(x, split.y)
    from scipy.sparse import csr_array

    old = csr_array(split.x)
    at = np.array(places, old.indices.dtype)
    x = csr_array((old.data, at[old.indices], old.indptr), shape=shape)
    x.sort_indices()
    return Split(x, split.y, sizes[1])


def load_test(request: Request) -> Split:
    """The locked test rows, encoded with what the training rows taught."""
    plan = plan_of(request)
    if len(plan.parts.test) == 0:
        raise DataError(f"{plan.test.name} has no row with a target to test on")
    scale = _target_scale(plan, plan.seen)
    return _encoded(plan, plan.test, plan.parts.test, plan.encoder, scale)


def describe(request: Request) -> Description:
    """What was understood; the target may be left out.

    Raises:
        UsageError: one fold was asked for.
    """
    refuse_one_fold(request)
    table = read(request.source, request.target, request.image)
    if request.target is None and table.target is None:
        return _without_target(table, request)
    plan = plan_of(request, table)
    words = plan.y[plan.y >= 0].astype(np.int64) if plan.target.classes else np.empty(0, np.int64)
    counts = np.bincount(words, minlength=len(plan.target.classes))
    return Description(
        name=study_name(request.source),
        task=plan.target.task,
        target=plan.target.name,
        columns=_columns(plan.table, plan.roles, plan.encoder),
        classes=tuple((c, int(n)) for c, n in zip(plan.target.classes, counts, strict=False)),
        counts=_counts(plan),
        warnings=_warnings(plan, _doubts(plan)),
        width=plan.encoder.width,
        bins=plan.encoder.bins,
        split_summary=_summary(plan),
        grid=plan.grid,
    )


def _without_target(table: Table, request: Request) -> Description:
    rows = np.arange(table.rows)
    roles = roles_of(table, rows, request, None)
    encoder = fitted(table, rows, roles, binned(table, roles, request))
    columns = _columns(table, roles, encoder)
    counts = {"read": table.rows}
    dates = findings.unclear_dates(table, roles)
    notes = (*table.notes, *dates, "no target is named; -t COLUMN shows task, classes and splits")
    name = study_name(request.source)
    return Description(name, "", "", columns, (), counts, notes, encoder.width, encoder.bins, {})


def _target_scale(plan: Plan, rows: Rows) -> tuple[float, float]:
    """Mean and deviation of the target in training rows."""
    if plan.target.classes:
        return 0.0, 1.0
    y = plan.target.values(plan.table.columns[plan.target.name].take(rows), "")
    return float(y.mean()), float(y.std()) or 1.0


def _encoded(
    plan: Plan, table: Table, rows: Rows, encoder: Encoder, scale: tuple[float, float]
) -> Split:
    y = plan.target.values(table.columns[plan.target.name].take(rows), table.name)
    if not plan.target.classes:
        if not np.isfinite(y).all():
            raise DataError(f"column {plan.target.name} of {table.name} has infinite values")
        y = ((y - scale[0]) / scale[1]).astype(np.float32)
    return Split(encoder.transform(table, rows), y, encoder.terms)


def _columns(table: Table, roles: dict[str, Role], encoder: Encoder) -> tuple[Column, ...]:
    features = {feature.column: feature for feature in encoder.features}
    columns = []
    for name, cells in table.columns.items():
        feature, role = features.get(name), roles[name]
        note = role.note
        if feature is not None and feature.rare:
            rare = distinct(cells) - len(feature.levels)
            note = "; ".join(filter(None, (note, f"{rare:,} rare of them share a feature")))
        if feature is not None and feature.vocabularies:
            note = "; ".join(filter(None, (note, _terms_note(feature))))
        if feature is not None and feature.bins:
            note = "; ".join(filter(None, (note, f"{feature.bins} bins")))
        width = feature.width + feature.bins + feature.terms if feature else 0
        columns.append(Column(name, role.name, missing(cells), distinct(cells), note, width))
    return tuple(columns)


def _terms_note(feature: Feature) -> str:
    """What was learnt of a text column, in a few words."""
    found = []
    for vocabulary in feature.vocabularies:
        span, count = vocabulary.span, len(vocabulary.terms)
        length = f"{span.low}" if span.low == span.high else f"{span.low} to {span.high}"
        case = " with capitals" * (span.case == "kept")
        found.append(f"{count:,} terms of {length} {span.kind}{case}")
    return ", ".join(found)


def _counts(plan: Plan) -> dict[str, int]:
    parts = plan.parts
    return {
        "read": plan.table.rows,
        "dropped": plan.table.rows - len(plan.kept),
        "train": len(parts.train),
        "valid": len(parts.valid),
        "test": len(parts.test),
    }


def _doubts(plan: Plan) -> tuple[findings.Doubt, ...]:
    rows, table = plan.seen, plan.table
    y = plan.target.values(table.columns[plan.target.name].take(rows), table.name).astype(float)
    found = findings.doubts(table, rows, plan.target, y, plan.roles, plan.encoder)
    request, is_given = plan.request, plan.valid is not table and plan.test is not table
    answered = {
        "order": is_given or request.time is not None or request.lags is not None,
        "groups": is_given or request.group is not None,
    }
    kept = (doubt for doubt in found if not answered.get(doubt.name))
    return (*kept, *_copies(plan))


def _copies(plan: Plan) -> Iterator[findings.Doubt]:
    """Of rows that judge and stand in a file of their own, those that were learnt from."""
    table, valid, test, parts = plan.table, plan.valid, plan.test, plan.whole
    has_own = valid is not table
    train = parts.train if has_own else np.union1d(parts.train, parts.valid)
    learnt = [(table, train)]
    if has_own:
        judge = valid, parts.valid
        yield from findings.copies(learnt[0], judge, "validation", plan.target, plan.roles)
        learnt.append((valid, parts.valid))  # a refit learns from them too
    if test is not table:
        for source in learnt:
            judge = test, parts.test
            yield from findings.copies(source, judge, "test", plan.target, plan.roles)


def _warnings(plan: Plan, doubts: tuple[findings.Doubt, ...]) -> tuple[str, ...]:
    table = plan.table
    dropped = [n for n, r in plan.roles.items() if r.name in ("id", "constant")]
    notes = [*table.notes, *plan.notes]
    if table.rows > len(plan.kept):
        what = f"without {plan.target.name}" + " or its past" * bool(plan.request.lags)
        count = table.rows - len(plan.kept)
        notes.append(
            f"{count:,} row{'s' * (count > 1)} {what} {'are' if count > 1 else 'is'} dropped"
        )
    seen, all_rows = (len(p.train) + len(p.valid) for p in (plan.parts, plan.whole))
    if seen < all_rows:
        notes.append(
            f"the search sees {seen:,} of {all_rows:,} rows; refit learns from all of them"
        )
    if dropped:
        notes.append(f"dropped as ids or constants: {listed(dropped)}")
    return (*notes, *(doubt.sentence for doubt in doubts))


def _summary(plan: Plan) -> dict[str, Any]:
    request = plan.request
    valid, test = splits.shares(plan.valid is not plan.table, plan.test is not plan.table)
    dealt: dict[str, Any] = {"folds": len(plan.folds)} if len(plan.folds) > 1 else {}
    if request.group is not None:
        dealt["group"] = request.group
    return {
        "seed": request.seed,
        "stratified": bool(plan.target.classes),
        "fractions": {"train": round(1 - valid - test, 4), "valid": valid, "test": test},
        "files": {
            "valid": None if plan.valid is plan.table else plan.valid.name,
            "test": None if plan.test is plan.table else plan.test.name,
        },
        **dealt,
    }


def _dealt(plan: Plan) -> list[Any]:
    """What sets the splits apart from those of a plain request; nothing if it is one."""
    return [["folds", len(plan.folds), plan.request.group]] * (
        len(plan.folds) > 1 or plan.request.group is not None
    )


def _differ_rounded(cells: Numbers) -> bool:
    """Whether whole numbers are other categories, or in another order, than as float64."""
    rounded = Numbers(np.asarray(cells.values, np.float64))
    return not np.array_equal(labels(cells).codes, labels(rounded).codes)


def fingerprint_of(plan: Plan) -> str:
    """Hash of the content that decides what a search sees."""
    hashed = hashlib.sha256()
    named = {name for name, role in plan.roles.items() if role.name in ("categorical", "text")}
    named |= {plan.target.name} if plan.target.classes else set()
    named |= {plan.request.group} if plan.request.group else set()
    for table in {id(table): table for table in plan.read}.values():
        for name, cells in table.columns.items():
            if name in named and has_wholes(cells) and _differ_rounded(cells):
                cells = labels(cells)
            array = cells.codes if isinstance(cells, Strings) else cells.values
            levels = cells.levels if isinstance(cells, Strings) else ()
            little = array.dtype.newbyteorder("<")
            if array.dtype.kind == "f":
                array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
            hashed.update(json.dumps([name, str(little), len(array), levels]).encode())
            hashed.update(np.ascontiguousarray(array, little).data)
    roles = {name: [role.name, role.style] for name, role in plan.roles.items()}
    if plan.request.time or plan.request.lags:
        roles |= {"time": [plan.request.time or "", str(plan.request.lags)]}
    if plan.request.subsample is not None:
        roles |= {"subsample": [str(plan.request.subsample)]}
    if plan.grid is not None:  # tables keep the fingerprints that they had before there were grids
        roles |= {"": [plan.grid.text]}
    facts: list[Any] = [
        plan.target.name,
        plan.target.task,
        plan.target.classes,
        roles,
        plan.request.seed,
    ]
    if any(role.name == "text" for role in plan.roles.values()):
        asked = plan.request
        kept = ["case kept"] * (asked.case == "kept")  # studies from before could not ask for it
        facts.append([asked.ngrams, asked.characters, asked.vocabulary, *kept])
    own = [plan.valid is plan.table, plan.test is plan.table]
    hashed.update(json.dumps([*facts, *own, *_dealt(plan)]).encode())
    return hashed.hexdigest()

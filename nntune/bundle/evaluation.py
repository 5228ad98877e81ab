"""A bundle against rows whose truth is known."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.bundle.format import Bundle
from nntune.bundle.predictor import Predictor
from nntune.bundle.scoring import metrics_of, score
from nntune.data.chunks import chunks
from nntune.data.encoding import Feature
from nntune.data.fitting import Doubts
from nntune.data.table import Table, labels, numbers
from nntune.errors import DataError, UsageError


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        rows: that had a target.
        dropped: rows without one, or without the past that the network looks back at.
        pastless: those of the dropped rows that have a target.
        metrics: name to value; nan where one is not defined, such as auc with one class.
        notes: sentences on what could not be read, and on rows that it learnt from.
    """

    rows: int
    dropped: int
    pastless: int
    metrics: dict[str, float]
    notes: tuple[str, ...]


def evaluate(bundle: Bundle, source: str, target: str | None = None) -> Evaluation:
    """Every metric of the task on labelled rows; predictions stay in memory, the table does not.

    Args:
        bundle: the network.
        source: a path, '-' or 'sklearn:NAME'.
        target: the column that holds the truth, if not the one of training.

    Raises:
        DataError: a column is missing, or a class was not seen in training.
    """
    truth = Truth(bundle, target or bundle.target)
    predictor, doubts = Predictor(bundle), Doubts()
    columns = replace(
        predictor.columns,
        features=[*predictor.columns.features, truth.feature],
        kinds=truth.kinds,
    )
    values, known, dropped, pastless = [], [], 0, 0
    for table in chunks(source, columns, doubts):
        y = truth.of(table)
        there = ~np.isnan(y)
        if columns.history is not None:
            past = np.isin(np.arange(table.rows), columns.history.rows(table))
            pastless += int(np.count_nonzero(there & ~past))
            there &= past
        dropped += int(np.count_nonzero(~there))
        values.append(predictor.values(table)[there])
        known.append(y[there])
    if not sum(map(len, known)):
        raise DataError(f"{source} has no row with a value of {truth.feature.column}")
    y = np.concatenate(known)
    metrics = score(bundle.task, np.concatenate(values), y, metrics_of(bundle.task))
    notes = (*doubts.sentences(), *_learnt(bundle, source))
    return Evaluation(len(y), dropped, pastless, metrics, notes)


def _learnt(bundle: Bundle, source: str) -> Iterator[str]:
    """Of names alone: a copy of the table under another name goes unnoticed."""
    if Path(source).name == Path(str(bundle.data.get("source", ""))).name:
        yield (
            f"the network learnt from rows of a file named {Path(source).name}; if this is that "
            "file, the score flatters it, and nntune test has that of rows that were not seen"
        )


class Truth:
    """The column that holds what is to be predicted."""

    def __init__(self, bundle: Bundle, column: str) -> None:
        trained = next((c for c in bundle.columns if c["name"] == bundle.target), {})
        if any(feature["column"] == column for feature in bundle.encoder["features"]):
            raise UsageError(f"-t {column}: the network predicts from this column.")
        self._classes = {label: place for place, label in enumerate(bundle.classes)}
        role = "text" if bundle.classes else "numeric"
        style = trained.get("style", "point")
        self.feature = Feature(column, role, style if not bundle.classes else "point")
        self.kinds = {c["name"]: c["kind"] for c in bundle.columns}
        self.kinds[column] = trained.get("kind", "string")

    def of(self, table: Table) -> NDArray[Any]:
        """(N,) class indices or numbers; nan where there is none.

        Raises:
            DataError: a class was not seen in training.
        """
        cells = table.columns[self.feature.column]
        if not self._classes:
            return numbers(cells)
        words = labels(cells).packed()
        new = [level for level in words.levels if level not in self._classes]
        if new:
            raise DataError(
                f"{table.name}: class {new[0]!r} of column {self.feature.column} was not in the "
                f"training data; the network knows {', '.join(list(self._classes)[:12])}"
            )
        return np.array([*(self._classes[level] for level in words.levels), np.nan])[words.codes]

"""What a bundle predicts, with scikit-learn's names for what it offers."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.bundle import checks, forward
from nntune.bundle.format import Bundle
from nntune.data.encoding import Encoded, Encoder
from nntune.data.fitting import Columns, Doubts
from nntune.data.history import MOST_LAGS, History
from nntune.data.table import Table
from nntune.errors import DataError
from nntune.families import Grid, Own
from nntune.own import located
from nntune.trials import Shape

_ROWS = 1 << 14  # encoded at once


class Predictor:
    """The network of a bundle.

    Attributes:
        bundle: where it comes from.
        classes_: labels in the order of `predict_proba`; numbers where the target's column held
            numbers. Empty for regression.
        feature_names_in_: names of the columns that it needs.
        n_features_in_: how many these are.
    """

    def __init__(self, bundle: Bundle) -> None:
        shapes = [located(s) if isinstance(s, Own) else s for s in bundle.shapes]
        self.bundle = replace(bundle, shapes=tuple(shapes))
        self._encoder = Encoder.from_dict(bundle.encoder)
        kinds = {column["name"]: column["kind"] for column in bundle.columns}
        names = [feature.column for feature in self._encoder.features]
        history = _history(bundle, names)
        asked = _image(bundle), _grid(bundle)
        self.columns = Columns(self._encoder.features, kinds, history, *asked)
        shape = bundle.shape
        own = None if history or isinstance(shape, Shape) else shape.grid
        self._grid = asked[1] or own  # of examples that are given as arrays
        if history is not None:
            names = list(dict.fromkeys([*history.columns, *(n for n in names if n in kinds)]))
        self.feature_names_in_ = np.array(names, object)
        self.n_features_in_ = len(self.feature_names_in_)
        self.classes_ = _labels(bundle.classes, kinds.get(bundle.target, "string"))

    def predict(self, data: Any) -> NDArray[Any]:  # (N,)
        """Labels of classes, or numbers in the target's unit.

        Args:
            data: a data frame (pandas, polars or alike), a dict of columns, a 2-D array with
                the columns in the order of `feature_names_in_` (those of images and series channel
                after channel), or the path of a file. Of images and series also the array as it
                stands in an npz file.

        Raises:
            DataError: a column is missing or holds something else than in training.
        """
        values = self._values(data)
        if self.bundle.task == "regression":
            return values[:, 0]
        return np.asarray(self.classes_[values.argmax(1)])

    def predict_proba(self, data: Any) -> NDArray[np.float64]:  # (N, classes)
        """Probabilities of the classes, in the order of `classes_`.

        Raises:
            AttributeError: the network predicts numbers.
        """
        if self.bundle.task == "regression":
            raise AttributeError("a network that predicts numbers has no predict_proba")
        return self._values(data)

    def _values(self, data: Any) -> NDArray[np.float64]:
        doubts = Doubts()
        parts = [self.values(table) for table in self.tables(data, doubts)]
        for sentence in doubts.sentences():
            warnings.warn(sentence, stacklevel=3)
        width = len(self.bundle.classes) or 1
        return np.concatenate(parts) if parts else np.empty((0, width))

    def tables(self, data: Any, doubts: Doubts) -> Iterator[Table]:
        """What `predict` takes, in parts with the right columns; `doubts` takes what is odd."""
        history = self.columns.history
        for table in self._tables(data, doubts):
            if history is not None and (gaps := history.gaps(table)):
                doubts.notes.append(
                    f"{gaps:,} row{'s lack' if gaps > 1 else ' lacks'} some of the last "
                    f"{history.steps:,} values of {history.target}: the network guesses there, "
                    "and nntune evaluate leaves rows without their past out"
                )
            yield table

    def _tables(self, data: Any, doubts: Doubts) -> Iterator[Table]:
        if isinstance(data, str | Path):
            from nntune.data.chunks import chunks

            yield from chunks(str(data), self.columns, doubts)
        elif isinstance(data, Table):
            yield self.columns.fitted(data, doubts)
        else:
            from nntune.data.frames import has_names, table_of

            if self.columns.history and not has_names(data):
                raise DataError(
                    "a network that looks back needs the columns of its table by their names: "
                    "a data frame, a dict of columns, or a file"
                )
            names = [str(name) for name in self.feature_names_in_]
            table = table_of(data, names, self._grid)
            yield self.columns.fitted(table, doubts)

    def values(self, table: Table) -> NDArray[np.float64]:
        """(N, classes) probabilities, or (N, 1) predictions, of a table with the right columns."""
        width = len(self.bundle.classes) or 1
        result = np.empty((table.rows, width))
        for start in range(0, table.rows, _ROWS):
            rows = np.arange(start, min(start + _ROWS, table.rows))
            result[rows] = self.scores(self._encoder.transform(table, rows))
        return result

    def scores(self, x: Encoded) -> NDArray[np.float64]:
        """The same for encoded rows, (N, D).

        Raises:
            DataError: the network overflows, which no network of a search does.
        """
        total = np.zeros((x.shape[0], len(self.bundle.classes) or 1))
        for flat, shape in zip(self.bundle.parameters, self.bundle.shapes, strict=True):
            outputs = forward.network_outputs(shape, flat, x)
            if self.bundle.task == "regression":
                total += outputs * self.bundle.target_scale + self.bundle.target_mean
            else:
                total += forward.probabilities(outputs)
        total /= len(self.bundle.shapes)
        if not np.isfinite(total).all():
            raise DataError("the network's outputs are no finite numbers; the bundle is of no use")
        return total


def _image(bundle: Bundle) -> str | None:
    """The size of the pictures that the network learnt from, as --image writes it."""
    asked, grid = bundle.data.get("image"), _grid(bundle)
    return asked if isinstance(asked, str) else grid and grid.image


def _grid(bundle: Bundle) -> Grid | None:
    """What the file that the network learnt from said that its examples are; None of tables."""
    if "grid" in bundle.data:
        return checks.grid_of(bundle.data["grid"])
    is_otherwise = any(bundle.data.get(key) for key in ("image", "series", "lags"))
    return None if is_otherwise or isinstance(bundle.shape, Shape) else bundle.shape.grid


def _history(bundle: Bundle, names: list[str]) -> History | None:
    """What the network needs of earlier rows."""
    lags, time = bundle.data.get("lags"), bundle.data.get("time")
    if lags is None:
        return None
    if not isinstance(lags, int) or not 1 <= lags <= MOST_LAGS or not isinstance(time, str | None):
        raise DataError("the bundle is damaged: its lags are no number of rows.")
    styles = {column["name"]: column.get("style", "point") for column in bundle.columns}
    if time is not None and time not in styles:  # a position, where training had no header
        time = f"column{time}"
    return History.of_features(names, styles, lags, time)


def _labels(classes: tuple[str, ...], kind: str) -> NDArray[Any]:
    """Labels as the target's column had them."""
    if kind == "whole":
        try:
            return np.array([int(label) for label in classes], np.int64)
        except OverflowError:
            return np.array(classes)
    if kind == "number" and classes:
        try:
            numbers = np.array([float(label) for label in classes])
        except ValueError:
            return np.array(classes)
        return numbers.astype(np.int64) if (numbers % 1 == 0).all() else numbers
    return np.array(classes)

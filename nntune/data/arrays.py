"""Tables that come as arrays: npz files, and the small data sets inside scikit-learn."""

import os
import zipfile
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.grids import flattened
from nntune.data.table import Cells, Numbers, Table, numbers_of, strings
from nntune.errors import DataError, did_you_mean

SKLEARN = ("breast_cancer", "diabetes", "digits", "iris", "wine")
Array = NDArray[Any]


def _sklearn_set(source: str) -> str:
    name = source.removeprefix("sklearn:")
    if name not in SKLEARN:
        there = ", ".join(SKLEARN)
        raise DataError(
            f"scikit-learn has no {name!r} here; there are {there}.{did_you_mean(name, SKLEARN)}"
        )
    return name


def read_sklearn(source: str) -> Table:
    """One of scikit-learn's own data sets; classes by name, the target is 'target'."""
    name = _sklearn_set(source)
    if name == "digits" and (file := _digits_file()).exists():
        return _digits(source, file)
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    names = [str(n) for n in bunch.feature_names]
    columns: dict[str, Cells] = {n: Numbers(bunch.data[:, i]) for i, n in enumerate(names)}
    if name == "diabetes":
        columns["target"] = Numbers(bunch.target)
    else:
        columns["target"] = strings([str(bunch.target_names[i]) for i in bunch.target])
    return Table(source, columns, target="target")


def _digits_file() -> Path:
    """Where scikit-learn keeps its digits; importing it takes as long as importing torch."""
    found = find_spec("sklearn")
    home = Path(found.origin if found and found.origin else "sklearn").parent
    return home / "datasets" / "data" / "digits.csv.gz"


def _digits(source: str, file: Path) -> Table:
    rows = np.loadtxt(file, delimiter=",")
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    columns: dict[str, Cells] = {n: Numbers(rows[:, i]) for i, n in enumerate(names)}
    columns["target"] = strings([str(int(digit)) for digit in rows[:, 64]])
    return Table(source, columns, target="target")


def sklearn_names(source: str) -> list[str]:
    """Names of the columns, the target last."""
    return list(read_sklearn(source).columns)


def read_arrays(path: Path, name: str, *, answers: bool = True) -> Table:
    """An npz file with X and y, or X_train, y_train, X_test and y_test.

    X is (N, D), images (N, H, W) or (N, H, W, C), or series (N, C, T), whose true `lengths`,
    `lengths_train` and `lengths_test` may stand beside it.

    Never unpickles: an array of Python objects is refused.

    Args:
        path: of the plain file.
        name: how messages call it.
        answers: y is needed; else X alone will do, and y is not looked at.

    Raises:
        DataError: other names, unequal lengths, or an array that is not plain.
    """
    arrays = _arrays(path, name)
    parts = [
        part
        for part in ("", "_train", "_test")
        if f"X{part}" in arrays and (f"y{part}" in arrays or not answers)
    ]
    if not {"", "_train"} & set(parts):
        held = ", ".join(arrays) or "nothing"
        wanted = "X and y are needed, or X_train, y_train, X_test and y_test"
        wanted = wanted if answers else "X is needed, or X_train and X_test"
        raise DataError(f"{name} holds {held}; {wanted}")
    table = _table(arrays, parts[0], name, answers)
    if parts != ["_train", "_test"]:
        return table
    if (train := arrays["X_train"].shape[1:]) != (test := arrays["X_test"].shape[1:]):
        raise DataError(
            f"{name}: an example of X_train is {_sides(train)} and one of X_test {_sides(test)}; "
            "both need the same shape"
        )
    return replace(table, test=_table(arrays, "_test", name, answers))


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _cut(arrays: dict[str, Array], part: str, name: str) -> Array:
    """X of a part, missing behind the end of each series where `lengths` (N,) stands beside it."""
    x, lengths = arrays[f"X{part}"], arrays.get(f"lengths{part}")
    if lengths is None or x.ndim < 2:
        return x
    if lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu" or x.dtype.kind not in "biuf":
        raise DataError(f"{name}: lengths{part} needs a whole number for each of {len(x)} series")
    if (odd := (lengths < 1) | (lengths > x.shape[-1])).any():
        row = int(odd.argmax())
        raise DataError(
            f"{name}: lengths{part} says {lengths[row]} in row {row + 1:,}; "
            f"a series has 1 to {x.shape[-1]:,} steps"
        )
    cut = x.astype(np.float64)
    behind = np.arange(x.shape[-1]) >= lengths[:, None]
    np.moveaxis(cut, -1, 1)[behind] = np.nan
    return cut


# RuntimeError: encrypted, or of another version of zip.
_NOT_WHOLE = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def _refuse_what_does_not_fit(path: Path, name: str) -> None:
    """A few kilobytes may unpack to terabytes; no reader looks before it unpacks."""
    if not hasattr(os, "sysconf"):
        return
    with zipfile.ZipFile(path) as packed:
        unpacked = sum(member.file_size for member in packed.infolist())
    if unpacked > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise DataError(_too_large(name))


def _too_large(name: str) -> str:
    return f"there is not enough memory to unpack {name}; save a part of its rows"


def _arrays(path: Path, name: str) -> dict[str, Array]:
    try:
        _refuse_what_does_not_fit(path, name)
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except ValueError as error:
        if "pickle" in str(error).lower() and zipfile.is_zipfile(path):
            raise DataError(
                f"{name} holds an array of Python objects, which is never opened; "
                "save plain numbers or strings"
            ) from None
        raise DataError(f"{name} is not a whole npz file; save it again") from None
    except MemoryError:
        raise DataError(_too_large(name)) from None
    except _NOT_WHOLE:
        raise DataError(f"{name} is not a whole npz file; save it again") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise DataError(f"{name} is not a whole npz file; save it again")
    return arrays


def _table(arrays: dict[str, Array], part: str, name: str, answers: bool) -> Table:
    x = _cut(arrays, part, name)
    if x.ndim < 2 or len(x) == 0:
        raise DataError(f"{name}: X has shape {x.shape}; it needs a row for each example")
    flat, grid = flattened(x, name)
    columns: dict[str, Cells] = {f"x{i}": numbers_of(flat[i]) for i in range(len(flat))}
    if answers:
        columns["y"] = _targets(arrays[f"y{part}"], len(x), name)
    notes: tuple[str, ...] = ()
    if grid is None and x.ndim > 2:
        notes = (f"{name}: examples of {_sides(x.shape[1:])} are flattened to {len(flat)} numbers",)
    return Table(name, columns, target="y" if answers else None, notes=notes, grid=grid)


def _targets(y: Array, rows: int, name: str) -> Cells:
    if y.ndim > 1 and y.size != len(y) == rows:
        raise DataError(
            f"{name}: y has shape {y.shape}; one column is predicted, so it needs shape ({rows},)"
        )
    if y.shape[:1] != (rows,) or y.size != rows:
        raise DataError(f"{name}: X has {rows} rows and y has shape {y.shape}; they must agree")
    y = y.ravel()
    if y.dtype.kind in "US":
        return strings([str(v) if y.dtype.kind == "U" else v.decode("utf-8", "replace") for v in y])
    if y.dtype.kind == "b":
        return strings([str(bool(v)) for v in y])
    if y.dtype.kind not in "iuf":
        raise DataError(f"{name}: y is of type {y.dtype}; it needs to be numbers or strings")
    return numbers_of(y)

"""A data file to arrays: reading, column roles, encoding fitted on training rows, splits.

Importing this package costs nothing: DuckDB, NumPy and scikit-learn load with the first
function that needs them. Test rows come out of `load_test` and `learning.test_of` only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nntune.data.request import Request, study_name

if TYPE_CHECKING:
    from nntune.data.dataset import Dataset as Dataset
    from nntune.data.dataset import Fold as Fold
    from nntune.data.dataset import Split as Split
    from nntune.data.description import Description as Description
    from nntune.data.encoding import Encoder as Encoder
    from nntune.data.learning import Learning as Learning
    from nntune.data.roles import Column as Column
    from nntune.data.table import Table as Table

_HOMES = {
    "Column": "roles",
    "Dataset": "dataset",
    "Description": "description",
    "Encoder": "encoding",
    "Learning": "learning",
    "Fold": "dataset",
    "Split": "dataset",
    "Table": "table",
}

__all__ = [
    "Request",
    "column_names",
    "describe",
    "load",
    "load_test",
    "read",
    "study_name",
]


def load(request: Request) -> "Dataset":
    """Read, split and encode: training and validation rows, no test rows.

    Raises:
        DataError: the data cannot be used as it is; the sentence says what would be right.
        UsageError: the target or another option of the request is missing or wrong.
    """
    from nntune.data.dataset import load

    return load(request)


def load_test(request: Request) -> "Split":
    """The locked test rows, in the encoding of the training rows: no search calls this.

    Raises:
        DataError: there are none.
    """
    from nntune.data.dataset import load_test

    return load_test(request)


def describe(request: Request) -> "Description":
    """What was understood of the data, without training; the target may be left out."""
    from nntune.data.dataset import describe

    return describe(request)


def column_names(source: str) -> list[str]:
    """Names of the columns, read from the head of the file.

    >>> column_names("sklearn:iris")[-1]
    'target'
    """
    from nntune.data.reading import column_names

    return column_names(source)


def read(source: str) -> "Table":
    """The table behind a path, '-' or 'sklearn:NAME', typed but not encoded; for predictions."""
    from nntune.data.reading import read

    return read(source)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nntune.data' has no attribute {name!r}")
    return getattr(import_module(f"nntune.data.{_HOMES[name]}"), name)

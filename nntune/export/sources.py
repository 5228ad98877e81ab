"""How a data file is written, as the lines of pandas that read it."""

from dataclasses import dataclass

from nntune.data import ducks
from nntune.data.arrays import SKLEARN
from nntune.data.delimited import Dialect, dialect, unique_names
from nntune.data.files import even_file, file_format, plain_file, shown
from nntune.data.grids import grid_of_array
from nntune.data.pictures import is_folder
from nntune.errors import DataError


@dataclass(frozen=True)
class Source:
    """What the function `read(path)` of a script holds.

    Attributes:
        lines: that give `table`.
        meaning: its docstring.
        typed: cells are numbers and truths already, not texts.
        own_test: test rows lie apart in the file itself.
        grid: an example is an image or series.
        imports: from scikit-learn.
        needs: packages.
    """

    lines: tuple[str, ...]
    meaning: str = "The table; a missing cell is None or nan."
    typed: bool = True
    own_test: bool = False
    grid: bool = False
    imports: str = "from sklearn import metrics"
    needs: str = "numpy, pandas, scikit-learn and torch"


def source_of(source: str, target: str) -> Source:
    """Look at a file.

    Raises:
        DataError: it is not there, or standard input.
    """
    if source == "-":
        raise DataError("the data came from standard input; --data FILE says where they are.")
    if source.startswith("sklearn:"):
        return _of_sklearn(source.removeprefix("sklearn:"))
    if is_folder(source):
        return Source((), grid=True)
    with plain_file(source) as path:
        form = file_format(source, path)
        if form == "npz":
            return _of_arrays(source)
        if form == "parquet":
            return Source(
                ("table = duckdb.read_parquet(path).df().rename(columns=str.strip)",),
                needs="duckdb, numpy, pandas, scikit-learn and torch",
            )
        if form == "jsonl":
            read = "pd.read_json(path, lines=True, dtype=False)"
            return Source((f"table = {read}.rename(columns=str.strip)",))
        plain, encoding = even_file(path, shown(source))
        found = dialect(ducks.connect(), plain, shown(source), target)
        names = unique_names(found.names, shown(source), target)[0]
        with open(source, "rb") as file:
            is_zipped = file.read(2) == b"\x1f\x8b" and not source.lower().endswith(".gz")
    return _of_text(found, names, encoding, is_zipped=is_zipped)


def _of_sklearn(name: str) -> Source:
    if name not in SKLEARN:
        raise DataError(f"scikit-learn has no {name!r} here; there are {', '.join(SKLEARN)}")
    target = "bunch.target" if name == "diabetes" else "bunch.target_names[bunch.target]"
    return Source(
        (
            f"bunch = datasets.load_{name}()",
            "table = pd.DataFrame(bunch.data, columns=bunch.feature_names)",
            f'table["target"] = {target}',
        ),
        imports="from sklearn import datasets, metrics",
    )


def _of_arrays(source: str) -> Source:
    import numpy as np

    with np.load(source) as file:
        names = set(file.files)
        ending = "" if {"X", "y"} <= names else "_train"
        size = file[f"X{ending}"].shape[1:]
    return Source(
        (
            "arrays = np.load(path)",
            f'x = arrays["X{ending}"].reshape(len(arrays["X{ending}"]), -1)',
            'table = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])',
            f'table["y"] = arrays["y{ending}"].squeeze()',
        ),
        own_test=bool(ending) and {"X_test", "y_test"} <= names,
        grid=grid_of_array(size) is not None,
    )


def _of_text(found: Dialect, names: list[str], encoding: str, *, is_zipped: bool) -> Source:
    options = [f"sep={literal(found.delimiter)}", "dtype=str", "keep_default_na=False"]
    options += [f"quotechar={literal(found.quote)}"] * (found.quote != '"')
    options += [f"encoding={literal(encoding)}"] * (encoding != "utf-8")
    options += ['compression="gzip"'] * is_zipped
    options += [f"skiprows={found.skip}"] * (found.skip > 0)
    options += ["header=None"] * (not found.header)
    lines = [f"table = pd.read_csv(path, {', '.join(options)})"]
    numbered = [f"column{i}" for i in range(len(names))]
    if list(found.names) == names and found.header:
        lines.append("table = table.rename(columns=str.strip)")
    elif names == numbered:
        lines.append('table.columns = [f"column{i}" for i in range(table.shape[1])]')
    else:
        lines.append(f"table.columns = [{', '.join(map(literal, names))}]")
    return Source(tuple(lines), "The table as texts; an empty one is missing.", typed=False)


def literal(value: object) -> str:
    r"""A value in Python, in double quotes where that needs no escape.

    >>> literal("year"), literal('24" wheel'), literal(2)
    ('"year"', '\'24" wheel\'', '2')
    """
    is_plain = isinstance(value, str) and value.isprintable() and not set('"\\') & set(value)
    return f'"{value}"' if is_plain else repr(value)

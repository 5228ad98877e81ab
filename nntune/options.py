"""What the command line takes, each option once, for the commands that share it."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nntune.errors import Error, NotFoundError, OutputError, did_you_mean

if TYPE_CHECKING:
    from nntune.study import View


def _columns(context: typer.Context, incomplete: str) -> list[str]:
    """Column names of the data file typed so far, for the shell's completion."""
    from nntune.data import column_names

    # After an option without its value, arguments are left where they stood.
    sources = [context.params.get("data"), *context.args]
    try:
        names = column_names(str(next(filter(None, sources), "")))
    except (Error, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def _studies(incomplete: str) -> list[str]:
    """Names of the studies here, for the shell's completion."""
    from nntune import study

    try:
        return [s.name for s in study.studies(Path("studies")) if s.name.startswith(incomplete)]
    except Error:
        return []


def option(*names: str, panel: str, help: str, **rest: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **rest)


DATA, SPACE, BUDGET, WHERE = "Data", "Search space", "Budget", "Where and how"
Source = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A csv, tsv, parquet, jsonl or npz file (.gz too), a folder of pictures with a "
        "sub-folder a class, - for standard input, "
        "or sklearn:digits, breast_cancer, diabetes, iris, wine.",
    ),
]
Target = Annotated[
    str | None,
    option(
        "-t", "--target", panel=DATA, metavar="COLUMN",
        help="What to predict.", autocompletion=_columns,
    ),
]  # fmt: skip
Task = Annotated[
    str,
    option(
        "--task", panel=DATA, metavar="TASK",
        help="binary, multiclass or regression; read from the target if not given.",
    ),
]  # fmt: skip
Ignore = Annotated[
    list[str] | None,
    option("--ignore", panel=DATA, metavar="COLUMN", help="Leave a column out; may be repeated."),
]
Categorical = Annotated[
    list[str] | None,
    option("--categorical", panel=DATA, metavar="COLUMN", help="Read a column as categories."),
]
Numeric = Annotated[
    list[str] | None,
    option("--numeric", panel=DATA, metavar="COLUMN", help="Read a column as numbers."),
]
Text = Annotated[
    list[str] | None,
    option("--text", panel=DATA, metavar="COLUMN", help="Read a column as text."),
]
Ngrams = Annotated[
    str,
    option(
        "--ngrams", panel=DATA, metavar="LO:HI",
        help="Of a text, runs of so many words count as terms; 1:2, 0 for none.",
    ),
]  # fmt: skip
Characters = Annotated[
    str,
    option(
        "--characters", panel=DATA, metavar="LO:HI",
        help="So do runs of so many characters within words; 4, 0 for none.",
    ),
]  # fmt: skip
LetterCase = Annotated[
    str,
    option(
        "--case", panel=DATA, metavar="WORD",
        help="lower takes capitals of a text for small letters, kept tells them apart; lower.",
    ),
]  # fmt: skip
VocabularySize = Annotated[
    int,
    option(
        "--vocabulary", panel=DATA, metavar="N",
        help="The most common N of each kind in a column are used; 20000.",
    ),
]  # fmt: skip
ValidFile = Annotated[
    str | None,
    option("--valid", panel=DATA, metavar="FILE", help="Validation rows, instead of 16 %."),
]
TestFile = Annotated[
    str | None,
    option("--test", panel=DATA, metavar="FILE", help="Test rows, instead of 20 %; kept locked."),
]
Folds = Annotated[
    int | None,
    option(
        "--cv", panel=DATA, metavar="K", min=0,
        help="Validate on K folds in turn, instead of one split; for small tables.",
    ),
]  # fmt: skip
Groups = Annotated[
    str | None,
    option(
        "--group-col", panel=DATA, metavar="COLUMN",
        help="Rows of one value stay in one split; no feature unless asked.",
        autocompletion=_columns,
    ),
]  # fmt: skip
Seed = Annotated[
    int,
    option("--seed", panel=WHERE, min=0, help="Fixes the split, the draws and the training."),
]
Image = Annotated[
    str | None,
    option(
        "--image", panel=DATA, metavar="SIZE",
        help="The columns are pixels of images: 28x28, 32x32x3 or 3x32x32.",
    ),
]  # fmt: skip
Series = Annotated[
    bool,
    option("--series", panel=DATA, help="The columns are the steps of one series a row."),
]
TimeColumn = Annotated[
    str | None,
    option(
        "--time-col", panel=DATA, metavar="COLUMN", autocompletion=_columns,
        help="Orders the rows: the earliest train, the latest test.",
    ),
]  # fmt: skip
Lags = Annotated[
    int | None,
    option(
        "--lags", panel=DATA, metavar="N", min=1,
        help="Forecast: the numbers of the last N rows are features.",
    ),
]  # fmt: skip
Subsample = Annotated[
    int | None,
    option(
        "--subsample", panel=DATA, metavar="N", min=50,
        help="So many rows do for the search; refit learns from all.",
    ),
]  # fmt: skip
SpaceFile = Annotated[
    Path | None,
    option("--space", panel=SPACE, metavar="FILE", help="Ranges from a TOML file."),
]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]
Database = Annotated[
    str | None,
    typer.Option(
        "--db", metavar="FILE", help="The study's file, instead of studies/NAME.db, or a server."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        show_default=False,
        autocompletion=_studies,
        help="A study's name or file; not needed where there is one study.",
    ),
]


def _range(flag: str, what: str, panel: str = SPACE) -> Any:
    return option(flag, panel=panel, metavar="RANGE", help=what)


CNN, RNN = "Convolutional networks", "Recurrent networks"
Model = Annotated[
    str | None,
    _range("--model", "mlp, cnn for images and series, rnn for series, or your own FILE.py:NAME."),
]
Set = Annotated[
    list[str] | None,
    option(
        "--set", panel=SPACE, metavar="NAME=RANGE",
        help="A hyperparameter of your own network; may be repeated.",
    ),
]  # fmt: skip
Network = Annotated[
    str | None,
    typer.Option(
        "--network", metavar="FILE.py:NAME",
        help="Run this code: the study or bundle is of a network of your own.",
    ),
]  # fmt: skip
Blocks = Annotated[str | None, _range("--blocks", "How many blocks of convolution.", CNN)]
BlockType = Annotated[
    str | None, _range("--block-type", "plain, or residual: two with a shortcut around them.", CNN)
]
Channels = Annotated[
    str | None, _range("--channels", "Of the first block; they double with each pooling.", CNN)
]
Kernel = Annotated[str | None, _range("--kernel", "Pixels or steps on a side of a kernel.", CNN)]
Norm = Annotated[str | None, _range("--norm", "batch or none.", CNN)]
Pool = Annotated[str | None, _range("--pool", "max halves the resolution; or none.", CNN)]
Gather = Annotated[str | None, _range("--gather", "flatten, or the mean over all places.", CNN)]
Head = Annotated[
    str | None, _range("--head", "Units of a dense layer before the outputs; 0 for none.", CNN)
]
Augment = Annotated[
    str | None, _range("--augment", "Examples changed anew: none, shift, flip or crop.", CNN)
]
Cell = Annotated[str | None, _range("--cell", "gru or lstm.", RNN)]
RnnLayers = Annotated[str | None, _range("--rnn-layers", "How many recurrent layers.", RNN)]
RnnUnits = Annotated[str | None, _range("--rnn-units", "Units of a recurrent layer.", RNN)]
States = Annotated[
    str | None, _range("--states", "What the outputs see: last, mean or max of the states.", RNN)
]
HiddenLayers = Annotated[str | None, _range("--hidden-layers", "How many hidden layers.")]
Units = Annotated[str | None, _range("--units", "Units of a hidden layer.")]
LayerShape = Annotated[str | None, _range("--shape", "flat, or taper: each layer half as wide.")]
DropoutRate = Annotated[str | None, _range("--dropout", "Share of units dropped while training.")]
L1 = Annotated[str | None, _range("--l1", "Strength of the penalty l1 * sum|w| on weights.")]
L2 = Annotated[str | None, _range("--l2", "Strength of the penalty l2 * sum w^2 on weights.")]
BatchSize = Annotated[str | None, _range("--batch-size", "Examples of a gradient step.")]
Epochs = Annotated[str | None, _range("--epochs", "Longest training, in passes over the data.")]
LearningRate = Annotated[str | None, _range("--lr", "Learning rate.")]
ActivationName = Annotated[str | None, _range("--activation", "relu, tanh, gelu or silu.")]
OptimizerName = Annotated[str | None, _range("--optimizer", "adam or sgd (with momentum 0.9).")]
Bins = Annotated[str | None, _range("--bins", "Features for a number's place in so many bins.")]


def allow(network: str | None) -> None:
    """Lets the code of a network run that the user names in this command."""
    if network is not None:
        from nntune.own import name_network

        name_network(network)


def study_named(name: str | None, db: str | None) -> "View":
    """The study asked for: by name, by file, or the only one there is."""
    from nntune import study

    if db is not None:
        return study.read(study.database(db), name)
    if name is not None and (name.endswith(".db") or "/" in name):
        return study.read(study.database(name))
    folder = Path("studies")
    if name is not None and (file := study.path_of(name)).is_file():
        return study.read(file, name)  # it says what is wrong with the file
    found = study.studies(folder) if folder.is_dir() else []
    names = {summary.name for summary in found}
    if name is None and len(names) == 1:
        (name,) = names
        return study.read(study.path_of(name), name)
    raise NotFoundError(_which_study(name, list(names), folder))


def _which_study(name: str | None, names: list[str], folder: Path) -> str:
    if not names:
        return f"there are no studies in {folder.resolve()}; nntune search makes one."
    listed = ", ".join(sorted(names))
    if name is None:
        return f"there are {len(names)} studies, say which: {listed}."
    return f"there is no study '{name}' in {folder}; there are {listed}.{did_you_mean(name, names)}"


@contextmanager
def writing() -> Iterator[None]:
    """Results on standard output: a reader that has gone is no error, a full disk is.

    Raises:
        OutputError: standard output takes no more.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Whatever is left in the buffer would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        raise OutputError(f"standard output cannot be written: {error.strerror}.") from None


def answer(text: Callable[[], Any], values: Callable[[], Any], as_json: bool) -> None:
    """A result on standard output: drawn, or its values as JSON; only one of them is made."""
    if as_json:
        found = values()
        line = json.dumps(found, allow_nan=False)
        with writing():
            # Indenting takes three times as long; nobody reads so much.
            print(line if len(line) > 10**5 else json.dumps(found, indent=2, allow_nan=False))
        return
    from nntune.report import draw

    drawn = text()
    with writing():
        draw(drawn)

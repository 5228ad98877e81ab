"""The command line: argv, streams and exit codes; everything else happens in the other rooms.

Heavy libraries are imported inside commands, so that help and questions about a finished study
answer at once.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer

from nntune import (
    __version__,
    commands_cluster,
    commands_db,
    commands_export,
    commands_model,
    commands_report,
    commands_verdict,
)
from nntune.data import Request
from nntune.errors import CrashError, DatabaseError, DataError, Error, RefusedError, UsageError
from nntune.options import (
    BUDGET,
    DATA,
    L1,
    L2,
    SPACE,
    WHERE,
    ActivationName,
    Augment,
    BatchSize,
    Bins,
    Blocks,
    BlockType,
    Categorical,
    Cell,
    Channels,
    Characters,
    Database,
    DropoutRate,
    Epochs,
    Folds,
    Gather,
    Groups,
    Head,
    HiddenLayers,
    Ignore,
    Image,
    Json,
    Kernel,
    Lags,
    LayerShape,
    LearningRate,
    LetterCase,
    Model,
    Ngrams,
    Norm,
    Numeric,
    OptimizerName,
    Pool,
    RnnLayers,
    RnnUnits,
    Seed,
    Series,
    Set,
    Source,
    SpaceFile,
    States,
    StudyName,
    Subsample,
    Target,
    Task,
    TestFile,
    Text,
    TimeColumn,
    Units,
    ValidFile,
    VocabularySize,
    answer,
    option,
    study_named,
    writing,
)
from nntune.wording import harmless

if TYPE_CHECKING:
    from nntune.study import View

app = typer.Typer(
    name="nntune",
    help="Tune neural networks: a data file in, the best network out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits; a user's mistake is one sentence on stderr."""
    _signals.clear()
    _on_signals(_stop)
    _open_closed_streams()
    _forgive_streams()
    try:
        app(args=argv, prog_name="nntune")
    except Error as error:
        has_lines = isinstance(error, CrashError | RefusedError)  # elsewhere they are in a name
        text = str(error) if has_lines else str(error).replace("\n", "␊")
        print(harmless(f"nntune: {text}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `nntune trials | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        is_gone = _is_in_a_removed_folder(error)
        if error.errno not in _FAULTS_OF_A_DISK and not is_gone:
            raise
        where = harmless(str(error.filename or "a file"))
        print(f"nntune: {where}: {error.strerror}.", file=sys.stderr)
        sys.exit((DataError if is_gone else DatabaseError).exit_code)
    except BaseException as error:
        if not _signals:
            raise
        if not isinstance(error, _ToldExit):
            print(f"nntune: {_end()}; what was written is whole.", file=sys.stderr)
        sys.exit(128 + _signals[0])
    sys.exit(0)


def _open_closed_streams() -> None:
    """Standard streams that were closed, as by `>&-`, lead nowhere.

    Python has None for them, and the next file that is opened, such as the study, would stand
    where libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it takes the lowest number that is free, its own
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _forgive_streams() -> None:
    """No character that cannot be shown, and no message that cannot be told, ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # the pictures of ranges are not ASCII
    if not isinstance(sys.stderr, _Messages):
        sys.stderr = cast(TextIO, _Messages(sys.stderr))


class _Messages:
    """Standard error: once it takes no more, as where its reader has gone, it leads nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._heard_or_not():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._heard_or_not():
            self._stream.flush()

    @contextmanager
    def _heard_or_not(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # Whatever is left in the buffer would fail again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_in_a_removed_folder(error: OSError) -> bool:
    """Whether the folder for temporary files was taken away while it was in use."""
    import tempfile

    known = tempfile.tempdir
    return error.errno == errno.ENOENT and known is not None and not Path(str(known)).is_dir()


_FAULTS_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

# Signals that arrived. Libraries turn the exception of one into others, DuckDB into RuntimeError.
_signals: list[int] = []


class _Stopped(KeyboardInterrupt):
    """A signal arrived; not KeyboardInterrupt itself, after which Python picks the exit code."""


class _ToldExit(SystemExit):
    """The end after a signal, of which the user has been told."""


def _end() -> str:
    return "interrupted" if _signals[0] == signal.SIGINT else "terminated"


def _note(number: int, frame: FrameType | None) -> None:
    _signals.append(number)


def _stop(number: int, frame: FrameType | None) -> None:
    _note(number, frame)
    raise _Stopped


def _on_signals(act: Callable[[int, FrameType | None], None]) -> None:
    signal.signal(signal.SIGINT, act)
    signal.signal(signal.SIGTERM, act)


def _import_undisturbed(library: str) -> None:
    """Loads a library that would abort the process if an exception stopped its loading."""
    _on_signals(_note)
    import_module(library)
    _on_signals(_stop)
    if _signals:
        raise _Stopped


@app.command()
def search(
    data: Source,
    target: Target = None,
    task: Task = "auto",
    metric: Annotated[
        str | None,
        option(
            "--metric",
            panel=DATA,
            metavar="METRIC",
            help="log_loss, accuracy, balanced_accuracy, auc, f1; rmse, mae, r2.",
        ),
    ] = None,
    ignore: Ignore = None,
    categorical: Categorical = None,
    numeric: Numeric = None,
    text: Text = None,
    ngrams: Ngrams = Request.ngrams,
    characters: Characters = Request.characters,
    vocabulary: VocabularySize = Request.vocabulary,
    case: LetterCase = Request.case,
    valid: ValidFile = None,
    test: TestFile = None,
    cv: Folds = None,
    group: Groups = None,
    image: Image = None,
    series: Series = False,
    time_col: TimeColumn = None,
    lags: Lags = None,
    subsample: Subsample = None,
    model: Model = None,
    hidden_layers: HiddenLayers = None,
    units: Units = None,
    shape: LayerShape = None,
    blocks: Blocks = None,
    block_type: BlockType = None,
    channels: Channels = None,
    kernel: Kernel = None,
    norm: Norm = None,
    pool: Pool = None,
    gather: Gather = None,
    head: Head = None,
    augment: Augment = None,
    cell: Cell = None,
    rnn_layers: RnnLayers = None,
    rnn_units: RnnUnits = None,
    states: States = None,
    sets: Set = None,
    dropout: DropoutRate = None,
    l1: L1 = None,
    l2: L2 = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    activation: ActivationName = None,
    optimizer: OptimizerName = None,
    bins: Bins = None,
    space: SpaceFile = None,
    enqueue: Annotated[
        list[str] | None,
        option(
            "--enqueue", panel=SPACE, metavar="VALUES",
            help="Try a configuration first, such as lr=3e-4,units=64; may be repeated.",
        ),
    ] = None,
    warm_start: Annotated[
        str | None,
        option(
            "--warm-start", panel=SPACE, metavar="STUDY",
            help="Try the best few configurations of another study first.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        option(
            "-n",
            "--trials",
            panel=BUDGET,
            min=1,
            help="Trials of the study in total; 128 if no --time is given.",
        ),
    ] = None,
    duration: Annotated[
        str | None,
        option("--time", panel=BUDGET, metavar="DURATION",
               help="Such as 90s, 10m, 1.5h; a bare number is seconds."),
    ] = None,
    max_memory: Annotated[
        str | None,
        option(
            "--max-memory",
            panel=WHERE,
            metavar="SIZE",
            help="Such as 4GB: a search that would take more is refused beforehand.",
        ),
    ] = None,
    trial_time: Annotated[
        str | None,
        option(
            "--trial-time",
            panel=BUDGET,
            metavar="DURATION",
            help="Longest training of a trial; then it is cut, and a hung worker is replaced.",
        ),
    ] = None,
    until: Annotated[
        float | None,
        option(
            "--until", panel=BUDGET, metavar="VALUE",
            help="Stop when the best value is as good as this.",
        ),
    ] = None,
    patience_trials: Annotated[
        int | None,
        option(
            "--patience-trials", panel=BUDGET, metavar="N", min=1,
            help="Stop after N trials without a better value, at the end of a bracket.",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        option(
            "--patience",
            panel=BUDGET,
            min=1,
            help="Epochs without a better value before a training stops; an eighth of --epochs, "
            "at least 20.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        option("-s", "--study", panel=WHERE, metavar="NAME", help="Named after the data file."),
    ] = None,
    db: Annotated[
        str | None,
        option(
            "--db",
            panel=WHERE,
            metavar="FILE",
            help="Instead of studies/NAME.db; also postgresql:// or mysql://USER@HOST/DATABASE.",
        ),
    ] = None,
    seed: Seed = 0,
    sampler: Annotated[
        str,
        option(
            "--sampler", panel=WHERE, metavar="NAME",
            help="tpe, qmc or random; to compare, gp or cmaes.",
        ),
    ] = "tpe",
    pruner: Annotated[
        str,
        option(
            "--pruner", panel=WHERE, metavar="NAME",
            help="halving or none; to compare, hyperband or median.",
        ),
    ] = "halving",
    workers: Annotated[
        int | None,
        option("-j", "--workers", panel=WHERE, min=1, help="Processes; as many as cores."),
    ] = None,
    dask: Annotated[
        str | None,
        option("--dask", panel=WHERE, metavar="ADDRESS", help="The workers of a scheduler train."),
    ] = None,
    device: Annotated[
        str, option("--device", panel=WHERE, metavar="NAME", help="cpu, cuda, mps or auto.")
    ] = "cpu",
    update_space: Annotated[
        bool,
        option("--update-space", panel=WHERE, help="Go on with other ranges; old trials stay."),
    ] = False,
    keep: Annotated[
        int,
        option("--keep", panel=WHERE, min=0, metavar="K", help="Keep the best K trials' weights."),
    ] = 3,
    confirm: Annotated[
        int | None,
        option(
            "--confirm",
            panel=BUDGET,
            min=0,
            metavar="K",
            help="Train the best K configurations again from fresh seeds at the end; 5 once there "
            "are 32 trials, 0 for none.",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        option("--fresh", panel=WHERE, help="A new study beside the one there is."),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Find the best network; the same command again resumes.

    A RANGE is LO:HI, LO:HI:log, LO:HI:STEP, A,B,C, 0,LO:HI:log (zero or a log range) or one value.
    """
    request, ranges = _request(locals()), _ranges(locals())
    if workers != 0 and dask is None:  # before imports that take a share of the time of torch's
        from nntune.ahead import prepare

        prepare()
    from nntune.costs import seconds, size
    from nntune.proposals import named
    from nntune.session import Options, run
    from nntune.study import database

    started = time.monotonic()
    options = Options(
        request=request,
        metric=metric,
        ranges=ranges,
        space_file=space,
        trials=trials,
        deadline=None if duration is None else started + seconds("--time", duration),
        max_memory=None if max_memory is None else size(max_memory),
        trial_time=None if trial_time is None else seconds("--trial-time", trial_time),
        patience=patience,
        study=study,
        db=None if db is None else database(db),
        sampler=sampler,
        pruner=pruner,
        workers=workers,
        dask=dask,
        device=device,
        update_space=update_space,
        fresh=fresh,
        keep=keep,
        until=until,
        patience_trials=patience_trials,
        enqueue=tuple(named(text) for text in enqueue or ()),
        warm_start=None if warm_start is None else study_named(warm_start, None),
        confirm=confirm,
        command=_command(),
    )
    _run_search(lambda: run(options, quiet=quiet), as_json)


def _run_search(run: "Callable[[], View]", as_json: bool) -> None:
    from nntune import report

    try:
        _import_undisturbed("duckdb")
        view = run()
    except BaseException:
        if not _signals:
            raise
        again = "all finished trials are kept, the same command goes on from here"
        print(f"nntune: {_end()}; {again}.", file=sys.stderr)
        raise _ToldExit from None
    answer(lambda: report.best(view), lambda: report.best_json(view), as_json)


@app.command()
def best(study: StudyName = None, db: Database = None, as_json: Json = False) -> None:
    """Show the best configuration of a study."""
    from nntune import report

    view = study_named(study, db)
    answer(lambda: report.best(view), lambda: report.best_json(view), as_json)


@app.command()
def trials(
    study: StudyName = None,
    db: Database = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="The best so many; 100 if not given, with --json all."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="complete, pruned, failed or running.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the trials of a study, the best first."""
    from nntune import report

    view = study_named(study, db)
    if state not in (None, "complete", "pruned", "failed", "running"):
        raise UsageError(f"--state {state}: there are complete, pruned, failed and running.")
    most = 100 if top is None and not as_json else top
    rows = view.listed(top=most, state=state)
    counts = view.counts()
    there_are = sum(counts.values()) if state is None else counts[state]
    more = there_are - len(rows) if top is None else 0
    answer(
        lambda: report.leaderboard(view, rows, more),
        lambda: report.trials_json(view, rows),
        as_json,
    )


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="N", help="The trial's number.")],
    study: StudyName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show one trial whole: configuration, curve, why it ended."""
    from nntune import report

    view = study_named(study, db)
    trial = view.trial(number)
    answer(lambda: report.trial(view, trial), lambda: report.trial_json(view, trial), as_json)


@app.command()
def studies(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where the databases are, or one of them.")
    ] = "studies",
    as_json: Json = False,
) -> None:
    """List the studies there are."""
    from nntune import report, study

    place = study.database(folder)
    is_missing = folder == "studies" and not Path(folder).exists()
    left_out: list[DatabaseError] = []
    found = [] if is_missing else study.studies(place, left_out)
    answer(lambda: report.studies(place, found), lambda: report.studies_json(found), as_json)
    for error in left_out:
        print(harmless(f"note: left out: {error}"), file=sys.stderr)


@app.command()
def data(
    data: Source,
    target: Target = None,
    task: Task = "auto",
    ignore: Ignore = None,
    categorical: Categorical = None,
    numeric: Numeric = None,
    text: Text = None,
    ngrams: Ngrams = Request.ngrams,
    characters: Characters = Request.characters,
    vocabulary: VocabularySize = Request.vocabulary,
    case: LetterCase = Request.case,
    valid: ValidFile = None,
    test: TestFile = None,
    cv: Folds = None,
    group: Groups = None,
    image: Image = None,
    series: Series = False,
    time_col: TimeColumn = None,
    lags: Lags = None,
    subsample: Subsample = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show what is understood of a data file, without training."""
    request = _request(locals())
    from nntune import report
    from nntune.data import describe

    description = describe(request)
    answer(lambda: report.data(description), lambda: report.data_json(description), as_json)


@app.command()
def space(
    model: Model = None,
    hidden_layers: HiddenLayers = None,
    units: Units = None,
    shape: LayerShape = None,
    blocks: Blocks = None,
    block_type: BlockType = None,
    channels: Channels = None,
    kernel: Kernel = None,
    norm: Norm = None,
    pool: Pool = None,
    gather: Gather = None,
    head: Head = None,
    augment: Augment = None,
    cell: Cell = None,
    rnn_layers: RnnLayers = None,
    rnn_units: RnnUnits = None,
    states: States = None,
    sets: Set = None,
    dropout: DropoutRate = None,
    l1: L1 = None,
    l2: L2 = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    activation: ActivationName = None,
    optimizer: OptimizerName = None,
    bins: Bins = None,
    file: SpaceFile = None,
) -> None:
    """Print the search space in force, as TOML for --space."""
    chosen = _ranges(locals())
    from nntune.data.bins import USUAL
    from nntune.space import build

    with writing():
        print(build(chosen, file, bins=USUAL).to_toml(), end="")


commands_model.register(app)
commands_export.register(app)
commands_report.register(app)
commands_db.register(app)
commands_cluster.register(app)
commands_verdict.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nntune {__version__}")
        raise typer.Exit


@app.callback()
def _nntune(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def _request(arguments: Mapping[str, Any]) -> Request:
    """What the arguments of a command ask of the data."""
    plain = (
        "target", "task", "valid", "test", "seed", "cv", "group", "image", "series", "lags",
        "ngrams", "characters", "vocabulary", "case", "subsample",
    )  # fmt: skip
    asked: dict[str, Any] = {name: arguments[name] for name in plain}
    for name in ("ignore", "categorical", "numeric", "text"):
        asked[name] = tuple(arguments[name] or ())
    return Request(source=arguments["data"], time=arguments["time_col"], **asked)


def _ranges(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Those arguments of a command that are ranges of hyperparameters; they have their names."""
    from nntune.families import PREFIX
    from nntune.space import NAMES

    found = {name: arguments[name] for name in NAMES if arguments.get(name) is not None}
    for text in arguments["sets"] or ():
        name, equals, text_of_range = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {text}: write NAME=RANGE, such as --set width=16:128:log.")
        found[f"{PREFIX}{name.strip()}"] = text_of_range
    return found


def _command() -> str:
    """What was typed, as a study keeps it: for others to read."""
    import shlex

    from nntune.study import without_password

    return shlex.join(["nntune", *map(without_password, sys.argv[1:])])


if __name__ == "__main__":
    main()

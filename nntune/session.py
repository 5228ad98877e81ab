"""One `nntune search` from its flags to a finished study: data, space, study, workers, progress."""

import math
import platform
import shlex
import sys
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from nntune import __version__, costs, samplers, study
from nntune.data import Dataset, Request, load, study_name
from nntune.data.request import refuse_one_fold
from nntune.errors import NotFoundError, UsageError, did_you_mean
from nntune.families import OWN, PREFIX
from nntune.metrics import METRICS, metric_for
from nntune.own import check_outputs, check_ranges, name_network, network_named, shape_of_own
from nntune.progress import Display
from nntune.proposals import borrowed, enqueued
from nntune.pruners import PRUNERS
from nntune.retraining import problem_of, share
from nntune.search import Plan, Search, rungs
from nntune.space import Space, Value, asked_ranges, bins_of, build, family_of, texts_of
from nntune.stacks import epoch_seconds
from nntune.stops import Budget
from nntune.study import Database, Definition, View, Writer, database
from nntune.trials import Problem
from nntune.verdict.ending import AtTheEnd
from nntune.workers import Workers, cluster, cores, one_thread

SAMPLERS = ("tpe", "qmc", "random", *samplers.NAMES)
DEVICES = ("cpu", "cuda", "mps", "auto")
_ALSO_CALLED = {"gpu": "cuda", "GPU": "cuda"}  # by those who mistype
DEFAULT_TRIALS = 128
_LEAST = {"trials": 1, "patience": 1, "patience_trials": 1, "workers": 0, "keep": 0, "confirm": 0}
_LEAST_OF_DATA = {"seed": 0, "cv": 0, "lags": 1, "subsample": 50, "vocabulary": 1}
_FIRST_RUNG, _NARROWEST = 120, 9  # estimated seconds of a core, and trials at least
_QUICK = 1  # second of a core for the first rung of a bracket: then all may come at once
# Steps to the first rung: after 30 a convolution may be worse than chance and the best later.
_FIRST_STEPS, _FIRST_DERIVED = 30, 100


@dataclass(frozen=True)
class Options:
    """What the user asked for; `deadline` is on time.monotonic()."""

    request: Request
    metric: str | None
    ranges: dict[str, str]
    space_file: Path | None
    trials: int | None
    deadline: float | None
    patience: int | None
    study: str | None
    db: Database | None
    sampler: str
    pruner: str
    workers: int | None
    device: str
    update_space: bool
    fresh: bool
    command: str
    keep: int = 3  # trials whose weights are kept
    trial_time: float | None = None  # seconds that a trial may be in training
    max_memory: float | None = None  # bytes that the search may take
    dask: str | None = None  # address of a scheduler
    until: float | None = None  # a value that is good enough
    patience_trials: int | None = None  # trials without a better value
    enqueue: tuple[Mapping[str, object], ...] = ()  # configurations to try first
    warm_start: View | None = None  # the study whose best are tried first
    confirm: int | None = None  # configurations confirmed at the end; none in a short study


def run(options: Options, *, quiet: bool = False) -> View:
    """Searches until the budget is spent and returns the study.

    Raises:
        Error: see the kinds in nntune.errors.
    """
    _check(options)
    # Mistakes in ranges come before reading the data; the file may be a pipe, read once.
    asked = asked_ranges(options.ranges, options.space_file)
    ranges = {name: each.text for name, each in asked.items()}
    options = replace(options, ranges=ranges, space_file=None)
    networks = _networks(options)
    name = options.study or study_name(options.request.source)
    kept = study.path_of if options.study else study.default_path
    path = options.db or kept(name)
    stored = None if options.fresh else _stored(path, name)
    in_process = options.workers == 0 and options.dask is None
    with one_thread() if in_process else nullcontext(), _workers(options) as workers:
        dataset = load(_request(options, stored))
        metric = metric_for(dataset.task, options.metric)
        _check_metric(metric, dataset)
        lacking = _lacking_bins(options, dataset)
        space = build(
            options.ranges, None, len(dataset.train.y), dataset.grid, networks,
            is_text=bool(dataset.terms), bins=(dataset.request.bins or 0) if dataset.bins else 0,
        )  # fmt: skip
        _check_model(space, dataset)
        if options.dask and not workers.count and not quiet:
            print(_lonely(options.dask), file=sys.stderr)
        if dataset.terms and options.device != "cpu":
            raise UsageError(f"--device {options.device}: text trains on the CPU; leave it out.")
        import nntune.tpe  # noqa: F401  of the search: workers still import torch, so it is free

        workers.use_device()
        # Libraries round differently, so a study keeps the one that it began with.
        product = stored.training["product"] if stored else workers.fastest_product()
        problem = problem_of(dataset)
        _check_networks(space, problem, networks)
        definition = _definition(options, dataset, space, metric, product, networks)
        if options.max_memory is not None:
            taken = costs.memory(dataset, problem, space, workers.count)
            costs.refuse(taken, options.max_memory)
        share(workers, dataset)
        with study.open_writer(
            path, name, definition, update_space=options.update_space, fresh=options.fresh
        ) as writer:
            counts = study.read(writer.path, writer.name).counts()
            if not sum(counts.values()):
                writer.set_attribute("data_findings", list(dataset.doubts))
            confirmation = AtTheEnd(options.confirm, options.deadline)
            budget = _budget(options, confirmation)
            queue = _queue(options, space)
            search = Search(writer, space, problem, workers, options.keep, queue)
            notes = [_understood(dataset, metric), *dataset.warnings, *lacking]
            notes += costs.notes(dataset, problem, space, workers.count)
            notes += _too_many(queue, space, writer, budget)
            notes += [_standing(writer, counts, budget)]
            with Display(writer.name, metric, budget, notes, quiet=quiet) as display:
                for update in search.run(budget):
                    display.show(update)
                display.end(search.stopped)
                view = _stopped(writer, search.stopped)
                confirmation.run(writer, dataset, workers, display.note)
            return view


def search(
    source: str | Path,
    target: str | None = None,
    *,
    trials: int | None = None,
    time: float | str | None = None,
    trial_time: float | str | None = None,
    max_memory: float | str | None = None,
    until: float | None = None,
    patience_trials: int | None = None,
    space: Mapping[str, object] | str | Path | None = None,
    enqueue: Sequence[Mapping[str, object]] = (),
    warm_start: View | None = None,
    metric: str | None = None,
    task: str = "auto",
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    text: Sequence[str] = (),
    ngrams: str = Request.ngrams,
    characters: str = Request.characters,
    vocabulary: int = Request.vocabulary,
    case: str = Request.case,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    cv: int | None = None,
    group: str | None = None,
    seed: int = 0,
    image: str | None = None,
    series: bool = False,
    time_col: str | None = None,
    lags: int | None = None,
    subsample: int | None = None,
    study: str | None = None,
    db: str | Path | None = None,
    patience: int | None = None,
    sampler: str = "tpe",
    pruner: str = "halving",
    workers: int | None = 0,
    dask: str | None = None,
    device: str = "cpu",
    update_space: bool = False,
    fresh: bool = False,
    keep: int = 3,
    confirm: int | None = None,
    quiet: bool = True,
) -> View:
    """`nntune search` from Python: finds the best network for a table, or goes on with a study.

    The study is a file, and so is its table: a data frame is saved first, as parquet or csv, or
    goes to NNTuneClassifier or NNTuneRegressor. Options are those of the command line.

    Args:
        source: a path, or sklearn:NAME.
        target: column to predict.
        trials: of the study in total; 128 if no time is given.
        time: seconds after which the search ends, or a text such as "10m".
        trial_time: as long may a trial be in training; then it is cut.
        max_memory: bytes, or a text such as "4GB"; a search that would take more is refused.
        until: a value of the metric that is good enough to stop.
        patience_trials: so many trials without a better value end the search.
        space: hyperparameter to range, as in a space file: a text as on the command line, a number,
            a list of choices, or a table, such as {"lr": "1e-4:1e-1:log", "epochs": 50,
            "units": [64, 128], "dropout": {"low": 0, "high": 0.3}}; or the path of such a file.
        enqueue: values to try first, such as [{"lr": 3e-4}]; the others are the defaults.
        warm_start: a study whose best configurations are tried first.
        metric: log_loss or rmse if not given.
        task: binary, multiclass or regression; read from the target if not given.
        ignore: columns to leave out.
        categorical: columns to read as categories.
        numeric: columns to read as numbers.
        text: columns to read as text.
        ngrams: lengths of the runs of words in a text that count as terms; "0" for none.
        characters: the same of characters within words.
        vocabulary: terms of each kind in a column, at most.
        case: "lower", or "kept" where capitals of a text make another term.
        valid: file with the validation rows, instead of 16 %.
        test: file with the test rows, instead of 20 %; they stay locked.
        cv: folds to validate on in turn, instead of one split.
        group: column whose equal values stay together in one split.
        seed: fixes the split, the draws and the training.
        image: the columns are pixels of images of this size, such as 28x28.
        series: the columns are the steps of one series a row.
        time_col: column that orders the rows, which are then split by time.
        lags: so many rows back, their numbers are features too.
        subsample: so many rows do for the search; a refit learns from all.
        study: its name; that of the data file if not given.
        db: its file, instead of studies/NAME.db, or the address of a server.
        patience: epochs without a better value before a training stops.
        sampler: tpe, qmc or random; for comparison Optuna's gp and cmaes.
        pruner: halving or none; for comparison hyperband and median.
        workers: processes; 0 trains in this one, None takes as many as there are cores. A script
            that starts processes needs Python's usual `if __name__ == "__main__":`.
        dask: address of a Dask scheduler, whose workers train instead.
        device: cpu, cuda, mps or auto.
        update_space: go on with other ranges than the study has.
        fresh: a new study beside the one there is.
        keep: so many of the best trials' weights stay in the study.
        confirm: so many of the best configurations are trained again from fresh seeds at the end,
            and held against plain models; 5 once there are 32 trials, 0 for none.
        quiet: no progress on standard error.

    Returns:
        The study, to be asked for its `best()`, its `trials()` and their curves.

    Raises:
        Error: the kinds are in nntune.errors.
    """
    if not isinstance(source, str | Path):
        raise UsageError(
            f"nntune.search takes the path of a table and was given a {type(source).__name__}; "
            "save it as parquet or csv, or use NNTuneClassifier or NNTuneRegressor."
        )
    names = tuple(ignore), tuple(categorical), tuple(numeric)
    valid, test = (None if file is None else str(file) for file in (valid, test))
    request = Request(
        str(source), target, task, *names, valid, test, seed, cv, group, image, series, time_col,
        lags, tuple(text), ngrams, characters, vocabulary, subsample, case=case,
    )  # fmt: skip
    options = Options(
        request=request,
        metric=metric,
        ranges=texts_of(space),
        space_file=None,
        trials=trials,
        deadline=None if time is None else clock.monotonic() + costs.seconds("--time", time),
        trial_time=None if trial_time is None else costs.seconds("--trial-time", trial_time),
        max_memory=costs.size(max_memory) if isinstance(max_memory, str) else max_memory,
        patience=patience,
        study=study,
        db=None if db is None else database(db),
        sampler=sampler,
        pruner=pruner,
        workers=workers,
        device=device,
        update_space=update_space,
        fresh=fresh,
        keep=keep,
        dask=dask,
        until=until,
        patience_trials=patience_trials,
        enqueue=tuple(enqueue),
        warm_start=warm_start,
        confirm=confirm,
        command=_command(request, metric, patience),
    )
    return run(options, quiet=quiet)


def _command(request: Request, metric: str | None, patience: int | None) -> str:
    """What on the command line says the same of the data.

    >>> _command(Request("a b.csv", "y", ignore=("id",)), "auc", None)
    "nntune search 'a b.csv' --target y --metric auc --ignore id"
    """
    given = [("--target", request.target), ("--metric", metric)]
    given += [("--task", request.task)] if request.task != "auto" else []
    for flag in ("ignore", "categorical", "numeric", "text"):
        given += [(f"--{flag}", name) for name in getattr(request, flag)]
    for flag in ("ngrams", "characters", "vocabulary", "case"):
        value = getattr(request, flag)
        given += [(f"--{flag}", str(value))] if value != getattr(Request, flag) else []
    given += [("--valid", request.valid), ("--test", request.test)]
    given += [("--cv", None if request.cv is None else str(request.cv))]
    given += [("--group-col", request.group)]
    given += [("--image", request.image), ("--time-col", request.time)]
    for flag in ("lags", "subsample"):
        value = getattr(request, flag)
        given += [(f"--{flag}", None if value is None else str(value))]
    given += [("--seed", str(request.seed))] if request.seed else []
    given += [("--patience", str(patience))] if patience else []
    words = [word for flag, value in given if value is not None for word in (flag, value)]
    words += ["--series"] * request.series
    return shlex.join(["nntune", "search", request.source, *words])


def _workers(options: Options) -> Workers:
    if options.dask is not None:
        return Workers(cluster(options.dask), options.device)
    count = options.workers
    if count is None:
        count = cores() if options.device == "cpu" else 1
    return Workers(count, options.device)


def _lonely(address: str) -> str:
    """One line for a search that waits."""
    return f"{address} has no worker yet; `nntune worker {address}` starts one, on any machine"


def _check(options: Options) -> None:
    if options.dask is not None and options.workers:
        raise UsageError("--dask and --workers: choose one; who trains is the scheduler's matter.")
    for flag, value, allowed in (
        ("--sampler", options.sampler, SAMPLERS),
        ("--pruner", options.pruner, PRUNERS),
        ("--device", options.device, DEVICES),
        ("--metric", options.metric, METRICS),
    ):
        if value is not None and value not in allowed:
            near = did_you_mean(_ALSO_CALLED.get(value, value), allowed)
            raise UsageError(f"{flag} {value}: there are {', '.join(allowed)}.{near}")
    _check_numbers(options)
    samplers.check(options.sampler)
    refuse_one_fold(options.request)
    if options.study is not None and not options.study.strip():
        raise UsageError(
            f"--study {options.study!r}: a name is needed; without --study it is that of the data."
        )
    if "/" in (options.study or ""):
        raise UsageError(
            f"--study {options.study}: a name has no slash; --db FILE says where the study is kept."
        )


def _check_numbers(options: Options) -> None:
    """What a parser has seen to on the command line, Python may have otherwise."""
    for asked, leasts in ((options, _LEAST), (options.request, _LEAST_OF_DATA)):
        for name, least in leasts.items():
            value = getattr(asked, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= least):
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} {value}: a whole number is needed, at least {least}.")
    for flag, number in (("--until", options.until), ("--max-memory", options.max_memory)):
        if number is not None and not (isinstance(number, Real) and math.isfinite(number)):
            raise UsageError(f"{flag} {number}: a number is needed, such as 0.1.")


def _networks(options: Options) -> dict[str, dict[str, Any]]:
    """Networks of the user's own that may be drawn, with the defaults of their hyperparameters.

    Raises:
        UsageError: a range is wrong, or one of them cannot be made.
    """
    asked = asked_ranges(options.ranges)
    models = asked["model"].choices if "model" in asked else ()
    own = [str(model) for model in models if family_of(model) == OWN]
    if len(own) > 1:
        raise UsageError(f"--model {','.join(own)}: a study has one network of your own at most.")
    ranges = [n.removeprefix(PREFIX) for n in asked if n.startswith(PREFIX)]
    found = {}
    for text in own:
        network = name_network(text)
        check_ranges(text, dict.fromkeys(ranges))
        found[text] = {f"{PREFIX}{name}": value for name, value in network.defaults.items()}
    return found


def _check_networks(space: Space, problem: Problem, networks: Mapping[str, object]) -> None:
    """Make each once, and let it answer, before anything is searched."""
    for text in networks:
        nearest = {each.name: each.nearest(each.initial) for each in space.of(text)}
        check_outputs(
            shape_of_own(
                text, nearest, problem.inputs - problem.bins, problem.classes or 1, problem.grid
            )
        )


def _check_metric(metric: str, dataset: Dataset) -> None:
    """Two metrics compare rows of different targets."""
    targets = [fold.valid.y for fold in dataset.folds]
    if metric in ("auc", "r2") and any(y.min() == y.max() for y in targets):
        where = " of a fold" * bool(dataset.others)
        raise UsageError(
            f"--metric {metric} needs two values of {dataset.target}, and the validation "
            f"rows{where} of {dataset.name} have one; --metric {metric_for(dataset.task)} does "
            "with it."
        )


def _check_model(space: Space, dataset: Dataset) -> None:
    families = {"cnn", "rnn"} & {str(model) for model in space.models}
    if families and dataset.grid is None:
        raise UsageError(
            f"--model {min(families)}: the columns of {dataset.name} are no images or series; "
            "--image HEIGHTxWIDTH or --series says that they are."
        )
    if families and dataset.terms:
        raise UsageError(
            f"--model {min(families)} takes no text; --ignore the columns of text of "
            f"{dataset.name}, or --model mlp."
        )


def _queue(options: Options, space: Space) -> list[dict[str, Value]]:
    """Configurations to try before those of the sampler."""
    found = [enqueued(each, space) for each in options.enqueue]
    return found if options.warm_start is None else found + borrowed(options.warm_start, space)


def _too_many(
    queue: Sequence[Mapping[str, Value]], space: Space, writer: Writer, budget: Budget
) -> list[str]:
    """One line if there are fewer trials to come than configurations to try first."""
    if not queue or budget.trials is None:  # a large study is read no second time
        return []
    known = [trial.params for trial in writer.trials()] or [space.optuna_params(space.default)]
    waiting = [params for each in queue if (params := space.optuna_params(each)) not in known]
    if len(waiting) <= (left := max(budget.trials - len(known), 0)):
        return []
    many = "configurations wait" if len(waiting) > 1 else "configuration waits"
    return [
        f"{len(waiting)} {many} to be tried first and --trials {budget.trials} leaves "
        f"room for {left}"
    ]


def _stopped(writer: Writer, reason: str) -> View:
    """The study, which keeps why its search has ended."""
    view = study.read(writer.path, writer.name)
    if reason != view.stopped:
        entry = {"reason": reason, "trials": sum(view.counts().values())}
        writer.set_attribute("stopped", entry)
    return view


def _budget(options: Options, confirmation: AtTheEnd) -> Budget:
    trials = DEFAULT_TRIALS if options.deadline is None else None
    return Budget(
        trials if options.trials is None else options.trials,
        math.inf if options.deadline is None else options.deadline,
        math.inf if options.trial_time is None else options.trial_time,
        options.until,
        options.patience_trials,
        confirmation.reserved(),
        confirmation.enough,
    )


def _understood(dataset: Dataset, metric: str) -> str:
    """One line on what was read."""
    counts = dataset.counts
    kind = f"{len(dataset.classes)} classes" if dataset.classes else "numbers"
    rows = ", ".join(f"{counts[split]:,} {split}" for split in ("train", "valid", "test"))
    if dataset.others:
        searched = counts["train"] + counts["valid"]
        rows = f"{searched:,} in {len(dataset.folds)} folds, {counts['test']:,} test"
    more = f" and {dataset.terms:,} terms of text" * bool(dataset.terms)
    more += f" and {dataset.bins} bins of numbers" * bool(dataset.bins)
    plain = len(dataset.features) - dataset.bins
    features = f"{plain} feature{'s' * (plain != 1)}{more}"
    return (
        f"{dataset.name}: {features}, target {dataset.target} ({dataset.task}, {kind}), "
        f"rows {rows} (locked); metric {metric}"
    )


def _standing(writer: Writer, counts: Mapping[str, int], budget: Budget) -> str:
    """One line on the study: new, resumed or finished."""
    trials, running = sum(counts.values()), counts["running"]
    done = trials - running
    place = f"study {writer.name} in {writer.path}"
    if not trials:
        return f"{place}: new"
    if budget.trials is not None and trials >= budget.trials and not running:
        return f"{place}: {done} of {budget.trials} trials done"
    adopted = f", {running} of them unfinished and taken up again"
    return f"{place}: resumed after {trials} trials" + adopted * (running > 0)


def _stored(path: Database, name: str) -> Definition | None:
    """What a study is that is there already."""
    try:
        return study.read(path, name).definition
    except NotFoundError:
        return None


def _request(options: Options, stored: Definition | None) -> Request:
    """The request with as many bins as the space has, or as a study began with.

    Raises:
        UsageError: the space has several numbers of bins.
    """
    asked = asked_ranges(options.ranges)
    if "bins" in asked:
        bins = bins_of(asked["bins"])
    elif "model" in asked and "mlp" not in asked["model"].choices:
        bins = 0
    elif stored is not None:
        bins = stored.data.get("request", {}).get("bins", 0)
    else:
        return options.request
    return replace(options.request, bins=bins)


def _lacking_bins(options: Options, dataset: Dataset) -> list[str]:
    """One line if the user asked for bins of numbers and the table has none.

    Raises:
        UsageError: the space leaves a trial nothing else.
    """
    asked = asked_ranges(options.ranges).get("bins")
    if dataset.bins or asked is None or not any(asked.choices):
        return []
    line = (
        f"--bins {asked.text}: bins are for numbers of three values or more in tables without "
        "text, images and series"
    )
    if 0 not in asked.choices:
        raise UsageError(f"{line}; leave it out.")
    return [f"{line}, and {dataset.name} has none"]


def _definition(
    options: Options, dataset: Dataset, space: Space, metric: str, product: str,
    networks: Iterable[str],
) -> Definition:  # fmt: skip
    """What the study is; resuming compares it with what the file says."""
    plan = plan_for(space, problem_of(dataset), options.patience)
    request = dataset.request
    data: dict[str, Any] = {
        "source": request.source,
        "target": dataset.target,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "features": len(dataset.features) + dataset.terms,
        "counts": dataset.counts,
        "split": dataset.split_summary,
        "fingerprint": dataset.fingerprint,
        "request": asdict(replace(request, cv=len(dataset.folds))),
    }
    for text in networks:
        data["network"] = {"file": text, "sha256": network_named(text).digest}
    return Definition(
        data=data,
        space={each.name: each.text for each in space.hyperparameters},
        metric=metric,
        direction=METRICS[metric].direction,
        seed=request.seed,
        sampler=options.sampler,
        pruner=options.pruner,
        training={**plan._asdict(), "rungs": list(plan.rungs), "product": product},
        versions=versions(),
        command=options.command,
    )


def plan_for(space: Space, problem: Problem, patience: int | None = None) -> Plan:
    """How a study of this space on these rows halves and ends its trials."""
    longest = int(space["epochs"].bounds[1])
    typical = round(math.sqrt(math.prod(space["batch_size"].bounds)))
    steps = _FIRST_STEPS if space.models == ("mlp",) else _FIRST_DERIVED
    rising = rungs(longest, problem.rows, typical, steps=steps)
    width = _width(space, problem, rising[0])
    first = _first(width, rising[0] * epoch_seconds(space.default, problem))
    return Plan(width, first, rungs=rising, patience=patience or max(longest // 8, 20))


def _first(width: int, seconds: float) -> int:
    """Trials of the first bracket: few where a first rung of all would keep the user waiting.

    Args:
        width: of the other brackets.
        seconds: of the first rung of a trial, estimated.
    """
    few = Plan().first
    return few if width >= 2 * few and width * seconds > _QUICK else width


def _width(space: Space, problem: Problem, epochs: int) -> int:
    """Trials of a bracket: fewer where networks are so dear that the first rung would take all.

    Ten minutes of two cores see the best of nine through 15 epochs of 48,000 small images; of 32
    they see one epoch and little more. Perceptrons are cheap, and share stacks.
    """
    if space.models == ("mlp",):
        return Plan().width
    most = _FIRST_RUNG / (epochs * epoch_seconds(space.default, problem))
    return min(Plan().width, max(_NARROWEST, int(most)))


def versions() -> dict[str, str]:
    """What computes here: library to version."""
    libraries = ("optuna", "torch", "numpy", "scikit-learn", "duckdb")
    own = {"nntune": __version__, "python": platform.python_version()}
    return own | {library: version(library) for library in libraries}

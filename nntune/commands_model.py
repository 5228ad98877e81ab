"""The commands that use a winner: refit, predict, evaluate."""

import json
import math
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nntune import outputs
from nntune.errors import UsageError
from nntune.options import (
    Database,
    Force,
    Json,
    Network,
    StudyName,
    allow,
    study_named,
    writing,
)
from nntune.wording import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nntune.bundle.evaluation import Evaluation

BundleFile = Annotated[
    Path, typer.Argument(metavar="BUNDLE", show_default=False, help="Made by nntune refit.")
]
Rows = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A table with the columns of training, in any order; - for standard input; "
        "or a folder of pictures.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (refit, predict, evaluate):
        app.command()(command)


def refit(
    study: StudyName = None,
    db: Database = None,
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", help="Another trial than the best.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Learn from all rows, the test rows included.")
    ] = False,
    as_searched: Annotated[
        bool, typer.Option("--as-searched", help="The network of the search, from training rows.")
    ] = False,
    ensemble: Annotated[
        int,
        typer.Option(
            "--ensemble", metavar="K", min=1,
            help="Average up to K of the best trials, unless the best alone is clearly better.",
        ),
    ] = 1,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="K", min=1, max=100,
            help="Average K networks that begin from other weights, trained as one.",
        ),
    ] = 1,
    data: Annotated[
        str | None, typer.Option("--data", metavar="FILE", help="Where the table is now.")
    ] = None,
    network: Network = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of NAME.nnt.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make a model file of the winner, ready to predict.

    It is trained anew on training and validation rows, for as many epochs as were best.
    """
    from nntune import bundle
    from nntune.bundle.refit import Wanted
    from nntune.bundle.refit import refit as made

    if full and as_searched:
        raise UsageError("--full and --as-searched say different rows; choose one of them.")
    allow(network)
    view = study_named(study, db)
    path = output or Path(f"{view.name}.nnt")
    outputs.check_ending(path, (".nnt",))
    outputs.check_free(path, force=force)
    rows = "all" if full else "train" if as_searched else "train+valid"
    refitted = made(view, Wanted(trial, rows, ensemble, seeds, data, _command()))
    bundle.write(path, refitted.bundle, force=force)
    for note in refitted.notes:
        print(harmless(note), file=sys.stderr)
    found = refitted.bundle
    if as_json:
        _print_json(
            "nntune.refit/1", bundle=str(path), trials=list(found.trials), seeds=seeds,
            **found.metrics, bytes=path.stat().st_size,
        )  # fmt: skip
        return
    (first, epoch), *others = refitted.epochs.items()
    from_seeds = f" from {seeds} seeds" * (seeds > 1)
    if others:
        each = ", ".join(f"#{number} (epoch {epoch})" for number, epoch in refitted.epochs.items())
        made_of, whose = f"trials {each} of {view.name}{from_seeds}", f"#{first} had "
    else:
        made_of, whose = f"trial #{first} of {view.name}{from_seeds}, epoch {epoch}", ""
    with writing():
        print(
            f"{harmless(f'{path}: {made_of}')}, trained on "
            f"{found.metrics['count']:,} rows ({found.metrics['rows']}); in the search {whose}"
            f"{found.metrics['metric']} {found.metrics['value']:.4g} on validation rows"
        )


def predict(
    bundle: BundleFile,
    data: Rows,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="A csv or parquet file, instead of csv on standard output.",
        ),
    ] = None,
    network: Network = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="A column with the probability of each class too.")
    ] = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Predict each row of a table, in its order.

    Columns go by name; others are left aside, and a category not seen in training counts as rare.
    Of a folder of pictures each row begins with the file.
    """
    from nntune import bundle as bundles
    from nntune.bundle import output as predictions
    from nntune.data.fitting import Doubts
    from nntune.data.target import listed

    if output is not None:
        predictions.check(output, force=force)
        outputs.check_other(output, data, bundle)
    predictor = bundles.load(bundle, network)
    if proba and not predictor.bundle.classes:
        raise UsageError(f"--proba: {bundle.name} predicts numbers, which have no probabilities.")
    doubts = Doubts()
    tables = predictor.tables(data, doubts)
    parts = (predictions.Part(predictor.values(table), table.files) for table in tables)
    with writing() if output is None else nullcontext():
        predictions.write(output, predictor.bundle, parts, proba=proba, force=force)
    changed = [repr(c) for c in predictor.bundle.classes if predictions.safe(c) != c]
    notes = doubts.sentences()
    if changed and (output is None or output.suffix.lower() == ".csv"):
        many = len(changed) > 1
        notes.append(
            f"class{'es' * many} {listed(changed)} begin{'s' * (not many)} like a formula of a "
            f"spreadsheet; in csv {'they are' if many else 'it is'} written with a ' in front"
        )
    for note in notes:
        print(harmless(f"note: {note}"), file=sys.stderr)


def evaluate(
    bundle: BundleFile,
    data: Rows,
    target: Annotated[
        str | None,
        typer.Option(
            "-t", "--target", metavar="COLUMN", help="What is true, if it has another name."
        ),
    ] = None,
    network: Network = None,
    as_json: Json = False,
) -> None:
    """Score a model file on rows whose answer is known."""
    from nntune import bundle as bundles
    from nntune.bundle.evaluation import evaluate as evaluated

    allow(network)
    found = evaluated(bundles.read(bundle), data, target)
    for note in found.notes:
        print(harmless(f"note: {note}"), file=sys.stderr)
    if as_json:
        known = {n: v if math.isfinite(v) else None for n, v in found.metrics.items()}
        _print_json("nntune.evaluate/1", rows=found.rows, dropped=found.dropped, metrics=known)
        return
    width = max(map(len, found.metrics))
    with writing():
        print(f"{'rows':{width}}  {found.rows:,}{''.join(_left_out(found))}")
        for name, value in found.metrics.items():
            print(f"{name:{width}}  {'-' if math.isnan(value) else f'{value:.4g}'}")


def _left_out(found: "Evaluation") -> "Iterator[str]":
    if targetless := found.dropped - found.pastless:
        yield f", {targetless:,} without a target left out"
    if found.pastless:
        yield f", {found.pastless:,} without their whole past left out"


def _print_json(schema: str, **values: Any) -> None:
    with writing():
        print(json.dumps({"schema": schema, **values}, indent=2, allow_nan=False))


def _command() -> str:
    return shlex.join(["nntune", *sys.argv[1:]])

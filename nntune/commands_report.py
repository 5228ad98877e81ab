"""The commands that look closer at a study: importance, compare, plot, report, dashboard."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nntune import outputs
from nntune.errors import UsageError, did_you_mean
from nntune.options import Database, Force, Json, StudyName, answer, study_named, writing
from nntune.wording import harmless

Side = Annotated[
    str, typer.Argument(metavar="A", show_default=False, help="A trial's number, or a study.")
]
OtherSide = Annotated[
    str, typer.Argument(metavar="B", show_default=False, help="What to compare it with.")
]


def _kinds(incomplete: str) -> list[str]:
    from nntune.report.figures import FIGURES

    return [kind for kind in FIGURES if kind.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (importance, compare, plot, report, dashboard):
        app.command()(command)


def importance(
    study: StudyName = None,
    db: Database = None,
    evaluator: Annotated[
        str, typer.Option("--evaluator", metavar="NAME", help="ped-anova or fanova.")
    ] = "ped-anova",
    as_json: Json = False,
) -> None:
    """Show which hyperparameters matter."""
    from nntune import report

    if evaluator not in report.EVALUATORS:
        raise UsageError(
            f"--evaluator {evaluator}: there are {' and '.join(report.EVALUATORS)}."
            f"{did_you_mean(evaluator, report.EVALUATORS)}"
        )
    view = study_named(study, db)
    found = report.importances(view, evaluator)
    answer(lambda: report.importance(found), lambda: report.importance_json(view, found), as_json)


def compare(
    one: Side,
    two: OtherSide,
    study: StudyName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Compare two trials of a study, or two studies."""
    from nntune import report

    if one.isdecimal() and two.isdecimal():
        sides = report.sides(study_named(study, db), int(one), int(two))
        answer(
            lambda: report.trials_compared(sides),
            lambda: report.trials_compared_json(sides),
            as_json,
        )
        return
    if study is not None or one.isdecimal() or two.isdecimal():
        raise UsageError(
            "compare takes two trials, as in nntune compare 12 30 STUDY, or two studies, as in "
            "nntune compare STUDY OTHER."
        )
    both = [report.standing(study_named(name, db)) for name in (one, two)]
    answer(
        lambda: report.studies_compared(*both), lambda: report.studies_compared_json(*both), as_json
    )


def plot(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", show_default=False, autocompletion=_kinds,
            help="history, curves, slice, parallel, importance or contour.",
        ),
    ],
    study: StudyName = None,
    db: Database = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME",
            help="Of slice, parallel and contour: which hyperparameters; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="A png, svg or html file, instead of text in the terminal.",
        ),
    ] = None,
    force: Force = False,
) -> None:  # fmt: skip
    """Draw a picture of a study, in the terminal or to a file."""
    from nntune.report import braille, draw, pictures
    from nntune.report.figures import FIGURES, OVER_RANGES

    if kind not in FIGURES:
        hint = did_you_mean(kind, FIGURES)
        raise UsageError(f"there is no plot '{kind}'; there are {', '.join(FIGURES)}.{hint}")
    if param and kind not in OVER_RANGES:
        raise UsageError(f"--param goes with {', '.join(OVER_RANGES)}, not with {kind}.")
    if output is not None:
        pictures.check_free(output, pictures.ENDINGS, force=force)
    view = study_named(study, db)
    figure = FIGURES[kind](view, param or ()) if kind in OVER_RANGES else FIGURES[kind](view)
    if output is None:
        with writing():
            draw(braille.drawn(figure))
    elif output.suffix.lower() == ".html":
        from nntune.report.page import of_figure

        outputs.put(output, of_figure(view, figure).encode(), force=force)
    else:
        pictures.write(figure, output, force=force)


def report(
    study: StudyName = None,
    db: Database = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Instead of STUDY.html."),
    ] = None,
    force: Force = False,
) -> None:
    """Write a study as one page to read, send or print.

    It needs no other file and no network.
    """
    from nntune.report import pictures
    from nntune.report.page import page

    view = study_named(study, db)
    path = output or Path(f"{view.name}.html")
    pictures.check_free(path, (".html", ".htm"), force=force)
    outputs.put(path, page(view).encode(), force=force)
    with writing():
        print(harmless(str(path)))


def dashboard(
    study: StudyName = None,
    db: Database = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="Where it is served.")
    ] = 8080,
) -> None:
    """Open optuna-dashboard on a study, for this machine only."""
    from nntune.study import for_optuna

    view = study_named(study, db)
    try:
        import optuna_dashboard
    except ImportError:
        raise UsageError(
            "the dashboard needs optuna-dashboard; pip install 'nntune[dashboard]' brings it, "
            "nntune report needs nothing."
        ) from None
    address = f"http://127.0.0.1:{port}/"
    print(f"{harmless(view.name)}: {address}dashboard (Ctrl-C ends it)", file=sys.stderr)
    try:
        optuna_dashboard.run_server(for_optuna(view.path), host="127.0.0.1", port=port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}; name another one.") from None

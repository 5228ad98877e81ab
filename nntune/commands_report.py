"""The commands that look closer at a study: importance, compare."""

import json
from typing import Annotated, Any

import typer

from nntune.errors import UsageError, did_you_mean
from nntune.options import Database, Json, StudyName, study_named, writing

Side = Annotated[
    str, typer.Argument(metavar="A", show_default=False, help="A trial's number, or a study.")
]
OtherSide = Annotated[
    str, typer.Argument(metavar="B", show_default=False, help="What to compare it with.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (importance, compare):
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
    _print(report.importance(found), report.importance_json(view, found), as_json)


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
        _print(report.trials_compared(sides), report.trials_compared_json(sides), as_json)
        return
    if study is not None or one.isdecimal() or two.isdecimal():
        raise UsageError(
            "compare takes two trials, as in nntune compare 12 30 STUDY, or two studies, as in "
            "nntune compare STUDY OTHER."
        )
    both = [report.standing(study_named(name, db)) for name in (one, two)]
    _print(report.studies_compared(*both), report.studies_compared_json(*both), as_json)


def _print(text: Any, values: dict[str, Any], as_json: bool) -> None:
    from nntune.report import draw

    with writing():
        if as_json:
            print(json.dumps(values, indent=2, allow_nan=False))
        else:
            draw(text)

"""The commands that ask how sure a result is: confirm, test."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from nntune.options import Database, Json, Network, StudyName, allow, answer, study_named

if TYPE_CHECKING:
    from nntune.retraining import Retrainer, Rows
    from nntune.study import View
    from nntune.verdict.confirming import Effort

Workers = Annotated[
    int | None, typer.Option("-j", "--workers", min=1, help="Processes; as many as cores.")
]
Data = Annotated[str | None, typer.Option("--data", metavar="FILE", help="Where the table is now.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(confirm)
    app.command("test")(open_test)


def confirm(
    study: StudyName = None,
    db: Database = None,
    network: Network = None,
    top: Annotated[
        int, typer.Option("--top", min=1, metavar="K", help="How many configurations.")
    ] = 5,
    seeds: Annotated[
        int, typer.Option("--seeds", min=2, metavar="N", help="How many seeds for each.")
    ] = 5,
    data: Data = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train the best few again from seeds that chose nothing.

    Takes the luck out of a search's best value, and says whether a linear model would do.
    """
    from nntune import report
    from nntune.verdict.confirming import Effort, is_confirmed

    allow(network)
    view = study_named(study, db)
    effort = Effort(top, seeds)
    if is_confirmed(view, effort):
        print("these are confirmed already; nothing left to do", file=sys.stderr)
    else:
        _confirm(view, effort, data, workers)
    answer(lambda: report.confirmation(view), lambda: report.confirmation_json(view), as_json)


def open_test(
    study: StudyName = None,
    db: Database = None,
    network: Network = None,
    data: Data = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Open the locked test rows: the final score.

    Of the network that refit makes, and of the plain models; what comes out is kept with the study.
    """
    from nntune import report
    from nntune.study import open_existing
    from nntune.verdict.confirming import Effort, candidates
    from nntune.verdict.testing import opened, scored

    allow(network)
    view = study_named(study, db)
    confirmation = view.confirmation()
    if confirmation is None:
        effort = Effort()
        many = len(candidates(view, effort.top))
        said = (
            f"the winner is confirmed first: {many} configuration{'s' * (many != 1)} from "
            f"{effort.seeds} seeds each, then the best of them once more"
        )
        _confirm(view, effort, data, workers, said)
        confirmation = view.confirmation()
    if confirmation and opened(view, confirmation["winner"]):
        print("this winner was tested already; nothing is opened again", file=sys.stderr)
    else:
        with open_existing(view.path, view.name) as writer:
            writer.add_verdict("test", scored(view, data))
    answer(lambda: report.tested(view), lambda: report.tested_json(view), as_json)


def _confirm(
    view: "View", effort: "Effort", data: str | None, workers: int | None, said: str = ""
) -> None:
    """Confirms and keeps the verdict; `said` goes to standard error once the table is there."""
    from nntune.study import open_existing
    from nntune.verdict.confirming import confirm as confirmed

    with open_existing(view.path, view.name) as writer, _again(view, data, workers) as again:
        rows, retrainer = again
        if said:
            print(said, file=sys.stderr)
        writer.add_verdict("confirmation", confirmed(view, rows, retrainer, effort))


@contextmanager
def _again(
    view: "View", source: str | None, workers: int | None
) -> "Iterator[tuple[Rows, Retrainer]]":
    """The rows of a study's search, and who trains on them."""
    from nntune.data.learning import learning_of
    from nntune.retraining import Retrainer, check_same, plan_again
    from nntune.workers import Workers, cores

    with Workers(workers or cores()) as pool:
        plan = plan_again(view, source)
        rows = learning_of(plan, "train")
        check_same(view, plan.request.source, rows.fingerprint)
        yield rows, Retrainer(view, pool)

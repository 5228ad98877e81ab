"""What there is before trials are looked at: the studies of a folder, a data file understood."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from nntune.report.drawing import grid
from nntune.report.wording import number
from nntune.study import Database, Summary

if TYPE_CHECKING:
    from nntune.data import Description


def studies(folder: Database, found: Sequence[Summary]) -> RenderableType:
    """The studies of a folder in rows."""
    if not found:
        return Text(f"There are no studies in {folder}; nntune search makes one.")
    headings = ("study", "trials", "metric", "best", "changed", "file")
    table = grid(*headings, right=["trials", "best"])
    for each in found:
        table.add_row(
            each.name,
            str(each.trials),
            each.metric,
            number(each.best),
            each.changed,
            str(each.path),
        )
    return table


def studies_json(found: Sequence[Summary]) -> dict[str, Any]:
    """The studies as values."""
    rows = [{**each._asdict(), "path": str(each.path)} for each in found]
    return {"schema": "nntune.studies/1", "studies": rows}


def data(description: "Description") -> RenderableType:
    """What was understood of a data file."""
    return Text(description.text(), no_wrap=True)


def data_json(description: "Description") -> dict[str, Any]:
    """What was understood of a data file, as values."""
    return {"schema": "nntune.data/1", **description.values()}

"""Results on standard output, in a terminal or a pipe."""

from collections.abc import Collection

from rich.console import Console, RenderableType
from rich.table import Table


def draw(renderable: RenderableType) -> None:
    """Prints on standard output; a pipe gets long lines whole, without blanks at their ends."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(renderable, soft_wrap=True)
        return
    console.width = 200
    with console.capture() as capture:
        console.print(renderable, soft_wrap=True)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def grid(*headings: str, right: Collection[str] = ()) -> Table:
    """A table without lines; `right` names the columns that stand at their right edge."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    return table

"""Results on standard output, in a terminal or a pipe."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from nntune.wording import harmless


class Listing(NamedTuple):
    """Thousands of lines under a heading, which a pipe gets as they are."""

    heading: str
    lines: str

    def __rich__(self) -> Group:
        return Group(Text(self.heading, style="bold"), *[Text(self.lines)] * bool(self.lines))


class HarmlessConsole(Console):
    """A console to which no name of a column, a class or a study can give orders."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def draw(renderable: RenderableType) -> None:
    """Prints on standard output; a pipe gets long lines whole, without blanks at their ends."""
    console = HarmlessConsole(highlight=False, markup=False, emoji=False)
    if isinstance(renderable, Listing) and not console.is_terminal:
        print(harmless("\n".join(filter(None, renderable))))
        return
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


def listing(columns: Mapping[str, Sequence[str]], left: Collection[str] = ()) -> Listing:
    """As `grid` looks, of thousands of rows: rich's table takes a millisecond for each.

    Args:
        columns: heading to cells.
        left: headings of the columns that stand at their left edge.
    """
    aligned = []
    for heading, cells in columns.items():
        width = max(map(len, [heading, *cells]))
        align = str.ljust if heading in left else str.rjust
        aligned.append([align(cell, width) for cell in [heading, *cells]])
    first, *rows = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
    return Listing(first, "\n".join(rows))

"""A figure in a terminal: charts of braille dots, four high and two wide in a character."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.text import Text

from nntune.report.drawing import grid
from nntune.report.figure import Bars, Chart, Figure, Grid, Series, Tone

_STYLE: dict[Tone, str] = {
    "best": "bold bright_yellow", "complete": "green", "pruned": "blue", "faint": "bright_black",
    "cut": "red", "end": "green",
}  # fmt: skip
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of a braille character
_SHADES = " ░▒▓█"
_BAR = 40
_CROSS = "\N{MULTIPLICATION SIGN}"


def drawn(figure: Figure, width: int = 78) -> RenderableType:
    """The figure in so many characters a line."""
    height = 18 if len(figure.panels) == 1 else 9
    parts: list[RenderableType] = [Text(figure.title, style="bold")]
    for panel in figure.panels:
        if panel.title:
            parts += ["", Text(panel.title, style="bold")]
        match panel:
            case Chart():
                parts += _chart(panel, width, height)
            case Grid():
                parts.append(_grid(panel))
            case Bars():
                parts.append(_bars(panel))
    charts = [panel for panel in figure.panels if isinstance(panel, Chart)]
    legend = _legend(charts[0].series) if charts else None
    return Group(*parts, *([legend] if legend else []), "", Text(figure.caption))


def _chart(chart: Chart, width: int, height: int) -> list[RenderableType]:
    margin = max((len(text) for _, text in chart.y.ticks), default=0) + 1
    columns = width - margin - 1
    canvas = _Canvas(columns, height)
    for rule in chart.rules:
        canvas.upright(_share(rule, chart.x.low, chart.x.high))
    for series in chart.series:
        places = [
            (_share(x, chart.x.low, chart.x.high), _share(y, chart.y.low, chart.y.high))
            for x, y in zip(series.x, series.y, strict=True)
        ]
        canvas.draw(series, places)
    beside = {
        height - 1 - round(_share(y, chart.y.low, chart.y.high) * (height - 1)): text
        for y, text in chart.y.ticks
    }
    lines: list[RenderableType] = [
        Text.assemble(beside.get(row, "").rjust(margin), "┤" if row in beside else "│", line)
        for row, line in enumerate(canvas.lines())
    ]
    lines.append(Text(" " * margin + "└" + "─" * columns))
    ticks = [(_share(x, chart.x.low, chart.x.high), text) for x, text in chart.x.ticks]
    lines.append(Text(" " * (margin + 1) + _under(ticks, columns)))
    if chart.x.label != chart.title:
        lines.append(Text(" " * (margin + 1) + chart.x.label.center(columns)))
    return lines


def _under(ticks: Sequence[tuple[float, str]], columns: int) -> str:
    """Texts at their places, as far as they do not touch."""
    line = ""
    for share, text in ticks:
        begin = min(round(share * (columns - 1)) - len(text) // 2, columns - len(text))
        if begin >= len(line) + bool(line):
            line = line.ljust(begin) + text
    return line


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


class _Canvas:
    """Dots with the style of what was drawn last in their character."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]
        self._marks: dict[tuple[int, int], str] = {}

    def upright(self, share: float) -> None:
        for row in range(self._rows):
            self._marks[row, round(share * (self._columns - 1))] = "┊"

    def draw(self, series: Series, places: Sequence[tuple[float, float]]) -> None:
        style = _STYLE[series.tone]
        across, up = 2 * self._columns - 1, 4 * self._rows - 1
        dots = [(round(x * across), round((1 - y) * up)) for x, y in places]
        if series.tone in ("cut", "end"):
            for x, y in dots:
                self._marks[y // 4, x // 2] = _CROSS if series.tone == "cut" else "●"
                self._styles[y // 4][x // 2] = style
        elif series.kind == "points":
            for x, y in dots:
                self._dot(x, y, style)
        else:
            for (x, y), (to_x, to_y) in pairwise(dots):
                steps = max(abs(to_x - x), abs(to_y - y), 1)
                for step in range(steps + 1):
                    self._dot(
                        x + round((to_x - x) * step / steps),
                        y + round((to_y - y) * step / steps),
                        style,
                    )

    def lines(self) -> list[Text]:
        return [self._line(row) for row in range(self._rows)]

    def _line(self, row: int) -> Text:
        line = Text()
        for column, (bits, style) in enumerate(
            zip(self._bits[row], self._styles[row], strict=True)
        ):
            mark = self._marks.get((row, column))
            if mark and not (mark == "┊" and bits):
                line.append(mark, style or "bright_black")
            else:
                line.append(chr(0x2800 + bits) if bits else " ", style)
        return line

    def _dot(self, x: int, y: int, style: str) -> None:
        if 0 <= x < 2 * self._columns and 0 <= y < 4 * self._rows:
            self._bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            self._styles[y // 4][x // 2] = style


def _legend(series: Sequence[Series]) -> RenderableType | None:
    line = Text()
    for each in series:
        if each.label:
            mark = _CROSS if each.tone == "cut" else "━" if each.kind == "line" else "●"
            line.append(f"  {mark} ", _STYLE[each.tone]).append(each.label)
    return line if line.plain else None


def _grid(found: Grid) -> RenderableType:
    """Values with a shade beside them."""
    table = grid(f"{found.y} \\ {found.x}", *found.columns, right=found.columns)
    for name, shades, texts in zip(found.rows, found.shades, found.texts, strict=True):
        cells = [
            "" if shade is None else f"{_SHADES[round(shade * 4)] * 2} {text}"
            for shade, text in zip(shades, texts, strict=True)
        ]
        table.add_row(name, *cells)
    return table


def _bars(bars: Bars) -> RenderableType:
    table = grid("", "", "")
    table.show_header = False
    for name, length, text in zip(bars.names, bars.lengths, bars.texts, strict=True):
        table.add_row(name, Text("█" * round(length * _BAR) or "▏", style="green"), text)
    return table

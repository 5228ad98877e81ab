"""A figure's panels as small SVG, coloured by a style sheet, with notes for the pointer."""

from collections.abc import Callable, Sequence
from html import escape

from nntune.report.figure import Axis, Bars, Chart, Grid, Series

_WIDTH, _HEIGHT = 400.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 40.0
_LETTER = 6.0  # width of a letter at the page's size of 11
_SMALL = 5.0  # and in a cell
_ROW = 26.0  # height of a bar
_RADIUS = 3.0


def drawn(panel: Chart | Grid | Bars, alternative: str) -> str:
    """One panel; the alternative text says what it shows to those who do not see it."""
    match panel:
        case Chart():
            height, body = _HEIGHT, _chart(panel)
        case Grid():
            height, body = _grid(panel)
        case Bars():
            height, body = _ROW * len(panel.names) + 8, _bars(panel)
    said = escape(f"{panel.title}: {alternative}" if panel.title else alternative)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{said}">'
        f"{''.join(body)}</svg>"
    )


def _chart(chart: Chart) -> list[str]:
    left = _LEFT if chart.y.ticks else 16.0
    bottom, top = _HEIGHT - _BOTTOM, _TOP + (14.0 if chart.texts else 0.0)

    def across(x: float) -> float:
        return left + (x - chart.x.low) / (chart.x.high - chart.x.low) * (_WIDTH - _RIGHT - left)

    def up(y: float) -> float:
        return bottom - (y - chart.y.low) / (chart.y.high - chart.y.low) * (bottom - top)

    parts = []
    for place, text in chart.y.ticks:
        parts.append(f'<path class="grid" d="M{left:g} {up(place):.1f}H{_WIDTH - _RIGHT:g}"/>')
        parts.append(_text(left - 5, up(place) + 3.5, text, "tick end"))
    parts += [f'<path class="rule" d="M{across(x):.1f} {top:g}V{bottom:g}"/>' for x in chart.rules]
    parts.append(f'<path class="axis" d="M{left:g} {bottom:g}H{_WIDTH - _RIGHT:g}"/>')
    parts += _under(chart.x, across, bottom)
    if chart.x.label != chart.title:
        middle = (left + _WIDTH - _RIGHT) / 2
        parts.append(_text(middle, _HEIGHT - 4, chart.x.label, "label middle"))
    if chart.y.label:
        turned = f' transform="rotate(-90 11 {(top + bottom) / 2:g})"'
        parts.append(_text(11, (top + bottom) / 2, chart.y.label, "label middle", turned))
    parts += [_series(each, [across(x) for x in each.x], [up(y) for y in each.y])
              for each in chart.series]  # fmt: skip
    for x, y, text in chart.texts:
        parts.append(_text(across(x), up(y) + (12 if y < 0.5 else -5), text, "tick middle halo"))
    return parts


def _under(axis: Axis, across: Callable[[float], float], bottom: float) -> list[str]:
    """Ticks of the x axis; texts that would touch the one before are left out."""
    parts, free = [], 0.0
    for place, text in axis.ticks:
        x, half = across(place), len(text) * _LETTER / 2
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom:g}v4"/>')
        if x - half >= free:
            parts.append(_text(min(x, _WIDTH - half), bottom + 16, text, "tick middle"))
            free = x + half + 4
    return parts


def _series(each: Series, x: Sequence[float], y: Sequence[float]) -> str:
    points = list(zip(x, y, strict=True))
    if each.kind == "line":
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    elif each.tone == "cut":
        path = "".join(f"M{a - 2.5:.1f} {b - 2.5:.1f}l5 5m0-5l-5 5" for a, b in points)
    else:  # a line of no length with round ends is a dot
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points)
    notes = escape("\n".join(each.notes))
    # The places for the pointer: those of crosses are not where their path begins.
    places = " ".join(f"{a:.0f},{b:.0f}" for a, b in points) if notes else ""
    data = f' data-places="{places}" data-notes="{notes}"' if notes else ""
    return f'<path class="{each.kind} {each.tone}" d="{path}"{data}/>'


def _grid(grid: Grid) -> tuple[float, list[str]]:
    """Cells under their columns' names; the axes' names at the left and below."""
    longest = max(map(len, grid.rows), default=1)
    left = min(130.0, 22 + longest * _LETTER)
    width = (_WIDTH - _RIGHT - left) / len(grid.columns)
    height = min(width, 34.0)
    bottom = 6 + height * len(grid.rows)
    turn = max(map(len, grid.columns)) * _LETTER > width - 2
    below = bottom + (14 if not turn else 8 + min(70.0, max(map(len, grid.columns)) * 4.4))
    parts = []
    for row, name in enumerate(grid.rows):
        y = 6 + row * height
        parts.append(_text(left - 5, y + height / 2 + 3.5, _short(name, 18), "tick end"))
        for column, shade in enumerate(grid.shades[row]):
            x = left + column * width
            if shade is None:
                continue
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{width - 1.5:.1f}" '
                f'height="{height - 1.5:.1f}" fill-opacity="{0.06 + 0.86 * shade:.2f}"/>'
            )
            text = grid.texts[row][column]
            if len(text) * _SMALL <= width:
                tone = "small inside" if shade > 0.6 else "small"
                parts.append(
                    _text(x + width / 2 - 0.7, y + height / 2 + 3.5, text, f"{tone} middle")
                )
    for column, name in enumerate(grid.columns):
        x = left + (column + 0.5) * width
        turned = f' transform="rotate(-40 {x:.1f} {bottom + 10:.1f})"' if turn else ""
        side = "end" if turn else "middle"
        parts.append(_text(x, bottom + 12, _short(name, 16), f"tick {side}", turned))
    parts.append(_text((left + _WIDTH) / 2, below + 14, grid.x, "label middle"))
    turned = f' transform="rotate(-90 11 {bottom / 2:g})"'
    parts.append(_text(11, bottom / 2, grid.y, "label middle", turned))
    return below + 20, parts


def _bars(bars: Bars) -> list[str]:
    left = min(150.0, 10 + max(map(len, bars.names), default=1) * _LETTER)
    most = max([*bars.lengths, *(mark or 0 for mark in bars.marks)], default=1) or 1
    scale = (_WIDTH - left - 60) / most
    parts = []
    for row, name in enumerate(bars.names):
        y = 4 + row * _ROW
        length = max(bars.lengths[row] * scale, 1)
        parts.append(_text(left - 6, y + 15, name, "tick end"))
        parts.append(
            f'<rect class="bar" x="{left:g}" y="{y + 3:g}" width="{length:.1f}" height="16"/>'
        )
        mark, beside = bars.marks[row], length
        if mark is not None:
            x = left + mark * scale
            parts.append(f'<path class="chance" d="M{x:.1f} {y:g}v22"/>')
            beside = max(length, mark * scale)
        text = bars.texts[row].split(",")[0]
        parts.append(_text(left + beside + 6, y + 15, text, "tick"))
    return parts


def _text(x: float, y: float, text: str, classes: str, more: str = "") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

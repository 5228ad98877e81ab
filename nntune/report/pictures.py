"""A figure as a file: png or svg by matplotlib, html as a page of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nntune import outputs
from nntune.errors import UsageError
from nntune.report.figure import Axis, Bars, Chart, Figure, Grid, Series, Tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: dict[Tone, str] = {
    "best": "#c2410c", "complete": "#0f766e", "pruned": "#7c93b8", "faint": "#b6bfcc",
    "cut": "#b91c1c", "end": "#0f766e",
}  # fmt: skip
ENDINGS = (".png", ".svg", ".html")


def check_free(path: Path, endings: tuple[str, ...], *, force: bool) -> None:
    """Sees to it that a picture may be written there, before any work is done.

    Raises:
        UsageError: it is another kind of file, it is a folder, or lies in none.
        RefusedError: there is such a file, and `force` was not given.
    """
    outputs.check_ending(path, endings)
    outputs.check_free(path, force=force)


def write(figure: Figure, path: Path, *, force: bool) -> None:
    """Writes a png or svg file; `check_free` comes before.

    Raises:
        UsageError: matplotlib is not installed.
        RefusedError: a file has appeared there meanwhile, and `force` was not given.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise UsageError(
            f"-o {path}: png and svg need matplotlib, pip install 'nntune[plot]' brings it; "
            "html and the terminal need nothing."
        ) from None
    import matplotlib

    count = len(figure.panels)
    columns = min(3, count)
    rows = -(-count // columns)
    canvas = Canvas(figsize=(7.5 if count == 1 else 4.2 * columns, 4.6 if count == 1 else 3 * rows),
                    layout="constrained")  # fmt: skip
    places = canvas.subplots(rows, columns, squeeze=False).ravel()
    canvas.suptitle(figure.title)
    for panel, axes in zip(figure.panels, places, strict=False):
        _draw(panel, axes)
    if any(text for text in places[0].get_legend_handles_labels()[1]):
        places[0].legend(fontsize=7, frameon=False)  # one for all panels: they have one key
    for axes in places[count:]:
        axes.set_axis_off()
    with (
        outputs.replacing(path, force=force) as new,
        # Names of ids and dates are left out, so that the same study gives the same bytes.
        matplotlib.rc_context({"svg.hashsalt": "nntune", "svg.fonttype": "none"}),
    ):
        metadata: Any = {"Date": None} if path.suffix.lower() == ".svg" else None
        canvas.savefig(new, dpi=150, metadata=metadata)


def _draw(panel: Chart | Grid | Bars, axes: "Axes") -> None:
    axes.set_title(_plain(panel.title), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    match panel:
        case Chart():
            _chart(panel, axes)
        case Grid():
            _grid(panel, axes)
        case Bars():
            _bars(panel, axes)


def _chart(chart: Chart, axes: "Axes") -> None:
    for rule in chart.rules:
        axes.axvline(rule, color="#d4d9e0", linewidth=0.8, zorder=0)
    for series in chart.series:
        _series(series, axes)
    for x, y, text in chart.texts:
        axes.text(x, y, _plain(text), fontsize=7, ha="center", va="top" if y < 0.5 else "bottom")
    _axis(axes.xaxis, axes.set_xlim, chart.x)
    _axis(axes.yaxis, axes.set_ylim, chart.y)


def _axis(side: Any, limit: Any, axis: Axis) -> None:
    side.set_ticks([place for place, _ in axis.ticks], [_plain(text) for _, text in axis.ticks])
    side.set_tick_params(labelsize=8)
    side.set_label_text(_plain(axis.label), fontsize=9)
    limit(axis.low, axis.high)


def _series(series: Series, axes: "Axes") -> None:
    colour, label = _COLOURS[series.tone], _plain(series.label) or "_"
    if series.kind == "line":
        wide = {"best": 1.8, "faint": 0.5}.get(series.tone, 0.9)
        axes.plot(series.x, series.y, color=colour, linewidth=wide, label=label)
    else:
        mark = "x" if series.tone == "cut" else "o"
        axes.plot(series.x, series.y, mark, color=colour, markersize=3, label=label)


def _grid(grid: Grid, axes: "Axes") -> None:
    shades = [[-0.2 if s is None else s for s in row] for row in grid.shades]
    axes.imshow(shades, cmap="BuGn", vmin=-0.2, vmax=1.4, aspect="auto")
    for row, texts in enumerate(grid.texts):
        for column, text in enumerate(texts):
            axes.text(column, row, text, fontsize=7, ha="center", va="center")
    columns, rows = map(_plain, grid.columns), map(_plain, grid.rows)
    axes.set_xticks(range(len(grid.columns)), list(columns), rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(grid.rows)), list(rows), fontsize=8)
    axes.set_xlabel(_plain(grid.x), fontsize=9)
    axes.set_ylabel(_plain(grid.y), fontsize=9)


def _bars(bars: Bars, axes: "Axes") -> None:
    places = range(len(bars.names))
    axes.barh(places, bars.lengths, color=_COLOURS["complete"], height=0.6)
    axes.set_yticks(places, [_plain(name) for name in bars.names], fontsize=8)
    axes.invert_yaxis()
    for place, (length, mark, text) in enumerate(
        zip(bars.lengths, bars.marks, bars.texts, strict=True)
    ):
        if mark is not None:
            axes.plot([mark, mark], [place - 0.4, place + 0.4], color=_COLOURS["cut"], linewidth=1)
        axes.text(max(length, mark or 0), place, f"  {text}", fontsize=7, va="center")


def _plain(text: str) -> str:
    """Without what matplotlib would read as a formula."""
    return text.replace("$", r"\$")

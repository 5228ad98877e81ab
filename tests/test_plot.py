"""Pictures: the figures behind them, and the same in a terminal and in files."""

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_studies import SPACE, make, updated

from nntune.cli import main
from nntune.errors import NotFoundError, RefusedError, UsageError
from nntune.families import Grid as Picture
from nntune.report import importances, svg
from nntune.report.figure import Bars, Chart, Grid, of_hyperparameter, of_numbers
from nntune.report.figures import FIGURES, contour, curves, history, parallel, slices
from nntune.space import build
from nntune.study import View, read

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> View:
    return make(tmp_path_factory.mktemp("studies") / "made.db")


@pytest.fixture
def nntune(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def chart(figure: object) -> Chart:
    panel = figure.panels[0]  # type: ignore[attr-defined]
    assert isinstance(panel, Chart)
    return panel


def test_the_history_has_every_trial_with_a_value_and_the_best_so_far(made: View) -> None:
    drawn = chart(history(made))

    points = [note for series in drawn.series for note in series.notes]
    valued = [trial for trial in made.listed() if trial.value is not None]
    assert len(points) == len(valued) == 38
    assert [s.label for s in drawn.series] == ["pruned", "complete", "best so far"]
    line = drawn.series[-1].y
    assert list(line) == sorted(line, reverse=True)


def test_curves_mark_where_and_why_they_end(made: View) -> None:
    drawn = chart(curves(made))

    ends = {series.tone for series in drawn.series if len(series.x) == 1}
    assert ends == {"cut", "end"}
    best = next(series for series in drawn.series if series.tone == "best")
    assert f"#{made.trials(top=1)[0].number}," in best.notes[0]
    assert len(drawn.rules) == 3


def test_a_slice_holds_the_best_of_its_trials(made: View) -> None:
    figure = slices(made, ["activation"])

    for _, choice, count, number, _ in figure.rows:
        inside = [
            t for t in made.listed() if t.value is not None and t.params["activation"] == choice
        ]
        assert (count, number) == (len(inside), inside[0].number)


def test_the_slices_of_a_zero_or_log_range_begin_with_the_zero(made: View) -> None:
    rows = [row for row in slices(made, ["l2"]).rows]

    zeros = [t for t in made.listed() if t.value is not None and t.params["l2_zero"]]
    assert rows[0][1:4] == ("0", len(zeros), zeros[0].number)
    assert sum(row[2] for row in rows) == 38


def test_a_cell_of_the_contour_holds_its_best_trial(made: View) -> None:
    figure = contour(made, ["units", "activation"])

    best = {}
    for trial in made.listed():
        if trial.value is not None:
            best.setdefault((str(trial.params["units"]), trial.params["activation"]), trial.number)
    assert {(a, b): number for a, b, number, _ in figure.rows} == best
    panel = figure.panels[0]
    assert isinstance(panel, Grid)
    assert max(s for row in panel.shades for s in row if s is not None) == 1


@pytest.mark.parametrize("name", ["l2", "lr", "units", "dropout", "hidden_layers"])
def test_a_range_lies_within_its_scale_in_order(name: str) -> None:
    each = SPACE[name]
    scale = of_hyperparameter(each)

    values = list(each.choices) or ([0.0] if each.zero else []) + [each.low, each.high]
    places = [scale.place(value) for value in values]
    assert places == sorted(places)
    assert scale.axis.low < places[0]
    assert places[-1] < scale.axis.high
    assert all(scale.axis.low <= at <= scale.axis.high for at, _ in scale.axis.ticks)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-5.0, 3.0], [1e-8, 1e8], [math.nan, 2.0]])
def test_any_values_have_a_scale(values: list[float]) -> None:
    scale = of_numbers("value", values, may_be_log=True)

    assert scale.axis.low < scale.axis.high
    assert scale.place(math.nan) is None
    assert 1 <= len(scale.axis.ticks) <= 12


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_is_drawn_as_text_svg_and_says_what_it_shows(
    made: View, nntune: Command, kind: str
) -> None:
    figure = FIGURES[kind](made)
    code, out, err = nntune("plot", kind, "--db", made.path)

    assert (code, err) == (0, "")
    assert out.startswith(figure.title)
    assert figure.caption in out
    for panel in figure.panels:
        assert isinstance(panel, Chart | Grid | Bars)
        root = ElementTree.fromstring(svg.drawn(panel, figure.caption))
        assert figure.caption in root.attrib["aria-label"]
    assert all(len(row) == len(figure.headings) for row in figure.rows)


@pytest.mark.parametrize(
    ("kind", "ending"), [("curves", "svg"), ("importance", "png"), ("contour", "png")]
)
def test_a_picture_is_written_and_never_over_another(
    made: View, nntune: Command, tmp_path: Path, kind: str, ending: str
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture.{ending}"

    first = nntune("plot", kind, "--db", made.path, "-o", path)
    written = path.read_bytes()
    again, out, err = nntune("plot", kind, "--db", made.path, "-o", path)

    assert first == (0, "", "")
    assert written.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    assert (again, out) == (RefusedError.exit_code, "")
    assert err == f"nntune: {path} is there already; --force writes over it, -o names another.\n"
    assert path.read_bytes() == written
    assert nntune("plot", kind, "--db", made.path, "-o", path, "--force")[0] == 0
    assert path.read_bytes() == written


def test_without_matplotlib_a_sentence_says_what_brings_it(
    made: View, nntune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    code, _, err = nntune("plot", "history", "--db", made.path, "-o", tmp_path / "a.png")

    assert code == UsageError.exit_code
    assert err.endswith(
        "png and svg need matplotlib, pip install 'nntune[plot]' brings it; "
        "html and the terminal need nothing.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["histori"], "there is no plot 'histori'; there are history, curves, slice, parallel, "
         "importance, contour. Did you mean 'history'?"),
        (["slice", "--param", "unit"], "--param unit: study 'made' tunes hidden_layers, units, "
         "dropout, l2, lr, activation. Did you mean 'units'?"),
        (["history", "--param", "lr"], "--param goes with slice, parallel, contour, not with "
         "history."),
        (["contour", "--param", "lr"], "contour needs two hyperparameters: --param lr --param "
         "units, for example."),
    ],
)  # fmt: skip
def test_a_wrong_plot_is_a_sentence(
    made: View, nntune: Command, words: list[str], said: str
) -> None:
    code, out, err = nntune("plot", *words, "--db", made.path)

    assert (code, out, err) == (UsageError.exit_code, "", f"nntune: {said}\n")


def test_a_hyperparameter_of_one_family_is_drawn_where_it_is(tmp_path: Path) -> None:
    space = build({"model": "mlp,cnn", "epochs": "30"}, grid=Picture(1, (8, 8)))
    view = make(tmp_path / "families.db", trials=40, space=space)

    for name in ("slice", "parallel", "importance"):
        assert FIGURES[name](view).panels
    assert contour(view, ["model", "kernel"]).rows
    counts: dict[str, int] = {}
    for name, _, count, *_ in slices(view).rows:
        counts[name] = counts.get(name, 0) + count
    models = [t.params["model"] for t in view.listed() if t.value is not None]
    assert counts["dropout"] == len(models)
    assert counts["kernel"] == models.count("cnn") < len(models)
    fanova = {entry.name for entry in importances(view, "fanova").entries}
    assert "kernel" not in fanova
    assert {"lr", "model"} <= fanova


def test_what_is_fixed_since_is_drawn_in_the_ranges_it_had(made: View, tmp_path: Path) -> None:
    shutil.copy(made.path, tmp_path / "made.db")
    space = {each.name: each.text for each in SPACE.hyperparameters} | {"units": "32", "l2": "0"}
    view = updated(read(tmp_path / "made.db"), build(space | {"lr": "0.5"}), 8)

    panels = [panel.title for panel in slices(view).panels]
    assert panels == [panel.title for panel in slices(made).panels]
    counts = [(name, where, count) for name, where, count, *_ in slices(view).rows]
    assert ("units", "32", 8) in counts
    assert sum(count for name, _, count in counts if name == "lr") == 38 + 8
    assert parallel(view).headings == parallel(made).headings
    ranked = [entry.name for entry in importances(view).entries]
    assert ranked[0] == "lr"
    assert list(contour(view).headings[:2]) == ranked[:2]
    assert contour(view, ["lr", "units"]).rows


def test_trials_of_other_families_are_not_drawn(tmp_path: Path, nntune: Command) -> None:
    space = build({"model": "cnn,rnn", "epochs": "30"}, grid=Picture(1, (40,)))
    view = make(tmp_path / "families.db", space=space)

    models = [t.params["model"] for t in view.listed() if t.value is not None]
    assert len(chart(parallel(view, ["kernel"])).series) == models.count("cnn") < len(models)
    assert nntune("plot", "parallel", "--param", "kernel", "--db", view.path)[0] == 0


def test_trials_outside_of_a_narrowed_range_are_in_no_slice(made: View, tmp_path: Path) -> None:
    shutil.copy(made.path, tmp_path / "made.db")
    space = {each.name: each.text for each in SPACE.hyperparameters}
    narrowed = build(space | {"l2": "1e-5:1e-3:log", "lr": "3e-3:4e-3:log"})
    view = updated(read(tmp_path / "made.db"), narrowed, 8)

    params = [view.space.params(t.params) for t in view.listed() if t.value is not None]
    inside = {
        name: sum(narrowed[name].contains(each[name]) for each in params) for name in ("l2", "lr")
    }
    figure = slices(view, ["l2", "lr"])
    for panel in figure.panels:
        assert isinstance(panel, Chart)
        assert sum(row[2] for row in figure.rows if row[0] == panel.title) == inside[panel.title]
        across = [x for series in panel.series for x in series.x]
        assert panel.x.low < min(across) <= max(across) < panel.x.high
    drawn = chart(parallel(view, ["l2", "lr"])).series
    assert all(0 <= share <= 1 for series in drawn for share in series.y)
    assert inside["l2"] <= len(drawn) < len(params)
    assert sum(row[0] != "-" for row in contour(view, ["l2", "lr"]).rows) <= inside["lr"]
    outside = updated(view, build(space | {"lr": "0.2:0.3:log"}))
    for name in ("slice", "parallel"):
        assert ElementTree.fromstring(svg.drawn(FIGURES[name](outside, ["lr"]).panels[0], ""))


def test_a_study_without_values_has_no_picture(tmp_path: Path) -> None:
    empty = make(tmp_path / "empty.db", trials=1)

    for figure in FIGURES.values():
        with pytest.raises(NotFoundError):
            figure(empty)

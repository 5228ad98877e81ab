"""The family as a hyperparameter: drawn with its own, the same however it is searched, of use."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from made_studies import make, updated
from torch import nn
from typer.testing import CliRunner

from nntune import study
from nntune.bundle import Predictor, read
from nntune.cli import app
from nntune.data import reading
from nntune.data.fitting import Doubts
from nntune.data.table import Table
from nntune.errors import DataError, RefusedError, UsageError
from nntune.families import Grid
from nntune.search import Budget, Plan, Search
from nntune.session import search
from nntune.space import RULES, Space, build
from nntune.study import Definition, View
from nntune.tpe import BatchTPESampler, Observation, sobol
from nntune.trials import Problem
from nntune.workers import Workers

SERIES = Grid(2, (12,))
SPACE = build(
    {
        "model": "mlp,cnn,rnn", "units": "4,8", "hidden_layers": "1,2", "blocks": "1,2",
        "channels": "2,4", "kernel": "3", "head": "0,4", "rnn_layers": "1", "rnn_units": "3,5",
        "batch_size": "16", "epochs": "4", "dropout": "0:0.4",
    },
    grid=SERIES,
)  # fmt: skip
PLAN = Plan(width=6, rungs=(1, 2, 4))
RUN = CliRunner()


def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 24)).astype(np.float32)
    y = (x[:, :12].mean(1) > x[:, 12:].mean(1)).astype(np.int64)
    return {"x": x[:44], "y": y[:44], "x_valid": x[44:], "y_valid": y[44:]}


def opened(path: Path, space: Space = SPACE) -> study.Writer:
    made = Definition(
        data={}, space={each.name: each.text for each in space.hyperparameters},
        metric="log_loss", direction="minimize", seed=7, sampler="tpe", pruner="halving",
        training={**PLAN._asdict(), "product": "torch"}, versions={}, command="",
    )  # fmt: skip
    return study.open_writer(path, "made", made, update_space=True)


def searched(
    path: Path, workers: Workers, updates: int | None = None, space: Space = SPACE
) -> View:
    """The study after a search, which is abandoned after so many updates."""
    problem = Problem(24, 44, 2, grid=SERIES)
    with workers, opened(path, space) as writer:
        workers.share(arrays())
        running = Search(writer, space, problem, workers).run(Budget(18))
        for place, _ in enumerate(running, 1):
            if place == updates:
                break
    return study.read(path, "made")


def facts(view: View) -> list[tuple[object, ...]]:
    return [
        (t.number, t.state, t.params, t.value, t.epoch, t.rungs, t.reason, view.curve(t.number),
         view.weights(t.number))
        for t in sorted(view.trials())
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("whole") / "whole.db", Workers(0))


def test_every_family_is_tried_with_its_own_hyperparameters_only(whole: View) -> None:
    seen = set()
    for trial in whole.trials():
        params = SPACE.params(trial.params)
        assert set(params) == {each.name for each in SPACE.of(params["model"])}
        seen.add(params["model"])
    assert seen == {"mlp", "cnn", "rnn"}


def test_two_workers_find_what_one_process_finds(whole: View, tmp_path: Path) -> None:
    assert facts(searched(tmp_path / "two.db", Workers(2))) == facts(whole)


@pytest.mark.parametrize("updates", [1, 5])
def test_a_search_of_families_that_is_cut_ends_as_if_it_had_not_been(
    whole: View, tmp_path: Path, updates: int
) -> None:
    cut = searched(tmp_path / "cut.db", Workers(0), updates)
    assert facts(cut) != facts(whole)
    assert facts(searched(tmp_path / "cut.db", Workers(0))) == facts(whole)


def of_one_family(model: str) -> Space:
    """The space narrowed to it, all else unchanged."""
    having = [name for name, rule in RULES.items() if model in rule.families]
    kept = {each.name: each.text for each in SPACE.hyperparameters if each.name in having}
    return build(kept | {"model": model}, grid=SERIES)


def test_trials_stay_what_they_were_when_their_family_is_drawn_no_more(
    whole: View, tmp_path: Path
) -> None:
    path = tmp_path / "narrow.db"
    shutil.copy(whole.path, path)
    opened(path, of_one_family("cnn")).close()

    then = study.read(path)
    assert facts(then) == facts(whole)
    for trial in whole.trials():
        assert then.space.params(trial.params) == whole.space.params(trial.params)


def test_a_killed_search_goes_on_in_one_family_with_the_trials_of_all(
    whole: View, tmp_path: Path
) -> None:
    path = tmp_path / "cut.db"
    begun = searched(path, Workers(0), 1).counts()["running"]
    then = searched(path, Workers(0), space=of_one_family("rnn"))

    assert begun > 0
    for ours, theirs in zip(facts(then)[:begun], facts(whole), strict=False):
        assert ours[:-1] == theirs[:-1]  # of other best trials the weights stay
    models = [then.space.params(t.params)["model"] for t in sorted(then.trials())]
    assert set(models[:begun]) == {"mlp", "cnn", "rnn"}
    assert set(models[begun:]) == {"rnn"}


@pytest.mark.parametrize("model", ["cnn", "rnn"])
def test_families_come_back_with_the_same_trials(whole: View, tmp_path: Path, model: str) -> None:
    path = tmp_path / "back.db"
    shutil.copy(whole.path, path)
    opened(path, of_one_family(model)).close()
    opened(path).close()

    assert facts(study.read(path)) == facts(whole)


def test_what_comes_back_with_its_family_keeps_its_value_or_is_refused(
    whole: View, tmp_path: Path
) -> None:
    path = tmp_path / "back.db"
    shutil.copy(whole.path, path)
    opened(path, of_one_family("cnn")).close()
    other = {each.name: each.text for each in SPACE.hyperparameters}
    with pytest.raises(RefusedError, match="rnn_layers cannot become 2 in study 'made': it was "):
        opened(path, build(other | {"rnn_layers": "2"}, grid=SERIES))

    opened(path, build(other | {"rnn_layers": "1,2"}, grid=SERIES)).close()
    for trial in study.read(path).trials():
        is_rnn = trial.params["model"] == "rnn"
        assert trial.params.get("rnn_layers") == (1 if is_rnn else None)


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose best trial is of a family that is drawn no more."""
    path = tmp_path_factory.mktemp("narrowed") / "made.db"
    view = make(path, space=SPACE)
    best = view.best()
    assert best is not None
    left = {"cnn": "rnn"}.get(str(best.params["model"]), "cnn")
    updated(view, of_one_family(left))
    return path


@pytest.mark.parametrize(
    "line",
    ["best", "best --json", "trials", "show 0", "compare 0 1", "importance",
     "importance --evaluator fanova", "plot slice", "plot parallel", "report -o {folder}/r.html",
     "db check {folder}/made.db", "export {folder}/made.db --format toml -o {folder}/t.toml"],
)  # fmt: skip
def test_a_study_whose_families_became_fewer_answers_every_question(
    narrowed: Path, line: str
) -> None:
    words = line.format(folder=narrowed.parent).split()
    place = [] if words[0] in ("db", "export") else ["--db", narrowed]
    assert run(*words, *place)


def test_what_one_of_two_families_lacks_is_a_dash(narrowed: Path) -> None:
    best = {t.params["model"]: t.number for t in reversed(study.read(narrowed).trials())}
    told = run("compare", best["mlp"], best["cnn"], "--db", narrowed)
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line}
    assert rows["model"] == ["mlp", "cnn"]
    assert rows["units"][1] == rows["channels"][0] == "-"


def test_the_leaderboard_keeps_columns_of_families_that_are_drawn_no_more(narrowed: Path) -> None:
    heading = run("trials", "--db", narrowed).splitlines()[0].split()
    assert {"model", "units", "channels", "rnn_units"} <= set(heading)
    assert not {"kernel", "rnn_layers", "epochs"} & set(heading)  # were always fixed


def test_proposals_hold_what_their_family_has() -> None:
    distributions = SPACE.distributions()
    first = sobol(distributions, 40, 1, SPACE.conditions)
    known = [
        Observation(n, p, float(p["model"] != "cnn") + 0.01 * n, np.inf)
        for n, p in enumerate(first)
    ]
    then = BatchTPESampler().propose(known, distributions, 40, 2, conditions=SPACE.conditions)
    for proposal in (*first, *then):
        full = SPACE.params(proposal)
        assert None not in full.values()
        assert SPACE.optuna_params(full) == proposal
    models = [proposal["model"] for proposal in then]
    assert models.count("cnn") > 20


def test_a_space_holds_the_families_that_fit_the_data() -> None:
    assert build({}).models == ("mlp",)
    assert build({}, grid=Grid(1, (28, 28))).models == ("cnn",)
    assert build({}, grid=Grid(1, (40,))).models == ("cnn", "rnn")
    assert build({}, grid=Grid(3, (5,))).models == ("mlp", "rnn")
    assert "model" not in [each.name for each in build({}).hyperparameters]


def test_few_series_are_learnt_by_means_of_residual_blocks() -> None:
    few, many = (build({}, rows=rows, grid=Grid(1, (251,))) for rows in (36, 3_600))
    names = ("block_type", "gather", "head")
    assert [few.default[name] for name in names] == ["residual", "mean", 0]
    assert [many.default[name] for name in names] == ["plain", "flatten", 64]


def test_a_study_from_before_residual_blocks_goes_on_with_plain_ones(tmp_path: Path) -> None:
    definition = opened(tmp_path / "a.db").definition
    older = {name: text for name, text in definition.space.items() if name != "block_type"}
    assert Definition.from_json(replace(definition, space=older).to_json()) == definition


def test_a_hyperparameter_of_another_family_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        build({"model": "rnn", "blocks": "2"}, grid=SERIES)
    assert str(caught.value) == "--blocks is for cnn, and --model is rnn here."


def test_every_hyperparameter_belongs_to_a_family() -> None:
    assert all(set(rule.families) & {"mlp", "cnn", "rnn"} for rule in RULES.values())


def table(path: Path, rows: int = 60) -> str:
    draw = np.random.default_rng(3)
    x = draw.normal(size=(rows, 16))
    label = np.where(x[:, :8].mean(1) > x[:, 8:].mean(1), "left", "right")
    lines = [
        ",".join([*(f"{v:.4f}" for v in row), word]) for row, word in zip(x, label, strict=True)
    ]
    path.write_text("\n".join([",".join([*(f"s{i}" for i in range(16)), "side"]), *lines]))
    return str(path)


SMALL = {"epochs": 3, "channels": 4, "rnn_units": 4, "units": 4, "batch_size": 16, "blocks": 2}


def small(*families: str) -> dict[str, object]:
    return {
        "model": ",".join(families),
        **{n: v for n, v in SMALL.items() if set(families) & set(RULES[n].families)},
    }


def fitted(predictor: Predictor, source: str) -> Table:
    return predictor.columns.fitted(reading.read(source), Doubts())


def run(*words: object) -> str:
    result = RUN.invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.mark.parametrize(
    ("family", "grid"),
    [("mlp", {"series": True}), ("cnn", {"image": "4x4"}), ("rnn", {"series": True})],
)
def test_a_network_of_each_family_is_made_used_and_judged(tmp_path, family, grid) -> None:
    source, db, bundle = table(tmp_path / "t.csv"), tmp_path / "t.db", tmp_path / "t.nnt"
    view = search(source, "side", trials=2, space=small(family), db=db, **grid)
    best = view.best()
    assert best is not None
    run("refit", "--db", db, "--as-searched", "-o", bundle)
    predicted = run("predict", bundle, source).split()[1:]
    assert len(predicted) == 60
    assert set(predicted) <= {"left", "right"}
    scored = json.loads(run("evaluate", bundle, source, "--json"))
    truth = [line.rsplit(",", 1)[1] for line in Path(source).read_text().split()[1:]]
    hits = np.mean([a == b for a, b in zip(predicted, truth, strict=True)])
    assert scored["metrics"]["accuracy"] == pytest.approx(hits)
    told = run("export", bundle, "--format", "torch", "-o", tmp_path / "t.pt")
    names: dict[str, object] = {"math": math, "nn": nn, "torch": torch}
    exec(told.split("in Python")[1].replace("'t.pt'", f"{str(tmp_path / 't.pt')!r}"), names)
    network, predictor = names["network"], Predictor(read(bundle))
    x = predictor._encoder.transform(fitted(predictor, source))
    with torch.no_grad():
        theirs = network.eval()(torch.from_numpy(x)).softmax(1).numpy()
    np.testing.assert_allclose(predictor.scores(x), theirs, atol=1e-5)


def test_a_network_needs_images_or_series(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        search(table(tmp_path / "t.csv"), "side", space={"model": "cnn"}, db=tmp_path / "t.db")
    assert str(caught.value).startswith("--model cnn: the columns of t are no images or series;")


def forecast(path: Path, rows: int = 90) -> str:
    wave = np.sin(np.arange(rows) / 3) + 5
    lines = [f"{t},{wave[t]:.5f},{'ab'[t % 2]}" for t in range(rows)]
    path.write_text("\n".join(["t,y,day", *lines]) + "\n")
    return str(path)


def test_a_forecast_looks_at_the_rows_before_it_and_beyond_the_last_one(tmp_path: Path) -> None:
    source, db, bundle = forecast(tmp_path / "f.csv"), tmp_path / "f.db", tmp_path / "f.nnt"
    space = {"model": "rnn", "epochs": 30, "rnn_units": 8, "lr": 0.02, "batch_size": 16}
    search(source, "y", trials=1, space=space, db=db, time_col="t", lags=6)
    run("refit", "--db", db, "-o", bundle)
    head = Path(source).read_text()
    Path(tmp_path / "next.csv").write_text(head + "90,,a\n")
    values = [float(v) for v in run("predict", bundle, tmp_path / "next.csv").split()[1:]]
    assert len(values) == 91
    assert abs(values[90] - (np.sin(30) + 5)) < 0.4
    rows = json.loads(run("evaluate", bundle, source, "--json"))
    assert (rows["rows"], rows["dropped"]) == (84, 6)
    assert run("evaluate", bundle, source).startswith(
        "rows  84, 6 without their whole past left out"
    )
    told = run("evaluate", bundle, tmp_path / "next.csv").splitlines()[0]
    assert told == "rows  84, 1 without a target left out, 6 without their whole past left out"
    with pytest.warns(UserWarning, match="6 rows lack some of the last 6 values of y: the network"):
        Predictor(read(bundle)).predict(tmp_path / "next.csv")
    with pytest.raises(DataError, match="looks back needs the columns of its table by their names"):
        Predictor(read(bundle)).predict(np.zeros((9, 3)))
    invoked = RUN.invoke(app, ["predict", str(bundle), source])
    assert invoked.stderr.startswith("note: 6 rows lack some of the last 6 values of y")
    gap = head.splitlines()
    gap[41] = "40,,a"
    Path(tmp_path / "gap.csv").write_text("\n".join(gap[:1] + gap[:0:-1]) + "\n")
    told = run("evaluate", bundle, tmp_path / "gap.csv").splitlines()[0]
    assert told == "rows  83, 1 without a target left out, 6 without their whole past left out"
    last = head.splitlines()
    last[-1] = "89,1000,a"  # what is to be forecast is no feature of it
    Path(tmp_path / "other.csv").write_text("\n".join(last) + "\n")
    other = [float(v) for v in run("predict", bundle, tmp_path / "other.csv").split()[1:]]
    assert other[:89] == pytest.approx(values[:89])


def test_the_past_is_read_as_numbers_were_written_in_training(tmp_path: Path) -> None:
    source, db, bundle = tmp_path / "f.csv", tmp_path / "f.db", tmp_path / "f.nnt"
    source.write_text("y;z\n" + "".join(f"{t % 9},{t:03};{t % 7},5\n" for t in range(1, 90)))
    space = {"model": "mlp", "epochs": 1, "units": 4, "hidden_layers": 1}
    search(source, "y", trials=1, space=space, db=db, lags=2)
    run("refit", "--db", db, "-o", bundle)
    few = "".join(f"{t},234;{t},500\n" for t in range(1, 6))
    (tmp_path / "comma.csv").write_text("y;z\n" + few)
    (tmp_path / "point.csv").write_text("y;z\n" + few.replace(",", "."))
    predictor = Predictor(read(bundle))
    (comma,), (point,) = (
        predictor.tables(tmp_path / name, Doubts()) for name in ("comma.csv", "point.csv")
    )
    assert repr(comma.columns) == repr(point.columns)


def test_a_forecast_of_a_table_without_header_finds_its_columns(tmp_path: Path) -> None:
    source, db, bundle = tmp_path / "f.csv", tmp_path / "f.db", tmp_path / "f.nnt"
    source.write_text("".join(f"{t % 28 + 1}.{t // 28 + 1}.2020;{t % 9},5\n" for t in range(90)))
    space = {"model": "mlp", "epochs": 1, "units": 4, "hidden_layers": 1}
    options = {"task": "regression", "time_col": "0", "lags": 3}
    search(source, "column1", trials=1, space=space, db=db, **options)
    run("refit", "--db", db, "-o", bundle)
    assert json.loads(run("evaluate", bundle, source, "--json"))["rows"] == 87


def test_lags_of_a_damaged_bundle_are_refused(tmp_path: Path) -> None:
    source, db, bundle = forecast(tmp_path / "f.csv"), tmp_path / "f.db", tmp_path / "f.nnt"
    space = {"model": "mlp", "epochs": 1, "units": 4, "hidden_layers": 1}
    search(source, "y", trials=1, space=space, db=db, lags=2)
    run("refit", "--db", db, "-o", bundle)
    whole = read(bundle)
    with pytest.raises(DataError, match="its lags are no number of rows"):
        Predictor(replace(whole, data={**whole.data, "lags": -1}))


def test_a_folder_of_pictures_is_searched_and_predicted(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for place in range(24):
        folder = tmp_path / "light" / ("dark", "bright")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.new("L", (6, 6), 60 + 100 * (place % 2)).save(folder / f"{place}.png")
    source, db, made = str(tmp_path / "light"), tmp_path / "l.db", tmp_path / "l.nnt"
    space = {"epochs": 10, "channels": 2, "blocks": 1, "lr": 0.02, "batch_size": 8}
    search(source, trials=1, space=space, db=db)
    run("refit", "--db", db, "--as-searched", "-o", made)
    image.new("RGB", (9, 9), (200, 200, 200)).save(tmp_path / "new.png")
    (tmp_path / "new").mkdir()
    (tmp_path / "new.png").rename(tmp_path / "new" / "new.png")
    image.new("L", (6, 6), 60).save(tmp_path / "new" / "=dark, once.png")
    (tmp_path / "new" / "old.gif").write_bytes(b"none")
    written = run("predict", made, tmp_path / "new")
    assert written.split("\n")[:-1] == [
        "file,prediction", "\"'=dark, once.png\",dark", "new.png,bright",
    ]  # fmt: skip
    run("predict", made, tmp_path / "new", "--proba", "-o", tmp_path / "p.parquet")
    table = duckdb.sql(f"from '{tmp_path / 'p.parquet'}'")
    assert table.columns == ["file", "prediction", "probability_bright", "probability_dark"]
    assert [row[0] for row in table.fetchall()] == ["=dark, once.png", "new.png"]
    with pytest.raises(DataError, match=r"new.png is one file; pictures are read from a folder"):
        Predictor(read(made)).predict(tmp_path / "new" / "new.png")
    with pytest.warns(UserWarning, match="left out|brought to") as caught:
        assert list(Predictor(read(made)).predict(tmp_path / "new")) == ["dark", "bright"]
    assert [str(each.message) for each in caught] == [
        "1 file of new left out, such as 'old.gif': only png and jpg are read",
        "1 picture is brought to 6 x 6 pixels, such as 'new.png' of 9 x 9",
    ]

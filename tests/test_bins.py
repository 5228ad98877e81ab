"""Bins of numbers: what they hold, which trials have them, and that the rest of nntune knows."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bundle import HITTERS, PENGUINS, TABLES, made
from test_export import answers, columns

import nntune
from nntune import bundle
from nntune.bundle import Bundle, Predictor
from nntune.bundle.refit import Wanted, refit
from nntune.data import Request, load
from nntune.data.bins import edges_of, fill, usual
from nntune.data.encoding import Encoder
from nntune.data.learning import load as load_rows
from nntune.errors import DataError, RefusedError, UsageError
from nntune.estimators import NNTuneRegressor
from nntune.export.graph import onnx_model
from nntune.proposals import borrowed
from nntune.report.winner import repeat_command
from nntune.space import build, parse
from nntune.stacks import shape_of
from nntune.study import View
from nntune.trials import Problem, Shape
from nntune.verdict.baselines import baselines

SPACE = {"epochs": 3, "hidden_layers": 1, "units": 16, "batch_size": 32}


def searched(folder: Path, source: str = PENGUINS.source, **options: Any) -> View:
    """A short search; half of its trials have bins."""
    given = {"target": "species", "trials": 6, "quiet": True, "db": folder / "s.db", **options}
    return nntune.search(source, space={**SPACE, **given.pop("space", {})}, **given)


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("bins"))


def test_a_number_is_before_inside_or_after_each_bin() -> None:
    out = np.zeros((5, 3), np.float32)
    fill(np.array([-9.0, 0.0, 1.5, 3.0, 99.0]), (0.0, 1.0, 2.0, 6.0), out)
    assert out.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0.5, 0], [1, 1, 0.25], [1, 1, 1]]


def test_bins_hold_as_many_values_each_as_ties_allow() -> None:
    values = np.random.default_rng(0).exponential(size=4000)
    counts, _ = np.histogram(values, edges_of(values, 8))
    assert np.abs(counts - 500).max() <= 1
    assert edges_of(np.repeat([1.0, 2.0, 7.0], 100), 16) == (1.0, 2.0, 7.0)
    assert edges_of(np.repeat([1.0, 2.0], 100), 16) == ()
    assert edges_of(np.array([]), 16) == ()
    assert edges_of(values, 0) == ()


def test_wide_and_long_tables_have_none_unless_asked() -> None:
    assert (usual(32, 1000), usual(33, 1000)) == (16, 0)
    assert (usual(32, 130_000), usual(32, 132_000)) == (16, 0)
    digits = str(TABLES / "digits_500.csv")
    assert load(Request(digits, "digit")).bins == 0
    assert load(Request(digits, "digit", bins=2)).bins > 0


def test_bins_come_last_and_leave_the_other_features_as_they_were() -> None:
    with_bins, without = load(PENGUINS), load(replace(PENGUINS, bins=0))
    plain = len(without.features)
    assert with_bins.features[:plain] == without.features
    assert len(with_bins.features) == plain + with_bins.bins == plain + 4 * 16 + 2
    assert (with_bins.train.x[:, :plain] == without.train.x).all()
    assert (with_bins.valid.x[:, plain:] >= 0).all()
    assert (with_bins.valid.x[:, plain:] <= 1).all()
    encoder = with_bins.encoder
    assert Encoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder
    assert encoder.plain == without.encoder


def test_a_missing_number_is_in_the_bins_of_the_median(tmp_path: Path) -> None:
    rows = "\n".join(f"{'' if i % 10 == 0 else i},{'ab'[i % 2]}" for i in range(200))
    (tmp_path / "a.csv").write_text("x,y\n" + rows)
    data = load(Request(str(tmp_path / "a.csv"), "y"))
    gaps = data.train.x[:, 1] == 1
    assert gaps.any()
    (places,) = np.unique(data.train.x[gaps, 2:], axis=0)
    assert 7 <= places.sum() <= 9


def test_folds_have_the_bins_that_any_of_them_has(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = np.where(np.arange(100) < 90, 0.0, draws.normal(size=100))  # its quantiles are mostly tied
    rows = "\n".join(f"{x[i]},{'pqr'[i % 3]},{i / 7},{'ab'[i % 2]}" for i in range(100))
    (tmp_path / "a.csv").write_text("x,word,z,y\n" + rows)
    request = Request(str(tmp_path / "a.csv"), "y", cv=5)
    data, without = load(request), load(replace(request, bins=0))

    plain = len(without.features)
    assert data.features[:plain] == without.features
    used = [(fold.train.x[:, plain:] != 0).any(0).sum() for fold in data.folds]
    assert min(used) < data.bins == len(data.features) - plain
    for fold, other in zip(data.folds, without.folds, strict=True):
        assert (fold.train.x[:, :plain] == other.train.x).all()
        assert fold.valid.x.shape[1] == len(data.features)


def test_a_trial_without_bins_reads_the_other_features_alone() -> None:
    params = {"hidden_layers": 1, "units": 8, "shape": "flat", "activation": "relu"}
    problem = Problem(81, 220, 3, bins=66)
    assert shape_of({**params, "bins": 16}, problem) == Shape(81, (8,), 3)
    assert shape_of({**params, "bins": 0}, problem) == Shape(15, (8,), 3)
    assert shape_of(params, problem) == Shape(15, (8,), 3)  # of a study without bins


def test_a_trial_without_bins_is_that_of_a_search_without_any(
    penguins: View, tmp_path: Path
) -> None:
    (some, *_) = [t for t in penguins.trials() if t.params["bins"] == 0]
    params = {k: v for k, v in penguins.space.params(some.params).items() if k != "bins"}
    alone = searched(tmp_path, trials=1 + some.number, space={**params, "bins": 0})
    assert "bins" not in alone.definition.space
    assert len(penguins.curve(some.number)) > 0
    assert alone.curve(some.number)[:1] == penguins.curve(some.number)[:1]


def test_both_kinds_of_trials_are_searched_and_become_models(
    penguins: View, tmp_path: Path
) -> None:
    assert {trial.params["bins"] for trial in penguins.trials()} == {0, 16}
    for count in (0, 16):
        (trial, *_) = [t for t in penguins.trials() if t.params["bins"] == count]
        found = refit(penguins, Wanted(trial=trial.number)).bundle
        encoder = Encoder.from_dict(found.encoder)
        assert encoder.bins == (66 if count else 0)
        assert found.shape.inputs == encoder.width
        bundle.write(tmp_path / f"{count}.nnt", found)
        again = bundle.read(tmp_path / f"{count}.nnt")
        expected = Predictor(found).predict_proba(PENGUINS.source)
        assert (Predictor(again).predict_proba(PENGUINS.source) == expected).all()


def mixed() -> Bundle:
    """Two networks, the second without bins."""
    both = made(PENGUINS, 2)
    encoder = load_rows(PENGUINS).encoder
    plain = Shape(encoder.width - encoder.bins, (8,), 3)
    own = np.random.default_rng(0).normal(size=plain.parameters).astype(np.float32)
    return replace(both, shapes=(both.shapes[0], plain), parameters=(both.parameters[0], own))


def test_an_average_may_be_of_networks_with_and_without_bins(tmp_path: Path) -> None:
    both = mixed()
    bundle.write(tmp_path / "a.nnt", both)
    found = Predictor(bundle.read(tmp_path / "a.nnt")).predict_proba(PENGUINS.source)

    with_bins = replace(both, shapes=both.shapes[:1], parameters=both.parameters[:1], trials=(0,))
    without = replace(
        both, shapes=both.shapes[1:], parameters=both.parameters[1:], trials=(1,),
        encoder=Encoder.from_dict(both.encoder).plain.to_dict(),
    )  # fmt: skip
    each = [Predictor(one).predict_proba(PENGUINS.source) for one in (with_bins, without)]
    assert found == pytest.approx((each[0] + each[1]) / 2, abs=1e-6)


def test_an_exported_average_is_of_networks_with_and_without_bins() -> None:
    both = mixed()
    outputs = answers(onnx_model(both), columns(both, PENGUINS.source))
    expected = Predictor(both).predict_proba(PENGUINS.source)
    assert outputs[1] == pytest.approx(expected, abs=1e-5)


def swapped(edges: list[Any]) -> list[Any]:
    return [edges[1], edges[0], *edges[2:]]


def doubled(edges: list[Any]) -> list[Any]:
    return [edges[0], edges[0], *edges[2:]]


def endless(edges: list[Any]) -> list[Any]:
    return [*edges[:-1], 1e301]


def worded(edges: list[Any]) -> list[Any]:
    return ["a", *edges[1:]]


@pytest.mark.parametrize("change", [swapped, doubled, endless, worded, list.copy])
def test_a_bundle_with_other_edges_is_damaged(tmp_path: Path, change: Any) -> None:
    whole = made(HITTERS)
    features = json.loads(json.dumps(whole.encoder["features"]))
    (number, *_) = [f for f in features if f["edges"]]
    number["edges"] = change(number["edges"])
    changed = replace(whole, encoder={"features": features})
    if change is list.copy:
        bundle.write(tmp_path / "a.nnt", changed)
        return
    with pytest.raises(DataError, match="damaged"):
        bundle.write(tmp_path / "a.nnt", changed)


def test_plain_models_do_without_bins() -> None:
    request = replace(HITTERS, bins=0)
    found = [baselines(load_rows(each), "rmse", 0) for each in (HITTERS, request)]
    assert [each.value for each in found[0]] == [each.value for each in found[1]]


def test_a_study_from_before_there_were_bins_goes_on_without_them(tmp_path: Path) -> None:
    old = searched(tmp_path, space={"bins": 0}, trials=2)
    with closing(sqlite3.connect(old.path)) as connection, connection:
        ((text,),) = connection.execute("SELECT definition FROM nntune_study")
        definition = json.loads(text)
        assert definition["data"]["request"].pop("bins") == 0
        connection.execute("UPDATE nntune_study SET definition = ?", (json.dumps(definition),))
    again = searched(tmp_path, trials=4)
    assert [trial.state for trial in again.trials()].count("running") == 0
    assert len(list(again.trials())) == 4
    assert refit(again, Wanted()).bundle.shape.inputs == 15


def test_a_study_keeps_its_number_of_bins(penguins: View, tmp_path: Path) -> None:
    view = searched(tmp_path, trials=2, space={"bins": "0,8"})
    assert view.definition.data["request"]["bins"] == 8
    assert len(list(searched(tmp_path, trials=3, space={"bins": "0,8"}).trials())) == 3
    with pytest.raises(RefusedError, match="bins"):
        searched(tmp_path, trials=4, space={"bins": "0,16"})
    with pytest.raises(RefusedError, match="features"):
        searched(tmp_path, trials=4, space={"bins": 0})


@pytest.mark.parametrize("text", ["0,8,16", "2:16"])
def test_several_numbers_of_bins_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as raised:
        searched(tmp_path, space={"bins": text})
    assert str(raised.value) == (
        f"--bins {text}: bins are made once for all trials, so it is 0, a number, or 0 and a "
        "number, such as 0,16."
    )


def test_bins_that_a_table_cannot_have_are_refused_or_left_out(tmp_path: Path) -> None:
    text = {"source": str(TABLES / "vader_amazon_500.csv"), "target": "valence", "trials": 1}
    with pytest.raises(UsageError) as raised:
        searched(tmp_path, **text, space={"bins": 8})
    assert str(raised.value) == (
        "--bins 8: bins are for numbers of three values or more in tables without text, images "
        "and series; leave it out."
    )
    assert "bins" not in searched(tmp_path, **text, space={"bins": "0,8"}).definition.space


def test_a_table_of_words_alone_is_searched_resumed_and_refitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(f"{'pqr'[i % 3]},{'uvw'[i // 7 % 3]},{'ab'[i % 2]}" for i in range(120))
    (tmp_path / "words.csv").write_text("one,two,y\n" + rows)
    source = str(tmp_path / "words.csv")
    view = searched(tmp_path, source, target="y", trials=2)
    assert view.definition.data["request"]["bins"] == 0
    assert len(list(searched(tmp_path, source, target="y", trials=3).trials())) == 3
    assert refit(view, Wanted()).bundle.classes == ("a", "b")
    said = []
    for bins in ({}, {"bins": 0}, {"bins": "0,8"}):
        searched(tmp_path, source, target="y", trials=3, space=bins, quiet=False)
        said += [line for line in capsys.readouterr().err.splitlines() if "bins" in line]
    assert said == [
        "--bins 0,8: bins are for numbers of three values or more in tables without text, images "
        "and series, and words has none"
    ]


@pytest.mark.parametrize("count", [0, 16])
def test_a_configuration_is_told_with_its_bins(penguins: View, tmp_path: Path, count: int) -> None:
    view = penguins if count else searched(tmp_path, trials=2, space={"bins": 0})
    (trial, *_) = [t for t in view.trials() if t.params.get("bins", 0) == count]
    words = repeat_command(view, trial).split()
    assert words[words.index("--bins") + 1] == str(count)


def test_a_printed_space_has_bins_and_keeps_a_zero() -> None:
    assert "bins" in build({}, bins=16).default
    assert build({"bins": "0"}, bins=16).default["bins"] == 0
    assert "bins" not in build({"bins": "0,16"}).default
    assert parse("bins", "0,32").nearest(16) == 32
    assert parse("bins", "0,32").nearest(0) == 0


def test_a_warm_start_from_a_study_without_bins_has_none(tmp_path: Path, penguins: View) -> None:
    other = searched(tmp_path, trials=2, space={"bins": 0})
    assert [each["bins"] for each in borrowed(other, penguins.space)] == [0, 0]


@pytest.mark.parametrize("count", [0, 8])
def test_an_estimator_reads_bins_if_its_best_network_does(count: int) -> None:
    x = np.random.default_rng(0).uniform(size=(300, 2))
    x[:, 1] = np.round(x[:, 1])
    y = np.floor(5 * x[:, 0]) % 2 + x[:, 1]
    space = {**SPACE, "epochs": 40, "bins": count}
    model = NNTuneRegressor(trials=3, space=space, random_state=0, validation_fraction=0.5)
    model.fit(x, y)
    assert model.best_params_["bins"] == model.trials_[-1]["params"]["bins"] == count
    assert len(model.coefs_[0]) == 2 + count  # the second column has two values, so no bins
    error = float(np.sqrt(np.mean((model.predict(x) - y) ** 2)))
    assert error == pytest.approx(model.best_score_, rel=0.3)  # half of these rows chose it


def test_an_estimator_names_a_wrong_number_of_bins() -> None:
    with pytest.raises(ValueError, match="bins 4,8: bins are made once"):
        NNTuneRegressor(trials=2, space={"bins": "4,8"}).fit(np.eye(9), np.arange(9.0))

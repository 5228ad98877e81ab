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
from nntune.export.graph import onnx_model
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


def test_wide_and_long_tables_have_none_unless_asked(tmp_path: Path) -> None:
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
    rows = "\n".join(f"{min(i, 3) if i < 90 else i},{'ab'[i % 2]}" for i in range(100))
    (tmp_path / "a.csv").write_text("x,y\n" + rows)
    data = load(Request(str(tmp_path / "a.csv"), "y", cv=5))
    assert {fold.train.x.shape[1] for fold in data.folds} == {len(data.features)}
    assert data.bins == len(data.features) - 1


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
    assert alone.curve(some.number) == penguins.curve(some.number)[: len(alone.curve(some.number))]


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


@pytest.mark.parametrize(
    "edges", [[0.0], [1.0, 0.0, 2.0], [0.0, 0.0, 1.0], ["a", 1.0], [0.0, 1e301], 7]
)
def test_a_bundle_with_other_edges_is_damaged(tmp_path: Path, edges: Any) -> None:
    whole = made(HITTERS)
    features = json.loads(json.dumps(whole.encoder["features"]))
    (number, *_) = [f for f in features if f["edges"]]
    number["edges"] = edges
    with pytest.raises(DataError, match="damaged"):
        bundle.write(tmp_path / "a.nnt", replace(whole, encoder={"features": features}))


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


@pytest.mark.parametrize("text", ["0,8,16", "2:16"])
def test_several_numbers_of_bins_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as raised:
        searched(tmp_path, space={"bins": text})
    assert str(raised.value) == (
        f"--bins {text}: bins are made once for all trials, so it is 0, a number, or 0 and a "
        "number, such as 0,16."
    )


def test_bins_for_a_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        searched(
            tmp_path, str(TABLES / "vader_amazon_500.csv"), target="valence", space={"bins": 8}
        )
    assert str(raised.value) == (
        "--bins 8: bins are for the numbers of tables without text, images and series; leave it "
        "out."
    )

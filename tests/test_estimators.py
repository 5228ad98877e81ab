"""The estimators: scikit-learn's own checks, and what those do not ask."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import nntune
from nntune import NNTuneClassifier, NNTuneRegressor
from nntune.errors import UsageError

SMALL: dict[str, object] = {
    "epochs": 30, "lr": 0.02, "batch_size": 16, "units": 32, "hidden_layers": 1, "dropout": 0,
    "l2": 0,
}  # fmt: skip
CLASSIFIER = NNTuneClassifier(trials=2, space=SMALL, random_state=0)
REGRESSOR = NNTuneRegressor(trials=2, space=SMALL, random_state=0)


@parametrize_with_checks([CLASSIFIER, REGRESSOR])
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def test_scikit_learns_check_that_needs_a_setting_of_its_own_passes_too() -> None:
    code = (
        "from sklearn.utils.estimator_checks import check_array_api_input\n"
        "from test_estimators import CLASSIFIER, REGRESSOR\n"
        "for model in (CLASSIFIER, REGRESSOR):\n"
        "    check_array_api_input('', model, 'numpy', expect_only_array_outputs=False)"
    )
    settings = {**os.environ, "SCIPY_ARRAY_API": "1"}

    subprocess.run(
        [sys.executable, "-c", code], check=True, env=settings, cwd=Path(__file__).parent
    )


def test_the_best_trial_is_what_predicts() -> None:
    x, y = load_iris(return_X_y=True)

    model = NNTuneClassifier(trials=4, space={**SMALL, "lr": "1e-5,2e-2"}, random_state=1)
    model.fit(x, y)

    assert (model.metric_, model.best_params_["lr"]) == ("log_loss", 0.02)
    assert model.best_score_ == min(trial["value"] for trial in model.trials_)
    assert [w.shape for w in model.coefs_] == [(4, 32), (32, 3)]
    assert model.score(x, y) > 0.9


def test_probabilities_are_those_of_the_classes_in_order() -> None:
    x, y = load_iris(return_X_y=True)
    names = np.array(["c", "b", "a"])[y]

    model = CLASSIFIER.fit(x, names)
    found = model.predict_proba(x)

    assert list(model.classes_) == ["a", "b", "c"]
    assert found.sum(1) == pytest.approx(1)
    assert (model.classes_[found.argmax(1)] == model.predict(x)).all()


def test_the_same_random_state_gives_the_same_network_and_another_another() -> None:
    x, y = load_diabetes(return_X_y=True)

    first, again, other = (
        NNTuneRegressor(trials=2, space={**SMALL, "epochs": 2}, random_state=state).fit(x, y)
        for state in (0, 0, 1)
    )

    assert (first.predict(x) == again.predict(x)).all()
    assert first.trials_ == again.trials_
    assert (first.predict(x) != other.predict(x)).any()


def test_a_regressor_predicts_and_scores_in_the_targets_unit() -> None:
    x, y = load_diabetes(return_X_y=True)

    model = REGRESSOR.fit(x, 1000 * y)

    assert model.metric_ == "rmse"
    assert 40_000 < model.best_score_ < 90_000
    assert model.predict(x).mean() == pytest.approx(1000 * y.mean(), rel=0.1)
    expected = 1e-11 * model.predict(x)
    np.testing.assert_allclose(REGRESSOR.fit(x, 1e-8 * y).predict(x), expected, rtol=1e-2)


def test_features_of_a_tiny_unit_are_learnt_from() -> None:
    x, y = load_diabetes(return_X_y=True)
    expected = REGRESSOR.fit(x, y).predict(x)
    np.testing.assert_allclose(REGRESSOR.fit(1e-8 * x, y).predict(1e-8 * x), expected, rtol=1e-2)


def test_one_row_of_a_class_is_trained_on() -> None:
    x = np.vstack([np.zeros((20, 2)), [[9.0, 9.0]]])

    model = NNTuneClassifier(trials=1, space=SMALL, random_state=0).fit(x, [0] * 20 + [1])

    assert list(model.predict([[0, 0], [9, 9]])) == [0, 1]


def test_two_rows_are_enough() -> None:
    model = NNTuneClassifier(trials=1, space=SMALL, random_state=0).fit([[0.0], [1.0]], [5, 7])

    assert list(model.predict([[0.0], [1.0]])) == [5, 7]


def test_an_estimator_goes_into_a_pipeline_and_is_cross_validated() -> None:
    x, y = load_iris(return_X_y=True)
    scale = QuantileTransformer(n_quantiles=50, output_distribution="normal")

    scores = cross_val_score(make_pipeline(scale, CLASSIFIER), x, y, cv=3)

    assert scores.min() > 0.85


def test_a_fitted_estimator_survives_its_users_pickle() -> None:
    x, y = load_iris(return_X_y=True)
    model = NNTuneClassifier(trials=1, space={**SMALL, "epochs": 2}, random_state=0).fit(x, y)

    assert (pickle.loads(pickle.dumps(model)).predict_proba(x) == model.predict_proba(x)).all()


def test_workers_train_the_same_network() -> None:
    x, y = load_iris(return_X_y=True)
    space = {**SMALL, "epochs": 2, "units": "8,32"}

    alone = NNTuneClassifier(trials=3, space=space, random_state=0).fit(x, y)
    shared = NNTuneClassifier(trials=3, space=space, random_state=0, workers=1).fit(x, y)

    assert alone.trials_ == shared.trials_


def test_a_time_limit_still_gives_a_network() -> None:
    x, y = load_iris(return_X_y=True)

    model = NNTuneClassifier(trials=None, time=0.01, space=SMALL, random_state=0).fit(x, y)

    assert model.best_score_ == model.trials_[0]["value"]
    assert np.isfinite(model.predict_proba(x)).all()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"trials": 0}, "trials=0; a whole number, at least 1, is needed."),
        ({"trials": "4"}, "trials='4'; a whole number, at least 1, is needed."),
        ({"trials": 1.5}, "trials=1.5; a whole number, at least 1, is needed."),
        ({"workers": "2"}, "workers='2'; a whole number, at least 0, is needed."),
        ({"time": "1s"}, "time='1s'; seconds above 0 are needed."),
        ({"trials": None}, "trials and time are None; give one of them, or both."),
        ({"time": -1.0}, "time=-1.0; seconds above 0 are needed."),
        ({"validation_fraction": 1.5}, "validation_fraction=1.5; between 0 and 1 is needed."),
        (
            {"metric": "rmse"},
            "metric rmse does not fit a binary target; there are log_loss, accuracy, "
            "balanced_accuracy, auc, f1.",
        ),
        ({"space": 7}, "space is of type int; give hyperparameters and their ranges, such as"),
        ({"space": {"lr": [0.1, 0.1]}}, "space: lr 0.1,0.1: 0.1 stands there twice"),
        ({"space": {"lr": "1e-1:1e-3"}}, "space: lr 1e-1:1e-3: the bounds are reversed"),
        ({"space": {"learning_rate": 1}}, "no hyperparameter named 'learning_rate'"),
        (
            {"space": {"model": "cnn"}},
            "space: model cnn: an estimator is a perceptron, mlp; leave model out. "
            "nntune.search has the others.",
        ),
        ({"device": "tpu"}, "device='tpu'; there are cpu, cuda, mps, auto."),
    ],
)
def test_a_mistake_in_a_parameter_is_one_sentence(
    parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        NNTuneClassifier(**parameters).fit([[0.0], [1.0]] * 4, [0, 1] * 4)


def test_importing_nntune_loads_no_estimator() -> None:
    code = (
        "import sys, nntune\n"
        "assert {'NNTuneClassifier', 'NNTuneRegressor'} <= set(dir(nntune))\n"
        "assert not {'sklearn', 'torch', 'optuna', 'numpy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_package_offers_is_there() -> None:
    assert [name for name in nntune.__all__ if not hasattr(nntune, name)] == []


def test_a_search_from_python_makes_the_study_of_the_command_line(tmp_path: Path) -> None:
    space = {"epochs": 2, "units": 8, "lr": "1e-3:1e-2:log"}
    where = {"db": tmp_path / "iris.db", "space": space, "seed": 3}

    view = nntune.search("sklearn:iris", trials=2, **where)
    again = nntune.search("sklearn:iris", trials=3, **where)

    assert view.definition.command == "nntune search sklearn:iris --seed 3"
    assert (len(view.trials()), len(again.trials())) == (3, 3)
    assert again.best() == again.trials(top=1)[0]
    alone = "import nntune.search, nntune; assert callable(nntune.search)"
    subprocess.run([sys.executable, "-c", alone], check=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trials": -1}, "--trials -1: a whole number is needed, at least 1."),
        ({"trials": 0}, "--trials 0: a whole number is needed, at least 1."),
        ({"trials": 1.5}, "--trials 1.5: a whole number is needed, at least 1."),
        ({"keep": "3"}, "--keep 3: a whole number is needed, at least 0."),
        ({"seed": -1}, "--seed -1: a whole number is needed, at least 0."),
        ({"time": "1x"}, "--time 1x: say how long, such as 90s, 10m or 1.5h."),
        ({"time": -1}, "--time -1: a duration is above 0, such as 90s, 10m or 1.5h."),
        ({"until": "good"}, "--until good: a number is needed, such as 0.1."),
        ({"max_memory": "4"}, "--max-memory 4: say how much, such as 800MB or 4GB."),
        ({"space": "x.toml"}, "there is no space file x.toml; `nntune space > x.toml` writes one"),
        ({"space": {"lr": {"lo": 1}}}, "space: lr has no key 'lo'; there are low, high, log, step"),
        ({"space": {"lr": np.ones(2)}}, "space: lr is of type ndarray; write a range in quotes"),
        ({"space": {3: 4}}, "space: no hyperparameter named '3'; there are "),
    ],
)
def test_a_mistake_in_a_search_from_python_is_one_sentence(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}"):
        nntune.search("sklearn:iris", **options)


def test_a_space_in_python_is_read_as_in_a_file(tmp_path: Path) -> None:
    given = {
        "units": [8, 16], "hidden_layers": (1, np.int64(2)), "lr": {"low": 1e-3, "high": 0.1},
        "l2": {"low": 1e-5, "high": 1e-2, "log": True, "zero": True}, "epochs": np.float64(2),
    }  # fmt: skip
    (tmp_path / "a.toml").write_text(
        "units = [8, 16]\nhidden_layers = [1, 2]\nlr = { low = 1e-3, high = 0.1 }\nepochs = 2\n"
        "l2 = { low = 1e-5, high = 1e-2, log = true, zero = true }\n"
    )

    spaces = [
        nntune.search(
            "sklearn:iris", trials=1, time="1m", space=space, db=tmp_path / f"{place}.db"
        ).definition.space
        for place, space in enumerate((given, tmp_path / "a.toml", str(tmp_path / "a.toml")))
    ]

    assert spaces[0] == spaces[1] == spaces[2]
    assert (spaces[0]["units"], spaces[0]["l2"]) == ("8,16", "0,1e-5:1e-2:log")
    model = NNTuneClassifier(trials=1, space={**given, "bins": [0, 4]}, random_state=0)
    assert model.fit(*load_iris(return_X_y=True)).best_params_["units"] in (8, 16)


def test_a_study_in_python_shows_itself_in_a_line(tmp_path: Path) -> None:
    view = nntune.search("sklearn:iris", trials=1, space={"epochs": 1}, db=tmp_path / "iris.db")
    assert repr(view) == f"View(path={view.path!r}, name='iris', study_id=1)"


def test_a_search_of_a_frame_says_where_frames_go() -> None:
    with pytest.raises(UsageError) as caught:
        nntune.search([[1.0]], "y")  # type: ignore[arg-type]

    assert str(caught.value) == (
        "nntune.search takes the path of a table and was given a list; save it as parquet or csv, "
        "or use NNTuneClassifier or NNTuneRegressor."
    )


@pytest.mark.parametrize("only", [0.0, "a"])
def test_the_only_class_is_named_as_it_is_written(only: object) -> None:
    with pytest.raises(
        ValueError, match=f"^y has 1 class, {only!r}, in every row; there is nothing"
    ):
        NNTuneClassifier().fit(np.eye(4), np.full(4, only))

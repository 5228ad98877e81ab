"""Confirmation: fresh seeds for the best few, and plain models beside them."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nntune
from nntune import study
from nntune.bundle.resampling import interval, repeats, resampled
from nntune.data.learning import Learning, learning_of
from nntune.metrics import METRICS
from nntune.retraining import Retrainer, plan_again
from nntune.study import View, open_existing
from nntune.verdict import sentences
from nntune.verdict.baselines import baselines, names_of, predictions, truth
from nntune.verdict.confirming import Effort, candidates, confirm, horizons, is_confirmed
from nntune.verdict.ending import AtTheEnd
from nntune.verdict.replicas import Replicas, replica_seed
from nntune.verdict.thresholds import best_threshold, label_scores
from nntune.workers import Workers

SPACE = {"epochs": 12, "units": "8,16", "hidden_layers": "1:2", "batch_size": 32}


def searched(folder: Path, source: str = "sklearn:iris", **options: Any) -> View:
    asked: dict[str, Any] = {"trials": 8, "space": SPACE, "confirm": 0, **options}
    return nntune.search(source, db=folder / "study.db", **asked)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> View:
    return searched(tmp_path_factory.mktemp("iris"))


@pytest.fixture(scope="module")
def rows(iris: View) -> Learning:
    return learning_of(plan_again(iris), "train")


def confirmed(view: View, rows: Learning, effort: Effort, workers: int = 0) -> dict[str, Any]:
    with Workers(workers) as pool:
        return confirm(view, rows, Retrainer(view, pool), effort)


@pytest.fixture(scope="module")
def content(iris: View, rows: Learning) -> dict[str, Any]:
    return confirmed(iris, rows, Effort(3, 2))


def without_seconds(content: dict[str, Any]) -> dict[str, Any]:
    for each in content["baselines"]:
        each["seconds"] = 0
    return content


def test_candidates_are_the_best_distinct_configurations(iris: View) -> None:
    few = candidates(iris, 4)
    assert few[0] == iris.best()
    assert len({str(iris.space.params(trial.params)) for trial in few}) == 4


def test_one_configuration_is_confirmed_once_however_often_it_was_tried(tmp_path: Path) -> None:
    space = {"epochs": 2, "units": 8, "hidden_layers": 1, "batch_size": 32, "lr": 0.01,
             "l2": 0, "dropout": 0, "bins": 0}  # fmt: skip
    view = searched(tmp_path, trials=3, space=space)
    assert len(candidates(view, 5)) == 1


def test_a_replica_is_a_training_with_another_seed(iris: View, rows: Learning) -> None:
    few = candidates(iris, 3)
    seeds = [iris.definition.seed, replica_seed(0, 0)]
    with Workers(0) as pool:
        found = Replicas(Retrainer(iris, pool), rows, few).train(horizons(iris, few), seeds)
    for trial in few:
        curve = iris.curve(trial.number)
        same = found[seeds[0], trial.number].curve
        assert same[: len(curve)] == pytest.approx(curve[: len(same)], abs=1e-6)
        assert found[seeds[1], trial.number].curve[0] != same[0]


def test_a_confirmation_says_what_it_found(iris: View, content: dict[str, Any]) -> None:
    ranked = content["candidates"]
    assert [each["mean"] for each in ranked] == sorted(each["mean"] for each in ranked)
    assert content["winner"] == ranked[0]["trial"]
    assert [len(each["values"]) for each in ranked] == [2, 2, 2]
    fresh = content["confirmed"]
    assert set(fresh["seeds"]).isdisjoint(content["seeds"])
    assert fresh["mean"] == pytest.approx(np.mean(fresh["values"]))
    assert fresh["sd"] == pytest.approx(np.std(fresh["values"], ddof=1))
    best = iris.best()
    assert best is not None
    again = next(each["mean"] for each in ranked if each["trial"] == best.number)
    again = fresh["mean"] if best.number == content["winner"] else again
    assert content["luck"] == pytest.approx(again - best.value)
    json.dumps(content, allow_nan=False)


def test_less_than_was_confirmed_is_confirmed(tmp_path: Path) -> None:
    view = searched(tmp_path, trials=4)
    rows = learning_of(plan_again(view), "train")
    with open_existing(view.path, view.name) as writer:
        writer.add_verdict("confirmation", confirmed(view, rows, Effort(3, 3)))
    efforts = [Effort(3, 3), Effort(1, 2), Effort(4, 3), Effort(3, 4)]
    assert [is_confirmed(view, each) for each in efforts] == [True, True, False, False]


def test_a_confirmation_is_the_same_with_any_number_of_workers(
    iris: View, rows: Learning, content: dict[str, Any]
) -> None:
    again = confirmed(iris, rows, Effort(3, 2), workers=2)
    assert without_seconds(again) == without_seconds(content)


def test_a_confirmation_is_kept_until_the_search_finds_better(tmp_path: Path) -> None:
    view = searched(tmp_path, trials=2)
    rows = learning_of(plan_again(view), "train")
    effort = Effort(1, 2)
    assert not is_confirmed(view, effort)
    with open_existing(view.path, view.name) as writer:
        writer.add_verdict("confirmation", confirmed(view, rows, effort))
    assert is_confirmed(view, effort)
    assert not is_confirmed(view, Effort(1, 3))
    winner = view.winner()
    assert winner is not None
    assert winner.number == view.verdicts("confirmation")[0]["winner"]
    best = searched(tmp_path, trials=24).best()
    assert best is not None
    assert best.number > 1
    assert (view.confirmation(), view.winner()) == (None, best)


def test_with_folds_every_value_is_a_mean_over_them(tmp_path: Path) -> None:
    view = searched(tmp_path, trials=3, cv=3)
    content = confirmed(view, learning_of(plan_again(view), "train"), Effort(2, 2))
    linear = next(each for each in content["baselines"] if each["name"] == "logistic_l2")
    assert 0 < content["confirmed"]["mean"] < 1.1
    assert 0 < linear["value"] < 1.1
    assert content["confirmed"]["se_rows"] > 0


def test_time_that_is_over_confirms_nothing(iris: View, rows: Learning) -> None:
    with Workers(0) as pool, pytest.raises(TimeoutError):
        confirm(iris, rows, Retrainer(iris, pool, deadline=time.monotonic()), Effort(2, 2))


def test_a_search_ends_with_a_confirmation_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        view = searched(tmp_path, confirm=2, quiet=False)
    assert len(view.verdicts("confirmation")) == 1
    assert capsys.readouterr().err.count("confirming 2 configurations") == 1


def test_a_few_trials_are_not_confirmed_unless_asked(tmp_path: Path) -> None:
    assert searched(tmp_path, confirm=None).verdicts("confirmation") == []


def test_a_time_limit_leaves_room_for_the_confirmation() -> None:
    deadline = time.monotonic() + 1000
    for top in (None, 5):
        assert AtTheEnd(top, deadline).reserved() == pytest.approx(200, abs=1)
    assert AtTheEnd(0, deadline).reserved() == AtTheEnd(5, None).reserved() == 0
    assert [AtTheEnd(top, deadline).enough for top in (None, 5)] == [32, 0]


def test_a_search_that_nothing_follows_has_the_whole_of_its_time(tmp_path: Path) -> None:
    endless = {"space": {**SPACE, "epochs": 100_000}, "patience": 100_000}
    started = time.monotonic()
    searched(tmp_path, trials=2, confirm=None, time=2, **endless)
    assert time.monotonic() - started >= 2


def test_as_many_are_confirmed_as_were_asked_for(iris: View, rows: Learning) -> None:
    with Workers(0) as pool:
        for deadline in (None, time.monotonic() + 1e6):
            found = AtTheEnd(7, deadline)._effort(iris, rows, pool)
            assert found == Effort(len(candidates(iris, 7)), 5)
    assert len(candidates(iris, 7)) > 5


def test_what_the_time_does_not_allow_is_said(iris: View, rows: Learning) -> None:
    said: list[str] = []
    with open_existing(iris.path, iris.name) as writer, Workers(0) as pool:
        AtTheEnd(2, time.monotonic()).run(writer, rows, pool, said.append)
    assert said == ["not confirmed: the time left is too short; nntune confirm iris does it"]
    assert iris.verdicts("confirmation") == []


@pytest.mark.parametrize("source", ["sklearn:iris", "sklearn:breast_cancer", "sklearn:diabetes"])
def test_baselines_are_scored_on_the_validation_rows(source: str) -> None:
    from nntune.data import Request, load

    dataset = load(Request(source))
    metric = "log_loss" if dataset.classes else "rmse"
    found = {each.name: each for each in baselines(dataset, metric, 0)}
    assert tuple(found) == names_of(dataset.task)
    plain, linear = (found[name] for name in names_of(dataset.task)[:2])
    assert METRICS[metric].better(linear.value, plain.value)
    y = truth(dataset.folds[0])
    if dataset.classes:
        expected = -np.log(linear.values[0][np.arange(len(y)), y]).mean()
    else:
        expected = np.sqrt(((linear.values[0][:, 0] - y) ** 2).mean())
    assert linear.value == pytest.approx(expected)


def test_a_baseline_is_fitted_again_as_it_was_chosen() -> None:
    from nntune.data import Request, load

    dataset = load(Request("sklearn:diabetes"))
    for each in baselines(dataset, "rmse", 0):
        again = predictions(each.name, each.params, dataset, dataset.valid.x, 0)
        assert again == pytest.approx(each.values[0])


def test_resamples_have_the_spread_of_new_rows() -> None:
    draws = np.random.default_rng(0)
    y = draws.normal(size=400)
    models = [np.zeros((400, 1)), np.ones((400, 1))]
    drawn = resampled("regression", ["mae"], models, y, 0)["mae"]
    assert drawn.shape == (repeats(2, 400, 1), 2)
    expected = np.abs(y).std() / 20
    assert drawn[:, 0].std() == pytest.approx(expected, rel=0.1)
    low, high = interval(drawn[:, 0])
    assert high - low == pytest.approx(2 * 1.96 * expected, rel=0.1)
    undefined = np.full(40, -np.inf)  # as r2 of rows with one target
    assert interval(np.concatenate([drawn[:, 0], undefined])) == (low, high)


def test_a_threshold_serves_the_metric_of_labels() -> None:
    probability = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.6])
    y = np.array([0, 0, 0, 1, 0, 1])
    assert best_threshold(probability, y, "auc") == {
        "value": 0.25, "chosen_for": "balanced_accuracy",
    }  # fmt: skip
    assert best_threshold(probability, y, "accuracy")["chosen_for"] == "accuracy"
    assert label_scores(probability > 0.25, y)["recall"] == 1.0


def baseline(name: str, label: str, difference: float, se: float | None) -> dict[str, Any]:
    return {"name": name, "label": label, "difference": difference, "se": se}


def test_words_say_who_wins_and_how_surely() -> None:
    found = {
        "metric": "rmse",
        "baselines": [
            baseline("mean", "the mean", 2.0, 0.1),
            baseline("ridge", "linear model (ridge)", 0.5, 0.1),
            baseline("lasso", "linear model (lasso)", 0.3, 0.1),
            baseline("boosting", "gradient boosting", -0.25, 0.1),
        ],
    }
    assert sentences.against(found) == [
        "The network beats the mean by 2 rmse (20 standard errors).",
        "As good as the network, as far as these rows tell: linear model (lasso) "
        "(the network is 0.3 rmse better, 3.0 standard errors).",
        "The network loses to gradient boosting by 0.25 rmse (2.5 standard errors).",
    ]


def test_nothing_is_sure_without_a_standard_error() -> None:
    assert sentences.standing(baseline("mean", "the mean", 1.0, None)) == "alike"


def test_the_command_confirms_and_does_nothing_the_second_time(tmp_path: Path, iris: View) -> None:
    copy = tmp_path / "iris.db"
    copy.write_bytes(iris.path.read_bytes())
    command = [sys.executable, "-m", "nntune", "confirm", copy, "--top", "2", "--seeds", "2"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert "over 2 fresh seeds" in first.stdout
    assert again.stderr == "these are confirmed already; nothing left to do\n"
    values = json.loads(again.stdout)
    assert (values["schema"], values["study"]) == ("nntune.confirmation/1", "iris")
    assert len(study.read(copy).verdicts("confirmation")) == 1
    assert all(math.isfinite(each["se"]) for each in values["baselines"])

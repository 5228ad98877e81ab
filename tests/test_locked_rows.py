"""The test rows: out of the search's reach, and opened once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nntune
from nntune import report
from nntune.data import Request
from nntune.data.learning import learning_of
from nntune.data.plan import plan_of
from nntune.errors import NotFoundError
from nntune.retraining import Retrainer, plan_again
from nntune.study import View, open_existing, read
from nntune.study.records import PRODUCTS
from nntune.verdict import sentences
from nntune.verdict.confirming import Effort, confirm
from nntune.verdict.curves import calibration, precision_recall, receiver
from nntune.verdict.testing import opened, scored
from nntune.workers import Workers

SPACE = {"epochs": 8, "units": "8,16", "hidden_layers": 1, "batch_size": 32}


def confirmed(folder: Path, source: str | Path, target: str | None = None, **options: Any) -> View:
    view = nntune.search(
        source, target, trials=4, space=SPACE, confirm=0, db=folder / "study.db", **options
    )
    rows = learning_of(plan_again(view), "train")
    with open_existing(view.path, view.name) as writer, Workers(0) as pool:
        content = confirm(view, rows, Retrainer(view, pool), Effort(2, 2))
        writer.add_verdict("confirmation", content)
    return view


def alike(folder: Path, tables: list[tuple[str | Path, dict[str, Any]]]) -> list[View]:
    """Studies of tables that multiply matrices alike: which library does is measured."""
    found: dict[str, list[View]] = {}
    for attempt in range(12):
        for place, (source, options) in enumerate(tables):
            here = folder / f"{attempt}-{place}"
            here.mkdir()
            view = confirmed(here, source, "y", **options)
            found.setdefault(f"{view.definition.training['product']}{place}", []).append(view)
        for product in PRODUCTS:
            if all(f"{product}{place}" in found for place in range(len(tables))):
                return [found[f"{product}{place}"][0] for place in range(len(tables))]
    raise AssertionError("the measurement never agreed")


def outcomes(view: View) -> list[Any]:
    """Everything of the trials but when they ran, and for how long."""
    timeless = {"seconds": 0.0, "started": "", "finished": ""}
    return [
        (trial._replace(**timeless), view.curve(trial.number), view.weights(trial.number))
        for trial in view.trials()
    ]


def verdict(view: View) -> dict[str, Any]:
    (content,) = view.verdicts("confirmation")
    return {key: content[key] for key in ("candidates", "winner", "confirmed", "luck", "threshold")}


def table(rows: int = 200) -> list[list[str]]:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(rows, 3))
    y = x[:, 0] * x[:, 1] + 0.1 * draws.normal(size=rows)
    return [[f"{value:.6f}" for value in (*row, truth)] for row, truth in zip(x, y, strict=True)]


def written(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join(["a,b,c,y", *(",".join(row) for row in rows)]))
    return path


def test_poisoned_test_rows_change_no_trial_and_no_confirmation(tmp_path: Path) -> None:
    """Without features, and with targets turned round; of regression, whose split has no strata."""
    clean, poisoned = table(), table()
    path = written(tmp_path / "y.csv", clean)
    locked = plan_of(Request(str(path), "y")).parts.test
    assert len(locked) == 40
    for row in locked:
        poisoned[row] = ["", "", "", f"{-100 * float(clean[row][3]):.6f}"]
    other = written(tmp_path / "poisoned.csv", poisoned)
    views = alike(tmp_path, [(path, {}), (other, {})])
    assert outcomes(views[0]) == outcomes(views[1])
    assert verdict(views[0]) == verdict(views[1])
    fingerprints = {view.definition.data["fingerprint"] for view in views}
    assert len(fingerprints) == 2


def test_a_poisoned_test_file_changes_no_trial_of_classes(tmp_path: Path) -> None:
    rows = [[*row[:3], "yes" if float(row[3]) > 0 else "no"] for row in table()]
    flipped = [["", "", "", "no" if row[3] == "yes" else "yes"] for row in rows[150:]]
    path = written(tmp_path / "y.csv", rows[:150])
    clean, poisoned = written(tmp_path / "a.csv", rows[150:]), written(tmp_path / "b.csv", flipped)
    views = alike(tmp_path, [(path, {"test": clean}), (path, {"test": poisoned})])
    assert outcomes(views[0]) == outcomes(views[1])
    assert verdict(views[0]) == verdict(views[1])


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> View:
    view = confirmed(tmp_path_factory.mktemp("binary"), "sklearn:breast_cancer")
    with open_existing(view.path, view.name) as writer:
        writer.add_verdict("test", scored(view))
    return view


def test_a_test_scores_the_network_and_the_baselines(binary: View) -> None:
    (found,) = binary.verdicts("test")
    network, *others = found["entries"]
    assert [each["name"] for each in others] == [
        "majority", "logistic_l2", "logistic_l1", "boosting",
    ]  # fmt: skip
    assert found["rows"] == binary.definition.data["counts"]["test"]
    for entry in found["entries"]:
        for each in entry["metrics"].values():
            assert each["low"] <= each["value"] <= each["high"]
    counts = np.array(found["confusion"]["counts"])
    assert counts.sum() == found["rows"]
    accuracy = counts.trace() / counts.sum()
    assert network["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    gap = others[0]["metrics"]["log_loss"]["value"] - network["metrics"]["log_loss"]["value"]
    assert others[0]["difference"]["value"] == pytest.approx(gap)


def test_a_test_of_two_classes_has_their_curves_and_a_threshold(binary: View) -> None:
    (found,) = binary.verdicts("test")
    assert (found["roc"][0], found["roc"][-1]) == ([0, 0], [1, 1])
    assert found["pr"][0][0] == 1
    area = np.trapezoid(*reversed(np.transpose(found["roc"])))
    assert area == pytest.approx(found["entries"][0]["metrics"]["auc"]["value"], abs=0.01)
    threshold = binary.verdicts("confirmation")[0]["threshold"]
    assert found["threshold"] == threshold["value"]
    at = found["at_threshold"]
    assert np.array(at["counts"]).trace() / found["rows"] == pytest.approx(
        at["metrics"]["accuracy"]
    )
    assert found["residuals"] is None


def test_a_test_of_numbers_has_residuals(tmp_path: Path) -> None:
    view = confirmed(tmp_path, "sklearn:diabetes")
    found = scored(view)
    residual = np.array(found["residuals"]["residual"])
    rmse = found["entries"][0]["metrics"]["rmse"]["value"]
    assert np.sqrt((residual**2).mean()) == pytest.approx(rmse)
    assert found["confusion"] is found["roc"] is found["calibration"] is None


def test_the_network_tested_is_the_one_that_refit_makes(binary: View) -> None:
    from nntune.bundle import Predictor
    from nntune.bundle.refit import Wanted, refit
    from nntune.data.learning import learning_of, test_of
    from nntune.data.plan import plan_of

    plan = plan_of(Request("sklearn:breast_cancer"))
    split = test_of(plan, learning_of(plan, "train+valid"))
    values = Predictor(refit(binary, Wanted()).bundle).scores(split.x)
    expected = -np.log(values[np.arange(len(split.y)), split.y]).mean()
    (found,) = binary.verdicts("test")
    assert found["entries"][0]["metrics"]["log_loss"]["value"] == pytest.approx(expected)


def test_another_look_is_shown_as_such(binary: View, tmp_path: Path) -> None:
    copy = Path(shutil.copy(binary.path, tmp_path))
    view = read(copy)
    content = view.verdicts("confirmation")[0]
    other = next(e["trial"] for e in content["candidates"] if e["trial"] != content["winner"])
    with open_existing(copy, view.name) as writer:
        writer.add_verdict("confirmation", {**content, "winner": other})
        assert opened(view, other) is None
        writer.add_verdict("test", scored(view))
    assert [each["opening"] for each in view.verdicts("test")] == [1, 2]
    values = report.tested_json(view)
    assert (values["opening"], values["trial"], len(values["opened"])) == (2, other, 2)


def test_the_command_confirms_first_and_opens_the_rows_once(tmp_path: Path) -> None:
    view = nntune.search("sklearn:iris", trials=3, space=SPACE, db=tmp_path / "iris.db")
    command = [sys.executable, "-m", "nntune", "test", view.path, "-j", "1"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the winner is confirmed first" in first.stderr
    assert "30 rows, opened once, on 20" in first.stdout
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert "nothing is opened again" in again.stderr
    assert json.loads(again.stdout)["schema"] == "nntune.test/1"
    assert len(view.verdicts("test")) == 1


def test_nothing_is_announced_where_the_table_is_gone(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("x,y\n" + "".join(f"{i * 1.5},{i % 7}.5\n" for i in range(60)))
    view = nntune.search(table, "y", trials=1, space=SPACE, db=tmp_path / "t.db")
    table.unlink()
    command = [sys.executable, "-m", "nntune", "test", view.path, "-j", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "confirmed first" not in done.stderr


def test_a_study_that_is_not_confirmed_is_not_tested(tmp_path: Path) -> None:
    view = nntune.search("sklearn:iris", trials=1, space=SPACE, db=tmp_path / "iris.db")
    with pytest.raises(NotFoundError, match="'iris' is not confirmed; nntune confirm does it"):
        scored(view)
    with pytest.raises(NotFoundError, match="'iris' is not tested; nntune test does it"):
        report.tested(view)


def test_words_on_a_test_follow_its_intervals() -> None:
    def entry(value: float, low: float, high: float) -> dict[str, Any]:
        return {"label": "boosting", "difference": {"value": value, "low": low, "high": high}}

    entries = [{}, entry(0.3, 0.1, 0.5), entry(-0.3, -0.5, -0.1), entry(-0.1, -0.3, 0.1)]
    assert sentences.of_the_test({"entries": entries, "metric": "auc"}) == [
        "The network beats boosting: 0.3 auc better [0.1, 0.5].",
        "The network loses to boosting: 0.3 auc worse [0.1, 0.5].",
        "The network cannot be told from boosting: 0.1 auc worse [-0.1, 0.3].",
    ]


def test_perfect_confidence_is_calibrated() -> None:
    right = np.arange(100) < 80
    found = calibration(np.full(100, 0.8), right)
    assert found == {
        "bins": [{"confidence": pytest.approx(0.8), "accuracy": 0.8, "count": 100}],
        "ece": pytest.approx(0),
    }


def test_one_class_has_no_curves() -> None:
    assert receiver(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert precision_recall(np.array([0.1, 0.9]), np.array([1, 1])) is None

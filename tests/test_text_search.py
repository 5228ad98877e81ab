"""A search on text: the same however it is run, and of use from the terminal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_texts import reviews
from typer.testing import CliRunner

from nntune import study
from nntune.bundle import read
from nntune.bundle.format import write
from nntune.cli import app
from nntune.data import Dataset, Encoder, Request, load
from nntune.errors import DataError, UsageError
from nntune.retraining import problem_of, share
from nntune.search import Budget, Plan, Search
from nntune.session import search
from nntune.space import build
from nntune.study import Definition, View
from nntune.workers import Workers

RANGES = {"epochs": "4", "units": "4,8", "batch_size": "16", "l1": "0,1e-6:1e-4:log"}
SPACE = build(RANGES, is_text=True)
PLAN = Plan(width=6, rungs=(1, 2, 4))
RUN = CliRunner()
Facts = list[tuple[object, ...]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = reviews(tmp_path_factory.mktemp("reviews"))
    return load(Request(path, "nota", text=("comentario", "titulo")))


def searched(dataset: Dataset, path: Path, workers: Workers, updates: int | None = None) -> Facts:
    """What is known of all trials after a search, which is abandoned after so many updates."""
    made = Definition(
        data={}, space={each.name: each.text for each in SPACE.hyperparameters},
        metric="log_loss", direction="minimize", seed=7, sampler="tpe", pruner="halving",
        training={**PLAN._asdict(), "product": "torch"}, versions={}, command="",
    )  # fmt: skip
    with workers, study.open_writer(path, "made", made) as writer:
        share(workers, dataset)
        running = Search(writer, SPACE, problem_of(dataset), workers).run(Budget(18))
        for place, _ in enumerate(running, 1):
            if place == updates:
                break
    view: View = study.read(path, "made")
    return [
        (t.number, t.state, t.params, t.value, t.epoch, t.rungs, t.reason, view.curve(t.number),
         view.weights(t.number))
        for t in sorted(view.trials())
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return searched(dataset, tmp_path_factory.mktemp("whole") / "whole.db", Workers(0))


def test_two_workers_find_what_one_process_finds(dataset, whole, tmp_path) -> None:
    assert searched(dataset, tmp_path / "two.db", Workers(2)) == whole


@pytest.mark.parametrize("updates", [1, 5])
def test_a_search_that_is_cut_ends_as_if_it_had_not_been(dataset, whole, tmp_path, updates) -> None:
    assert searched(dataset, tmp_path / "cut.db", Workers(0), updates) != whole
    assert searched(dataset, tmp_path / "cut.db", Workers(0)) == whole


def test_depths_from_none_on_are_tried(whole: Facts) -> None:
    assert {trial[2]["hidden_layers"] for trial in whole} == {0, 1, 2}  # type: ignore[index]


def run(*words: object) -> str:
    result = RUN.invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search on reviews with a number beside the text, and its winner."""
    folder = tmp_path_factory.mktemp("made")
    space = {**RANGES, "epochs": 12, "lr": "0.03"}
    search(reviews(folder), "nota", trials=4, space=space, db=folder / "t.db")
    run("refit", "--db", folder / "t.db", "--as-searched", "-o", folder / "t.nnt")
    return folder


def test_text_trains_on_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device auto: text trains on the CPU; leave it out"):
        search(reviews(tmp_path), "nota", trials=1, device="auto", db=tmp_path / "t.db")


def test_predictions_and_scores_agree(folder: Path) -> None:
    source = folder / "livros.csv"
    predicted = run("predict", folder / "t.nnt", source).splitlines()[1:]
    scored = json.loads(run("evaluate", folder / "t.nnt", source, "--json"))

    truth = [line.rsplit(",", 1)[1] for line in source.read_text().splitlines()[1:]]
    hits = np.mean([a == b for a, b in zip(predicted, truth, strict=True)])
    assert scored["metrics"]["accuracy"] == pytest.approx(hits)
    assert hits > 0.9
    assert set(predicted) == {"muito bom / ótimo", "ruim / péssimo"}


def test_the_network_of_the_search_is_what_refit_keeps(folder: Path) -> None:
    found = read(folder / "t.nnt")
    view = study.read(folder / "t.db")
    best = view.best()

    assert best is not None
    assert found.parameters[0].tobytes() == view.weights(found.trials[0])
    write(folder / "again.nnt", found, force=True)
    assert (folder / "again.nnt").read_bytes() == (folder / "t.nnt").read_bytes()


def test_a_winner_is_tested_beside_a_linear_model(folder: Path) -> None:
    told = json.loads(run("test", "--db", folder / "t.db", "--json"))

    assert [entry["name"] for entry in told["entries"]] == ["network", "majority", "logistic_l2"]


@pytest.mark.parametrize(
    "change",
    [
        {"terms": ["a", "a"], "idf": [1.0, 1.0]},
        {"terms": ["a"], "idf": [1.0, 1.0]},
        {"terms": [1], "idf": [1.0]},
        {"span": {"kind": "words", "low": 0, "high": 2}},
        {"span": {"kind": "bytes", "low": 1, "high": 2}},
        {"span": {"kind": "words", "low": 1, "high": 2, "case": "upper"}},
    ],
)
def test_a_damaged_vocabulary_is_refused(folder: Path, change: dict[str, object]) -> None:
    found = read(folder / "t.nnt")
    features = [dict(feature) for feature in found.encoder["features"]]
    text = next(feature for feature in features if feature["vocabularies"])
    text["vocabularies"] = [{**text["vocabularies"][0], **change}, text["vocabularies"][1]]

    with pytest.raises(DataError, match="is damaged"):
        write(folder / "bad.nnt", replace(found, encoder={"features": features}))


def test_a_bundle_from_before_there_was_case_predicts_the_same(folder: Path) -> None:
    found = read(folder / "t.nnt")
    features = json.loads(json.dumps(found.encoder["features"]))
    for feature in features:
        for vocabulary in feature["vocabularies"]:
            del vocabulary["span"]["case"]
    write(folder / "old.nnt", replace(found, encoder={"features": features}))

    new, old = (Encoder.from_dict(read(folder / name).encoder) for name in ("t.nnt", "old.nnt"))
    assert old == new


def test_a_search_that_tells_capitals_apart_ends_in_a_bundle_that_does(tmp_path: Path) -> None:
    db, bundle = tmp_path / "t.db", tmp_path / "t.nnt"
    space = {**RANGES, "epochs": 2, "lr": "0.03"}
    search(reviews(tmp_path), "nota", trials=1, space=space, db=db, case="kept")
    run("refit", "--db", db, "-o", bundle)
    run("export", bundle, "--format", "script", "-o", tmp_path / "t.py")

    spans = [
        vocabulary["span"]
        for feature in read(bundle).encoder["features"]
        for vocabulary in feature["vocabularies"]
    ]
    assert {span["case"] for span in spans} == {"kept"}
    assert "'lowercase': False" in (tmp_path / "t.py").read_text().replace('"', "'")


def test_exports_work_or_say_why_not(folder: Path) -> None:
    bundle = folder / "t.nnt"
    result = RUN.invoke(app, ["export", str(bundle), "--format", "onnx"])
    assert isinstance(result.exception, UsageError | DataError)
    assert "text" in str(result.exception)
    assert "nn.Linear" in run("export", bundle, "--format", "torch", "-o", folder / "t.pt")
    found, state = read(bundle), torch.load(folder / "t.pt", weights_only=True)
    for place, (weight, bias) in enumerate(found.layers()):
        assert (state[f"{2 * place}.weight"].numpy() == weight).all()
        assert (state[f"{2 * place}.bias"].numpy() == bias).all()
    run("export", bundle, "--format", "script", "-o", folder / "t.py")
    assert "TfidfVectorizer" in (folder / "t.py").read_text()

"""What comes first in a search, and when it ends: alike with every repeat and any workers."""

from pathlib import Path

import pytest
from test_search import SMALL, definition, facts, last_of, searched

import nntune
from nntune import study
from nntune.errors import UsageError
from nntune.proposals import Proposer, borrowed, enqueued, named
from nntune.report import best, draw
from nntune.space import build
from nntune.stops import Budget, spent
from nntune.study import View
from nntune.training import Examples
from nntune.workers import Workers

PENGUINS = str(Path(__file__).parent / "data" / "penguins.csv")
SPACE = {"units": "8,16", "hidden_layers": "1", "batch_size": "64", "epochs": "6"}
MADE = definition(build(SMALL))


def search(folder: Path, name: str = "made", **options: object) -> View:
    options = {"trials": 6, "space": SPACE} | options
    return nntune.search(PENGUINS, "species", study=name, db=folder / f"{name}.db", **options)


def params_of(view: View) -> list[dict[str, object]]:
    return [view.space.params(view.trial(n).params) for n in range(len(view.trials()))]


@pytest.mark.parametrize("text", ["bins=0", "model=mlp", "lr=0.02,bins=0", "epochs=100"])
def test_what_is_fixed_anyway_may_be_enqueued(text: str) -> None:
    space = build(SMALL | {"epochs": "100"})
    lr = {"lr": 0.02} if "lr" in text else {}
    assert enqueued(named(text), space) == space.default | lr


def test_what_is_enqueued_is_tried_after_the_default(tmp_path: Path) -> None:
    wanted = [{"lr": 0.02, "units": 16}, {"dropout": 0.4}]
    view = search(tmp_path, enqueue=wanted)
    default, first, second, *_ = params_of(view)
    assert first == {**default, "lr": 0.02, "units": 16}
    assert second == {**default, "dropout": 0.4}


def test_what_is_enqueued_has_the_defaults_of_a_table_with_text() -> None:
    space = build({}, is_text=True)
    assert enqueued({"units": "16"}, space) == {**space.default, "units": 16}
    assert space.default["hidden_layers"] == 0


def test_the_same_command_enqueues_nothing_twice(tmp_path: Path) -> None:
    once = facts(search(tmp_path, enqueue=[{"lr": 0.02}]))
    assert facts(search(tmp_path, enqueue=[{"lr": 0.02}])) == once
    more = search(tmp_path, enqueue=[{"lr": 0.02}, {"lr": 0.01}], trials=8)
    rates = [params["lr"] for params in params_of(more)]
    assert (rates.count(0.02), rates[6]) == (1, 0.01)


def test_what_waits_beyond_the_trials_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [{"lr": 0.02}, {"lr": 0.01}, {"lr": 0.005}]
    search(tmp_path, enqueue=wanted, trials=3, quiet=False)
    said = "3 configurations wait to be tried first and --trials 3 leaves room for 2"
    assert said in " ".join(capsys.readouterr().err.split())
    search(tmp_path, enqueue=wanted[:1], trials=1, quiet=False, fresh=True)
    assert "1 configuration waits to be tried first" in " ".join(capsys.readouterr().err.split())
    search(tmp_path, enqueue=wanted, trials=4, quiet=False)
    assert "wait to be tried first" not in " ".join(capsys.readouterr().err.split())


def test_a_queue_longer_than_a_bracket_goes_on_with_the_next() -> None:
    space = build(SMALL)
    queue = [{**space.default, "lr": 0.001 + place / 1e4} for place in range(1, 13)]
    propose = Proposer(space, MADE)
    first = propose([], 8, queue)
    trials = [
        study.Trial.new(n, params, 0)._replace(state="failed") for n, params in enumerate(first)
    ]
    second = propose(trials, 8, queue)
    rates = [params["lr"] for params in first + second]
    assert rates[1:13] == [configuration["lr"] for configuration in queue]
    assert len(second) == 8


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "lr",
            "--enqueue lr: write NAME=VALUE,NAME=VALUE with each name once, such as "
            "lr=3e-4,units=64.",
        ),
        (
            "lr=1e-3,lr=1e-2",
            "--enqueue lr=1e-3,lr=1e-2: write NAME=VALUE,NAME=VALUE with each name once, such as "
            "lr=3e-4,units=64.",
        ),
        ("lr=1e-3:1e-2", "--enqueue lr=1e-3:1e-2: this is a range; name one value of it."),
        (
            "lr=0.5",
            "--enqueue lr=0.5 is outside the space, in which lr is 3e-4:3e-2:log; --lr RANGE makes "
            "it wider.",
        ),
        (
            "units=9",
            "--enqueue units=9 is outside the space, in which units is 8,16; --units RANGE makes "
            "it wider.",
        ),
        (
            "bins=8",
            "--enqueue bins=8 is outside the space, in which bins is 0,16; --bins 0,8 has it.",
        ),
        ("units=many", "--enqueue units many: 'many' is not a number; write for example "
                       "16,32,64,128,256"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_is_enqueued_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        enqueued(named(text), build(SMALL, bins=16))
    assert str(raised.value) == sentence


def test_bins_of_a_space_without_any_are_told_what_they_need() -> None:
    with pytest.raises(UsageError) as raised:
        enqueued(named("bins=8"), build(SMALL))
    assert str(raised.value) == (
        "--enqueue bins=8 is outside the space, in which bins is not tuned; --bins 0,8 has it "
        "where a table has numbers."
    )


def test_an_unknown_name_is_said_with_its_like() -> None:
    with pytest.raises(UsageError, match="Did you mean 'lr'"):
        enqueued(named("learning-rate=0.1"), build(SMALL))


def test_a_warm_start_tries_the_best_of_another_study_first(tmp_path: Path) -> None:
    other = search(tmp_path, "other", trials=12, seed=3)
    view = search(tmp_path, warm_start=other, trials=10)
    best = [other.space.params(t.params) for t in other.trials() if t.value is not None]
    default, *rest = params_of(view)
    wanted = [params for params in best[:5] if params != default]
    assert rest[: len(wanted)] == wanted
    assert facts(search(tmp_path, warm_start=other, trials=10)) == facts(view)


def test_a_warm_start_goes_as_far_as_the_ranges_allow(tmp_path: Path) -> None:
    other = search(tmp_path, "other", space={**SPACE, "lr": "1e-2:1e-1:log", "units": "8,64"})
    space = build({**SPACE, "lr": "1e-4:1e-3:log", "units": "8,16"})
    lent = borrowed(other, space)
    assert {params["lr"] for params in lent} == {1e-3}
    assert {params["units"] for params in lent} <= {8, 16}
    assert all(
        each.contains(params[each.name]) for params in lent for each in space.hyperparameters
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_search_stops_at_the_rung_where_a_value_is_good_enough(
    tmp_path: Path, three_classes: Examples, workers: int
) -> None:
    whole = searched(tmp_path / "whole.db", three_classes, MADE, Budget(8), Workers(0))
    goal = min(trial.rungs[3] for trial in whole.trials() if 3 in trial.rungs)
    budget = Budget(16, until=goal)
    view, updates = last_of(tmp_path / "a.db", three_classes, MADE, budget, Workers(workers))
    best = view.best()
    assert best is not None
    assert (best.value, best.state, best.reason) == (goal, "complete", "good enough")
    assert max(update.rung for update in updates) < 9
    assert view.counts()["running"] == 0
    again, updates = last_of(tmp_path / "a.db", three_classes, MADE, budget, Workers(0))
    assert (facts(again), updates) == (facts(view), [])


def test_a_higher_metric_is_good_enough_from_above(tmp_path: Path) -> None:
    view = search(tmp_path, metric="accuracy", until=0.5, trials=64)
    best = view.best()
    assert best is not None
    assert best.value is not None
    assert best.value >= 0.5
    assert len(view.trials()) == 32
    assert view.stopped == f"trial #{best.number} has {best.value:.6g}, and --until 0.5 is reached"


def test_a_search_stops_after_trials_without_a_better_value(
    tmp_path: Path, three_classes: Examples
) -> None:
    budget = Budget(80, patience_trials=10)
    view, updates = last_of(tmp_path / "a.db", three_classes, MADE, budget, Workers(0))
    best, count = view.best(), len(view.trials())
    assert best is not None
    assert count % 8 == 0
    assert 10 <= count - 1 - best.number < 10 + 8
    again, updates = last_of(tmp_path / "a.db", three_classes, MADE, budget, Workers(0))
    assert (facts(again), updates) == (facts(view), [])


def test_one_trial_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = search(tmp_path, trials=1, confirm=1, quiet=False)
    assert view.stopped == "the one trial is done"
    draw(best(view))
    out, err = capsys.readouterr()
    assert out.splitlines()[0].endswith(": 1 trial, 1 complete")
    assert "confirming 1 configuration from 5 fresh seeds\n" in err


def test_the_reason_of_the_end_is_kept_until_there_are_more_trials(tmp_path: Path) -> None:
    view = search(tmp_path)
    assert view.stopped == "all 6 trials are done"
    more = search(tmp_path, trials=7, time=1e6)
    assert more.stopped == "all 7 trials are done"
    with study.open_writer(more.path, more.name, more.definition) as writer:
        writer.begin(9, [(7, {}, {})])
    assert more.stopped == ""


def test_patience_counts_from_the_best_and_not_before_there_is_one() -> None:
    assert spent(Budget(patience_trials=3), 50, None) == ""
    best = study.Trial.new(12, {}, 0)._replace(value=0.5)
    assert spent(Budget(patience_trials=3), 15, best) == ""
    assert spent(Budget(patience_trials=3), 16, best) == (
        "3 trials since #12 brought no better value (--patience-trials 3)"
    )

"""One suite for all samplers and pruners: what any of them has to hold, however it chooses."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from test_search import definition, facts, last_of, searched

from nntune import study
from nntune.errors import UsageError
from nntune.proposals import Proposer
from nntune.pruners import PRUNERS, Rung, going_on, ordered
from nntune.samplers import check
from nntune.session import SAMPLERS
from nntune.space import Space, build
from nntune.stops import Budget
from nntune.study import Definition, Trial
from nntune.training import Examples
from nntune.workers import Workers

RANGES = {
    "units": "8:64",
    "hidden_layers": "1",
    "batch_size": "32",
    "epochs": "9",
    "l2": "1e-6:1e-2:log",
}
SPACE = build(RANGES)
WIDTH, BRACKETS = 4, 4  # a GP begins after ten trials and takes half a second each


def value_of(space: Space, params: dict[str, object]) -> float:
    """A made value: the farther from a planted optimum, the worse."""
    found = space.params(params)
    return abs(float(found["lr"]) - 0.004) * 100 + abs(float(found["dropout"]) - 0.2)


def ended(first: int, space: Space, drawn: list[dict[str, object]]) -> list[Trial]:
    """Trials as a search would have left them: some cut, one failed."""
    trials = []
    for number, params in enumerate(drawn, first):
        trial = Trial.new(number, params, first // WIDTH)
        value = value_of(space, params)
        state = "failed" if number % 7 == 3 else "pruned" if number % 3 else "complete"
        known = {} if state == "failed" else {"value": value, "rungs": {9: value}}
        trials.append(trial._replace(state=state, **known))
    return trials


def brackets(space: Space, made: Definition, count: int = BRACKETS) -> list[Trial]:
    """Brackets asked by one proposer, each after the one before it has ended."""
    propose, trials = Proposer(space, made), list[Trial]()
    for first in range(0, WIDTH * count, WIDTH):
        trials += ended(first, space, propose(trials, WIDTH))
    return trials


@cache
def asked_by(sampler: str) -> list[Trial]:
    return brackets(SPACE, definition(SPACE, sampler=sampler))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_search_asks_what_it_would_have_asked(sampler: str) -> None:
    made, trials = definition(SPACE, sampler=sampler), asked_by(sampler)
    for first in range(0, BRACKETS * WIDTH, WIDTH):
        asked = Proposer(SPACE, made)(trials[:first], WIDTH)
        assert asked == [trial.params for trial in trials[first : first + WIDTH]]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_configuration_is_asked_twice(sampler: str) -> None:
    trials = asked_by(sampler)
    assert len({repr(trial.params) for trial in trials}) == BRACKETS * WIDTH
    for trial in trials:
        params = SPACE.params(trial.params)
        assert all(each.contains(params[each.name]) for each in SPACE.hyperparameters)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_of_the_study_decides(sampler: str) -> None:
    other = Definition(**{**vars(definition(SPACE, sampler=sampler)), "seed": 8})
    one, two = asked_by(sampler), brackets(SPACE, other, 2)
    assert all(a.params != b.params for a, b in zip(one[1:], two[1:], strict=False))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_conditional_parameters_are_whole(sampler: str) -> None:
    space = build({"l2": "0,1e-6:1e-2:log", "units": "8,16", "batch_size": "32", "epochs": "9"})
    trials = brackets(space, definition(space, sampler=sampler), 2)
    for trial in trials:
        assert ("l2" in trial.params) != trial.params["l2_zero"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_goes_on_in_a_narrower_range(sampler: str) -> None:
    ranges = {each.name: each.text for each in SPACE.hyperparameters}
    narrow = build(ranges | {"lr": "1e-3:2e-3:log", "units": "48"})
    trials = asked_by(sampler)
    asked = Proposer(narrow, definition(narrow, sampler=sampler))(trials, WIDTH)
    for params in map(narrow.params, asked):
        assert all(each.contains(params[each.name]) for each in narrow.hyperparameters)


def test_what_the_user_asked_for_does_not_disturb_the_state_of_cmaes() -> None:
    made, queue = definition(SPACE, sampler="cmaes"), [{**SPACE.default, "lr": 0.005}]
    propose, trials = Proposer(SPACE, made), list[Trial]()
    for first in range(0, 4 * WIDTH, WIDTH):
        trials += ended(first, SPACE, propose(trials, WIDTH, queue if first == WIDTH else ()))
    assert trials[WIDTH].params["lr"] == 0.005
    asked = Proposer(SPACE, made)(trials[: 3 * WIDTH], WIDTH)
    assert asked == [trial.params for trial in trials[3 * WIDTH :]]


def test_cmaes_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    check("cmaes")
    monkeypatch.setitem(sys.modules, "cmaes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as raised:
        check("cmaes")
    assert str(raised.value) == (
        "--sampler cmaes needs the package cmaes, which is not installed; "
        "pip install 'nntune[cmaes]' brings it."
    )


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_decides_alike_with_two_workers_and_in_two_calls(
    tmp_path: Path, three_classes: Examples, pruner: str
) -> None:
    made = definition(SPACE, pruner=pruner)
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(24), Workers(0))
    searched(tmp_path / "parts.db", three_classes, made, Budget(8), Workers(0))
    parts = searched(tmp_path / "parts.db", three_classes, made, Budget(24), Workers(0))
    assert facts(parts) == facts(whole)
    assert whole.counts()["running"] == 0
    assert (whole.counts()["pruned"] == 0) == (pruner == "none")


def test_a_median_is_of_the_same_trials_after_a_kill(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build({**RANGES, "epochs": "27"}), pruner="median")
    made = replace(made, training={**made.training, "patience": 1})
    whole, updates = last_of(tmp_path / "whole.db", three_classes, made, Budget(16), Workers(0))
    assert {trial.reason.split()[0] for trial in whole.trials()} >= {"early", "rung"}
    for kill in range(1, len(updates)):
        path = tmp_path / f"{kill}.db"
        last_of(path, three_classes, made, Budget(16), Workers(0), kill)
        assert facts(searched(path, three_classes, made, Budget(16), Workers(0))) == facts(whole)


def at(bracket: int, place: int, mine: dict[int, float], complete: list[float]) -> Rung:
    ranks = {number: (value,) for number, value in mine.items()}
    others = {100 + number: (value,) for number, value in enumerate(complete)}
    return Rung(bracket, place, 3, ranks, ordered(ranks | others), others)


NINE = {number: float(number) for number in range(9)}


def test_hyperband_lets_every_third_bracket_be_cut_at_the_first_rung() -> None:
    kept = [
        [len(going_on("hyperband", at(bracket, place, NINE, []), 3)) for place in (0, 1)]
        for bracket in range(4)
    ]
    assert kept == [[3, 3], [9, 3], [9, 9], [3, 3]]


def test_the_median_needs_five_complete_trials() -> None:
    assert going_on("median", at(1, 0, NINE, [1, 2, 3, 4]), 3) == set(NINE)
    assert going_on("median", at(1, 0, NINE, [1, 2, 3, 4, 9]), 3) == {0, 1, 2, 3}


def test_halving_compares_with_all_that_were_seen() -> None:
    assert going_on("halving", at(1, 0, NINE, [0.5] * 9), 3) == {0}
    assert going_on("halving", at(0, 0, NINE, [-1.0] * 18), 3) == {0, 1, 2}
    assert going_on("none", at(1, 0, NINE, [0.5] * 9), 3) == set(NINE)


def test_a_study_keeps_to_its_sampler(tmp_path: Path) -> None:
    study.open_writer(tmp_path / "a.db", "a", definition(SPACE, sampler="gp")).close()
    with pytest.raises(Exception, match="sampler gp -> cmaes"):
        study.open_writer(tmp_path / "a.db", "a", definition(SPACE, sampler="cmaes"))

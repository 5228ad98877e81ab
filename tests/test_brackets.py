"""Brackets side by side: who is trained how far in a round is arithmetic, whoever is faster."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_search import SMALL, ended, facts, last_of, searched
from test_search import definition as definition_of

from nntune import study
from nntune.brackets import Bracket, Plan
from nntune.proposals import Proposer
from nntune.pruners import PRUNERS
from nntune.search import Search
from nntune.space import build
from nntune.stops import Budget
from nntune.study import Definition
from nntune.training import Examples
from nntune.trials import Problem, Progress
from nntune.workers import Workers

SPACE = build({**SMALL, "epochs": "60"})
RUNGS = (1, 3, 9, 27, 60)


def definition(interval: int = 1, **changes: str) -> Definition:
    made = definition_of(SPACE, **changes)
    made.training.update(interval=interval, rungs=RUNGS, patience=12)
    return made


@given(st.lists(st.integers(1, 500), min_size=1, unique=True).map(sorted))
def test_rounds_hold_all_rungs_and_none_is_longer_than_the_first_three(rungs: list[int]) -> None:
    rounds = Plan(rungs=tuple(rungs)).rounds
    assert set(rungs) <= set(rounds)
    assert all(0 < b - a <= rungs[:3][-1] for a, b in pairwise((0, *rounds)))


def test_a_bracket_is_cut_in_the_rounds_in_which_it_is_due() -> None:
    plan = Plan(rungs=(1, 3, 9, 27), interval=2)  # rounds end at 1, 3, 9, 18 and 27 epochs
    member = Progress(0, lr=0.1, l1=0.0, l2=0.0, dropout=0.0, epochs=27)
    brackets = [Bracket(3, {0: member}, cuts, plan) for cuts in range(4)]
    assert [bracket.due for bracket in brackets] == [6, 7, 8, 10]
    assert [brackets[3].epoch(turn) for turn in (5, 6, 8, 9, 10, 99)] == [1, 1, 9, 18, 27, 27]
    assert brackets[1].epoch(99) == 3  # not before it is cut there


def test_the_next_bracket_begins_while_the_last_is_in_training(
    tmp_path: Path, three_classes: Examples
) -> None:
    for interval, overlap in ((0, False), (1, True), (3, True)):
        path = tmp_path / f"{interval}.db"
        _, updates = last_of(path, three_classes, definition(interval), Budget(24), Workers(0))
        begins = next(n for n, update in enumerate(updates) if update.bracket == 1)
        lasts = max(n for n, update in enumerate(updates) if update.bracket == 0)
        assert (begins < lasts) == overlap


@pytest.mark.parametrize("pruner", PRUNERS)
def test_two_workers_find_what_one_finds(
    tmp_path: Path, three_classes: Examples, pruner: str
) -> None:
    made = definition(pruner=pruner)
    one = searched(tmp_path / "one.db", three_classes, made, Budget(40), Workers(0))
    two = searched(tmp_path / "two.db", three_classes, made, Budget(40), Workers(2))
    assert facts(two) == facts(one)
    assert one.counts()["running"] == 0


@pytest.mark.parametrize("budget", [Budget(40), Budget(40, until=0.97)], ids=["all", "until"])
def test_a_search_that_is_left_after_any_update_ends_as_if_it_had_not_been(
    tmp_path: Path, three_classes: Examples, budget: Budget
) -> None:
    made = definition()
    whole, updates = last_of(tmp_path / "whole.db", three_classes, made, budget, Workers(0))
    problem = Problem(6, 150, 3)
    for last in range(0, len(updates), 5):
        path = tmp_path / f"{last}.db"
        with Workers(0) as workers, study.open_writer(path, "made", made) as writer:
            names = ("x", "y", "x_valid", "y_valid")
            workers.share({name: getattr(three_classes, name).numpy() for name in names})
            for number, _ in enumerate(Search(writer, SPACE, problem, workers).run(budget)):
                if number == last:
                    break
        again = searched(path, three_classes, made, budget, Workers(0))
        assert facts(again) == facts(whole), last


def test_a_value_that_is_good_enough_ends_all_brackets(
    tmp_path: Path, three_classes: Examples
) -> None:
    budget = Budget(80, until=0.97)
    view = searched(tmp_path / "a.db", three_classes, definition(), budget, Workers(0))
    best = view.best()
    assert best is not None
    assert best.value is not None
    assert best.value <= 0.97
    assert view.counts()["running"] == 0
    last = [trial for trial in view.trials() if trial.reason == "good enough"]
    assert len({trial.bracket for trial in last}) > 1
    assert len(view.trials()) < 80


def test_a_deadline_ends_all_brackets(tmp_path: Path, three_classes: Examples) -> None:
    made = definition()
    made.training.update(rungs=(1, 3, 9, 27, 10**6), patience=10**6)
    made.space["epochs"] = "1000000"
    view = searched(
        tmp_path / "a.db", three_classes, made, Budget(24, time.monotonic() + 4), Workers(0)
    )
    late = [trial for trial in view.trials() if trial.reason == "time"]
    assert len({trial.bracket for trial in late}) > 1
    assert view.counts()["running"] == 0
    for bracket in {trial.bracket for trial in late}:
        assert sum(t.state == "complete" for t in late if t.bracket == bracket) == 1


def test_the_sampler_learns_from_trials_in_training_and_forgets_it_when_they_end() -> None:
    space = build({"epochs": "9"})
    propose = Proposer(space, definition_of(space))
    trials = ended(range(64), propose([], 64))
    part = [t._replace(state="running", value=None, rungs={3: t.params["lr"]}) for t in trials]
    learnt = propose(part, 32)
    assert max(params["lr"] for params in learnt) < 3e-2
    median = sorted(params["lr"] for params in learnt)[16]
    assert median < sorted(trial.params["lr"] for trial in trials)[32]
    nothing = [trial._replace(rungs={}) for trial in part]
    assert Proposer(space, definition_of(space))(nothing, 32) != learnt
    assert propose(trials, 32) == Proposer(space, definition_of(space))(trials, 32)

"""The order of ask, train, cut and tell: what goes on, what shares a stack, what is drawn next."""

import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nntune import study
from nntune.errors import AllFailedError
from nntune.proposals import Proposer
from nntune.pruners import Rank, Reached, ordered, survivors
from nntune.search import Plan, Search, Update, rungs
from nntune.session import plan_for
from nntune.space import Space, build, explicit
from nntune.stacks import shape_of, stacks, working_set
from nntune.stops import Budget
from nntune.study import Definition, Trial, View
from nntune.training import Examples
from nntune.trials import Problem, Progress
from nntune.workers import Workers

SMALL = {"units": "8,16", "hidden_layers": "1:2", "batch_size": "32", "epochs": "9"}
PLAN = Plan(width=8, rungs=(1, 3, 9), patience=9)
SAMPLERS = ["tpe", "qmc", "random"]
values = st.floats(-1e6, 1e6)
ranks = st.tuples(values, values)


def definition(
    space: Space, *, sampler: str = "tpe", pruner: str = "halving", metric: str = "log_loss"
) -> Definition:
    return Definition(
        data={},
        space={each.name: each.text for each in space.hyperparameters},
        metric=metric,
        direction="maximize" if metric == "accuracy" else "minimize",
        seed=7,
        sampler=sampler,
        pruner=pruner,
        training={**PLAN._asdict(), "product": "torch"},
        versions={},
        command="",
    )


def searched(
    path: Path, examples: Examples, made: Definition, budget: Budget, workers: Workers
) -> View:
    """A study after a search on made examples."""
    return last_of(path, examples, made, budget, workers)[0]


def last_of(
    path: Path,
    examples: Examples,
    made: Definition,
    budget: Budget,
    workers: Workers,
    kill: int | None = None,
) -> tuple[View, list[Update]]:
    """The same, with all updates of the search; killed after so many of them."""
    arrays = {name: getattr(examples, name).numpy() for name in ("x", "y", "x_valid", "y_valid")}
    problem = Problem(examples.x.shape[1], len(examples.x), examples.classes, examples.scale)
    space = build(made.space)
    with workers, study.open_writer(path, "made", made) as writer:
        workers.share(arrays)
        updates = list(islice(Search(writer, space, problem, workers).run(budget), kill))
    return study.read(path, "made"), updates


def facts(view: View) -> list[tuple[object, ...]]:
    return [
        (t.number, t.state, t.params, t.value, t.epoch, t.rungs, t.reason, view.curve(t.number))
        for t in sorted(view.trials())
    ]


def ended(numbers: Sequence[int], proposals: Sequence[dict[str, object]]) -> list[Trial]:
    """Trials with values made up from their numbers."""
    return [
        Trial.new(number, dict(params), number // PLAN.width)._replace(
            state="complete", value=math.sin(number), rungs={9: math.sin(number)}
        )
        for number, params in zip(numbers, proposals, strict=True)
    ]


@given(
    st.integers(1, 1000), st.integers(1, 10**6), st.integers(1, 4096), st.integers(2, 5)
)  # fmt: skip
def test_rungs_rise_by_eta_and_end_with_the_whole_training(
    epochs: int, rows: int, batch_size: int, eta: int
) -> None:
    found = rungs(epochs, rows, batch_size, eta)
    assert found[-1] == epochs
    assert all(a < b for a, b in pairwise(found))
    assert all(b == a * eta for a, b in pairwise(found[:-1]))


@given(st.integers(1, 10**6), st.integers(1, 4096))
def test_the_first_rung_is_one_epoch_or_about_thirty_steps(rows: int, batch_size: int) -> None:
    first, steps = rungs(10**6, rows, batch_size)[0], math.ceil(rows / batch_size)
    assert first == 1 if steps >= 30 else 30 <= first * steps < 30 + steps


@given(
    st.dictionaries(st.integers(0, 50), ranks, min_size=1),
    st.dictionaries(st.integers(51, 99), ranks),
    st.integers(2, 4),
    st.integers(1, 5),
)
def test_survivors_are_the_best_of_the_bracket(
    bracket: dict[int, tuple[float, ...]],
    others: dict[int, tuple[float, ...]],
    eta: int,
    least: int,
) -> None:
    seen = ordered(others | bracket)
    going_on = survivors(bracket, seen, eta, least)
    own = sorted(bracket, key=lambda number: (bracket[number], number))
    assert going_on == set(own[: len(going_on)])
    assert min(least, len(bracket)) <= len(going_on) <= max(least, len(seen) // eta)
    assert going_on == survivors(dict(reversed(bracket.items())), seen, eta, least)


def test_a_bracket_alone_keeps_a_third_and_ties_go_to_the_earlier() -> None:
    bracket = dict.fromkeys(range(32), (0.5, 0.0))
    assert survivors(bracket, ordered(bracket), 3, 1) == set(range(10))


@given(st.lists(st.tuples(st.integers(0, 9), ranks)))
def test_ranks_are_in_order_and_each_trial_has_its_last(kept: list[tuple[int, Rank]]) -> None:
    reached = Reached()
    for number, rank in kept:
        reached.keep(number, rank)
    assert reached.ranks == dict(kept)
    assert reached.order == ordered(dict(kept))


configurations = st.fixed_dictionaries(
    {
        "hidden_layers": st.integers(1, 3),
        "units": st.sampled_from([16, 64, 512]),
        "shape": st.sampled_from(["flat", "taper"]),
        "activation": st.just("relu"),
        "batch_size": st.sampled_from([32, 256]),
        "optimizer": st.sampled_from(["adam", "sgd"]),
        "epoch": st.sampled_from([0, 3]),
    }
)


@given(st.lists(configurations, min_size=1, max_size=40))
def test_stacks_hold_every_member_once_with_its_like(drawn: list[dict[str, object]]) -> None:
    problem = Problem(inputs=10, rows=1000, classes=3)
    members = [
        Progress(number, 1e-3, 0, 0, 0, 100, epoch=params["epoch"])  # type: ignore[arg-type]
        for number, params in enumerate(drawn)
    ]
    dealt = stacks(members, dict(enumerate(drawn)), problem, 2)
    assert sorted(m.number for stack in dealt for m in stack) == list(range(len(drawn)))
    for stack in dealt:
        kinds = {
            (shape_of(params, problem), *(params[k] for k in ("batch_size", "optimizer", "epoch")))
            for params in (drawn[member.number] for member in stack)
        }
        assert len(kinds) == 1
        shape, batch_size, *_ = kinds.pop()
        assert len(stack) == 1 or len(stack) * working_set(shape, batch_size) <= 6 << 20
    assert dealt == stacks(members, dict(enumerate(drawn)), problem, 2)


def test_the_stack_that_takes_longest_comes_first() -> None:
    sizes = [16, 512, 64]
    drawn = {
        n: {"hidden_layers": 2, "units": units, "shape": "flat", "activation": "relu",
            "batch_size": 32, "optimizer": "adam"}
        for n, units in enumerate(sizes)
    }  # fmt: skip
    members = [Progress(number, 1e-3, 0, 0, 0, 100) for number in drawn]
    dealt = stacks(members, drawn, Problem(10, 1000, 3), 2)
    assert [[m.number for m in stack] for stack in dealt] == [[1], [2], [0]]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trial_0_is_the_default_and_a_bracket_has_distinct_configurations(sampler: str) -> None:
    space = build({})
    drawn = Proposer(space, definition(space, sampler=sampler))([], 32)
    assert space.params(drawn[0]) == space.default
    assert len({repr(params) for params in drawn}) == 32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_sampler_draws_what_it_would_have_drawn(sampler: str) -> None:
    space = build({})
    made = definition(space, sampler=sampler)
    propose = Proposer(space, made)
    first = ended(range(32), propose([], 32))
    second = propose(first, 32)
    assert Proposer(space, made)(first, 32) == second
    trials = first + ended(range(32, 64), second)
    assert Proposer(space, made)(trials, 32) == propose(trials, 32)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_brackets_do_not_repeat_each_other(sampler: str) -> None:
    space = build({})
    propose = Proposer(space, definition(space, sampler=sampler))
    trials: list[Trial] = []
    for first in range(0, 96, 32):
        trials += ended(range(first, first + 32), propose(trials, 32))
    assert len({repr(trial.params) for trial in trials}) == 96


def test_another_seed_draws_other_configurations() -> None:
    space = build({})
    one = definition(space)
    other = Definition(**{**vars(one), "seed": 8})
    assert Proposer(space, one)([], 8)[1:] != Proposer(space, other)([], 8)[1:]


def test_a_search_finds_better_than_its_first_bracket(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build(SMALL))
    view, updates = last_of(tmp_path / "a.db", three_classes, made, Budget(40), Workers(0))
    first = min(t.value for t in view.trials() if t.bracket == 0 and t.value is not None)
    best = view.best()
    assert best is not None
    assert best.value is not None
    assert best.value < first
    assert updates[-1].best == best._replace(
        distributions_json={}, attempts=1, started="", finished=""
    )
    assert sum(updates[-1].states.values()) == 40


def test_a_value_that_leads_is_stored_before_its_rung_ends(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build(SMALL))
    view, updates = last_of(tmp_path / "a.db", three_classes, made, Budget(8), Workers(0), kill=1)
    best = updates[0].best
    assert best is not None
    assert not updates[0].rung_done
    stored = [(t.number, t.state, *t.rungs.values()) for t in view.trials() if t.rungs]
    assert stored == [(best.number, "running", best.value)]


@pytest.mark.parametrize("kill", [1, 2, 4, 6])
def test_a_search_killed_before_its_rung_ends_ends_as_if_undisturbed(
    tmp_path: Path, three_classes: Examples, kill: int
) -> None:
    made = definition(build(SMALL))
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(8), Workers(0))
    cut = tmp_path / "cut.db"
    last_of(cut, three_classes, made, Budget(8), Workers(0), kill)
    assert facts(searched(cut, three_classes, made, Budget(8), Workers(0))) == facts(whole)


def test_the_weights_of_the_best_few_stay(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build(SMALL))
    view = searched(tmp_path / "a.db", three_classes, made, Budget(24), Workers(0))
    ranked = sorted((t for t in view.trials() if t.value is not None), key=lambda t: t.value)  # type: ignore[arg-type,return-value]
    kept = [t.number for t in ranked if view.weights(t.number) is not None]
    assert kept == [t.number for t in ranked[:3]]
    assert len({t.bracket for t in ranked[:3]}) > 1  # which one bracket alone would not show


def test_a_leader_that_diverges_leads_no_more(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build(SMALL))
    with study.open_writer(tmp_path / "a.db", "made", made) as writer, Workers(0) as workers:
        search = Search(writer, build(SMALL), Problem(4, 100, 3), workers)
        numbers = search._ask(0, 8)
        member = search._progress(numbers[3])._replace(
            epoch=1, best_epoch=1, value=0.5, loss=0.5, curve=(0.5,)
        )
        search._tell_leader([member])
        assert search._update(0, 1, 8, rung_done=False).best == search._trials[3]._replace(
            value=0.5
        )
        gone = member._replace(outcome="diverged", epoch=2)
        search._tell(search._cut(0, 3, {3: gone}), {3: gone})
        assert search._update(0, 3, 7, rung_done=True).best is None


def test_a_bracket_is_cut_at_its_rungs(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build(SMALL))
    view = searched(tmp_path / "a.db", three_classes, made, Budget(8), Workers(0))
    reached = [max(trial.rungs) for trial in view.trials() if trial.number]
    assert [sum(rung >= each for rung in reached) for each in (1, 3, 9)] == [7, 3, 3]
    for trial in view.trials():
        curve = view.curve(trial.number)
        assert len(curve) == max(trial.rungs)
        assert trial.value == pytest.approx(min(curve), rel=1e-6)  # curves are in single precision
        assert trial.epoch == 1 + curve.index(min(curve))
        assert trial.state == ("complete" if len(curve) == 9 else "pruned")


@pytest.mark.parametrize("ahead", [1, 3, 9, 27])
def test_the_default_is_trained_ahead_and_ranked_as_any_other(
    tmp_path: Path, three_classes: Examples, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(Search, "_default_seconds", lambda _, epochs: 0.5 * epochs / ahead)
    made = definition(build({**SMALL, "epochs": "27"}))
    made.training.update(rungs=[1, 3, 9, 27], patience=27)
    trained: list[tuple[list[int], int]] = []

    class Noted(Workers):
        def train(self, members, setting, problem, until, deadline):  # type: ignore[no-untyped-def]
            trained.append(([member.number for member in members], until))
            return super().train(members, setting, problem, until, deadline)

    view = searched(tmp_path / "a.db", three_classes, made, Budget(8), Noted(0))
    assert next(until for numbers, until in trained if 0 in numbers) == ahead
    rungs, curve = view.trial(0).rungs, view.curve(0)
    assert max(rungs) >= ahead
    for rung, value in rungs.items():
        assert value == pytest.approx(min(curve[:rung]), rel=1e-6)


def test_only_the_default_is_ahead_and_only_where_there_is_time(
    tmp_path: Path, three_classes: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "_default_seconds", lambda _, epochs: 0.06 * epochs)
    made, never = definition(build(SMALL)), math.inf
    with study.open_writer(tmp_path / "a.db", "made", made) as writer:
        search = Search(writer, build(SMALL), Problem(4, 100, 3), Workers(0))
        search._ask(0, 8)
        default, other = search._progress(0), search._progress(1)
        assert search._is_ahead(default, 1, never)
        assert not search._is_ahead(default, 9, never)
        assert not search._is_ahead(default, 1, time.monotonic() + 0.5)
        assert not search._is_ahead(default._replace(epoch=3), 1, never)
        assert not search._is_ahead(other, 1, never)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "gp", "cmaes"])
def test_a_second_bracket_completes_a_small_first_one(
    tmp_path: Path, three_classes: Examples, sampler: str
) -> None:
    space = build(SMALL)
    made = definition(space, sampler=sampler)
    made = replace(made, training={**made.training, "first": 3})
    view = searched(tmp_path / "a.db", three_classes, made, Budget(20), Workers(0))
    trials = sorted(view.trials(), key=lambda trial: trial.number)
    assert [trial.bracket for trial in trials] == [0] * 3 + [1] * 5 + [2] * 8 + [3] * 4
    evenly = [trial.params for trial in trials[:8]] == Proposer(space, made)([], 8)
    assert evenly == (sampler != "random")
    assert Proposer(space, made)(trials[:16], 4) == [trial.params for trial in trials[16:]]


def test_what_the_user_asked_for_leaves_no_hole_in_the_even_start() -> None:
    space = build(SMALL)
    made = definition(space)
    made = replace(made, training={**made.training, "first": 3})
    queue = [{**space.default, "lr": lr} for lr in (0.002, 0.004, 0.005)]
    trials: list[Trial] = []
    for first, count in ((0, 3), (3, 5)):
        asked = Proposer(space, made)(trials, count, queue)
        trials += [Trial.new(first + n, params, first) for n, params in enumerate(asked)]
    even = Proposer(space, made)([], 8)[1:]
    assert [trial.params for trial in trials[4:]] == even[:4]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_another_study_lends_is_not_drawn_in_the_same_bracket(sampler: str) -> None:
    space = build({})
    made = definition(space, sampler=sampler)
    drawn = Proposer(space, made)([], 8)
    queue = [explicit(space.params(params)) for params in drawn[2:6]]
    asked = Proposer(space, made)([], 8, queue)
    asked += Proposer(space, made)(ended(range(8), asked), 8)
    assert asked[1:5] == drawn[2:6]
    assert len({repr(params) for params in asked}) == 16


def test_a_study_from_before_goes_on_with_whole_widths(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build(SMALL))
    training = {name: value for name, value in made.training.items() if name != "first"}
    made = replace(made, training={**training, "width": 12})
    searched(tmp_path / "a.db", three_classes, made, Budget(4), Workers(0))
    view = searched(tmp_path / "a.db", three_classes, made, Budget(20), Workers(0))
    assert sorted(trial.bracket for trial in view.trials()) == [0] * 4 + [1] * 12 + [2] * 4


def test_a_search_begins_small_where_a_first_rung_takes_long() -> None:
    quick, slow = (plan_for(build({}, rows=rows), Problem(20, rows, 2)) for rows in (999, 99_999))
    assert (quick.first, quick.width) == (32, 32)
    assert (slow.first, slow.width) == (8, 32)


def test_a_plan_of_another_version_goes_on_by_what_is_known_of_it(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build(SMALL))
    other = replace(made, training={**made.training, "interval": 3})
    view = searched(tmp_path / "a.db", three_classes, other, Budget(4), Workers(0))
    assert facts(view) == facts(
        searched(tmp_path / "b.db", three_classes, made, Budget(4), Workers(0))
    )


def test_without_a_pruner_every_trial_is_trained_to_the_end(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build(SMALL), pruner="none", metric="accuracy")
    view = searched(tmp_path / "a.db", three_classes, made, Budget(8), Workers(0))
    assert [len(view.curve(trial.number)) for trial in view.trials()] == [9] * 8
    assert {trial.state for trial in view.trials()} == {"complete"}
    best = view.best()
    assert best is not None
    assert best.value == max(max(trial.rungs.values()) for trial in view.trials())


def test_trials_are_a_total(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build(SMALL))
    apart = tmp_path / "apart.db"
    searched(apart, three_classes, made, Budget(8), Workers(0))
    again = searched(apart, three_classes, made, Budget(16), Workers(0))
    once = searched(tmp_path / "once.db", three_classes, made, Budget(16), Workers(0))
    assert facts(again) == facts(once)
    before = again.trials()
    assert searched(apart, three_classes, made, Budget(16), Workers(0)).trials() == before


def test_a_fixed_space_trains_one_configuration_with_other_seeds(
    tmp_path: Path, regression: Examples
) -> None:
    names = build({}).default
    fixed = {name: str(value) for name, value in names.items()} | {"epochs": "3"}
    made = definition(build(fixed), metric="rmse")
    view = searched(tmp_path / "a.db", regression, made, Budget(3), Workers(0))
    assert [trial.params for trial in view.trials()] == [{}, {}, {}]
    assert len({trial.value for trial in view.trials()}) == 3


def test_a_search_whose_trials_all_fail_says_why(tmp_path: Path, regression: Examples) -> None:
    made = definition(build({**SMALL, "lr": "1000", "optimizer": "sgd"}), metric="rmse")
    with pytest.raises(AllFailedError) as error:
        searched(tmp_path / "a.db", regression, made, Budget(8), Workers(0))
    assert str(error.value) == (
        "all 8 trials failed (diverged at epoch 1); lower --lr or scale the data."
    )
    assert error.value.exit_code == 6
    with pytest.raises(AllFailedError):  # the same command again
        searched(tmp_path / "a.db", regression, made, Budget(8), Workers(0))
    states = study.read(tmp_path / "a.db").counts()
    assert states == {"running": 0, "complete": 0, "pruned": 0, "failed": 8}


def test_a_learning_rate_is_blamed_for_what_diverges_only(
    tmp_path: Path, three_classes: Examples
) -> None:
    made, at_once = definition(build(SMALL)), Budget(2, trial_time=0.0)
    with pytest.raises(AllFailedError) as error:
        searched(tmp_path / "a.db", three_classes, made, at_once, Workers(0))
    assert str(error.value) == "all 2 trials failed (time limit at epoch 0); search other ranges."


def test_a_deadline_in_the_past_gives_the_first_bracket_one_value_and_begins_no_other(
    tmp_path: Path, three_classes: Examples
) -> None:
    made, past = definition(build(SMALL)), Budget(16, time.monotonic() - 1)
    view, _ = last_of(tmp_path / "a.db", three_classes, made, past, Workers(0))
    best = view.best()
    assert best is not None
    assert best.value is not None
    trained = [trial for trial in view.trials() if trial.state != "running"]
    assert 0 in {trial.number for trial in trained}
    assert all(trial.value is not None for trial in trained)
    assert len(view.trials()) == 8  # those without an epoch wait for the next search
    view, updates = last_of(tmp_path / "a.db", three_classes, made, past, Workers(0))
    assert (len(view.trials()), updates) == (8, [])
    in_time = Budget(8)
    view, _ = last_of(tmp_path / "a.db", three_classes, made, in_time, Workers(0))
    assert (view.counts()["running"], len(view.trials())) == (0, 8)


def test_a_deadline_ends_the_trials_with_what_they_have(
    tmp_path: Path, three_classes: Examples
) -> None:
    made = definition(build({**SMALL, "epochs": "100000"}), pruner="none")
    made.training.update(rungs=[1, 100000], patience=100000)
    soon = Budget(8, time.monotonic() + 1)
    view = searched(tmp_path / "a.db", three_classes, made, soon, Workers(0))
    assert {trial.reason for trial in view.trials()} == {"time"}
    trained = [trial for trial in view.trials() if trial.value is not None]
    complete = [trial for trial in view.trials() if trial.state == "complete"]
    assert complete == trained[:1]  # the best; the others are pruned
    assert view.counts()["running"] == 0


@pytest.mark.parametrize(("enough", "brackets"), [(8, 1), (9, 2), (17, 3)])
def test_time_is_kept_for_a_confirmation_once_enough_trials_have_a_value(
    tmp_path: Path, three_classes: Examples, enough: int, brackets: int
) -> None:
    deadline = time.monotonic() + 1000
    budget = Budget(24, deadline, reserved=1000, enough=enough)  # what is kept begins at once
    made = definition(build(SMALL))
    view = searched(tmp_path / "a.db", three_classes, made, budget, Workers(0))
    trials = view.trials()
    assert len(trials) == 8 * brackets
    cut = {trial.bracket for trial in trials if trial.reason == "time"}
    assert cut == {brackets - 1}
    assert all(max(t.rungs) == 1 for t in trials if t.reason == "time")


def test_trials_longer_than_the_plan_end_with_it(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build({**SMALL, "epochs": "200"}))
    view = searched(tmp_path / "a.db", three_classes, made, Budget(8), Workers(0))
    assert {trial.state for trial in view.trials()} == {"complete", "pruned"}


def test_orphans_of_a_killed_search_are_trained_first(
    tmp_path: Path, three_classes: Examples
) -> None:
    made, space = definition(build(SMALL)), build(SMALL)
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(16), Workers(0))
    distributions = space.distributions()
    with study.open_writer(tmp_path / "cut.db", "made", made) as writer:
        drawn = Proposer(space, made)([], 8)
        asked = [(n, p, {name: distributions[name] for name in p}) for n, p in enumerate(drawn)]
        writer.begin(0, asked)
    cut = searched(tmp_path / "cut.db", three_classes, made, Budget(16), Workers(0))
    assert facts(cut) == facts(whole)
    assert {t.attempts for t in cut.trials() if t.bracket == 0} == {2}


def test_a_worker_that_dies_loses_no_trial(tmp_path: Path, three_classes: Examples) -> None:
    made = definition(build(SMALL))
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(16), Workers(0))
    arrays = {n: getattr(three_classes, n).numpy() for n in ("x", "y", "x_valid", "y_valid")}
    with (
        Workers(2) as workers,
        study.open_writer(tmp_path / "hurt.db", "made", made) as writer,
    ):
        workers.share(arrays)
        worker = workers.submit(os.getpid).result()
        search = Search(writer, build(made.space), Problem(6, 150, 3), workers)
        hurt: set[int] = set()
        for update in search.run(Budget(16)):
            if update.bracket not in hurt:
                if hurt:
                    workers.submit(os._exit, 3)
                else:
                    os.kill(worker, signal.SIGKILL)
                hurt.add(update.bracket)
    assert facts(study.read(tmp_path / "hurt.db")) == facts(whole)


def test_a_pool_works_on_after_a_call_that_kills_its_process() -> None:
    with Workers(1) as workers:
        for _ in range(12):
            first = workers.submit(os.getpid).result()
            broken = workers.submit(os._exit, 3)
            assert broken.exception() is not None
            assert workers.submit(os.getpid).result() != first


def test_a_pool_is_closed_at_once_whatever_it_does() -> None:
    workers = Workers(2)
    tasks = [workers.submit(time.sleep, 60) for _ in range(8)]
    started = time.monotonic()
    workers.close()
    assert time.monotonic() - started < 5
    assert all(task.cancelled() or task.exception() is not None for task in tasks)


def test_a_pool_is_closed_in_the_middle_of_large_results() -> None:
    for place in range(20):
        workers = Workers(2)
        tasks = [workers.submit(bytes, 4_000_000) for _ in range(8)]
        tasks[0].result()
        time.sleep(place / 1000)
        workers.close()
    assert all(task.done() for task in tasks)


def test_a_worker_that_dies_in_the_middle_of_a_result_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nntune.workers.processes._PATIENCE", 0.1)
    with Workers(1) as workers:
        for share in (0.7, 0.9):
            worker = workers.submit(os.getpid).result()
            started = time.monotonic()
            workers.submit(bytes, 60_000_000).result()
            whole = time.monotonic() - started
            again = workers.submit(bytes, 60_000_000)
            time.sleep(share * whole)
            os.kill(worker, signal.SIGKILL)
            again.exception(timeout=20)
            workers.renew()

import itertools
import math
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from scipy.stats import qmc

from nntune.space import build
from nntune.tpe import (
    COMPLETE,
    FAILED,
    SOBOL_BITS,
    BatchTPESampler,
    Observation,
    Params,
    observation,
    sobol,
    sobol_points,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = build({"l1": "0,1e-6:1e-2:log", "activation": "relu,tanh,gelu"})
DISTRIBUTIONS = SPACE.distributions()


class TestBatchTPESampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Optuna's own conformance suite."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: BatchTPESampler(seed=0)


def loss(params: Params) -> float:
    """A bowl in 7 of the parameters; least at 0."""
    bowl = math.log10(params["lr"] / 3e-3) ** 2 + (params["dropout"] - 0.2) ** 2
    width = (math.log2(params["units"]) - 6) ** 2 + (params["hidden_layers"] - 3) ** 2
    penalty = 0.3 if params["l2_zero"] else abs(math.log10(params["l2"] / 1e-4)) / 6
    return 3 * bowl + width / 8 + penalty + 0.3 * (params["activation"] != "gelu")


def observed(count: int) -> list[Observation]:
    points = sobol(DISTRIBUTIONS, count, seed=3)
    return [Observation(i, each, loss(each), COMPLETE) for i, each in enumerate(points)]


def test_the_same_trials_and_seed_give_the_same_batch() -> None:
    trials, living = observed(60), BatchTPESampler(seed=1)
    for known in (2, 20, 45, 60):
        last = living.propose(trials[:known], DISTRIBUTIONS, 8, seed=[5, known])
        fresh = BatchTPESampler(seed=2).propose(trials[:known], DISTRIBUTIONS, 8, [5, known])
        assert last == fresh
    shuffled = [trials[i] for i in np.random.default_rng(0).permutation(60)]
    assert BatchTPESampler().propose(shuffled, DISTRIBUTIONS, 8, [5, 60]) == last
    assert living.propose(trials, DISTRIBUTIONS, 8, [5, 61]) != last


def test_fewer_known_trials_than_before_are_taken_as_given() -> None:
    trials, living = observed(40), BatchTPESampler()
    expected = living.propose(trials[:20], DISTRIBUTIONS, 4, 7)
    living.propose(trials, DISTRIBUTIONS, 4, 7)
    assert living.propose(trials[:20], DISTRIBUTIONS, 4, 7) == expected


def test_frozen_trials_and_observations_are_the_same_to_it() -> None:
    trials = observed(30)
    frozen = [
        optuna.trial.create_trial(
            params=dict(each.params),
            distributions={name: DISTRIBUTIONS[name] for name in each.params},
            value=each.value,
        )
        for each in trials
    ]
    for number, each in enumerate(frozen):
        each.number = number
    expected = BatchTPESampler().propose(trials, DISTRIBUTIONS, 8, 0)
    assert BatchTPESampler().propose(frozen, DISTRIBUTIONS, 8, 0) == expected


def test_complete_trials_rank_before_pruned_and_failed_ones_last() -> None:
    study = optuna.create_study()
    for steps in ({}, {1: 5.0}, {1: 0.1, 3: 4.0}):
        trial = study.ask()
        for step, value in steps.items():
            trial.report(value, step)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    study.tell(study.ask(), 9.0)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    study.ask()
    found = [observation(each) for each in study.trials]
    steps = [each.step for each in found if each is not None]
    assert steps == [-1, 1, 3, COMPLETE, FAILED]
    assert found[-1] is None


def test_a_batch_spreads_where_a_greedy_one_would_not() -> None:
    distributions: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    trials = [
        Observation(i, {"x": x}, abs(x - 0.5), COMPLETE)
        for i, x in enumerate(np.linspace(0, 1, 40).tolist())
    ]
    batch = BatchTPESampler().propose(trials, distributions, 16, 0)
    alone = [BatchTPESampler().propose(trials, distributions, 1, seed)[0] for seed in range(16)]
    spread = np.std([each["x"] for each in batch])
    assert spread > 1.3 * np.std([each["x"] for each in alone])
    assert np.mean([0.2 < each["x"] < 0.8 for each in batch]) > 0.6


def test_a_discrete_space_is_exhausted_before_anything_recurs() -> None:
    distributions: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution(["x", "y"]),
        "b": IntDistribution(1, 3),
    }
    every = list(itertools.product("xy", (1, 2, 3)))
    trials = [
        Observation(i, {"a": a, "b": b}, float(b), COMPLETE) for i, (a, b) in enumerate(every[:3])
    ]
    batch = BatchTPESampler().propose(trials, distributions, 3, 0)
    assert sorted((each["a"], each["b"]) for each in batch) == every[3:]


def test_a_switched_off_parameter_is_absent() -> None:
    for batch in (
        sobol(DISTRIBUTIONS, 32, 0),
        BatchTPESampler().propose([], DISTRIBUTIONS, 32, 0),
        BatchTPESampler().propose(observed(40), DISTRIBUTIONS, 32, 0),
    ):
        assert {each["l1_zero"] for each in batch} == {False, True}
        assert all(("l1" in each) != each["l1_zero"] for each in batch)


def test_values_of_an_older_space_do_not_disturb() -> None:
    wider = build({"units": "64,128,512", "lr": "1e-3:1e-2:log"}).distributions()
    batch = BatchTPESampler().propose(observed(40), wider, 16, 0)
    assert {each["units"] for each in batch} <= {64, 128, 512}


def test_failed_trials_are_avoided() -> None:
    distributions: dict[str, BaseDistribution] = {"lr": FloatDistribution(1e-4, 1, log=True)}
    points = sobol(distributions, 64, 0)
    trials = [
        Observation(i, p, 1.0, COMPLETE) if p["lr"] < 1e-2 else Observation(i, p, 0.0, FAILED)
        for i, p in enumerate(points)
    ]
    batch = BatchTPESampler().propose(trials, distributions, 32, 0)
    assert np.mean([each["lr"] < 1e-2 for each in batch]) > 0.8


def test_without_two_finished_trials_a_batch_is_random_and_valid() -> None:
    failed = Observation(0, sobol(DISTRIBUTIONS, 1, 0)[0], 1.0, FAILED)
    batch = BatchTPESampler().propose([failed], DISTRIBUTIONS, 16, 0)
    assert all(map(is_valid, batch))
    assert len({each["lr"] for each in batch}) == 16


def is_valid(params: Params) -> bool:
    whole = SPACE.params(params)
    return all(each.contains(whole[each.name]) for each in SPACE.hyperparameters)


def test_larger_can_be_better() -> None:
    trials = observed(40)
    mirrored = [each._replace(value=-each.value) for each in trials]
    expected = BatchTPESampler().propose(trials, DISTRIBUTIONS, 8, 0)
    found = BatchTPESampler().propose(mirrored, DISTRIBUTIONS, 8, 0, maximize=True)
    assert found == expected


def test_sobol_points_are_those_of_scipy() -> None:
    theirs = qmc.Sobol(32, scramble=False).random_base2(10) * 2**SOBOL_BITS
    assert np.array_equal(sobol_points(1000, 32), theirs[:1000])
    with pytest.raises(ValueError, match="32 dimensions"):
        sobol_points(1, 33)


def test_sobol_points_are_valid_seeded_and_balanced() -> None:
    batch = sobol(DISTRIBUTIONS, 64, seed=[1, 2])
    assert batch == sobol(DISTRIBUTIONS, 64, seed=[1, 2]) != sobol(DISTRIBUTIONS, 64, seed=1)
    assert batch[:40] == sobol(DISTRIBUTIONS, 40, seed=[1, 2])
    assert all(map(is_valid, batch))
    halves = [each["lr"] < 3e-3 for each in batch]
    assert sum(halves) == 32
    assert sobol({}, 2, 0) == [{}, {}]
    assert sobol(DISTRIBUTIONS, 0, 0) == []


@st.composite
def distributions(draw: st.DrawFn) -> BaseDistribution:
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    high = low + draw(st.integers(0, 2000))
    match draw(st.sampled_from(["int", "float", "step", "choice"])):
        case "int":
            step = 1 if log else draw(st.sampled_from([1, 2, 7]))
            return IntDistribution(low, low + (high - low) // step * step, log, step)
        case "float":
            scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
            return FloatDistribution(low * scale, high * scale, log)
        case "step":
            return FloatDistribution(low / 4, high / 4, step=0.25)
    return CategoricalDistribution(draw(st.sampled_from([(1, 2.5, 9), ("a", None, True), (0,)])))


@settings(deadline=None, max_examples=60)
@given(st.lists(distributions(), min_size=1, max_size=4), st.integers(0, 2**40))
def test_what_it_proposes_lies_in_the_distributions(
    drawn: list[BaseDistribution], seed: int
) -> None:
    named = {f"x{place}": each for place, each in enumerate(drawn)}
    first = sobol(named, 8, seed)
    trials = [Observation(i, p, float(i % 5), float(i % 3)) for i, p in enumerate(first)]
    batch = BatchTPESampler().propose(trials, named, 5, seed)
    for params in first + batch:
        assert set(params) == set(named)
        for name, each in named.items():
            assert each._contains(each.to_internal_repr(params[name]))


def best_of(make: Callable[[int], BaseSampler], seed: int) -> float:
    """Least loss after 5 batches of 16, each asked and told at once."""
    study = optuna.create_study(sampler=make(seed))
    for _ in range(5):
        batch = [study.ask() for _ in range(16)]
        for trial in [(each, SPACE.suggest(each)) for each in batch]:
            study.tell(trial[0], loss(SPACE.optuna_params(trial[1])))
    return study.best_value


def test_it_finds_what_optunas_tpe_finds_and_random_search_does_not() -> None:
    def mean(make: Callable[[int], BaseSampler]) -> float:
        return float(np.mean([best_of(make, seed) for seed in range(3)]))

    ours = mean(lambda seed: BatchTPESampler(seed))
    # Over 20 seeds: 0.08 here, 0.23 Optuna's default (deviation of a run 0.13), 0.40 random.
    assert ours < mean(lambda seed: TPESampler(seed=seed))
    assert ours < 0.7 * mean(lambda seed: RandomSampler(seed=seed))

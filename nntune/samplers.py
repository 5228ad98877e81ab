"""Optuna's own samplers, for those who compare: GP and CMA-ES, asked a bracket at once.

A sampler is made anew for every bracket and seeded by the number of its first trial. The study
that it sees is in memory: all earlier trials, those that were cut with the value they had. CMA-ES
keeps its state with the trials that it asked, so its earlier brackets are asked again, one after
the other: the same seeds and trials give the same state, whether the search was killed or not.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from nntune.errors import UsageError
from nntune.space import Space
from nntune.study import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study

NAMES = ("gp", "cmaes")


def check(name: str) -> None:
    """Whether the sampler's library is there.

    Raises:
        UsageError: it is not.
    """
    from importlib.util import find_spec

    if name == "cmaes" and find_spec("cmaes") is None:
        raise UsageError(
            "--sampler cmaes needs the package cmaes, which is not installed; "
            "pip install 'nntune[cmaes]' brings it."
        )


def proposals(
    name: str,
    space: Space,
    trials: Sequence[Trial],
    count: int,
    seed: int,
    *,
    maximize: bool,
    start: int,
) -> list[dict[str, Any]]:
    """Configurations of the next trials, as Optuna keeps them; the arguments alone fix them.

    Args:
        name: one of `NAMES`.
        space: of the study.
        trials: that have ended, by number.
        count: how many configurations.
        seed: of the study.
        maximize: larger values are better.
        start: brackets that begin before this trial came from no sampler.
    """
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        mirror = optuna.create_study(direction="maximize" if maximize else "minimize")
        for _, bracket in groupby(trials, key=lambda trial: trial.bracket):
            _add(mirror, name, space, list(bracket), seed, start)
        return [asked.params for asked in _asked(mirror, name, space, len(trials), count, seed)]
    finally:
        optuna.logging.set_verbosity(before)


def _add(
    mirror: "Study", name: str, space: Space, bracket: list[Trial], seed: int, start: int
) -> None:
    """Trials of a bracket to the mirror: those that the sampler asked as its own."""
    distributions, own, first = space.distributions(), 0, bracket[0].number
    if name == "cmaes" and first >= start:
        own = _told(mirror, bracket, _asked(mirror, name, space, first, len(bracket), seed))
    for trial in bracket[: len(bracket) - own]:
        if _is_inside(space, trial):
            mirror.add_trial(_frozen(trial, distributions))


def _is_inside(space: Space, trial: Trial) -> bool:
    """Whether the space, which may have changed since, could draw it: Optuna takes no others."""
    params = space.params(trial.params)
    return trial.params.get("model", space.models[0]) in space.models and all(
        each.contains(params[each.name]) for each in space.of(params.get("model")) if not each.fixed
    )


def _asked(
    mirror: "Study", name: str, space: Space, first: int, count: int, seed: int
) -> list[Any]:
    mirror.sampler = _sampler(name, [seed, 3, first])
    asked = [mirror.ask() for _ in range(count)]
    for trial in asked:
        space.suggest(trial)
    return asked


def _told(mirror: "Study", bracket: Sequence[Trial], asked: Sequence[Any]) -> int:
    """How many of a bracket's last trials were asked here; they get their values.

    Those before them were the user's, and the space may have changed since: then none is.
    """
    from optuna.trial import TrialState

    own = next(
        (n for n in range(len(bracket), 0, -1) if _params(bracket[-n:]) == _params(asked[:n])), 0
    )
    for trial, live in zip(bracket[len(bracket) - own :], asked, strict=False):
        if trial.value is None:
            mirror.tell(live, state=TrialState.FAIL)
        else:
            mirror.tell(live, trial.value)
    for live in asked[own:]:
        mirror.tell(live, state=TrialState.FAIL)
    return own


def _params(trials: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [trial.params for trial in trials]


def _frozen(trial: Trial, distributions: "dict[str, BaseDistribution]") -> Any:
    from optuna.trial import TrialState, create_trial

    known = {name: value for name, value in trial.params.items() if name in distributions}
    failed = trial.value is None
    return create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        value=None if failed else trial.value,
        params=known,
        distributions={name: distributions[name] for name in known},
    )


def _sampler(name: str, seed: Sequence[int]) -> "BaseSampler":
    from optuna.samplers import CmaEsSampler, GPSampler, RandomSampler

    words: Iterator[int] = iter(np.random.SeedSequence(seed).generate_state(2).tolist())
    independent = RandomSampler(seed=next(words))
    if name == "gp":
        return GPSampler(
            seed=next(words), independent_sampler=independent, warn_independent_sampling=False
        )
    return CmaEsSampler(
        seed=next(words), independent_sampler=independent, warn_independent_sampling=False
    )

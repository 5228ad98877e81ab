"""Which configurations come next: the default, those the user named, then the sampler's.

Nothing is remembered of what was asked for: a configuration that the study has is not asked again,
so that the same command, killed or not, asks the same.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nntune import samplers
from nntune.errors import UsageError
from nntune.space import Space, Value, explicit, parse
from nntune.study import Definition, Trial, View

if TYPE_CHECKING:
    from nntune.tpe import Observation

_FEW = 5  # configurations that another study lends
_IMPLIED = {"model": "mlp", "bins": 0}  # what they are where a space does not have them


def named(text: str) -> dict[str, str]:
    """Hyperparameters and values of an --enqueue.

    >>> named("lr=3e-4, units=64")
    {'lr': '3e-4', 'units': '64'}

    Raises:
        UsageError: it is no list of NAME=VALUE.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    found = {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}
    if len(found) < len(pairs) or not all(found) or not all(found.values()):
        raise UsageError(
            f"--enqueue {text or repr(text)}: write NAME=VALUE,NAME=VALUE with each name once, "
            "such as lr=3e-4,units=64."
        )
    return found


def enqueued(wanted: Mapping[str, object], space: Space) -> dict[str, Value]:
    """The whole configuration that some values name; the others are those of the default.

    Raises:
        UsageError: a name or a value is wrong, or outside the space.
    """
    values: dict[str, Value] = {}
    ranges = {each.name: each for each in space.hyperparameters}
    for name, text in wanted.items():
        each = parse(name, str(text), f"--enqueue {name}")
        if not each.fixed:
            raise UsageError(f"--enqueue {name}={text}: this is a range; name one value of it.")
        if name not in ranges and each.choices[0] == _IMPLIED.get(name):
            continue
        values[name] = each.choices[0]
        if name not in ranges or not ranges[name].contains(values[name]):
            inside = f"is {ranges[name].text}" if name in ranges else "is not tuned"
            wider = f"--{name.replace('_', '-')} RANGE makes it wider"
            if name == "bins" and values[name]:  # of which there is one number beside 0
                wider = f"--bins 0,{text} has it"
                wider += " where a table has numbers" * (name not in ranges)
            raise UsageError(
                f"--enqueue {name}={text} is outside the space, in which {name} {inside}; {wider}."
            )
    found = _nearest(values, space)
    for name in values.keys() - found.keys():
        raise UsageError(
            f"--enqueue {name}={wanted[name]}: a network of model {found['model']} has no {name}; "
            "name the model that has it too."
        )
    return found


def borrowed(view: View, space: Space) -> list[dict[str, Value]]:
    """The best few configurations of another study, each value the nearest that the space has."""
    found: list[dict[str, Value]] = []
    for trial in view.trials():
        if trial.value is None or trial.state not in ("complete", "pruned"):
            continue
        ours = _nearest(explicit(view.space.params(trial.params)), space)
        if ours not in found:
            found.append(ours)
        if len(found) == _FEW:
            break
    return found


def _nearest(values: Mapping[str, Value], space: Space) -> dict[str, Value]:
    """The configuration of the space that comes nearest; defaults where nothing is given."""
    names = [each.name for each in space.hyperparameters]
    model = None
    if "model" in names:
        model = space["model"].nearest(values.get("model", space["model"].initial))
    return {
        each.name: each.nearest(values.get(each.name, each.initial)) for each in space.of(model)
    }


class Proposer:
    """The sampler of a study: the next configurations, fixed by the study's seed and its trials.

    Trial 0 is the default configuration. The first bracket, or the first two, fill the space
    evenly around it; later ones follow the sampler. Optuna stores no state of a sampler, so every
    bracket draws with a seed of its own, made of its first trial: a search that was killed draws
    what it would have drawn.
    """

    def __init__(self, space: Space, definition: Definition) -> None:
        from nntune.tpe import BatchTPESampler

        self._space, self._definition = space, definition
        self._distributions = space.distributions()
        self._sampler = BatchTPESampler()
        self._known: list[Observation] = []

    def __call__(
        self, trials: Sequence[Trial], count: int, queue: Sequence[Mapping[str, Value]] = ()
    ) -> list[dict[str, Any]]:
        """Configurations of the next trials, as Optuna keeps them.

        Args:
            trials: of the study, by number.
            count: how many.
            queue: whole configurations that come before the sampler's, if no trial has them.
        """
        if not self._distributions:
            return [{} for _ in range(count)]
        ahead = [] if trials else [self._space.optuna_params(self._space.default)]
        known = [trial.params for trial in trials]
        for configuration in queue:
            params = self._space.optuna_params(configuration)
            if params not in known and params not in ahead:
                ahead.append(params)
        return ahead[:count] + self._sampled(trials, max(count - len(ahead), 0), ahead)

    def _sampled(
        self, trials: Sequence[Trial], rest: int, ahead: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The sampler's, none of which is one of those ahead in the same bracket."""
        first, wanted = len(trials), rest + len(ahead)
        known = list(ahead)
        if self._definition.sampler == "qmc":
            before = max(first - 1, 0)
            points = self._even(before + wanted)[before:]
        elif first < self._definition.start and self._definition.sampler != "random":
            known += [trial.params for trial in trials]
            points = self._even(first + wanted)
        elif self._definition.sampler in samplers.NAMES:
            return samplers.proposals(
                self._definition.sampler, self._space, trials, rest, self._definition.seed,
                maximize=self._definition.direction == "maximize", start=self._definition.start,
            )  # fmt: skip
        else:
            if self._definition.sampler == "tpe":  # all trials have ended, which they do once
                self._known += [_observation(trial) for trial in trials[len(self._known) :]]
            points = self._sampler.propose(
                self._known, self._distributions, wanted, [self._definition.seed, 3, first],
                maximize=self._definition.direction == "maximize",
                conditions=self._space.conditions,
            )  # fmt: skip
        return ([point for point in points if point not in known] + points)[:rest]

    def _even(self, count: int) -> list[dict[str, Any]]:
        from nntune.tpe import sobol

        seed = [self._definition.seed, 3]
        return sobol(self._distributions, count, seed, self._space.conditions)


def _observation(trial: Trial) -> "Observation":
    """A finished trial as the sampler sees it."""
    from nntune.tpe import COMPLETE, FAILED, Observation

    steps = {"complete": COMPLETE, "pruned": max(trial.rungs, default=-1), "failed": FAILED}
    value = math.nan if trial.value is None else trial.value
    return Observation(trial.number, trial.params, value, steps[trial.state])

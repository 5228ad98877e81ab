"""How much each hyperparameter has to do with a good value, by Optuna's evaluators.

Pruned trials count with the best value up to their rung, as they do in the leaderboard: of hundreds
of trials only a few are complete, and that a trial was cut says much about its configuration.
"""

import random
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from nntune.errors import NotFoundError
from nntune.report.drawing import grid
from nntune.report.tuned import drawn_from
from nntune.report.wording import states
from nntune.space import Hyperparameter, Space
from nntune.study import Trial, View

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator

EVALUATORS = ("ped-anova", "fanova")
_FEWEST = 15  # trials with a value: PED-ANOVA's documentation asks for 5 good ones
# Of the trials; Optuna's default of a tenth leaves chance too much: of 96 trials on penguins two in
# forty shuffles gave the learning rate as much importance as the true order, with a third none.
_BEST = 1 / 3
_SHUFFLES = 19  # the largest of 19 is passed by chance once in 20 times
# Trials: PED-ANOVA takes 0.05 s for each shuffle of 1,000, fANOVA 14 s for them once.
_MOST_PED_ANOVA, _MOST_FANOVA = 1000, 300
_BAR = 32  # characters
_ZERO = -1.0  # where the zero beside a log range stands, which runs from 0 to 1


class Importance(NamedTuple):
    """Of one hyperparameter.

    Attributes:
        share: of all importance, 0 to 1.
        chance: what shuffled values reach, in the same unit, once in 20 times; None if not known.
    """

    name: str
    share: float
    chance: float | None

    @property
    def told(self) -> bool:
        """Whether it is more than chance gives."""
        return self.chance is None or self.share > self.chance


class Importances(NamedTuple):
    """Of the tuned hyperparameters, the largest first, and how many trials they rest on."""

    evaluator: str
    trials: dict[str, int]  # by state
    entries: tuple[Importance, ...]
    fixed: tuple[str, ...]


def importances(view: View, evaluator: str = "ped-anova") -> Importances:
    """Measures how much each hyperparameter matters, or did until it was fixed.

    PED-ANOVA asks what the best third of the trials have in common that all together have not;
    trials that diverged count as the worst. fANOVA asks how much of the spread of values
    each hyperparameter explains. Of more than 1,000 trials, 300 for fANOVA, a fixed seed draws.

    Raises:
        NotFoundError: too few trials have a value, or nothing is tuned.

    References:
        PED-ANOVA: Watanabe et al. 2023, arXiv:2304.10255; of conditional hyperparameters:
        arXiv:2601.20800. fANOVA: Hutter et al. 2014, proceedings.mlr.press/v32/hutter14.html.
    """
    space = view.space
    ranked = sorted((t for t in view.trials() if _counts(t)), key=lambda t: t.number)
    valued = [trial for trial in ranked if trial.value is not None]
    ranges = [drawn_from(each, ranked) for each in space.known]
    tuned = [each for each in ranges if not each.fixed]
    if not tuned:
        raise NotFoundError(f"study '{view.name}' tunes nothing; every hyperparameter is fixed.")
    inside = ""
    if evaluator == "fanova":
        valued = [t for t in valued if _is_inside(ranges, space.params(t.params))]
        inside = " inside the ranges in force"
    if len(valued) < _FEWEST:
        raise NotFoundError(
            f"study '{view.name}' has {len(valued)} trials with a value{inside}; importance needs "
            f"{_FEWEST}, and tells little below 50."
        )
    chance: dict[str, float] = {}
    sign = -1.0 if view.direction == "maximize" else 1.0
    if evaluator == "fanova":
        valued = _drawn(valued, _MOST_FANOVA)
        # It knows no hyperparameter that only some trials have, such as those of one family.
        had = [space.params(trial.params).keys() for trial in valued]
        tuned = [each for each in tuned if all(each.name in names for names in had)]
        found = _fanova(valued, sign, tuned, space)
    else:
        valued = _drawn(ranked, _MOST_PED_ANOVA)
        found, chance = _ped_anova(valued, sign, tuned)
    whole = sum(found.values()) or 1.0
    entries = (
        Importance(h.name, found[h.name] / whole, chance[h.name] / whole if chance else None)
        for h in tuned
    )
    return Importances(
        evaluator,
        dict(Counter(trial.state for trial in valued)),
        tuple(sorted(entries, key=lambda entry: -entry.share)),
        tuple(each.name for each in ranges if each.fixed),
    )


def importance(found: Importances) -> RenderableType:
    """A bar for each hyperparameter."""
    table = grid("hyperparameter", "importance", "", "", right=["importance"])
    for entry in found.entries:
        bar = "█" * round(entry.share * _BAR) or "▏"
        note = "" if entry.told else "no more than chance"
        table.add_row(entry.name, f"{entry.share:.2f}", bar, note)
    lines = [f"{_ABOUT[found.evaluator]} {states(found.trials)}."]
    if found.fixed:
        lines.append(f"fixed: {', '.join(found.fixed)}")
    return Group(table, "", *map(Text, lines))


_ABOUT = {
    "ped-anova": "What the best third has in common (PED-ANOVA), from",
    "fanova": "Which part of the spread of values each explains (fANOVA), from",
}


def importance_json(view: View, found: Importances) -> dict[str, Any]:
    """The same as values."""
    return {
        "schema": "nntune.importance/1",
        "study": view.name,
        "metric": view.definition.metric,
        "evaluator": found.evaluator,
        "trials": found.trials,
        "importances": [{**e._asdict(), "more_than_chance": e.told} for e in found.entries],
        "fixed": list(found.fixed),
    }


def _counts(trial: Trial) -> bool:
    if trial.state == "failed":
        return trial.reason.startswith("diverged")
    return trial.state != "running" and trial.value is not None


def _is_inside(ranges: Sequence[Hyperparameter], params: Mapping[str, Any]) -> bool:
    """Whether a configuration lies in the ranges, which may have changed since."""
    return all(each.contains(params[each.name]) for each in ranges if each.name in params)


def _drawn(trials: Sequence[Trial], most: int) -> list[Trial]:
    return random.Random(0).sample(trials, min(most, len(trials)))


def _ped_anova(
    trials: Sequence[Trial], sign: float, tuned: Sequence[Hyperparameter]
) -> tuple[dict[str, float], dict[str, float]]:
    """Importances, and the largest that shuffled values gave."""
    study, losses = _optuna_study(trials), _losses(trials, sign)
    found = _best_third(study, losses, tuned)
    shuffled = []
    for seed in range(_SHUFFLES):
        random.Random(seed).shuffle(losses)
        shuffled.append(_best_third(study, losses, tuned))
    return found, {h.name: max(each[h.name] for each in shuffled) for h in tuned}


def _best_third(
    study: "Study", losses: Sequence[float], tuned: Sequence[Hyperparameter]
) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator

    found = _evaluated(study, PedAnovaImportanceEvaluator(target_quantile=_BEST), losses)
    # Of zero or a log range: whether it is zero, and the value where it is not. They add up.
    return {h.name: found.get(h.name, 0.0) + found.get(f"{h.name}_zero", 0.0) for h in tuned}


def _fanova(
    trials: Sequence[Trial], sign: float, tuned: Sequence[Hyperparameter], space: Space
) -> dict[str, float]:
    """Importances; it knows no conditional hyperparameter, so that a zero gets a place of its own.

    Places in a range stand for values, and the zero lies as far away as the range is long, because
    half of the trials have it.
    """
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    places: dict[str, BaseDistribution] = {
        h.name: CategoricalDistribution(range(len(h.choices)))
        if h.choices
        else FloatDistribution(_ZERO if h.zero else 0.0, 1.0)
        for h in tuned
    }
    moved = [
        trial._replace(params={h.name: _place(h, space.params(trial.params)) for h in tuned})
        for trial in trials
    ]
    study = _optuna_study(moved, places)
    return _evaluated(study, FanovaImportanceEvaluator(seed=0), _losses(trials, sign))


def _place(each: Hyperparameter, params: Mapping[str, Any]) -> float:
    if each.choices:
        return each.choices.index(params[each.name])
    place = each.position(params[each.name])
    return _ZERO if place is None else place


def _losses(trials: Sequence[Trial], sign: float) -> list[float]:
    """Values of which the lowest is the best; a trial that diverged has the worst of all."""
    known = [sign * trial.value for trial in trials if trial.value is not None]
    return [max(known) if trial.value is None else sign * trial.value for trial in trials]


def _optuna_study(
    trials: Sequence[Trial], places: "dict[str, BaseDistribution] | None" = None
) -> "Study":
    """The trials in memory, all of them complete: evaluators look at no others."""
    import optuna
    from optuna.distributions import json_to_distribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    read = cache(json_to_distribution)
    study.add_trials(
        optuna.trial.create_trial(
            value=0.0,
            params=trial.params,
            distributions=places or {n: read(j) for n, j in trial.distributions_json.items()},
        )
        for trial in trials
    )
    return study


def _evaluated(
    study: "Study", evaluator: "BaseImportanceEvaluator", losses: Sequence[float]
) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lower is better, that normalize is young
        found = get_param_importances(
            study, evaluator=evaluator, target=lambda t: losses[t.number], normalize=False
        )
    return {name: float(value) for name, value in found.items()}

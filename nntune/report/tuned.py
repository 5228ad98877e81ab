"""What a study tunes, and what it tuned until --update-space fixed it."""

import json
from collections.abc import Sequence
from dataclasses import replace

from nntune.space import Hyperparameter, Space
from nntune.study import Listed, Trial, View


def tuned(space: Space, trials: Sequence[Trial | Listed]) -> list[str]:
    """Hyperparameters that have a range, or had one when these trials were drawn."""
    drawn = {name.removesuffix("_zero") for trial in trials for name in trial.params}
    return [
        each.name
        for each in space.known
        if each.name in drawn or not (each.fixed or each in space.past)
    ]


def ranges(view: View, names: Sequence[str]) -> list[Hyperparameter]:
    """What these hyperparameters may be, or could once if they are fixed since."""
    found = [view.space[name] for name in names]
    trials = view.trials() if any(each.fixed for each in found) else []  # which takes its time
    return [drawn_from(each, trials) for each in found]


def drawn_from(each: Hyperparameter, trials: Sequence[Trial]) -> Hyperparameter:
    """Its range; if it is fixed since, one that holds its value and all that trials drew from."""
    drawn = {t.distributions_json[each.name] for t in trials if each.name in t.distributions_json}
    if not each.fixed or not drawn:
        return each
    value, found = each.choices[0], [json.loads(text)["attributes"] for text in drawn]
    if "choices" in found[0]:  # the same in all, as Optuna wants it
        choices = dict.fromkeys([*found[0]["choices"], value])
        is_word = isinstance(value, str)
        return replace(each, choices=tuple(choices if is_word else sorted(choices)))
    is_zero = found[0]["log"] and value == 0
    ends = [end for one in found for end in (one["low"], one["high"])] + [value] * (not is_zero)
    has_zero = is_zero or any(f"{each.name}_zero" in t.params for t in trials)
    return replace(
        each, low=min(ends), high=max(ends), log=found[0]["log"], choices=(), zero=has_zero
    )

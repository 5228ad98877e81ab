"""What differs between a study and the search that would go on with it, and what may."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from nntune.errors import RefusedError
from nntune.space import Hyperparameter, Space, Value, flag_of, parse
from nntune.study.records import Definition, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# A plan is made from the ranges: what epochs, batches and networks cost says how it begins.
_FOLLOWS_SPACE = ("rungs", "patience", "first")
# Where the data were and how they were asked for; what that made of them has a fingerprint.
_PLACES = (("data", "source"), ("data", "request"))
_NEW_STUDY = "--study NAME for a new study"
_TABLE: dict[str, Any] = {"model": "mlp"}  # which the space of a table does not name


class Change(NamedTuple):
    """One entry that differs, with both sides as text."""

    part: str  # field of the definition
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} -> {self.after}"


class Addition(NamedTuple):
    """A parameter that an old trial needs in the new space; until now its value was fixed."""

    number: int
    name: str
    value: Any
    distribution: "BaseDistribution"


def changes(old: Definition, new: Definition) -> list[Change]:
    """Where two definitions differ, the versions, the command and the data's place left aside."""
    before, after = (json.loads(json.dumps(asdict(each))) for each in (old, new))
    found = []
    for part in ("data", "metric", "seed", "sampler", "pruner", "training", "space"):
        if not isinstance(before[part], dict):
            before[part], after[part] = {part: before[part]}, {part: after[part]}
        found += _changes(part, before[part], after[part])
    return found


def check(name: str, found: Sequence[Change], *, update_space: bool) -> None:
    """Refuse to go on with changes that would make another study of it.

    Raises:
        RefusedError: with one line for each change.
    """
    in_space = any(change.part == "space" for change in found)
    follow = [
        change
        for change in found
        if change.part == "space" or (in_space and change.name in _FOLLOWS_SPACE)
    ]
    if len(follow) == len(found):
        if found and not update_space:
            hint = f"add --update-space to go on where old trials stay valid, or {_NEW_STUDY}."
            raise RefusedError(
                _listed(f"the search space differs from study '{name}'", found, hint)
            )
        return
    raise RefusedError(
        _listed(f"this search differs from study '{name}'", found, f"use {_NEW_STUDY}.")
    )


def additions(
    name: str, trials: Sequence[Trial], old: Definition, new: Definition
) -> list[Addition]:
    """What old trials lack in the new space, so that each holds the whole of its configuration.

    Raises:
        RefusedError: a range cannot change in this way while there are trials.
    """
    space = old.whole_space
    configurations = [_TABLE | space.params(trial.params) for trial in trials]
    last = old.past | _TABLE | old.space
    _check_families(name, configurations, last, new)
    found = []
    for key, text in (_TABLE | new.space).items():
        before = last.get(key)
        if before is not None and before != text:
            after = parse(key, text)
            _check_distributions(name, trials, after)
            having = [
                (trial, params[key])
                for trial, params in zip(trials, configurations, strict=True)
                if params.get(key) is not None
            ]
            found += _additions(name, having, parse(key, before), after)
    return found


def _changes(part: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    found = []
    names = [key for key in before if key in after]
    if part == "space":
        names = list(before | after)
    for key in names:
        left, right = _flat(key, before.get(key)), _flat(key, after.get(key))
        found += [
            Change(part, leaf, _shown(left.get(leaf)), _shown(right.get(leaf)))
            for leaf in left | right
            if left.get(leaf) != right.get(leaf) and (part, key) not in _PLACES
        ]
    return found


def _flat(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    parts = (_flat(f"{key} {inner}", each) for inner, each in value.items())
    return {leaf: each for part in parts for leaf, each in part.items()}


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(what: str, found: Sequence[Change], hint: str) -> str:
    if len(found) == 1:
        return f"{what}: {found[0]}; {hint}"
    lines = "".join(f"\n  {change}" for change in found)
    return f"{what}:{lines}\n{hint}"


def _check_families(
    name: str, configurations: Sequence[dict[str, Value]], last: Mapping[str, str], new: Definition
) -> None:
    """Hyperparameters come and go with the family that has them, not from under its trials."""
    space = new.whole_space
    names = {model: {"model", *(each.name for each in space.of(model))} for model in space.models}
    for params in configurations:
        having = names.get(params["model"], params.keys())
        for each in having - params.keys():
            flag = " ".join(flag_of(each, new.space[each]))
            raise RefusedError(
                f"{flag}: trials of study '{name}' have no value of it; leave it out, or use "
                f"{_NEW_STUDY}."
            )
        for each in params.keys() - having:
            flag = " ".join(flag_of(each, last[each]))
            raise RefusedError(
                f"trials of study '{name}' have {each}, which is not in the space any more; {flag} "
                f"keeps it, or use {_NEW_STUDY}."
            )


def _check_distributions(name: str, trials: Sequence[Trial], after: Hyperparameter) -> None:
    """Optuna wants one kind, one scale and the same choices for a parameter in all trials.

    Its storages refuse anything else when a trial is asked, TPE would read a stored choice by its
    old index in the new list.
    """
    from optuna.distributions import check_distribution_compatibility, json_to_distribution

    for key, distribution in after.distributions().items():
        drawn = {t.distributions_json[key] for t in trials if key in t.distributions_json}
        for text in drawn:
            try:
                check_distribution_compatibility(json_to_distribution(text), distribution)
            except ValueError:
                raise RefusedError(
                    f"{after.name} cannot become {after.text} in study '{name}': trials drew it "
                    f"from {_in_words(json.loads(text))}, and Optuna keeps the choices and the "
                    f"scale of a parameter for a whole study; use {_NEW_STUDY}."
                ) from None


def _in_words(distribution: dict[str, Any]) -> str:
    attributes = distribution["attributes"]
    if "choices" in attributes:
        return f"the choices {', '.join(map(str, attributes['choices']))}"
    scale = "log" if attributes["log"] else "linear"
    return f"a {scale} range, {attributes['low']:g} to {attributes['high']:g}"


def _additions(
    name: str,
    having: Sequence[tuple[Trial, Value]],
    before: Hyperparameter,
    after: Hyperparameter,
) -> list[Addition]:
    found = []
    distributions = after.distributions()
    for trial, value in having:
        drawn = {before.name, f"{before.name}_zero"} & trial.params.keys()
        if not after.contains(value):
            if drawn:
                continue
            raise RefusedError(
                f"{before.name} cannot become {after.text} in study '{name}': it was fixed at "
                f"{before.text} in its trials, which has to be a value of the new range; "
                f"use {_NEW_STUDY}."
            )
        for key, each in Space((after,)).optuna_params({before.name: value}).items():
            if key not in trial.params:
                found.append(Addition(trial.number, key, each, distributions[key]))
    return found

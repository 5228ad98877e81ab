"""A range for every hyperparameter: what Optuna samples, and configurations."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nntune.space.hyperparameter import Hyperparameter
from nntune.space.rules import RULES, Value, family_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Space:
    """A range for every hyperparameter, in the order of `NAMES`.

    Where several families may be drawn, a hyperparameter exists only in the trials of those that
    have it.

    Args:
        hyperparameters: one each.
        past: of families that may be drawn no more; their trials keep them.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    past: tuple[Hyperparameter, ...] = ()

    def __getitem__(self, name: str) -> Hyperparameter:
        return next(each for each in self.known if each.name == name)

    @cached_property
    def known(self) -> tuple[Hyperparameter, ...]:
        """All that a trial may have, those of the past in their places."""
        places = {name: place for place, name in enumerate(RULES)}
        both = (*self.hyperparameters, *self.past)
        return tuple(sorted(both, key=lambda each: places.get(each.name, len(places))))

    @cached_property
    def default(self) -> dict[str, Value]:
        """The configuration of trial 0: each default, or the closest value that is allowed."""
        nearest = {each.name: each.nearest(each.initial) for each in self.hyperparameters}
        return {each.name: nearest[each.name] for each in self.of(nearest.get("model"))}

    @property
    def models(self) -> tuple[Value, ...]:
        """The families that may be drawn."""
        found = [each.choices for each in self.hyperparameters if each.name == "model"]
        return found[0] if found else ("mlp",)

    def of(self, family: object) -> list[Hyperparameter]:
        """The hyperparameters that exist in a family; all that are drawn if none is named."""
        is_drawn = family is None or family in self.models
        return [
            each
            for each in (self.hyperparameters if is_drawn else self.known)
            if family is None or family_of(family) in each.rule.families
        ]

    def distributions(self) -> "dict[str, BaseDistribution]":
        """What Optuna samples.

        Zero or a log range becomes `NAME_zero` and `NAME`; a trial has `NAME` only if `NAME_zero`
        is False. Fixed hyperparameters are left out. See `conditions` for what else is absent.
        """
        return {
            name: distribution
            for each in self.hyperparameters
            for name, distribution in each.distributions().items()
        }

    @cached_property
    def conditions(self) -> dict[str, tuple[str, tuple[Value, ...]]]:
        """Parameters that exist in some families only: what says so, and its values with them."""
        found: dict[str, tuple[str, tuple[Value, ...]]] = {}
        for each in self.hyperparameters:
            having = tuple(m for m in self.models if family_of(m) in each.rule.families)
            if having != self.models:
                found |= {name: ("model", having) for name in each.distributions()}
        return found

    def suggest(self, trial: "Trial") -> dict[str, Value]:
        """Ask an Optuna trial for a configuration, fixed values filled in."""
        found: dict[str, Value] = {}
        for each in self.hyperparameters:
            if "model" not in found or family_of(found["model"]) in each.rule.families:
                found[each.name] = each.suggest(trial)
        return found

    def params(self, optuna_params: Mapping[str, Any]) -> dict[str, Value]:
        """The whole configuration behind the parameters that Optuna keeps."""
        found = {**self._fixed, **optuna_params}
        for zero, name in self._zeros:
            if found.pop(zero, False):
                found[name] = 0.0
        model = optuna_params.get("model", self._model)
        if model not in self._names:
            self._names[model] = [each.name for each in self.of(model)]
        return {name: found[name] for name in self._names[model]}

    @cached_property
    def _names(self) -> dict[object, list[str]]:
        """The hyperparameters of each family, as far as a trial has asked."""
        return {}

    @cached_property
    def _model(self) -> Value | None:
        """The family of trials that do not name theirs."""
        return self.models[0] if "model" in self._fixed and len(self.models) == 1 else None

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """Every name, with its value if fixed: thousands of trials ask."""
        return {each.name: each.choices[0] if each.fixed else None for each in self.known}

    @cached_property
    def _zeros(self) -> list[tuple[str, str]]:
        """Optuna's name of a zero, and of what it is or, before the space changed, was the zero."""
        return [(f"{each.name}_zero", each.name) for each in self.known]

    def optuna_params(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """What Optuna keeps of a whole configuration; the inverse of `params`."""
        kept: dict[str, Value] = {}
        for each in self.of(params.get("model")):
            is_zero = each.zero and params[each.name] == 0
            if each.zero:
                kept[f"{each.name}_zero"] = is_zero
            if not is_zero and not each.fixed:
                kept[each.name] = params[each.name]
        return kept

    def to_toml(self) -> str:
        """The space as a file for `--space`, with the source of each default as a comment."""
        blocks = []
        for each in self.hyperparameters:
            rule = each.rule
            known = f"# default {rule.text}: {rule.source}\n" * (each.name in RULES)
            blocks.append(f'{known}{each.name} = "{each.text}"\n')
        return "\n".join(blocks)

"""The search space: which values a hyperparameter may take, as text, TOML and for Optuna.

One grammar serves flags and files: `1:4`, `1e-4:1e-1:log`, `16:64:16`, `relu,tanh`, `100`, and
`0,1e-6:1e-2:log` for zero or a log range. Both ends of a range belong to it.
"""

import math
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias, cast

from nntune.errors import UsageError, did_you_mean
from nntune.families import FAMILIES, OWN, PREFIX, WORD, Grid

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Value: TypeAlias = int | float | str
Change: TypeAlias = Literal["wider", "narrower", "different"]


class _Rule(NamedTuple):
    """What a hyperparameter can be at all, and what it is unless the user says otherwise."""

    kind: type[int] | type[float] | type[str]
    text: str
    default: Value
    source: str
    low: float = 0
    high: float = 0
    limits: str = ""
    options: tuple[str, ...] = ()
    families: tuple[str, ...] = (*FAMILIES, OWN)  # that have it


RULES = {
    "model": _Rule(
        str,
        "mlp",
        "mlp",
        "cnn for images, cnn and rnn for series, mlp for all else",
        options=FAMILIES,
    ),
    "hidden_layers": _Rule(
        int,
        "1:4",
        2,
        "TabM tunes 1 to 5 blocks, AutoGluon 2 to 4, LCBench 1 to 5",
        0,
        100,
        "a network has 0 to 100 hidden layers",
        families=("mlp",),
    ),
    "units": _Rule(
        int,
        "16,32,64,128,256",
        128,
        "HPOBench tunes 16 to 1024, AutoGluon 128 to 512; few widths let trials train as one stack",
        1,
        65536,
        "a layer has 1 to 65536 units",
        families=("mlp",),
    ),
    "shape": _Rule(
        str,
        "flat",
        "flat",
        "TabM, AutoGluon and RealMLP give all hidden layers one width",
        options=("flat", "taper"),
        families=("mlp",),
    ),
    "blocks": _Rule(
        int,
        "2:4",
        3,
        "LeNet has 2 blocks of convolution, the FCN of Wang et al. 2017 has 3",
        1,
        12,
        "a network has 1 to 12 blocks of convolution",
        families=("cnn",),
    ),
    "channels": _Rule(
        int,
        "16,32,64",
        32,
        "of the first block; it doubles with each pooling, up to four times as many",
        1,
        1024,
        "a block has 1 to 1024 channels",
        families=("cnn",),
    ),
    "kernel": _Rule(
        int,
        "3,5",
        3,
        "3 and 5 in nearly all networks for images; series get 7 and 9 too",
        1,
        101,
        "a kernel has 1 to 101 places on a side",
        families=("cnn",),
    ),
    "norm": _Rule(
        str,
        "batch",
        "batch",
        "batch normalisation as in the FCN and ResNet of Wang et al. 2017",
        options=("batch", "none"),
        families=("cnn",),
    ),
    "pool": _Rule(
        str,
        "max",
        "max",
        "halves the resolution after a block; series may keep it, as the FCN does",
        options=("max", "none"),
        families=("cnn",),
    ),
    "gather": _Rule(
        str,
        "flatten,mean",
        "flatten",
        "LeNet keeps every place, the FCN takes the mean over all",
        options=("flatten", "mean"),
        families=("cnn",),
    ),
    "head": _Rule(
        int,
        "0,64,128",
        64,
        "units of a dense layer before the outputs; LeNet has 84, the FCN none",
        0,
        65536,
        "a head has 0 to 65536 units",
        families=("cnn",),
    ),
    "augment": _Rule(
        str,
        "none",
        "none",
        "shift moves an example by up to a tenth, flip mirrors it, crop enlarges a part",
        options=("none", "shift", "flip", "crop"),
        families=("cnn",),
    ),
    "cell": _Rule(
        str,
        "gru,lstm",
        "gru",
        "the two that are in use",
        options=("gru", "lstm"),
        families=("rnn",),
    ),
    "rnn_layers": _Rule(
        int,
        "1,2",
        1,
        "one is the usual number, two the next",
        1,
        8,
        "a network has 1 to 8 recurrent layers",
        families=("rnn",),
    ),
    "rnn_units": _Rule(
        int,
        "32,64,128",
        64,
        "32 to 128 in textbooks",
        1,
        4096,
        "a recurrent layer has 1 to 4096 units",
        families=("rnn",),
    ),
    "states": _Rule(
        str,
        "last,mean,max",
        "last",
        "what the outputs see of a series: its last state, or their mean or maximum",
        options=("last", "mean", "max"),
        families=("rnn",),
    ),
    "dropout": _Rule(
        float,
        "0:0.5",
        0.1,
        "AutoGluon and RealMLP tune 0 to 0.5; 0.1 is AutoGluon's default",
        0,
        math.nextafter(1, 0),
        "a dropout is at least 0 and below 1",
        families=FAMILIES,
    ),
    "l1": _Rule(
        float, "0", 0.0, "no published space tunes it", 0, 1e6, "a penalty lies between 0 and 1e6"
    ),
    # At He initialisation a layer of n units has sum w^2 = 2n: at 1e-2 and 128 units the penalty
    # is 2.6, many times a log loss; at 1e-6 it is nothing.
    "l2": _Rule(
        float,
        "0,1e-6:1e-2:log",
        1e-5,
        "zero or log as TabM; LCBench's 1e-5 to 1e-1 is 5e-6 to 5e-2 in this convention",
        0,
        1e6,
        "a penalty lies between 0 and 1e6",
    ),
    "batch_size": _Rule(
        int,
        "32,64,128,256",
        64,
        "HPOBench tunes 4 to 256, LCBench 16 to 512; at most a quarter of the training rows",
        1,
        2**20,
        "a batch has 1 to 1048576 rows",
    ),
    "epochs": _Rule(
        int,
        "100",
        100,
        "FCNet trains 100 epochs; up to 400 for fewer than 2,500 rows; early stopping ends most",
        1,
        10**6,
        "training takes 1 to 1000000 epochs",
    ),
    "lr": _Rule(
        float,
        "3e-4:3e-2:log",
        1e-3,
        "AutoGluon tunes 1e-4 to 3e-2, TabM 1e-4 to 5e-3; 1e-3 is Adam's own default",
        sys.float_info.min,
        1e3,
        "a learning rate is above 0 and at most 1000",
    ),
    "activation": _Rule(
        str,
        "relu",
        "relu",
        "AutoGluon tunes relu and elu, FCNet relu and tanh; relu is first in both",
        options=("relu", "tanh", "gelu", "silu"),
        families=("mlp", "cnn"),
    ),
    "optimizer": _Rule(
        str,
        "adam",
        "adam",
        "FCNet trains its 62208 networks with Adam",
        options=("adam", "sgd"),
    ),
}
NAMES = tuple(RULES)
# Where a table has text: range and default. See docs/text.md for what was measured.
TEXT: dict[str, tuple[str, Value]] = {
    "hidden_layers": ("0:2", 0),
    "units": ("8,16,32", 16),
    "dropout": ("0:0.8", 0.5),
    "l2": ("0,1e-7:1e-3:log", 1e-5),
    "lr": ("1e-3:1e-1:log", 5e-3),
    "epochs": ("30", 30),
}

# What other tools call these; difflib cannot see that learning_rate means lr.
_FOREIGN_NAMES = {
    "learning_rate": "lr",
    "weight_decay": "l2",
    "alpha": "l2",
    "layers": "hidden_layers",
    "depth": "hidden_layers",
    "width": "units",
    "hidden_units": "units",
    "max_iter": "epochs",
    "solver": "optimizer",
}


class _MistakeError(Exception):
    """What is wrong and what would be right, before the flag or file is put in front."""


@dataclass(frozen=True)
class Hyperparameter:
    """The values one hyperparameter may take: some `choices` (one: fixed), or a range.

    Attributes:
        low: the smallest value that is not the extra zero; 0 for words.
        high: the largest value, itself included.
        step: distance of neighbours; None leaves a continuous range, or all whole numbers.
        choices: empty for a range; numbers ascend.
        zero: 0 may be drawn beside a log range.
    """

    name: str
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    zero: bool = False
    default: Value | None = field(default=None, compare=False)  # another than its rule has

    @property
    def rule(self) -> _Rule:
        """What it can be at all; of the user's own network anything."""
        if self.name in RULES:
            return RULES[self.name]
        ends = self.choices or (self.low, self.high, self.step or 0)
        kind: type[int] | type[float] | type[str] = int
        if any(not isinstance(end, int) for end in ends):
            kind = str if isinstance(ends[0], str) else float
        words = tuple(each for each in self.choices if isinstance(each, str))
        return _Rule(kind, self.text, self._middle, "", -_ANY, _ANY, "", words, (OWN,))

    @property
    def _middle(self) -> Value:
        if self.choices:
            return self.choices[len(self.choices) // 2]
        middle = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        return round(middle) if isinstance(self.low, int) else middle

    @property
    def text(self) -> str:
        """The range as the grammar writes it; `parse` reads it back equal."""
        if self.choices:
            return ",".join(map(_written, self.choices))
        parts = [_written(end, self.log) for end in (self.low, self.high)]
        if self.log or self.step is not None:
            parts.append("log" if self.log else _written(self.step or 0))
        return "0," * self.zero + ":".join(parts)

    @property
    def initial(self) -> Value:
        """What it is in trial 0, if the range has it."""
        return self.rule.default if self.default is None else self.default

    @property
    def fixed(self) -> bool:
        """There is nothing to tune."""
        return len(self.choices) == 1

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number, the extra zero left aside."""
        numbers = [number for number in self.choices if not isinstance(number, str)]
        return (min(numbers), max(numbers)) if numbers else (self.low, self.high)

    def contains(self, value: object) -> bool:
        """Whether a trial may have this value."""
        if self.choices or isinstance(value, bool | str) or not isinstance(value, int | float):
            return not isinstance(value, bool) and value in self.choices
        if self.zero and value == 0:
            return True
        if not self.low <= value <= self.high or (self._whole and value != int(value)):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def edge(self, value: Value) -> Literal["low", "high"] | None:
        """The end of the range that a value lies at, so that a wider range may hold a better one.

        At an end is within 5 % of the range, in logarithms for a log range, or the first or last
        of three or more numbers to choose from. An end that no network can pass is none.
        """
        if isinstance(value, str) or 0 < len(self.choices) < 3 or (self.zero and value == 0):
            return None
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        margin = 0.0 if self.choices else 0.05 * (high - low)
        if scale(value) <= low + margin:
            return "low" if self.low > self.rule.low else None
        return "high" if scale(value) >= high - margin else None

    def position(self, value: Value) -> float | None:
        """Where a value stands in its range, from 0 to 1; None for words, the zero or if fixed."""
        if self.fixed or isinstance(value, str) or (self.zero and value == 0):
            return None
        if self.choices:
            return self.choices.index(value) / (len(self.choices) - 1)
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(value) - low) / (high - low)

    def widened(self, edge: Literal["low", "high"]) -> str:
        """The range as text, pushed out beyond one edge within what is possible at all."""
        rule = self.rule
        numbers = [each for each in self.choices if not isinstance(each, str)]
        if numbers:
            more = numbers[0] // 2 if edge == "low" else numbers[-1] * 2
            bounded = min(max(more, rule.low), rule.high)
            return ",".join(_written(each) for each in sorted({*numbers, bounded}))
        low, high = self.low, self.high
        if self.log:
            low, high = (low / 10, high) if edge == "low" else (low, high * 10)
        else:
            low, high = (2 * low - high, high) if edge == "low" else (low, 2 * high - low)
        if high > rule.high:  # such as a dropout of 1: half of the way there
            high = float(f"{(self.high + rule.high) / 2:.3g}")
        low = max(low, rule.low)
        if self._whole:
            low, high = math.ceil(low), math.floor(high)
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
        return replace(self, low=low, high=high).text

    def nearest(self, value: Value) -> Value:
        """The member of the range closest to a value; the first word if the value is no choice."""
        if self.contains(value):
            return value
        if isinstance(value, str):
            return self.choices[0]
        if self.choices:
            numbers = [number for number in self.choices if not isinstance(number, str)]
            return min(numbers, key=lambda number: abs(number - value))
        inside = min(max(value, self.low), self.high)
        if self.step:
            inside = self.low + round((inside - self.low) / self.step) * self.step
        return round(inside) if self._whole else inside

    def covers(self, other: "Hyperparameter") -> bool:
        """Whether every value of the other range is one of this range too."""
        if other.choices:
            return all(map(self.contains, other.choices))
        step = other.step or (1 if self._whole else 0)
        if self.choices:
            count = round((other.high - other.low) / step) + 1 if step else math.inf
            return count <= len(self.choices) and all(
                self.contains(other.low + step * index) for index in range(int(count))
            )
        ends = [other.low, other.high] + [0.0] * other.zero
        multiple = step / self.step if self.step else 1
        return all(map(self.contains, ends)) and multiple == round(multiple) > 0

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Optuna's names and distributions: none if fixed, two for zero or a log range."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.fixed:
            return {}
        if self.choices:
            return {self.name: CategoricalDistribution(self.choices)}
        if self._whole:
            step = int(self.step or 1)
            return {self.name: IntDistribution(int(self.low), int(self.high), self.log, step)}
        both = FloatDistribution(self.low, self.high, self.log, self.step)
        switch = {f"{self.name}_zero": CategoricalDistribution([False, True])}
        return (switch if self.zero else {}) | {self.name: both}

    @property
    def _whole(self) -> bool:
        return self.rule.kind is int


@dataclass(frozen=True)
class Space:
    """A range for every hyperparameter, in the order of `NAMES`.

    Where several families may be drawn, a hyperparameter exists only in the trials of those that
    have it.

    Args:
        hyperparameters: one each.
        text: whether the defaults are those for tables with text.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    text: bool = False

    def __getitem__(self, name: str) -> Hyperparameter:
        return next(each for each in self.hyperparameters if each.name == name)

    @cached_property
    def default(self) -> dict[str, Value]:
        """The configuration of trial 0: each default, or the closest value that is allowed."""
        own = {name: default for name, (_, default) in TEXT.items()} if self.text else {}
        nearest = {
            each.name: each.nearest(own.get(each.name, each.initial))
            for each in self.hyperparameters
        }
        return {each.name: nearest[each.name] for each in self.of(nearest.get("model"))}

    @property
    def models(self) -> tuple[Value, ...]:
        """The families that may be drawn."""
        found = [each.choices for each in self.hyperparameters if each.name == "model"]
        return found[0] if found else ("mlp",)

    def of(self, family: object) -> list[Hyperparameter]:
        """The hyperparameters that exist in a family; all if none is named."""
        return [
            each
            for each in self.hyperparameters
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
                found[each.name] = _suggest(each, trial)
        return found

    def params(self, optuna_params: Mapping[str, Any]) -> dict[str, Value]:
        """The whole configuration behind the parameters that Optuna keeps."""
        found = {**self._fixed, **optuna_params}
        for zero, name in self._zeros:
            if found.pop(zero, False):
                found[name] = 0.0
        if len(found) > len(self._fixed):  # it was asked for more than this space holds
            found = {name: found[name] for name in self._fixed}
        if "model" not in found:
            return found
        return {name: found[name] for name in self._names[found["model"]]}

    @cached_property
    def _names(self) -> dict[object, list[str]]:
        """The hyperparameters of each family."""
        return {model: [each.name for each in self.of(model)] for model in self.models}

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """Every name in order, with its value if fixed: thousands of trials ask."""
        return {each.name: each.choices[0] if each.fixed else None for each in self.hyperparameters}

    @cached_property
    def _zeros(self) -> list[tuple[str, str]]:
        """Optuna's name of a zero, and of what it is the zero."""
        return [(f"{each.name}_zero", each.name) for each in self.hyperparameters if each.zero]

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

    def diff(self, other: "Space") -> list[tuple[str, str, str, Change]]:
        """Where two spaces differ: name, this range, the other, and what the other is beside this.

        A `wider` range holds every value of this one, so that old trials stay valid in it.
        """
        both = {each.name: each for each in other.hyperparameters}
        return [
            (ours.name, ours.text, theirs.text, _change(ours, theirs))
            for ours in self.hyperparameters
            if (theirs := both.get(ours.name, ours)) != ours
        ]


def build(
    overrides: Mapping[str, str],
    file: Path | None = None,
    rows: int | None = None,
    grid: Grid | None = None,
    networks: Mapping[str, Mapping[str, Value]] | None = None,
    *,
    is_text: bool = False,
) -> Space:
    """The space in force: the defaults, then what the TOML file says, then the flags.

    It holds the hyperparameters of the families that `model` may be, and `model` itself where
    features form a grid.

    Args:
        overrides: hyperparameter name to range, as the flags give them.
        file: a TOML file, see `parse_toml`.
        rows: training rows; small tables get smaller default batches and more epochs.
        grid: where the features form an image or a series.
        networks: of the user's own, with the defaults of their hyperparameters.
        is_text: whether the table has text.

    Raises:
        UsageError: a name, a range or the file is wrong, or belongs to another family.
    """
    asked = asked_ranges(overrides, file)
    models = asked.get("model") or parse(
        "model", _default_text("model", rows, grid, is_text=is_text)
    )
    found = {name: parse(name, _default_text(name, rows, grid, is_text=is_text)) for name in NAMES}
    families = set(map(family_of, models.choices))
    having = {n for n in NAMES if families & set(RULES[n].families)}
    having |= {name for name in asked if name.startswith(PREFIX) and OWN in families}
    for name in asked:
        if name not in having:
            raise UsageError(f"{_belongs(name)}, and --model is {models.text} here.")
    found |= asked | {"model": models}
    for name, value in (networks or {}).get(str(models.choices[-1]), {}).items():
        if name in found and isinstance(value, int | float | str):
            found[name] = replace(found[name], default=value)
    if models.choices == ("mlp",) and grid is None:  # a table leaves no choice
        having.remove("model")
    return Space(tuple(each for name, each in found.items() if name in having), is_text)


def flag_of(name: str, text: str) -> list[str]:
    """The words on a command line that give a hyperparameter its range.

    >>> flag_of("batch_size", "32"), flag_of("net.width", "8")
    (['--batch-size', '32'], ['--set', 'width=8'])
    """
    if name.startswith(PREFIX):
        return ["--set", f"{name.removeprefix(PREFIX)}={text}"]
    return [f"--{name.replace('_', '-')}", text]


def _belongs(name: str) -> str:
    if name.startswith(PREFIX):
        return f"--set {name.removeprefix(PREFIX)} is for a network of your own"
    return f"--{name.replace('_', '-')} is for {' and '.join(RULES[name].families)}"


def family_of(model: object) -> str:
    """The family of a value of `model`: a word of FAMILIES, or `own` for FILE.py:NAME."""
    return str(model) if model in FAMILIES else OWN


def asked_ranges(
    overrides: Mapping[str, str], file: Path | None = None
) -> dict[str, Hyperparameter]:
    """What flags and the TOML file say, the flags first.

    Raises:
        UsageError: a name, a range or the file is wrong.
    """
    entries = {} if file is None else parse_toml(_read(file), str(file))
    found = {name: parse(name, text, f"{file}: {name}") for name, text in entries.items()}
    return found | {name: parse(name, text) for name, text in overrides.items()}


def parse(name: str, text: str, where: str | None = None) -> Hyperparameter:
    """Read one range.

    >>> parse("lr", "loguniform(0.0001, 0.1)").text
    '1e-4:1e-1:log'

    Args:
        name: one of `NAMES`.
        text: the range; blanks around it and around its parts are ignored.
        where: what an error begins with; the flag if not given.

    Raises:
        UsageError: the name is unknown, or the range has no or no clear meaning.
    """
    if name not in RULES and not name.startswith(PREFIX):
        _unknown(name, where)
    try:
        return _parsed(name, RULES.get(name) or _own_rule(text), text.strip())
    except _MistakeError as mistake:
        place = where or " ".join(flag_of(name, "")).rstrip("= ")
        raise UsageError(f"{place} {text.strip() or repr(text)}: {mistake}") from None


def parse_toml(text: str, source: str) -> dict[str, str]:
    """Hyperparameter names and ranges of a TOML file, the ranges as the grammar writes them.

    A value is a range in quotes, a number, a list (choices) or a table such as
    `{ low = 1e-4, high = 1e-1, log = true }`, with `step` or `zero = true` where they fit.
    Hyperparameters of the user's own network stand in a table `[net]`.

    Raises:
        UsageError: not TOML, or a name or a key of a table is unknown.
    """
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from None
    own = entries.pop("net", {})
    entries |= {f"{PREFIX}{name}": entry for name, entry in own.items()}
    for name in entries:
        if name not in RULES and not name.startswith(PREFIX):
            _unknown(name, source)
    try:
        return {name: _toml_text(name, entry) for name, entry in entries.items()}
    except _MistakeError as mistake:
        raise UsageError(f"{source}: {mistake}") from None


_ANY = 1e300  # of a hyperparameter that only the user's network knows


def _own_rule(text: str) -> _Rule:
    """What a hyperparameter of the user's own network can be, from how its range is written."""
    words = [word.strip() for word in re.split(r"[:,]", text.strip()) if word.strip() != "log"]
    kind: type[int] | type[float] | type[str] = int
    for word in words:
        if not re.fullmatch(r"[+-]?\d+", word):
            kind = float if kind is not str and _is_number(word) else str
    options = tuple(dict.fromkeys(word.lower() for word in words)) if kind is str else ()
    return _Rule(kind, text, 0, "", -_ANY, _ANY, "", options, (OWN,))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _parsed(name: str, rule: _Rule, text: str) -> Hyperparameter:
    text = _native(rule, text)
    if rule.kind is str:
        return Hyperparameter(name, choices=_words(rule, text))
    if ":" not in text:
        numbers = sorted(_number(rule, word) for word in _distinct(rule, text))
        if len(set(numbers)) < len(numbers):
            raise _MistakeError("the same number stands there twice; name each choice once")
        return Hyperparameter(name, numbers[0], numbers[-1], choices=tuple(numbers))
    first, comma, rest = text.rpartition(",")
    if not comma:
        return _range(name, rule, text)
    return _zero_or_range(name, rule, first.strip(), rest.strip())


def _zero_or_range(name: str, rule: _Rule, first: str, rest: str) -> Hyperparameter:
    if "," in first or ":" in first or not _is_zero(first):
        raise _MistakeError(
            "a list holds single values and a range stands alone; only zero may stand before a log "
            "range, as in 0,1e-6:1e-2:log"
        )
    if rule.low > 0:
        raise _MistakeError(f"{rule.limits}; leave out the zero: {rest}")
    if not rest.endswith(":log"):
        raise _MistakeError(f"zero may stand before a log range only; write 0,{rest}:log")
    found = _range(name, rule, rest)
    return Hyperparameter(name, found.low, found.high, log=True, zero=True)


def _range(name: str, rule: _Rule, text: str) -> Hyperparameter:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3:
        raise _MistakeError("a range has two or three parts: LO:HI, LO:HI:log or LO:HI:STEP")
    low, high = (_number(rule, part) for part in parts[:2])
    if low == high:
        raise _MistakeError(
            f"both ends are equal; write {_written(low)} to fix it, or move one end"
        )
    if low > high:
        swapped = ":".join([parts[1], parts[0], *parts[2:]])
        raise _MistakeError(f"the bounds are reversed; write {swapped}")
    if len(parts) == 2:
        return Hyperparameter(name, low, high)
    if parts[2] == "log":
        if low == 0:
            raise _MistakeError(
                "a log range cannot begin at 0; write "
                f"0,{_written(high / 10**4)}:{_written(high, True)}:log for zero or a log range"
            )
        return Hyperparameter(name, low, high, log=True)
    return Hyperparameter(name, low, high, step=_step(rule, parts[2], low, high))


def _step(rule: _Rule, word: str, low: float, high: float) -> float:
    if re.match(r"[a-zA-Z]", word):
        raise _MistakeError(f"the third part is log or a step, not {word!r}")
    step = _plain_number(rule, word)
    lowest, highest, distance = (Decimal(str(number)) for number in (low, high, step))
    if step <= 0:
        raise _MistakeError("the step must be above 0; leave it out for every value in between")
    if step > high - low:
        raise _MistakeError(
            f"the step is larger than the range; write {_written(low)},{_written(high)}"
        )
    top = highest - (highest - lowest) % distance
    if top != highest:
        reached, beyond = (_written(float(value)) for value in (top, top + distance))
        begin, rest = _written(low), _written(step)
        raise _MistakeError(
            f"steps of {rest} from {begin} reach {reached}, not {_written(high)}; "
            f"write {begin}:{reached}:{rest} or {begin}:{beyond}:{rest}"
        )
    return step


def _number(rule: _Rule, word: str) -> float:
    number = _plain_number(rule, word)
    if not rule.low <= number <= rule.high:
        raise _MistakeError(f"{rule.limits}, {word} is not; for example {rule.text}")
    return number


def _plain_number(rule: _Rule, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        what = f"{word!r} is not a number" if word else "a number is missing"
        raise _MistakeError(f"{what}; write for example {rule.text}") from None
    if not math.isfinite(number):
        raise _MistakeError(f"{word} is not a finite number; write for example {rule.text}")
    if rule.kind is int and number != int(number):
        raise _MistakeError(f"{word} is not a whole number; write for example {rule.text}")
    return int(number) if rule.kind is int else number


def _is_zero(word: str) -> bool:
    try:
        return float(word) == 0
    except ValueError:
        return False


def _words(rule: _Rule, text: str) -> tuple[str, ...]:
    options = ", ".join(rule.options)
    own = [word for word in map(str.strip, text.split(",")) if WORD.fullmatch(word)]
    if own and rule is RULES["model"]:  # files have colons, and their names are as they are
        rest = ",".join(w for w in map(str.strip, text.split(",")) if w not in own)
        return (*(_words(rule, rest) if rest else ()), *dict.fromkeys(own))
    if ":" in text:
        raise _MistakeError(f"these are words, not a range; write one or more of {options}")
    words = [word.lower() for word in _distinct(rule, text)]
    for word in words:
        if word not in rule.options:
            hint = did_you_mean(word, rule.options)
            raise _MistakeError(
                f"{word!r} is not known; there are {options}{'.' * bool(hint)}{hint}"
            )
    return tuple(option for option in rule.options if option in words)


def _distinct(rule: _Rule, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise _MistakeError(f"a value is missing beside a comma; write for example {rule.text}")
    for word in words:
        if words.count(word) > 1:
            raise _MistakeError(f"{word} stands there twice; name each choice once")
    return words


def _native(rule: _Rule, text: str) -> str:
    """The grammar's own form of what other tools write."""
    if not text:
        raise _MistakeError(f"there is no value; write for example {rule.text}")
    call = re.fullmatch(r"(\w*)\s*[\[({](.*)[\])}]", text)
    if call is None:
        return text
    function, inner = call[1].lower(), call[2].replace("'", "").replace('"', "")
    values = [value.strip() for value in inner.split(",")]
    joined = ",".join(values)
    if function in ("choice", "choices"):
        return joined.strip("[]")
    if function in _FOREIGN_RANGES and len(values) == 2:
        if function in ("int", "randint") and rule.kind is not int:
            raise _MistakeError(
                f"whole numbers only would leave nothing in between; write {':'.join(values)}"
            )
        return ":".join(values) + _FOREIGN_RANGES[function]
    if not function:
        _ambiguous(rule, values, joined)
    raise _MistakeError(
        f"write LO:HI, LO:HI:log or A,B,C; of other forms loguniform(a,b), uniform(a,b), int(a,b) "
        f"and choice(a,b) are understood; for example {rule.text}"
    )


_FOREIGN_RANGES = {"loguniform": ":log", "uniform": "", "int": ""}


def _ambiguous(rule: _Rule, values: list[str], joined: str) -> NoReturn:
    if len(values) == 2 and rule.kind is not str:
        raise _MistakeError(
            f"brackets have two readings; write {':'.join(values)} for the range from {values[0]} "
            f"to {values[1]}, or {joined} for these two values"
        )
    raise _MistakeError(f"leave out the brackets: {joined}")


def _unknown(name: str, where: str | None) -> NoReturn:
    alias = _FOREIGN_NAMES.get(name.lower().replace("-", "_"))
    hint = f" Did you mean '{alias}'?" if alias else did_you_mean(name, NAMES)
    place = f"{where}: " if where else ""
    raise UsageError(
        f"{place}no hyperparameter named '{name}'; there are {', '.join(NAMES)}"
        f"{'.' * bool(hint)}{hint}"
    )


def _written(value: Value, in_powers: bool = False) -> str:
    """The shortest text that reads back as the same number; `in_powers` writes 0.1 as 1e-1."""
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if (1e-3 if not in_powers else 1) <= abs(value) < 1e15:
        return repr(value)
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    fraction = "." * (len(digits) > 1) + "".join(map(str, digits[1:]))
    sign = "-" * (value < 0)
    return f"{sign}{digits[0]}{fraction}e{int(exponent) + len(digits) - 1}"


def _toml_text(name: str, entry: object) -> str:
    match entry:
        case bool():
            raise _MistakeError(f"{name} is true or false; write a range in quotes, or a number")
        case str():
            return entry
        case int() | float():
            return _written(entry) if math.isfinite(entry) else str(entry)
        case list():
            return ",".join(_toml_text(name, each) for each in entry)
        case dict():
            return _toml_table(name, entry)
    raise _MistakeError(f"{name} is a date or time; write a range in quotes, or a number")


def _toml_table(name: str, entry: dict[str, Any]) -> str:
    keys = ("low", "high", "log", "step", "zero")
    for key in entry:
        if key not in keys:
            hint = did_you_mean(key, keys)
            raise _MistakeError(
                f"{name} has no key '{key}'; there are {', '.join(keys)}{'.' * bool(hint)}{hint}"
            )
    for key in ("low", "high"):
        if key not in entry:
            raise _MistakeError(f"{name} has no key '{key}'; write {{ low = ..., high = ... }}")
    parts = [
        _toml_text(f"{name}.{key}", entry[key]) for key in ("low", "high", "step") if key in entry
    ]
    if entry.get("log"):
        parts.append("log")
    return "0," * bool(entry.get("zero")) + ":".join(parts)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"there is no space file {file}; `nntune space > {file}` writes one"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a text file in UTF-8; a space file is TOML") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read as a space file: {error.strerror}") from None


def _default_text(name: str, rows: int | None, grid: Grid | None, *, is_text: bool) -> str:
    if grid is not None and (text := _grid_text(name, rows, grid)):
        return text
    if is_text and name in TEXT:
        return TEXT[name][0]
    if name == "epochs" and rows is not None:
        # As many steps as 2,500 rows give: 400 epochs took concrete (659 rows) from a test error
        # of 5.36 to 5.18, and small tables cost little.
        return str(min(400, max(100, 10 * round(25_000 / rows))))
    if name != "batch_size" or rows is None:
        return RULES[name].text
    fitting = [size for size in (8, 16, 32, 64, 128, 256) if size <= max(8, rows / 4)]
    usual = [size for size in fitting if size >= 32]
    return ",".join(map(str, usual if len(usual) > 1 else fitting[-2:]))


def _grid_text(name: str, rows: int | None, grid: Grid) -> str | None:
    """Another default where features form an image or a series."""
    if name == "epochs" and rows is not None and rows > _MANY:
        return "30"  # an epoch takes minutes where one of a perceptron takes seconds
    if len(grid.size) == 2:
        return {"model": "cnn"}.get(name)
    if grid.size[0] < _SHORT:
        return {"model": "mlp,rnn", "pool": "none"}.get(name)
    found = {"model": "cnn,rnn", "kernel": "5,7,9", "channels": "16,32"}
    if rows is not None and rows < grid.size[0]:
        # A layer on all 251 steps of 36 series learns them by heart: log loss in five folds 0.47,
        # and 0.30 with the means over time of the FCN of Wang et al. 2017.
        found |= {"gather": "mean", "head": "0"}
    return found.get(name)


_MANY = 20_000  # training rows
_SHORT = 16  # steps, such as lags: too few for blocks of convolution


def _suggest(each: Hyperparameter, trial: "Trial") -> Value:
    if each.fixed:
        return each.choices[0]
    if each.zero and trial.suggest_categorical(f"{each.name}_zero", [False, True]):
        return 0.0
    if each.choices:
        return cast(Value, trial.suggest_categorical(each.name, each.choices))
    if each.rule.kind is int:
        step = int(each.step or 1)
        return trial.suggest_int(each.name, int(each.low), int(each.high), step=step, log=each.log)
    return trial.suggest_float(each.name, each.low, each.high, step=each.step, log=each.log)


def _change(ours: Hyperparameter, theirs: Hyperparameter) -> Change:
    match theirs.covers(ours), ours.covers(theirs):
        case True, False:
            return "wider"
        case False, True:
            return "narrower"
    return "different"

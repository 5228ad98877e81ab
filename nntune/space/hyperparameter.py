"""The values that one hyperparameter may take."""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, cast

from nntune.families import OWN
from nntune.space.rules import ANY, RULES, Rule, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


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
    def rule(self) -> Rule:
        """What it can be at all; of the user's own network anything."""
        if self.name in RULES:
            return RULES[self.name]
        ends = self.choices or (self.low, self.high, self.step or 0)
        kind: type[int] | type[float] | type[str] = int
        if any(not isinstance(end, int) for end in ends):
            kind = str if isinstance(ends[0], str) else float
        words = tuple(each for each in self.choices if isinstance(each, str))
        # What is never negative, such as a width, is not made so.
        least = -ANY if self.low < 0 else min(self.low, 1 if kind is int else 0)
        return Rule(kind, self.text, self._middle, "", least, ANY, "", words, (OWN,))

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
            return ",".join(self._written(self.choices))
        step = [] if self.step is None else [self.step]
        parts = self._written([self.low, self.high, *step]) + ["log"] * self.log
        return "0," * self.zero + ":".join(parts)

    def _written(self, values: Sequence[Value]) -> list[str]:
        texts = [written(value, self.log) for value in values]
        if self.name in RULES or isinstance(values[0], int) or not all(map(is_whole, texts)):
            return texts
        # Of the user's own network nothing else says that fractions may be drawn.
        return [f"{text}.0" for text in texts]

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

    def beyond(self, value: Value) -> Literal["low", "high"] | None:
        """The end of the range that a value lies outside of, as one of an earlier range may."""
        if self.choices or isinstance(value, str) or (self.zero and value == 0):
            return None
        return "low" if value < self.low else "high" if value > self.high else None

    def edge(self, value: Value) -> Literal["low", "high"] | None:
        """The end of the range that a value lies at, so that a wider range may hold a better one.

        At an end is within 5 % of the range, in logarithms for a log range, or the first or last
        of three or more numbers to choose from. An end that no network can pass is none, and a
        value outside of the range lies at no end.
        """
        if isinstance(value, str) or 0 < len(self.choices) < 3 or (self.zero and value == 0):
            return None
        if self.beyond(value):
            return None
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        margin = 0.0 if self.choices else 0.05 * (high - low)
        if low + margin < scale(value) < high - margin:
            return None
        edge: Literal["low", "high"] = "low" if scale(value) <= low + margin else "high"
        return None if self._moved(edge) in self.bounds else edge

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
        end = self._moved(edge)
        if self.choices:
            return replace(self, choices=tuple(sorted({*self.choices, end}))).text
        return (replace(self, low=end) if edge == "low" else replace(self, high=end)).text

    def _moved(self, edge: Literal["low", "high"]) -> float:
        """One end pushed out by as much as the range is wide; where it is if there is no room."""
        (low, high), rule = self.bounds, self.rule
        end, sign = (low, -1) if edge == "low" else (high, 1)
        if self.log or (self.choices and end > 0):
            moved = end * (10.0 if self.log else 2.0) ** sign
        else:
            moved = end + sign * (high - low)
        if moved > rule.high and not self._whole:  # such as a dropout of 1: half of the way there
            moved = (end + rule.high) / 2
        least = max(rule.low, 1 if self._whole else sys.float_info.min) if self.log else rule.low
        moved = min(max(moved, least), rule.high)
        if self.step:
            begin, step = Decimal(str(end)), Decimal(str(self.step))
            steps = max(1, int(abs(Decimal(str(moved)) - begin) / step))
            moved = float(begin + sign * steps * step)
        moved = round(moved) if self._whole else float(f"{moved:.6g}")
        return moved if sign * (moved - end) > 0 and rule.low <= moved <= rule.high else end

    def nearest(self, value: Value) -> Value:
        """The member of the range closest to a value; the first word if the value is no choice."""
        if self.contains(value):
            return value
        if isinstance(value, str):
            return self.choices[0]
        if self.choices:
            numbers = [number for number in self.choices if not isinstance(number, str)]
            numbers = [number for number in numbers if number or not value] or numbers  # 0 is none
            return min(numbers, key=lambda number: abs(number - value))
        inside = min(max(value, self.low), self.high)
        if self.step:
            inside = self.low + round((inside - self.low) / self.step) * self.step
        return round(inside) if self._whole else inside

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

    def suggest(self, trial: "Trial") -> Value:
        """Asks an Optuna trial for a value."""
        if self.fixed:
            return self.choices[0]
        if self.zero and trial.suggest_categorical(f"{self.name}_zero", [False, True]):
            return 0.0
        if self.choices:
            return cast(Value, trial.suggest_categorical(self.name, self.choices))
        ends = self.low, self.high
        if self._whole:
            low, high = map(int, ends)
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, *ends, step=self.step, log=self.log)

    @property
    def _whole(self) -> bool:
        return self.rule.kind is int


def is_whole(text: str) -> bool:
    """Whether a text is a whole number written as one.

    >>> is_whole("-2"), is_whole("2.0")
    (True, False)
    """
    return re.fullmatch(r"[+-]?\d+", text) is not None


def written(value: Value, in_powers: bool = False) -> str:
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

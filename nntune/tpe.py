"""A tree-structured Parzen estimator that proposes whole batches, and scrambled Sobol points.

Every parameter is cut into cells, so that a density is a short table: a batch costs one fit, and
a pick that is added to the bad density (so that the next pick goes elsewhere) costs one row.
Randomness comes from the seed of a call alone: the same seed and trials give the same batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Params: TypeAlias = dict[str, Any]

GRID = 128  # cells of a continuous parameter; Optuna's narrowest kernel spans a hundredth
CANDIDATES = 24
PRIOR = 1.0  # weight of the prior beside observations of weight 1
RECENT = 25  # trials of full weight in the bad density, as Optuna has it
SOBOL_BITS = 30
# Of each dimension the inner coefficients of its polynomial and the first direction numbers.
_JOE_KUO = (
    (0,), (0, 1), (1, 1, 3), (1, 1, 3, 1), (2, 1, 1, 1), (1, 1, 1, 3, 3), (4, 1, 3, 5, 13),
    (2, 1, 1, 5, 5, 17), (4, 1, 1, 5, 5, 5), (7, 1, 1, 7, 11, 19), (11, 1, 1, 5, 1, 1),
    (13, 1, 1, 1, 3, 11), (14, 1, 3, 5, 5, 31), (1, 1, 3, 3, 9, 7, 49), (13, 1, 1, 1, 15, 21, 21),
    (16, 1, 3, 1, 13, 27, 49), (19, 1, 1, 1, 15, 7, 5), (22, 1, 3, 1, 15, 13, 25),
    (25, 1, 1, 5, 5, 19, 61), (1, 1, 3, 7, 11, 23, 15, 103), (4, 1, 3, 7, 13, 13, 15, 69),
    (7, 1, 1, 3, 13, 7, 35, 63), (8, 1, 3, 5, 9, 1, 25, 53), (14, 1, 3, 1, 13, 9, 35, 107),
    (19, 1, 3, 1, 5, 27, 61, 31), (21, 1, 1, 5, 11, 19, 41, 61), (28, 1, 3, 5, 3, 3, 13, 69),
    (31, 1, 1, 7, 13, 1, 19, 1), (32, 1, 3, 7, 5, 13, 19, 59), (37, 1, 1, 3, 9, 25, 29, 41),
    (41, 1, 3, 5, 13, 23, 1, 55), (42, 1, 3, 7, 3, 13, 59, 17),
)  # fmt: skip
Condition: TypeAlias = tuple[str, tuple[Any, ...]]  # a parameter, and those of its values
COMPLETE = math.inf
FAILED = -math.inf


class Observation(NamedTuple):
    """What the sampler needs of a finished trial.

    Attributes:
        params: as Optuna keeps them; a conditional parameter may be absent.
        value: nan ranks last.
        step: the rung at which the trial was pruned, `COMPLETE` or `FAILED`.
    """

    number: int
    params: Mapping[str, Any]
    value: float
    step: float


def observation(trial: FrozenTrial) -> Observation | None:
    """A finished trial as the sampler sees it; None if it is running or waiting."""
    match trial.state:
        case TrialState.COMPLETE:
            return Observation(trial.number, trial.params, trial.values[0], COMPLETE)
        case TrialState.PRUNED:
            step, value = max(trial.intermediate_values.items(), default=(-1, math.nan))
            return Observation(trial.number, trial.params, value, step)
        case TrialState.FAIL:
            return Observation(trial.number, trial.params, math.nan, FAILED)
    return None


@dataclass(frozen=True, eq=False)
class _Dimension:
    """One parameter cut into cells on the unit interval."""

    name: str
    distribution: BaseDistribution
    values: tuple[Any, ...]  # one a cell; empty for a grid
    edges: Floats  # (cells + 1,)
    centers: Floats  # (cells,)
    nominal: bool  # no order among the cells
    switches: tuple["Condition", ...]  # which others decide whether it exists

    @property
    def widths(self) -> Floats:
        return np.diff(self.edges)

    def cells(self, params: Iterable[Mapping[str, Any]]) -> Integers:
        """Cell of each configuration, -1 where the parameter is absent or out of range."""
        observed = [each.get(self.name) for each in params]
        if isinstance(self.distribution, CategoricalDistribution):
            index = {value: cell for cell, value in enumerate(self.values)}
            return np.array([index.get(value, -1) for value in observed], np.int64)
        numbers = np.array([math.nan if each is None else each for each in observed], float)
        low, high = _bounds(self.distribution)
        inside = (numbers >= low) & (numbers <= high)
        low_unit, span = _scale(self.distribution)
        log = self.distribution.log  # type: ignore[attr-defined]
        safe = np.where(inside, numbers, low)
        unit = ((np.log(safe) if log else safe) - low_unit) / span if span else safe * 0
        cells = np.searchsorted(self.edges[1:-1], unit, side="right")
        return np.where(inside, cells, -1).astype(np.int64)

    def value(self, cell: int, within: float) -> Any:
        """A value in a cell; `within` in [0, 1) says where in it."""
        if self.values:
            return self.values[cell]
        low_unit, span = _scale(self.distribution)
        unit = self.edges[cell] + within * (self.edges[cell + 1] - self.edges[cell])
        return _member(self.distribution, low_unit + float(unit) * span, span)

    def density(self, cells: Integers, weights: Floats) -> Floats:
        """Sum of the kernels of observations and prior, per cell; not normalised.

        Kernels are as wide as the gap to the neighbouring observed cell, at least a hundredth (or
        1 / (2 + observations)) of the range. In a crowded cell two have that width, the others
        the least, as among equal values of Optuna's estimator.
        """
        weights, cells = weights[cells >= 0], cells[cells >= 0]
        if self.nominal:
            share = PRIOR / (len(cells) + 1)
            counts = np.bincount(cells, weights, len(self.centers))
            smoothed = (counts + share * weights.sum()) / (1 + share * len(counts))
            return np.asarray(smoothed + PRIOR / len(counts))
        if not len(cells):
            return PRIOR * self.widths
        counts = np.bincount(cells, minlength=len(self.centers))
        occupied = np.flatnonzero(counts)
        means, least = self.centers[occupied], _least_width(len(cells))
        summed = np.bincount(cells, weights, len(self.centers))[occupied]
        wide = np.minimum(1.0, 2.0 / counts[occupied])
        kernels = self.kernels(
            np.concatenate([means, means, [0.5]]),
            np.concatenate([np.maximum(_gaps(means), least), np.full(len(means), least), [1.0]]),
        )
        return np.concatenate([summed * wide, summed * (1 - wide), [PRIOR]]) @ kernels

    def kernels(self, means: Floats, widths: Floats) -> Floats:
        """One Gaussian a row, (means, cells), each summing to 1 over the cells."""
        distances = (self.centers - means[:, None]) / widths[:, None]
        rows = np.exp(-0.5 * distances * distances) * self.widths
        return np.asarray(rows / rows.sum(axis=1, keepdims=True))

    def liars(self, observations: int) -> Floats:
        """What one more trial in each cell adds to the bad density, (cells, cells)."""
        count = len(self.centers)
        if self.nominal:
            share = PRIOR / (observations + 1)
            return np.asarray((np.eye(count) + share) / (1 + share * count))
        return self.kernels(self.centers, np.full(count, _least_width(observations)))


@dataclass(frozen=True, eq=False)
class _History:
    """Finished trials as arrays; a longer one is made of what is new at each call."""

    distributions: dict[str, BaseDistribution]
    dimensions: tuple[_Dimension, ...]
    known: frozenset[int]
    numbers: Integers  # (trials,)
    steps: Floats  # (trials,)
    values: Floats  # (trials,)
    cells: Integers  # (dimensions, trials)

    @classmethod
    def empty(
        cls, distributions: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]
    ) -> "_History":
        dimensions = _dimensions(distributions, conditions)
        nothing, cells = np.zeros(0, np.int64), np.zeros((len(dimensions), 0), np.int64)
        return cls(
            dict(distributions), dimensions, frozenset(), nothing, np.zeros(0), np.zeros(0), cells
        )

    def extended(self, trials: Sequence[FrozenTrial | Observation]) -> "_History":
        """With the finished ones among the trials that are not known yet."""
        new = [
            each
            for trial in trials
            if trial.number not in self.known
            for each in [trial if isinstance(trial, Observation) else observation(trial)]
            if each is not None
        ]
        if not new:
            return self
        cells = _cells(self.dimensions, [each.params for each in new])
        return replace(
            self,
            known=self.known | {each.number for each in new},
            numbers=np.concatenate([self.numbers, [each.number for each in new]]),
            steps=np.concatenate([self.steps, [each.step for each in new]]),
            values=np.concatenate([self.values, [each.value for each in new]]),
            cells=np.concatenate([self.cells, cells], axis=1),
        )

    def split(self, maximize: bool) -> tuple[Integers, Integers]:
        """Good and bad trials, by place in the arrays and in the order of their numbers.

        Complete trials rank before pruned ones, those by the rung they reached, failed ones last.
        """
        values = -self.values if maximize else self.values
        ranked = np.lexsort((self.numbers, np.nan_to_num(values, nan=np.inf), -self.steps))
        good = ranked[: _good_count(len(ranked), int((self.steps > FAILED).sum()))]
        in_order = np.argsort(self.numbers)
        is_good = np.isin(in_order, good)
        return in_order[is_good], in_order[~is_good]


class BatchTPESampler(BaseSampler):
    """TPE whose proposals spread within a batch, at some 0.3 ms a trial.

    A parameter has its own good and bad densities. Of `CANDIDATES` configurations drawn from the
    good ones, the one with the largest sum of log ratios is proposed and joins the bad densities.
    Categorical parameters whose choices are numbers are taken as ordered. A parameter NAME beside
    NAME_zero exists only if that is False. Where all parameters are discrete, no configuration is
    proposed twice while another candidate is left.

    One sampler serves one study; it remembers finished trials by number.

    References:
        Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; widths, weights and
        ranking follow Optuna 5. Deviations: candidates are compared as whole configurations;
        ceil(0.1 n) + 2 trials are good, at most half; failed trials count as bad.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = np.random.SeedSequence().entropy if seed is None else seed
        self._histories: dict[tuple[str, ...], _History] = {}
        self._intersection = IntersectionSearchSpace(include_pruned=True)

    def propose(
        self,
        trials: Sequence[FrozenTrial | Observation],
        distributions: Mapping[str, BaseDistribution],
        count: int,
        seed: int | Sequence[int],
        *,
        maximize: bool = False,
        conditions: Mapping[str, Condition] = MappingProxyType({}),
    ) -> list[Params]:
        """Parameters of `count` new trials, a function of the arguments alone.

        Args:
            trials: the study's trials in any order; running ones count as bad, waiting ones are
                ignored. With fewer than two finished the proposals are random.
            distributions: as `Space.distributions` gives them.
            count: trials to propose.
            seed: fixes all randomness.
            maximize: larger values are better.
            conditions: parameters that exist only with some values of another.
        """
        history = self._history(("",), trials, distributions, conditions)
        return self._proposed(history, trials, (count, maximize), seed)

    def _proposed(
        self,
        history: "_History",
        trials: Sequence[FrozenTrial | Observation],
        how: tuple[int, bool],
        seed: int | Sequence[int],
    ) -> list[Params]:
        draw = np.random.default_rng(np.random.SeedSequence(seed))
        count, maximize = how
        if not history.dimensions:
            return [{} for _ in range(count)]
        if (history.steps > FAILED).sum() < 2:
            units = draw.random((count, len(history.dimensions)))
            return [_params(history.dimensions, row) for row in units]
        running = [
            trial.params
            for trial in trials
            if not isinstance(trial, Observation) and trial.state == TrialState.RUNNING
        ]
        picks = _picks(history, _cells(history.dimensions, running), maximize, count, draw)
        within = draw.random(picks.shape)
        return [
            {
                dimension.name: dimension.value(int(cell), float(place))
                for dimension, cell, place in zip(history.dimensions, row, places, strict=True)
                if cell >= 0
            }
            for row, places in zip(picks, within, strict=True)
        ]

    def _history(
        self,
        study: tuple[str],
        trials: Sequence[FrozenTrial | Observation],
        distributions: Mapping[str, BaseDistribution],
        conditions: Mapping[str, Condition] = MappingProxyType({}),
    ) -> _History:
        key = study + tuple(distributions)
        history = self._histories.get(key)
        numbers = {trial.number for trial in trials}
        if (
            history is None
            or history.distributions != distributions
            or not history.known <= numbers
        ):
            history = _History.empty(distributions, conditions)
        # Several threads may ask: each keeps the history that it made.
        history = self._histories[key] = history.extended(trials)
        return history

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that every finished trial has."""
        found = self._intersection.calculate(study)
        return {name: each for name, each in found.items() if not each.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """One proposal, with the running trials as bad ones."""
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        return self._one(study, trial, search_space, 0)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One value of a parameter that some trials lack, from the trials that have it."""
        found = self._one(
            study, trial, {param_name: param_distribution}, crc32(param_name.encode())
        )
        return found[param_name]

    def _one(
        self, study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution], stream: int
    ) -> Params:
        self._raise_error_if_multi_objective(study)
        others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        maximize = study.direction == StudyDirection.MAXIMIZE
        seed = [int(self._seed), trial.number, stream]  # type: ignore[arg-type]
        history = self._history((study.study_name,), others, space)
        return self._proposed(history, others, (1, maximize), seed)[0]


def sobol(
    distributions: Mapping[str, BaseDistribution],
    count: int,
    seed: int | Sequence[int],
    conditions: Mapping[str, Condition] = MappingProxyType({}),
) -> list[Params]:
    """Parameters of `count` trials that cover the space evenly, of at most 32 parameters.

    Sobol points under a random digital shift, which keeps their balance.
    """
    dimensions = _dimensions(distributions, conditions)
    points = sobol_points(count, len(dimensions))
    shift = np.random.default_rng(np.random.SeedSequence(seed)).integers(
        2**SOBOL_BITS, size=len(dimensions)
    )
    units = ((points ^ shift) + 0.5) / 2**SOBOL_BITS
    return [_params(dimensions, row) for row in units]


def sobol_points(count: int, dimensions: int) -> Integers:  # (count, dimensions)
    """The first points of the Sobol sequence, in units of 2**-SOBOL_BITS.

    >>> sobol_points(4, 2) / 2**SOBOL_BITS
    array([[0.  , 0.  ],
           [0.5 , 0.5 ],
           [0.75, 0.25],
           [0.25, 0.75]])

    References:
        Joe & Kuo 2008, "Constructing Sobol sequences with better two-dimensional projections";
        scipy has the same points, and its import costs the start of a search 0.7 s.
    """
    rows = [_directions(*each) for each in _JOE_KUO[:dimensions]]
    directions = np.array(rows, np.int64).reshape(-1, SOBOL_BITS)
    if len(directions) < dimensions:
        raise ValueError(f"there are Sobol points of {len(_JOE_KUO)} dimensions at most")
    gray = np.arange(count) ^ (np.arange(count) >> 1)
    points = np.zeros((count, dimensions), np.int64)
    for bit in range(count.bit_length()):
        points ^= (gray >> bit & 1)[:, None] * directions[:, bit]
    return points


def _directions(polynomial: int, *first: int) -> list[int]:
    """Direction numbers of one dimension, from its primitive polynomial and the first of them."""
    numbers, degree = list(first), len(first)
    if not degree:
        numbers = [1] * SOBOL_BITS
    for place in range(len(numbers), SOBOL_BITS):
        number = numbers[place - degree] ^ numbers[place - degree] << degree
        for back in range(1, degree):
            if polynomial >> (degree - 1 - back) & 1:
                number ^= numbers[place - back] << back
        numbers.append(number)
    return [number << (SOBOL_BITS - 1 - place) for place, number in enumerate(numbers)]


def _picks(
    history: _History, running: Integers, maximize: bool, count: int, draw: np.random.Generator
) -> Integers:
    """Cells of the proposals, (count, dimensions), -1 where a parameter does not exist."""
    dimensions = history.dimensions
    good, bad = _densities(history, maximize)
    liars = [each.liars(len(history.numbers)) for each in dimensions]
    for table, rows, cells in zip(bad, liars, running, strict=True):
        table += rows[cells[cells >= 0]].sum(axis=0)
    candidates = _candidates(good, count, draw)
    gains = [
        np.log(table[cells]) for table, cells in zip(good, candidates, strict=True)
    ]  # each (count, CANDIDATES)
    switches = [_switch_places(dimensions, each) for each in dimensions]
    taken = _taken(history, running)
    picks = np.full((count, len(dimensions)), -1)
    for slot in range(count):
        drawn = candidates[:, slot]
        scores = np.zeros(drawn.shape)
        for place, table in enumerate(bad):
            losses = np.log(table[drawn[place]] / table.sum())
            exists = _switched_on(drawn, switches[place])
            scores[place] = (gains[place][slot] - losses) * exists
        pick = _best(scores.sum(axis=0), _existing(drawn, switches), taken)
        for table, rows, cell in zip(bad, liars, pick, strict=True):
            if cell >= 0:
                table += rows[cell]
        picks[slot] = pick
    return picks


def _densities(history: _History, maximize: bool) -> tuple[list[Floats], list[Floats]]:
    """Tables of the good density, normalised, and of the bad one, a sum of kernels."""
    good, bad = history.split(maximize)
    weights = np.ones(len(bad))
    if len(bad) > RECENT:
        weights[:-RECENT] = np.linspace(1 / len(bad), 1, len(bad) - RECENT)
    tables = [
        each.density(cells[good], np.ones(len(good)))
        for each, cells in zip(history.dimensions, history.cells, strict=True)
    ]
    # The last bits of exp and of sums differ between machines; a proposal must not.
    return [np.round(table / table.sum(), 12) for table in tables], [
        np.round(each.density(cells[bad], weights[: len(bad)]), 12)
        for each, cells in zip(history.dimensions, history.cells, strict=True)
    ]


def _candidates(good: list[Floats], count: int, draw: np.random.Generator) -> Integers:
    """Cells drawn from the good densities, (dimensions, count, CANDIDATES)."""
    units = draw.random((len(good), count, CANDIDATES))
    return np.stack(
        [
            np.searchsorted(np.cumsum(table)[:-1], row, side="right")
            for table, row in zip(good, units, strict=True)
        ]
    )


def _switched_on(
    drawn: Integers, switches: Sequence[tuple[int, list[int]]]
) -> NDArray[np.bool_]:  # (candidates,)
    """Candidates, one a column, in which a parameter of these switches exists."""
    found = np.ones(drawn.shape[1], np.bool_)
    for place, cells in switches:
        found &= np.isin(drawn[place], cells)
    return found


def _existing(drawn: Integers, switches: Sequence[Sequence[tuple[int, list[int]]]]) -> Integers:
    """Candidates, one a row, with -1 for parameters that are switched off."""
    rows = drawn.T.copy()
    for place, own in enumerate(switches):
        rows[~_switched_on(drawn, own), place] = -1
    return rows


def _best(scores: Floats, rows: Integers, taken: set[bytes] | None) -> Integers:
    """The best candidate that is not taken yet; the best of all if every one is."""
    order = np.argsort(-np.round(scores, 9), kind="stable")
    best: Integers = rows[order[0]]
    if taken is None:
        return best
    best = next((row for row in rows[order] if row.tobytes() not in taken), best)
    taken.add(best.tobytes())
    return best


def _taken(history: _History, running: Integers) -> set[bytes] | None:
    """Configurations that exist already; None where values are continuous and none recurs."""
    if not all(each.values for each in history.dimensions):
        return None
    cells = np.concatenate([history.cells, running], axis=1)
    return {np.ascontiguousarray(column).tobytes() for column in cells.T}


def _dimensions(
    distributions: Mapping[str, BaseDistribution], conditions: Mapping[str, Condition]
) -> tuple[_Dimension, ...]:
    choice = CategoricalDistribution([False, True])
    found = []
    for name, each in distributions.items():
        switches = [conditions[name]] if name in conditions else []
        if distributions.get(f"{name}_zero") == choice:
            switches.append((f"{name}_zero", (False,)))
        found.append(_dimension(name, each, tuple(switches)))
    return tuple(found)


def _dimension(
    name: str, distribution: BaseDistribution, switches: tuple[Condition, ...]
) -> _Dimension:
    values = _values(distribution)
    even = np.linspace(0, 1, (len(values) or GRID) + 1)
    middles = (even[1:] + even[:-1]) / 2
    if isinstance(distribution, CategoricalDistribution):
        ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        return _Dimension(name, distribution, values, even, middles, not ordered, switches)
    if values and not distribution.single():
        low, high = _bounds(distribution)
        borders = np.linspace(low, high, len(values) + 1)
        exact = np.array(values, float)
        low_unit, span = _scale(distribution)
        if distribution.log:  # type: ignore[attr-defined]
            borders, exact = np.log(borders), np.log(exact)
        even, middles = (borders - low_unit) / span, (exact - low_unit) / span
    return _Dimension(name, distribution, values, even, middles, False, switches)


def _values(distribution: BaseDistribution) -> tuple[Any, ...]:
    """All values, where they are few enough to have a cell each."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.single():
        return (low,)
    if not step or (count := round((high - low) / step) + 1) > GRID:
        return ()
    if isinstance(distribution, IntDistribution):
        return tuple(range(int(low), int(high) + 1, int(step)))
    return tuple(min(float(f"{low + place * step:.12g}"), high) for place in range(count))


def _bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """The ends of a range, half a step further out so that every step has its own cell."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    half = (distribution.step or 0) / 2
    return distribution.low - half, distribution.high + half


def _scale(distribution: BaseDistribution) -> tuple[float, float]:
    """Low end and length of a range, in logarithms for a log range."""
    low, high = _bounds(distribution)
    if distribution.log:  # type: ignore[attr-defined]
        low, high = math.log(low), math.log(high)
    return low, high - low


def _member(distribution: BaseDistribution, scaled: float, span: float) -> int | float:
    """The value of a range at a place of its scale, rounded to a millionth of the range."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    number = math.exp(scaled) if distribution.log else scaled
    digits = 6 - math.floor(math.log10(span))
    if step:
        number = low + round((number - low) / step) * step
    elif distribution.log:
        number = float(f"{number:.{min(max(digits, 6), 17)}g}")
    else:
        number = round(number, digits)
    inside = min(max(number, low), high)
    return int(inside) if isinstance(distribution, IntDistribution) else float(inside)


def _cells(dimensions: Sequence[_Dimension], params: Sequence[Mapping[str, Any]]) -> Integers:
    """Cells of configurations, (dimensions, configurations)."""
    rows = [each.cells(params) for each in dimensions]
    return np.array(rows, np.int64).reshape(len(dimensions), len(params))


def _params(dimensions: Sequence[_Dimension], units: Floats) -> Params:
    """The configuration at a point of the unit cube."""
    cells = [
        int(np.searchsorted(each.edges[1:-1], unit, side="right"))
        for each, unit in zip(dimensions, units, strict=True)
    ]
    found = {}
    for each, cell, unit in zip(dimensions, cells, units, strict=True):
        switches = _switch_places(dimensions, each)
        if all(cells[place] in allowed for place, allowed in switches):
            within = (unit - each.edges[cell]) / (each.edges[cell + 1] - each.edges[cell])
            found[each.name] = each.value(cell, float(within))
    return found


def _switch_places(
    dimensions: Sequence[_Dimension], dimension: _Dimension
) -> list[tuple[int, list[int]]]:
    """Of each switch its place among the dimensions, and its cells with which this one exists."""
    names = [each.name for each in dimensions]
    found = []
    for name, values in dimension.switches:
        place = names.index(name)
        found.append((place, [dimensions[place].values.index(value) for value in values]))
    return found


def _gaps(means: Floats) -> Floats:
    """Distance to the farther neighbour; the outermost have only one, unless alone."""
    if len(means) == 1:
        return np.asarray(np.maximum(means, 1 - means))
    between = np.diff(means)
    both = np.maximum(np.append(between, between[-1]), np.append(between[0], between))
    return np.asarray(both)


def _least_width(observations: int) -> float:
    return 1 / min(100, 2 + observations)


def _good_count(finished: int, usable: int) -> int:
    return max(1, min(math.ceil(0.1 * finished) + 2, 25, finished // 2, usable))

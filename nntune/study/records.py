"""What a study holds, as plain values."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from nntune.space import Space, parse

_OBJECTS = ("data", "space", "training", "versions")  # fields of a definition
PRODUCTS = ("numpy", "torch", "mixed")  # see nntune.trials
_TRAINING = {"width": int, "eta": int, "rungs": list, "patience": int, "product": str}


@dataclass(frozen=True)
class Definition:
    """What a study is. All of it can be written as JSON.

    Attributes:
        data: where the data came from, its fingerprint, target, task and splits.
        space: hyperparameter to range, in the grammar of `nntune.space`.
        direction: 'minimize' or 'maximize'.
        training: how trials are trained and cut: width of a bracket and of the first,
            eta, rungs, patience, and the product, which is the library that multiplies matrices.
        versions: library to version, at creation.
        command: the command line that created the study.
        past: hyperparameters that only earlier spaces of the study had, with their last ranges.
    """

    data: dict[str, Any]
    space: dict[str, str]
    metric: str
    direction: str
    seed: int
    sampler: str
    pruner: str
    training: dict[str, Any]
    versions: dict[str, str]
    command: str
    past: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def whole_space(self) -> Space:
        """The space in force, and what trials may have from earlier ones."""
        ranges, past = (
            tuple(parse(name, text) for name, text in each.items())
            for each in (self.space, self.past)
        )
        return Space(ranges, past=past)

    @property
    def first(self) -> int:
        """Trials of the first bracket; older studies begin with a whole width."""
        return int(self.training.get("first", self.training["width"]))

    @property
    def start(self) -> int:
        """A bracket whose first trial comes before this one covers the space evenly."""
        width = int(self.training["width"])
        return width if self.first < width else 1

    def to_json(self, history: Sequence[dict[str, Any]] = ()) -> str:
        """As stored; `history` holds the definitions that this one took the place of."""
        stored = {**asdict(self), "history": list(history)}
        del stored["past"]  # which the history says
        return json.dumps(stored)

    @classmethod
    def from_json(cls, text: str) -> "Definition":
        """Read back; keys of a later version are left out.

        Raises:
            ValueError: it is no definition.
        """
        stored = json.loads(text)
        values = {each.name: stored[each.name] for each in fields(cls) if each.name != "past"}
        for name, value in values.items():
            kind = {"seed": int}.get(name, dict if name in _OBJECTS else str)
            if not isinstance(value, kind):
                raise ValueError(f"{name} of a definition is {value!r}")
        spaces = [*(each["space"] for each in stored.get("history", [])), values["space"]]
        for space in spaces:
            if "blocks" in space:  # older studies have no other
                space.setdefault("block_type", "plain")
        known = {name: text for space in spaces for name, text in space.items()}
        if not all(isinstance(text, str) for text in known.values()):
            raise ValueError("the space of a definition holds no ranges")
        training = values["training"]
        for name, needed in _TRAINING.items():
            if not isinstance(training.get(name), needed):
                raise ValueError(f"the training of a definition has no {name}")
        if not isinstance(training.get("first", 1), int):  # older studies lack it
            raise ValueError("the first bracket of a definition is no number")
        if training["product"] not in PRODUCTS:
            raise ValueError("the training of a definition has an unknown product")
        past = {name: text for name, text in known.items() if name not in values["space"]}
        return cls(**values, past=past)


class Outcome(NamedTuple):
    """How far a trial got, to be stored."""

    number: int
    state: str  # 'complete', 'pruned', 'failed', or 'running' for one that goes on
    value: float | None  # best so far; kept as the trial's value when it ends
    loss: float | None  # at the best epoch, breaks ties of the value
    epoch: int | None  # of the best value
    rungs: dict[int, float]  # epoch to value, those not stored yet
    losses: dict[int, float]  # epoch to loss, at the same epochs
    reason: str  # of its end: 'rung 3', 'early stop', ...
    seconds: float  # in all
    curve: Sequence[float]  # metric on the validation split after each epoch, from the first


class Listed(NamedTuple):
    """What a list of trials shows of one; quick to read by the thousands."""

    number: int
    state: str
    params: dict[str, Any]  # as Optuna keeps them
    value: float | None
    epoch: int | None
    reason: str


class Trial(NamedTuple):
    """One configuration and what came of it, as the study has it."""

    number: int
    state: str  # 'running', 'complete', 'pruned' or 'failed'
    params: dict[str, Any]  # as Optuna keeps them: what was fixed is not among them
    distributions_json: dict[str, str]
    value: float | None  # of an ended trial
    epoch: int | None
    rungs: dict[int, float]
    reason: str
    bracket: int
    seconds: float
    attempts: int  # how often its training was started
    started: str  # ISO 8601 in UTC
    finished: str  # empty while running
    loss: float | None
    losses: dict[int, float]

    @classmethod
    def new(cls, number: int, params: dict[str, Any], bracket: int) -> "Trial":
        """A trial that was just asked."""
        return cls(
            number, "running", params, {}, None, None, {}, "", bracket, 0, 1, "", "", None, {}
        )

    def with_outcome(self, outcome: Outcome) -> "Trial":
        """The trial as it is stored once the outcome is reported."""
        ended = outcome.state in ("complete", "pruned")
        return self._replace(
            state=outcome.state,
            value=outcome.value if ended else None,
            loss=outcome.loss,
            epoch=outcome.epoch,
            rungs=self.rungs | outcome.rungs,
            losses=self.losses | outcome.losses,
            reason=outcome.reason,
            seconds=outcome.seconds,
        )

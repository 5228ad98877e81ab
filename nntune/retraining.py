"""A study's trials trained once more: on its rows, on other rows, or from other seeds."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nntune.data import Dataset, Request
from nntune.data.encoding import filled_of
from nntune.data.learning import Learning
from nntune.data.plan import Plan, plan_of
from nntune.errors import DataError, RefusedError
from nntune.own import check_digest
from nntune.stacks import shape_of, stacks
from nntune.study import Trial, View
from nntune.trials import AnyShape, Problem, Progress, Setting
from nntune.workers import Workers

Rows = Dataset | Learning  # both have training and validation rows
_FIELDS = tuple(field.name for field in fields(Request))


def request_of(view: View, source: str | None = None) -> Request:
    """How a study's data were asked for.

    Args:
        view: the study.
        source: where the table is now, if not where it was.

    Raises:
        DataError: the study does not say, or its data came from standard input.
    """
    data = view.definition.data
    asked: dict[str, Any] = {key: data[key] for key in ("source", "target", "task") if key in data}
    asked |= {"seed": view.definition.seed}
    asked |= {key: value for key, value in data.get("request", {}).items() if key in _FIELDS}
    if source is not None:
        asked["source"] = source
    if "source" not in asked or asked["source"] == "-":
        raise DataError(
            f"study '{view.name}' does not say where its data are; --data FILE says it."
        )
    asked.setdefault("bins", 0)  # studies were made before there were any
    for name in ("ignore", "categorical", "numeric", "text"):
        asked[name] = tuple(asked.get(name, ()))
    return Request(**asked)


def plan_again(view: View, source: str | None = None) -> Plan:
    """A study's request carried out again.

    Raises:
        DataError: the data have moved, or cannot be read.
        RefusedError: the code of the study's network is another one.
    """
    if network := view.definition.data.get("network"):
        check_digest(network["file"], network["sha256"], f"study '{view.name}'")
    request = request_of(view, source)
    there = request.source.startswith("sklearn:") or Path(request.source).exists()
    if source is None and not there:
        raise DataError(
            f"the table of study '{view.name}' is not at {request.source}; --data FILE says where "
            "it is now."
        )
    return plan_of(request)


def check_same(view: View, source: str, fingerprint: str) -> None:
    """Refuse data that are not those of the study.

    Raises:
        RefusedError: the fingerprints differ.
    """
    if fingerprint != view.definition.data.get("fingerprint"):
        raise RefusedError(
            f"{source} is not what study '{view.name}' was made on: its table, target, "
            "roles or split differ; search again with --study NAME, or --data FILE says where "
            "the old table is."
        )


def problem_of(rows: Rows) -> Problem:
    """The size and kind of what is to be learnt from rows."""
    count, inputs = rows.train.x.shape
    filled = filled_of(rows.train.x) if rows.train.terms else 0.0
    return Problem(
        inputs, count, len(rows.classes), rows.target_scale, len(rows.folds), rows.train.terms,
        filled, rows.grid, rows.bins,
    )  # fmt: skip


def share(workers: Workers, rows: Rows) -> None:
    """Hands the rows to the workers, those of the other folds included."""
    found: dict[str, Any] = {}
    for place, fold in enumerate(rows.folds):
        mark, train, valid = f"@{place}" if place else "", fold.train, fold.valid
        found |= {f"x{mark}": train.x, f"y{mark}": train.y}
        found |= {f"x_valid{mark}": valid.x, f"y_valid{mark}": valid.y}
        found |= {f"scale{mark}": np.array(fold.target_scale)} if mark else {}
    workers.share(found, rows.train.terms)


class Retrainer:
    """Trains a study's trials again.

    Args:
        view: the study.
        workers: who trains.
        shared: the rows that the workers hold already.
        deadline: on time.monotonic(); past it a training ends with the outcome 'time'.
    """

    def __init__(
        self,
        view: View,
        workers: Workers,
        shared: Rows | None = None,
        deadline: float = math.inf,
    ) -> None:
        self._view, self._workers, self._shared = view, workers, shared
        self._deadline = deadline

    @property
    def count(self) -> int:
        """How many stacks train at once."""
        return self._workers.count

    def params(self, trial: Trial) -> dict[str, Any]:
        """The whole configuration."""
        return self._view.space.params(trial.params)

    def shape(self, trial: Trial, rows: Rows) -> AnyShape:
        return shape_of(self.params(trial), problem_of(rows))

    def setting(
        self,
        trial: Trial,
        rows: Rows,
        patience: int,
        *,
        metric: str | None = None,
        seed: int | None = None,
    ) -> Setting:
        """How the trial is trained: as in the study, but for what is given."""
        params, definition = self.params(trial), self._view.definition
        return Setting(
            self.shape(trial, rows), params["batch_size"], params["optimizer"],
            metric or definition.metric, patience, definition.seed if seed is None else seed,
            definition.training["product"],
        )  # fmt: skip

    def member(self, trial: Trial, epochs: int) -> Progress:
        """The trial before its first epoch; it ends after so many."""
        params = self.params(trial)
        rates = {key: params[key] for key in ("lr", "l1", "l2")}
        dropout = params.get("dropout", 0.0)
        return Progress(trial.number, **rates, dropout=dropout, epochs=epochs)

    def dealt(self, trial: Trial, members: Sequence[Progress], rows: Rows) -> list[list[Progress]]:
        """Members of a trial as stacks, so that no worker is idle."""
        alike = dict.fromkeys((member.number for member in members), self.params(trial))
        return stacks(members, alike, problem_of(rows), self.count)

    def train(
        self, members: Sequence[Progress], setting: Setting, rows: Rows, until: int
    ) -> "Future[list[Progress]]":
        """One stack to an epoch, in a worker."""
        if self._shared is not rows:
            share(self._workers, rows)
            self._shared = rows
        return self._workers.train(members, setting, problem_of(rows), until, self._deadline)

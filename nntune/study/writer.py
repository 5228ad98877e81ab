"""The one process that may write a study: every event is one transaction.

Optuna makes the tables; rows are written in bulk, without it. Its own calls commit every
parameter and every value by itself, which took 1000 times as long for a bracket with curves.
"""

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nntune.errors import DatabaseError
from nntune.study.database import (
    Connection,
    Stored,
    definition_of,
    faults,
    sense,
    wording,
)
from nntune.study.records import Outcome, Trial
from nntune.study.rows import STATES, load_trials, packed
from nntune.study.server import Database, Server

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_KEPT = "everything up to the last rung is kept"


class Writer:
    """An open study; a context manager that gives the file back at its end.

    Attributes:
        name: of the study, which `fresh` may have chosen.
        definition: as the file has it.
    """

    def __init__(
        self,
        path: Database,
        study: Stored,
        connection: Connection,
        resources: ExitStack,
    ) -> None:
        self.path, self.name = path, study.name
        self.definition = definition_of(study)
        self._study_id = study.study_id
        self._connection, self._resources = connection, resources
        self._file = None if isinstance(path, Server) else _named(path)
        self._running = dict(
            connection.execute(
                "SELECT number, trial_id FROM trials WHERE study_id = ? AND state = 'RUNNING'",
                (study.study_id,),
            ).fetchall()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fold the log into the file, so that one file remains, and let go of the lock."""
        self._resources.close()

    def begin(
        self,
        bracket: int,
        trials: Sequence[tuple[int, dict[str, Any], "dict[str, BaseDistribution]"]],
    ) -> None:
        """Store trials that were asked: number, Optuna's parameters, their distributions.

        Raises:
            RuntimeError: the numbers do not follow on those in the study.
        """
        now, stored_form = _now(), StoredForm()
        with self._transaction() as connection:
            (first,) = connection.execute(
                "SELECT count(*) FROM trials WHERE study_id = ?", (self._study_id,)
            ).fetchone()
            numbers = [number for number, _, _ in trials]
            if numbers != list(range(first, first + len(numbers))):
                raise RuntimeError(f"trials {numbers} do not follow on the {first} of {self.name}")
            connection.executemany(
                "INSERT INTO trials (number, study_id, state, datetime_start) "
                "VALUES (?, ?, 'RUNNING', ?)",
                [(number, self._study_id, now) for number in numbers],
            )
            latest = connection.execute(
                "SELECT number, trial_id FROM trials WHERE study_id = ? "
                "ORDER BY trial_id DESC LIMIT ?",
                (self._study_id, len(numbers)),
            )
            ids = dict(sorted(latest))
            connection.executemany(
                "INSERT INTO nntune_trial (trial_id, bracket) VALUES (?, ?)",
                [(trial_id, bracket) for trial_id in ids.values()],
            )
            insert_params(
                connection,
                (
                    (ids[number], key, *stored_form(value, distributions[key]))
                    for number, params, distributions in trials
                    for key, value in params.items()
                ),
            )
        self._running |= ids

    def report(
        self, outcomes: Sequence[Outcome], weights: Mapping[int, bytes | None] | None = None
    ) -> None:
        """Store what became of trials: new rung values for all, state and value for the ended.

        Args:
            outcomes: of running trials.
            weights: of the best trials, by number, as the file should have them from now on: new
                ones as bytes, None for those that it has. The weights of others are dropped; none
                are touched if this is not given.

        Raises:
            RuntimeError: one of them is not running.
            ValueError: one is complete without a finite value.
        """
        ids = self._ids(outcome.number for outcome in outcomes)
        ended = [outcome for outcome in outcomes if outcome.state != "running"]
        values = [(ids[o.number], o.value) for o in ended if _has_value(o)]
        with self._transaction() as connection:
            # Optuna's other readers keep an ended trial for good: its values come first.
            connection.executemany(
                "INSERT INTO trial_intermediate_values "
                "(trial_id, step, intermediate_value, intermediate_value_type) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (trial_id, step) DO UPDATE SET "
                "intermediate_value = excluded.intermediate_value, "
                "intermediate_value_type = excluded.intermediate_value_type",
                [
                    (ids[o.number], epoch, *_typed(value))
                    for o in outcomes
                    for epoch, value in o.rungs.items()
                ],
            )
            connection.executemany(
                "INSERT INTO nntune_rung (trial_id, epoch, loss) VALUES (?, ?, ?) "
                "ON CONFLICT (trial_id, epoch) DO UPDATE SET loss = excluded.loss",
                [
                    (ids[o.number], epoch, loss)
                    for o in outcomes
                    for epoch, loss in o.losses.items()
                ],
            )
            connection.executemany(
                "UPDATE nntune_trial SET epoch = ?, loss = ?, reason = ?, seconds = ?, curve = ? "
                "WHERE trial_id = ?",
                [
                    (o.epoch, o.loss, o.reason, o.seconds, packed(o.curve), ids[o.number])
                    for o in outcomes
                ],
            )
            connection.executemany(
                "INSERT INTO trial_values (trial_id, objective, value, value_type) "
                "VALUES (?, 0, ?, 'FINITE')",
                values,
            )
            if weights is not None:
                self._keep_weights(connection, weights)
            self._end(connection, [(STATES[o.state], _now(), ids[o.number]) for o in ended])
        for outcome in ended:
            del self._running[outcome.number]

    def _keep_weights(self, connection: Connection, weights: Mapping[int, bytes | None]) -> None:
        mine = (self._study_id, json.dumps(list(weights)))
        dropped = connection.execute(
            "SELECT w.trial_id FROM nntune_weights w JOIN trials t ON t.trial_id = w.trial_id "
            "WHERE t.study_id = ? AND t.number NOT IN (SELECT value FROM json_each(?))",
            mine,
        ).fetchall()
        connection.executemany("DELETE FROM nntune_weights WHERE trial_id = ?", dropped)
        connection.executemany(
            "INSERT INTO nntune_weights (trial_id, parameters) "
            "SELECT trial_id, ? FROM trials WHERE study_id = ? AND number = ? "
            "ON CONFLICT (trial_id) DO UPDATE SET parameters = excluded.parameters",
            [(blob, self._study_id, number) for number, blob in weights.items() if blob],
        )

    def retry(self, numbers: Sequence[int]) -> None:
        """Count one more attempt for trials that a dead search left running.

        Raises:
            RuntimeError: one of them is not running.
        """
        ids = self._ids(numbers)
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE nntune_trial SET attempts = attempts + 1 WHERE trial_id = ?",
                [(trial_id,) for trial_id in ids.values()],
            )

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        with faults(self.path, "cannot be read"), sense(self.path):
            found = self._connection.execute(
                "SELECT trial_id FROM trials WHERE study_id = ? ORDER BY number", (self._study_id,)
            )
            return load_trials(self._connection, [trial_id for (trial_id,) in found])

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep a JSON value with the study, where Optuna's dashboard shows it too."""
        with self._transaction() as connection:
            connection.execute(
                'INSERT INTO study_user_attributes (study_id, "key", value_json) VALUES (?, ?, ?) '
                'ON CONFLICT (study_id, "key") DO UPDATE SET value_json = excluded.value_json',
                (self._study_id, key, json.dumps(value)),
            )

    def add_verdict(self, kind: str, content: dict[str, Any]) -> None:
        """Keep what was found out about the study after its search, beside what is there already.

        Args:
            kind: 'confirmation' or 'test'.
            content: JSON values, with their `schema`.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO nntune_verdict (study_id, kind, made_at, content) VALUES (?, ?, ?, ?)",
                (self._study_id, kind, _now(), json.dumps(content, allow_nan=False)),
            )

    def _ids(self, numbers: Iterable[int]) -> dict[int, int]:
        wanted = list(numbers)
        for number in wanted:
            if number not in self._running:
                raise RuntimeError(f"trial {number} of study '{self.name}' is not running")
        return {number: self._running[number] for number in wanted}

    def _end(self, connection: Connection, ended: list[tuple[str, str, int]]) -> None:
        changed = connection.executemany(
            "UPDATE trials SET state = ?, datetime_complete = ? "
            "WHERE trial_id = ? AND state = 'RUNNING'",
            ended,
        ).rowcount
        if ended and changed != len(ended):
            raise RuntimeError(f"trials of study '{self.name}' were ended by another process")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        self._check_file()
        with transaction(self._connection, self.path):
            yield self._connection

    def _check_file(self) -> None:
        """Refuse to write on into a file that has no name any more: nobody could read it.

        Raises:
            DatabaseError: it was removed, or another one has taken its place.
        """
        if self._file is None or isinstance(self.path, Server):
            return
        with suppress(OSError):
            if os.path.samestat(self.path.stat(), self._file):
                return
        raise DatabaseError(
            f"{self.path} was removed or replaced while the search ran; what was found since then "
            "cannot be kept."
        )


def _named(path: Path) -> os.stat_result:
    """Which file has this name."""
    try:
        return path.stat()
    except OSError as error:
        raise DatabaseError(f"{path} was removed while it was opened.") from error


@contextmanager
def transaction(connection: Connection, path: Database) -> Iterator[None]:
    """All or nothing, even if the process dies in the middle.

    Raises:
        DatabaseError: the disk is full, the file damaged, or locked by another program for a
            minute.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        _roll_back(connection)
        raise
    except sqlite3.DatabaseError as error:
        _roll_back(connection)
        raise DatabaseError(f"{path}: {wording(error)}; {_KEPT}.") from error
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.DatabaseError, DatabaseError):
            connection.execute("ROLLBACK")


def insert_params(connection: Connection, rows: Iterable[tuple[int, str, float, str]]) -> None:
    connection.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
        "VALUES (?, ?, ?, ?)",
        rows,
    )


class StoredForm:
    """Values and distributions as Optuna stores them; each distribution is written once.

    By identity: (0, 1) and (False, True) are equal choices in Python and different ones in JSON.
    """

    def __init__(self) -> None:
        from optuna.distributions import distribution_to_json

        self._to_json = distribution_to_json
        self._written: dict[int, str] = {}

    def __call__(self, value: Any, distribution: "BaseDistribution") -> tuple[float, str]:
        text = self._written.get(id(distribution))
        if text is None:
            text = self._written[id(distribution)] = self._to_json(distribution)
        return distribution.to_internal_repr(value), text


def _has_value(outcome: Outcome) -> bool:
    finite = outcome.value is not None and math.isfinite(outcome.value)
    if outcome.state == "complete" and not finite:
        raise ValueError(f"trial {outcome.number} is complete without a finite value")
    return finite and outcome.state != "failed"


def _typed(value: float) -> tuple[float | None, str]:
    """Optuna's form of a number that may not be finite."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return value, "FINITE"


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

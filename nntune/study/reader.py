"""Questions about a study, answered by the standard library alone."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from nntune.errors import DatabaseError, NotFoundError, UsageError, did_you_mean
from nntune.space import Space
from nntune.study.database import (
    Connection,
    Stored,
    definition_of,
    has_table,
    reading,
    stored_studies,
)
from nntune.study.records import Definition, Listed, Trial
from nntune.study.rows import STATES, VALUE, list_trials, load_trials, moment, state_of, unpacked
from nntune.study.server import Database, Server

_ALL = 2**31 - 1  # trials
_RANKED = "(v.value_type = 'FINITE') IS NOT TRUE, {sign}v.value, t.number"


class Summary(NamedTuple):
    """A study in a list of studies."""

    name: str
    path: Database
    trials: int
    best: float | None
    metric: str
    changed: str  # local time


@dataclass(frozen=True)
class View:
    """A study to be asked; every answer is what the file says at that moment."""

    path: Database
    name: str
    study_id: int
    definition: Definition = field(repr=False)  # it takes a page

    @property
    def direction(self) -> str:
        return self.definition.direction

    @cached_property
    def space(self) -> Space:
        """The search space in force, and what trials may have from earlier ones."""
        return self.definition.whole_space

    @property
    def folds(self) -> int:
        """On how many folds a trial is validated; 1 is a single split."""
        return int(self.definition.data.get("split", {}).get("folds", 1))

    @property
    def validated(self) -> int:
        """How many rows a trial's value rests on."""
        counts: dict[str, int] = self.definition.data["counts"]
        return counts["valid"] + (counts["train"] if self.folds > 1 else 0)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state; states without trials have 0."""
        with reading(self.path) as connection:
            found = connection.execute(
                "SELECT state, count(*) FROM trials WHERE study_id = ? GROUP BY state",
                (self.study_id,),
            )
            return dict.fromkeys(STATES, 0) | {state_of(state): count for state, count in found}

    def trials(self, top: int | None = None, state: str | None = None) -> list[Trial]:
        """Trials, the best first and those without a value last; ties go to the earlier.

        Args:
            top: at most so many.
            state: only those that are 'running', 'complete', 'pruned' or 'failed'.

        Raises:
            UsageError: there is no such state.
        """
        return self._ranked(_of_state(state), top)

    def listed(self, top: int | None = None, state: str | None = None) -> list[Listed]:
        """As `trials`, a fraction of each and in a fraction of the time.

        Raises:
            UsageError: there is no such state.
        """
        with reading(self.path) as connection:
            found = self._order_of(connection, _of_state(state), top)
            return list_trials(connection, found)

    def sample(self, count: int) -> list[Listed]:
        """Trials spread evenly over all numbers, at most about so many."""
        last = sum(self.counts().values())
        # An odd step: of a Sobol sequence every second point lies in one half of the space.
        step = math.ceil(last / count) | 1
        with reading(self.path) as connection:
            found = connection.execute(
                "SELECT trial_id FROM trials WHERE study_id = ? AND "
                "number IN (SELECT value FROM json_each(?)) ORDER BY number",
                (self.study_id, json.dumps(list(range(0, last, step)))),
            )
            return list_trials(connection, [trial_id for (trial_id,) in found])

    def trial(self, number: int) -> Trial:
        """One trial.

        Raises:
            NotFoundError: the study has no trial of this number.
        """
        with reading(self.path) as connection:
            return load_trials(connection, [self._trial_id(connection, number)])[0]

    def curve(self, number: int) -> list[float]:
        """The metric on the validation split after each epoch, in single precision.

        Raises:
            NotFoundError: the study has no trial of this number.
        """
        with reading(self.path) as connection:
            row = connection.execute(
                "SELECT curve FROM nntune_trial WHERE trial_id = ?",
                (self._trial_id(connection, number),),
            ).fetchone()
            return unpacked(row[0]) if row else []

    def weights(self, number: int) -> bytes | None:
        """Parameters at a trial's best epoch, little-endian single precision, if they were kept.

        Raises:
            NotFoundError: the study has no trial of this number.
        """
        with reading(self.path) as connection:
            trial_id = self._trial_id(connection, number)
            if not has_table(connection, "nntune_weights"):
                return None
            row = connection.execute(
                "SELECT parameters FROM nntune_weights WHERE trial_id = ?", (trial_id,)
            ).fetchone()
            return row[0] if row else None

    def best(self) -> Trial | None:
        """The trial with the best value, complete or pruned; ties go to the earlier."""
        ended = "AND t.state IN ('COMPLETE', 'PRUNED') AND v.value_type = 'FINITE'"
        return next(iter(self._ranked(ended, 1)), None)

    def attributes(self) -> dict[str, Any]:
        """What the writer's `set_attribute` kept: Optuna's user attributes of the study."""
        with reading(self.path) as connection:
            found = connection.execute(
                'SELECT "key", value_json FROM study_user_attributes WHERE study_id = ?',
                (self.study_id,),
            )
            return {key: json.loads(value) for key, value in found}

    def verdicts(self, kind: str) -> list[dict[str, Any]]:
        """What was found out after the search, oldest first; `made_at` is ISO 8601 in UTC.

        Args:
            kind: 'confirmation' or 'test'.
        """
        with reading(self.path) as connection:
            if not has_table(connection, "nntune_verdict"):
                return []
            found = connection.execute(
                "SELECT content, made_at FROM nntune_verdict WHERE study_id = ? AND kind = ? "
                "ORDER BY verdict_id",
                (self.study_id, kind),
            )
            return [
                {**json.loads(content), "made_at": moment(made_at).isoformat()}
                for content, made_at in found
            ]

    @property
    def stopped(self) -> str:
        """Why its search has ended; nothing if trials have begun since, or it was killed."""
        entry = self.attributes().get("stopped", {})
        return entry["reason"] if entry.get("trials") == sum(self.counts().values()) else ""

    def judged(self) -> tuple[Trial | None, dict[str, Any] | None]:
        """`winner` and `confirmation`, for one ranking of all trials."""
        best, found = self.best(), self.verdicts("confirmation")
        if best is None or not found:
            return best, None
        last = found[-1]
        if best.number not in {each["trial"] for each in last["candidates"]}:
            return best, None
        return self.trial(last["winner"]), last

    def confirmation(self) -> dict[str, Any] | None:
        """The last confirmation, unless the search has since found a better trial than those."""
        return self.judged()[1] if self.verdicts("confirmation") else None

    def winner(self) -> Trial | None:
        """The confirmed winner; the best trial of the search where none is confirmed."""
        return self.judged()[0]

    @cached_property
    def _order(self) -> str:
        return _RANKED.format(sign="-" if self.direction == "maximize" else "")

    def _ranked(self, condition: str, top: int | None) -> list[Trial]:
        with reading(self.path) as connection:
            return load_trials(connection, self._order_of(connection, condition, top))

    def _order_of(self, connection: Connection, condition: str, top: int | None) -> list[int]:
        found = connection.execute(
            f"SELECT t.trial_id FROM trials t {VALUE} WHERE t.study_id = ? {condition} "
            f"ORDER BY {self._order} LIMIT ?",
            (self.study_id, _ALL if top is None else top),
        )
        return [trial_id for (trial_id,) in found]

    def _trial_id(self, connection: Connection, number: int) -> int:
        row = connection.execute(
            "SELECT trial_id FROM trials WHERE study_id = ? AND number = ?", (self.study_id, number)
        ).fetchone()
        if row:
            return int(row[0])
        (last,) = connection.execute(
            "SELECT max(number) FROM trials WHERE study_id = ?", (self.study_id,)
        ).fetchone()
        there_are = "no trials yet" if last is None else f"trials 0 to {last}"
        raise NotFoundError(f"study '{self.name}' has {there_are}; there is no trial {number}.")


def default_path(name: str) -> Path:
    """Where a study is kept if nothing else is said.

    >>> default_path("iris").as_posix()
    'studies/iris.db'
    """
    return Path("studies", f"{name}.db")


def path_of(name: str) -> Path:
    """The file in `studies/` that holds the study of this name; where it would be if none does.

    Raises:
        UsageError: several files hold one.
    """
    path = default_path(name)
    found = [each for each in sorted(path.parent.glob("*.db")) if _holds(each, name)]
    if len(found) > 1:
        files = f"{', '.join(map(str, found[:-1]))} and {found[-1]}"
        raise UsageError(f"there is a study '{name}' in {files}; --db FILE says which.")
    return found[0] if found else path


def _holds(path: Path, name: str) -> bool:
    """Whether there is a study of ours of this name; a file that cannot be read has none."""
    with suppress(NotFoundError, DatabaseError), reading(path) as connection:
        found = stored_studies(connection, path)
        return any(each.name == name and each.definition is not None for each in found)
    return False


def read(path: Database, name: str | None = None) -> View:
    """A study for reading.

    Args:
        path: the file, or the server.
        name: of the study; not needed where the file holds one.

    Raises:
        NotFoundError: there is no such file, or no such study in it.
        UsageError: the file holds several studies and none was named.
        DatabaseError: the file is damaged, of something else or of a newer version.
    """
    with reading(path) as connection:
        found = {study.name: study for study in stored_studies(connection, path)}
        ours = {key: study for key, study in found.items() if study.definition is not None}
        only = next(iter(ours)) if len(ours) == 1 else ""
        chosen = ours.get(only if name is None else name)
        if chosen is None:
            raise _not_chosen(path, name, ours, found)
        return View(path, chosen.name, chosen.study_id, definition_of(chosen))


def studies(folder_or_path: Database, left_out: list[DatabaseError] | None = None) -> list[Summary]:
    """The studies of a file or server, or of a folder's `*.db` files without those of others.

    Args:
        folder_or_path: where they are.
        left_out: takes what is wrong with the files of a folder that cannot be read.

    Raises:
        NotFoundError: there is no such file or folder.
        DatabaseError: a file that was named cannot be used.
    """
    if isinstance(folder_or_path, Server) or not folder_or_path.is_dir():
        return _summaries(folder_or_path)
    found = []
    for path in sorted(folder_or_path.glob("*.db")):
        try:
            found += _summaries(path)
        except NotFoundError:
            continue
        except DatabaseError as error:
            if left_out is not None:
                left_out.append(error)
    return found


def _of_state(state: str | None) -> str:
    if state is not None and state not in STATES:
        raise UsageError(
            f"there is no state '{state}'; there are {', '.join(STATES)}."
            f"{did_you_mean(state, STATES)}"
        )
    return f"AND t.state = '{STATES[state]}'" if state else ""


def _not_chosen(
    path: Database, name: str | None, ours: dict[str, Stored], found: dict[str, Stored]
) -> NotFoundError | UsageError:
    names = ", ".join(ours)
    if not ours and name not in found:
        return NotFoundError(f"{path} holds no study of nntune.")
    if name is None:
        return UsageError(f"{path} holds the studies {names}; say which one.")
    if name in found:
        return NotFoundError(f"study '{name}' in {path} was not made by nntune.")
    hint = did_you_mean(name, ours)
    return NotFoundError(f"{path} holds no study '{name}'; it holds {names}.{hint}")


def _summaries(path: Database) -> list[Summary]:
    with reading(path) as connection:
        ours = [s for s in stored_studies(connection, path) if s.definition is not None]
        return [_summary(connection, path, study) for study in ours]


def _summary(connection: Connection, path: Database, study: Stored) -> Summary:
    definition = definition_of(study)
    extreme = "max" if definition.direction == "maximize" else "min"
    count, best, started, finished = connection.execute(
        f"SELECT count(*), {extreme}(v.value), max(t.datetime_start), max(t.datetime_complete) "
        f"FROM trials t {VALUE} WHERE t.study_id = ?",
        (study.study_id,),
    ).fetchone()
    latest = max(started or "", finished or "")
    if latest:
        changed = moment(latest)
    elif isinstance(path, Server):  # nothing says when it was made
        changed = datetime.now(UTC)
    else:
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    local = changed.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return Summary(study.name, path, count, best, definition.metric, local)

"""What can be wrong with a study's file, and the statements that put it right.

A file is checked whole: SQLite's pages, Optuna's rows, ours, and whether they agree.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nntune.errors import DatabaseError
from nntune.space import Space
from nntune.study.database import NONSENSE, TABLES, Stored, definition_of, reading, stored_studies
from nntune.study.rows import load_trials

_OF_TRIALS = (
    "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes",
    "trial_system_attributes", "trial_heartbeats", "nntune_trial", "nntune_rung", "nntune_weights",
)  # fmt: skip
_OF_STUDIES = (
    "trials", "study_directions", "study_user_attributes", "study_system_attributes",
    "nntune_study", "nntune_verdict",
)  # fmt: skip
OURS = tuple(line.split()[5] for line in TABLES.splitlines() if line.startswith("CREATE TABLE"))
_TRIGGERS = tuple(
    line.split()[5] for line in TABLES.splitlines() if line.startswith("CREATE TRIGGER")
)
_LOST = "lost in a damaged file"
_MINE = "study_id IN (SELECT study_id FROM nntune_study)"
# Ids count the trials of all studies, so that a number is always smaller than its trial's id.
_CAN_BE = "typeof(number) = 'integer' AND number >= 0 AND number < trial_id"
_GAPS = f"""
    WITH RECURSIVE places (study_id, number, most) AS (
        SELECT study_id, 0, max(number) FROM trials WHERE {_MINE} AND {_CAN_BE} GROUP BY study_id
        UNION ALL SELECT study_id, number + 1, most FROM places WHERE number < most
    ) SELECT study_id, number FROM places
      EXCEPT SELECT study_id, number FROM trials"""


class Rule(NamedTuple):
    """One thing that may be wrong.

    Attributes:
        sentence: with the {count} of rows it concerns.
        rows: a query for them.
        repair: statements after which there are none; none if nothing can be done.
    """

    sentence: str
    rows: str
    repair: tuple[str, ...] = ()


class Problem(NamedTuple):
    """Something that is wrong with a file."""

    sentence: str
    can_be_repaired: bool


def _orphans(table: str, parent: str, key: str) -> Rule:
    nobodys = f"{key} IS NULL OR {key} NOT IN (SELECT {key} FROM {parent})"
    return Rule(
        f"{{count}} rows of {table} belong to nothing in {parent}",
        f"SELECT {key} FROM {table} WHERE {nobodys}",
        (f"DELETE FROM {table} WHERE {nobodys}",),
    )


def failing(trials: str) -> tuple[str, ...]:
    """Statements that make trials failed ones, whose values nobody believes."""
    return (
        f"CREATE TEMP TABLE failed AS SELECT trial_id FROM trials WHERE trial_id IN ({trials})",
        "DELETE FROM trial_values WHERE trial_id IN (SELECT trial_id FROM failed)",
        "DELETE FROM nntune_weights WHERE trial_id IN (SELECT trial_id FROM failed)",
        "UPDATE trials SET state = 'FAIL', datetime_complete = coalesce(datetime_complete, "
        "datetime_start) WHERE trial_id IN (SELECT trial_id FROM failed)",
        f"UPDATE nntune_trial SET reason = '{_LOST}' WHERE trial_id IN "
        "(SELECT trial_id FROM failed)",
        "DROP TABLE failed",
    )


_VALUELESS = f"""
    SELECT trial_id FROM trials WHERE state = 'COMPLETE' AND {_MINE}
    AND trial_id NOT IN (SELECT trial_id FROM trial_values)"""
_BARE = f"""
    SELECT trial_id FROM trials
    WHERE {_MINE} AND trial_id NOT IN (SELECT trial_id FROM nntune_trial)"""
# The bracket of a trial that does not say it: that of the trials before it. One pass over all.
_BRACKETS = f"""
    SELECT trial_id, coalesce(bracket, 0) FROM (
        SELECT t.trial_id, n.trial_id AS known,
               max(n.bracket) OVER (PARTITION BY t.study_id ORDER BY t.number) AS bracket
        FROM trials t LEFT JOIN nntune_trial n ON n.trial_id = t.trial_id WHERE t.{_MINE}
    ) WHERE known IS NULL"""
_NO_NUMBER = """
    SELECT trial_value_id FROM trial_values
    WHERE value_type = 'FINITE' AND typeof(value) NOT IN ('real', 'integer')"""

RULES = (
    *(_orphans(table, "studies", "study_id") for table in _OF_STUDIES),
    *(_orphans(table, "trials", "trial_id") for table in _OF_TRIALS),
    Rule(
        "{count} trials of one study share a number with another",
        f"SELECT number FROM trials WHERE {_MINE} GROUP BY study_id, number HAVING count(*) > 1",
    ),
    Rule(
        "{count} trials have numbers that none can have",
        f"SELECT trial_id FROM trials WHERE {_MINE} AND NOT ({_CAN_BE})",
    ),
    Rule(
        "{count} trials lack nntune's part of what is known of them",
        _BARE,
        (f"INSERT INTO nntune_trial (trial_id, bracket, reason) SELECT *, '' FROM ({_BRACKETS})",),
    ),
    Rule(
        "{count} numbers of trials are missing from their study; failed ones stand in for them",
        _GAPS,
        (
            f"INSERT INTO trials (number, study_id, state) SELECT number, study_id, 'FAIL' "
            f"FROM ({_GAPS})",
            "INSERT INTO nntune_trial (trial_id, bracket, reason) "
            f"SELECT *, '{_LOST}' FROM ({_BRACKETS})",
        ),
    ),
    Rule(
        "{count} values are no numbers",
        _NO_NUMBER,
        (f"DELETE FROM trial_values WHERE trial_value_id IN ({_NO_NUMBER})",),
    ),
    Rule("{count} trials are complete and have no value", _VALUELESS, failing(_VALUELESS)),
    Rule(
        "{count} triggers or views are none of nntune's or Optuna's",
        f"SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') "
        f"AND name NOT IN {_TRIGGERS}",
    ),
)


def check(path: Path) -> list[Problem]:
    """All that is wrong with a file; nothing if it is sound.

    Raises:
        NotFoundError: there is no such file.
        DatabaseError: it is no database of studies at all, or of another version.
    """
    try:
        with reading(path) as connection:
            damage = list(damaged_pages(connection))
            if damage:
                return [Problem(f"SQLite: {line}", True) for line in damage]
            return [*_broken_rules(connection), *_unreadable(connection, path)]
    except DatabaseError as error:
        cause = error.__cause__
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [Problem(f"SQLite: {cause}", True)]  # it ends too early, or not even its tables


def damaged_pages(connection: sqlite3.Connection) -> Iterator[str]:
    """What SQLite itself says of the file's pages and indices; nothing if they are sound."""
    try:
        for (line,) in connection.execute("PRAGMA integrity_check(10)"):
            if line != "ok":
                yield " ".join(str(line).split())
    except sqlite3.DatabaseError as error:
        yield str(error)


def _broken_rules(connection: sqlite3.Connection) -> Iterator[Problem]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    absent = [name for name in OURS if name not in tables]
    if absent:
        yield Problem(f"tables of nntune are missing: {', '.join(absent)}", True)
        return
    for rule in RULES:
        (count,) = connection.execute(f"SELECT count(*) FROM ({rule.rows})").fetchone()
        if count:
            yield Problem(rule.sentence.format(count=count), bool(rule.repair))


def _unreadable(connection: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    """Definitions and trials that nobody can make sense of."""
    for study in stored_studies(connection, path):
        if study.definition is None:
            continue
        try:
            definition_of(study)
        except NONSENSE:
            yield Problem(f"the definition of study '{study.name}' cannot be read", False)
            continue
        broken = len(list(unreadable_trials(connection, study)))
        if broken:
            yield Problem(
                f"{broken} trials of study '{study.name}' have lost a part of their configuration "
                "or curve", True,
            )  # fmt: skip


def unreadable_trials(connection: sqlite3.Connection, study: Stored) -> Iterator[int]:
    """Ids of trials whose rows hold what no one ever wrote there, or lack parameters."""
    space = definition_of(study).whole_space
    found = connection.execute(
        "SELECT trial_id FROM trials JOIN nntune_trial USING (trial_id) "
        "WHERE study_id = ? AND reason <> ?",
        (study.study_id, _LOST),
    )
    yield from _unreadable_of(connection, [trial_id for (trial_id,) in found], space)


def _unreadable_of(
    connection: sqlite3.Connection, trial_ids: list[int], space: Space
) -> Iterator[int]:
    """The same of some trials: together, and by halves if they cannot be read together."""
    try:
        trials = load_trials(connection, trial_ids)
        lacking = [None in space.params(trial.params).values() for trial in trials]
    except NONSENSE:
        if len(trial_ids) == 1:
            yield trial_ids[0]
            return
        half = len(trial_ids) // 2
        yield from _unreadable_of(connection, trial_ids[:half], space)
        yield from _unreadable_of(connection, trial_ids[half:], space)
    else:
        yield from (n for n, is_lacking in zip(trial_ids, lacking, strict=True) if is_lacking)

"""Mending and upgrading a study's file, always behind a backup that nothing is written over."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from filecmp import cmp
from pathlib import Path
from typing import NamedTuple

from nntune.errors import DatabaseError
from nntune.study.checking import (
    OURS,
    RULES,
    check,
    damaged_pages,
    failing,
    unreadable_trials,
)
from nntune.study.database import (
    NONSENSE,
    SCHEMA,
    TABLES,
    Stored,
    faults,
    reading,
    stored_studies,
)
from nntune.study.lock import locked
from nntune.study.opening import blank_database

_WITHOUT_ROWID = {"nntune_rung": "trial_id, epoch"}
_WIDEST_GAP = 1_000_000  # rows between two that can be read, looked for one by one
_BESIDE = ("", "-wal", "-journal")


class Mended(NamedTuple):
    """What was done to a file."""

    backup: Path | None  # none if nothing was to be done
    done: tuple[str, ...]
    left: tuple[str, ...]  # what is still wrong


def repair(path: Path) -> Mended:
    """Puts right what can be put right: damaged pages, orphans, rows that disagree.

    Raises:
        DatabaseError: the file is in use, of something else, or cannot be written.
    """
    problems = check(path)
    if not problems:
        return Mended(None, (), ())
    with locked(path), faults(path, "cannot be repaired"), _behind_backup(path) as backup:
        if _is_damaged(path):
            _rescue(path)
        done = [problem.sentence for problem in problems if problem.can_be_repaired]
        done += [problem.sentence for problem in check(path) if problem.can_be_repaired]
        _put_right(path)
    left = tuple(problem.sentence for problem in check(path))
    return Mended(backup, tuple(line for line in dict.fromkeys(done) if line not in left), left)


def upgrade(path: Path) -> Mended:
    """Brings nntune's own tables to this version; Optuna's are Optuna's to upgrade.

    Raises:
        DatabaseError: the file is in use, of something else, or Optuna's tables are older.
    """
    with reading(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        absent = [name for name in OURS if name not in tables]
        behind = [] if "nntune_study" in absent else list(_behind(connection))
    if not absent and not behind:
        return Mended(None, (), ())
    with (
        locked(path),
        faults(path, "cannot be upgraded"),
        _behind_backup(path) as backup,
        closing(_connected(path)) as connection,
    ):
        connection.executescript(f"BEGIN; {TABLES} COMMIT;")
        connection.execute("UPDATE nntune_study SET schema = ?", (SCHEMA,))
    made = [f"table {name} made" for name in absent]
    return Mended(backup, (*made, *(f"study '{name}' brought to {SCHEMA}" for name in behind)), ())


@contextmanager
def _behind_backup(path: Path) -> Iterator[Path]:
    """A backup, taken away again if the work fails and has left the file as it was."""
    backup = backed_up(path)
    try:
        yield backup
    except BaseException:
        pairs = [
            (path.with_name(path.name + e), backup.with_name(backup.name + e)) for e in _BESIDE
        ]
        if all(_same(now, before) for now, before in pairs):
            for _, before in pairs:
                before.unlink(missing_ok=True)
        raise


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return cmp(one, other, shallow=False)
    return one.exists() == other.exists()


def backed_up(path: Path) -> Path:
    """A copy of the file and its log under a free name beside it."""
    number = 1
    while any(_beside(path, number, ending).exists() for ending in _BESIDE):
        number += 1
    for ending in _BESIDE:
        source = path.with_name(path.name + ending)
        if source.exists():
            with source.open("rb") as old, _beside(path, number, ending).open("xb") as new:
                shutil.copyfileobj(old, new)
                new.flush()
                os.fsync(new.fileno())
    return _beside(path, number, "")


def _beside(path: Path, number: int, ending: str) -> Path:
    return path.with_name(f"{path.name}.backup-{number}{ending}")


def _behind(connection: sqlite3.Connection) -> Iterator[str]:
    for (name,) in connection.execute(
        "SELECT study_name FROM studies JOIN nntune_study USING (study_id) WHERE schema < ?",
        (SCHEMA,),
    ):
        yield name


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path.absolute(), timeout=10, isolation_level=None)


def _is_damaged(path: Path) -> bool:
    with closing(_connected(path)) as connection:
        return any(damaged_pages(connection))


def _put_right(path: Path) -> None:
    with closing(_connected(path)) as connection:
        connection.executescript(TABLES)
        connection.execute("BEGIN IMMEDIATE")
        for rule in RULES:
            if connection.execute(rule.rows).fetchone():
                for statement in rule.repair:
                    connection.execute(statement)
        for study in stored_studies(connection, path):
            for trial_id in _unreadable(connection, study):
                _give_up(connection, trial_id)
        connection.execute("COMMIT")


def _unreadable(connection: sqlite3.Connection, study: Stored) -> list[int]:
    """Ids of trials to give up; none where the study itself cannot be read."""
    if study.definition is None:
        return []
    try:
        return list(unreadable_trials(connection, study))
    except NONSENSE:
        return []


def _give_up(connection: sqlite3.Connection, trial_id: int) -> None:
    """Leaves of a trial that nobody can read its number, as failed."""
    for table in ("trial_params", "trial_intermediate_values", "nntune_rung"):
        connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))
    connection.execute("UPDATE nntune_trial SET curve = x'' WHERE trial_id = ?", (trial_id,))
    for statement in failing(str(trial_id)):
        connection.execute(statement)


def _rescue(path: Path) -> None:
    """A new file of all rows that can still be read takes the old one's place."""
    new = path.with_name(f"{path.name}-new")
    new.unlink(missing_ok=True)
    try:
        blank_database(new)
        with ExitStack() as stack:
            old = stack.enter_context(closing(_connected(path)))
            # Without this SQLite reads nothing of a file that ends too early, or of whose tables,
            # indices and triggers one is misspelt.
            old.execute("PRAGMA writable_schema = ON")
            fresh = stack.enter_context(closing(_connected(new)))
            fresh.execute("BEGIN")
            tables = fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                if table not in ("alembic_version", "version_info"):
                    _copy(old, fresh, table)
            fresh.execute("COMMIT")
            if not fresh.execute(
                "SELECT 1 FROM studies JOIN nntune_study USING (study_id)"
            ).fetchone():
                raise DatabaseError(
                    f"{path} cannot be repaired: no study in it can be read; SQLite's .recover may "
                    "find more."
                )
        os.replace(new, path)
        for ending in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    finally:
        new.unlink(missing_ok=True)


def _copy(old: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> None:
    names = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    columns = ", ".join(f'"{name}"' for name in names)
    places = ", ".join("?" * len(names))
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"
    for row in _readable(old, table, columns):
        with suppress(sqlite3.IntegrityError, sqlite3.InterfaceError):
            fresh.execute(insert, row)


def _readable(old: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[object, ...]]:
    """Rows from the front up to the first that cannot be read, from the back, and in between."""
    if table in _WITHOUT_ROWID:
        key = _WITHOUT_ROWID[table]
        yield from _until_damage(old, f"SELECT {columns} FROM {table} ORDER BY {key}")
        down = key.replace(",", " DESC,") + " DESC"
        yield from _until_damage(old, f"SELECT {columns} FROM {table} ORDER BY {down}")
        return
    rows = f"SELECT rowid, {columns} FROM {table} NOT INDEXED"
    low, high = 0, 0
    for low, *row in _until_damage(old, f"{rows} ORDER BY rowid"):  # noqa: B007
        yield tuple(row)
    for high, *row in _until_damage(old, f"{rows} ORDER BY rowid DESC"):
        if high <= low:
            return
        yield tuple(row)
    for rowid in range(low + 1, min(high, low + _WIDEST_GAP)):
        for _, *row in _until_damage(old, f"{rows} WHERE rowid = {rowid}"):
            yield tuple(row)


def _until_damage(old: sqlite3.Connection, query: str) -> Iterator[tuple[int, ...]]:
    with suppress(sqlite3.DatabaseError):
        yield from old.execute(query)

"""The SQLite file itself: what makes it one of ours, and how to open it for reading."""

import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, overload

from nntune.errors import DatabaseError, NotFoundError, did_you_mean
from nntune.study.records import Definition
from nntune.study.schema import OPTUNA_SCHEMA
from nntune.study.server import Database, Server, Session

Connection = sqlite3.Connection | Session
SCHEMA = 1  # of the tables below, beside Optuna's

# SQLite gives ids out again: what Optuna or its dashboard deletes takes our rows with it.
TABLES = """
CREATE TABLE IF NOT EXISTS nntune_study (
    study_id INTEGER PRIMARY KEY,
    schema INTEGER NOT NULL,
    definition TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS nntune_trial (
    trial_id INTEGER PRIMARY KEY,
    bracket INTEGER NOT NULL,
    epoch INTEGER,
    loss REAL,
    reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 1,
    seconds REAL NOT NULL DEFAULT 0,
    curve BLOB NOT NULL DEFAULT x''
);
CREATE TABLE IF NOT EXISTS nntune_rung (
    trial_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    loss REAL,
    PRIMARY KEY (trial_id, epoch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nntune_weights (
    trial_id INTEGER PRIMARY KEY,
    parameters BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS nntune_verdict (
    verdict_id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    made_at TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS nntune_weights_deleted AFTER DELETE ON trials BEGIN
    DELETE FROM nntune_weights WHERE trial_id = old.trial_id;
END;
CREATE TRIGGER IF NOT EXISTS nntune_study_deleted AFTER DELETE ON studies BEGIN
    DELETE FROM nntune_study WHERE study_id = old.study_id;
END;
CREATE TRIGGER IF NOT EXISTS nntune_verdict_deleted AFTER DELETE ON studies BEGIN
    DELETE FROM nntune_verdict WHERE study_id = old.study_id;
END;
CREATE TRIGGER IF NOT EXISTS nntune_trial_deleted AFTER DELETE ON trials BEGIN
    DELETE FROM nntune_trial WHERE trial_id = old.trial_id;
    DELETE FROM nntune_rung WHERE trial_id = old.trial_id;
END;
"""


class Stored(NamedTuple):
    """A study as its file names it; no definition if it is not ours."""

    study_id: int
    name: str
    definition: str | None


def is_blank(path: Path) -> bool:
    """Whether there is nothing in the file, or no file."""
    with suppress(OSError):  # of a path that is too long, or in a folder that may not be read
        return not path.exists() or (path.is_file() and path.stat().st_size == 0)
    return False


@overload
def reading(path: Path) -> AbstractContextManager[sqlite3.Connection]: ...
@overload
def reading(path: Database) -> AbstractContextManager[Connection]: ...
def reading(path: Database) -> AbstractContextManager[Connection]:
    """The file or the server for reading, checked to be a database of Optuna.

    Raises:
        NotFoundError: there is no such file, or nothing in it.
        DatabaseError: it cannot be read, is damaged or of something else.
    """
    return _reading_server(path) if isinstance(path, Server) else _reading_file(path)


@contextmanager
def _reading_server(server: Server) -> Iterator[Session]:
    with server.session() as session:
        if "studies" not in _tables(session):
            raise NotFoundError(f"there is no study in {server}.")
        session.execute("BEGIN")
        _check_is_optuna(session, server)
        yield session


@contextmanager
def _reading_file(path: Path) -> Iterator[sqlite3.Connection]:
    _check_is_file(path)
    with faults(path, "cannot be read"), sense(path), _open(path) as connection:
        connection.execute("BEGIN")  # all answers from one state of the file
        _check_is_optuna(connection, path)
        yield connection


# What values raise that no one ever wrote there: a text for a number, a choice that there is not.
NONSENSE = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError)


@contextmanager
def sense(path: Database) -> Iterator[None]:
    """A file may hold anything: a stranger's, or one that a disk has spoilt.

    Raises:
        DatabaseError: it holds what cannot be.
    """
    try:
        yield
    except NONSENSE as error:
        raise DatabaseError(
            f"{path} holds what nntune never wrote ({type(error).__name__}: {error}); "
            "nntune db check says what is wrong."
        ) from error


@contextmanager
def faults(path: Database, what: str) -> Iterator[None]:
    """Turns what went wrong in SQLite into a sentence: disk full, damaged, locked, read-only."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            sentence = f"{path} is no database of studies; it is not an SQLite file."
            raise DatabaseError(sentence) from error
        raise DatabaseError(f"{path} {what}: {wording(error)}.") from error


def wording(error: sqlite3.DatabaseError) -> str:
    """What SQLite says, and what would help where that is known."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return "the disk is full"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another program has locked it"
        case sqlite3.SQLITE_CORRUPT:
            return f"it is damaged ({error}); nntune db check says what is wrong"
    return str(error)


def stored_studies(connection: Connection, path: Database) -> list[Stored]:
    """The studies of a file, in the order of their creation.

    Raises:
        DatabaseError: one was written by a newer nntune.
    """
    if "nntune_study" not in _tables(connection):
        others = connection.execute("SELECT study_id, study_name FROM studies")
        return [Stored(study_id, name, None) for study_id, name in others]
    rows = connection.execute(
        "SELECT s.study_id, s.study_name, n.definition, n.schema FROM studies s "
        "LEFT JOIN nntune_study n ON n.study_id = s.study_id ORDER BY s.study_id"
    ).fetchall()
    for _, name, _, schema in rows:
        if schema is not None and schema > SCHEMA:
            raise DatabaseError(
                f"study '{name}' in {path} was written by a newer nntune (schema {schema}; this "
                f"one reads up to {SCHEMA}); upgrade nntune."
            )
    return [Stored(*row[:3]) for row in rows]


def definition_of(study: Stored) -> Definition:
    """The definition of a study that is ours."""
    assert study.definition is not None
    return Definition.from_json(study.definition)


def _check_is_file(path: Path) -> None:
    """Looks at the file from outside.

    To open and close it would drop the locks that a search in this process has on it, as POSIX
    wants it (https://www.sqlite.org/howtocorrupt.html), and another process would then take its log
    away.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        beside = [other.name for other in path.parent.glob("*.db")]
        hint = did_you_mean(path.name, beside)
        raise NotFoundError(f"there is no file {path}.{hint}") from None
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(found.st_mode):
        raise DatabaseError(f"{path} is a folder; name the file of a study in it.")
    if not found.st_size:
        raise NotFoundError(f"{path} is empty; there is no study in it.")
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=effective):
        raise DatabaseError(f"{path} cannot be read: {os.strerror(errno.EACCES)}.")


def _check_is_optuna(connection: Connection, path: Database) -> None:
    if not {"alembic_version", "studies", "trials"} <= _tables(connection):
        raise DatabaseError(f"{path} is an SQLite database of something else; it has no studies.")
    heads = [head for (head,) in connection.execute("SELECT version_num FROM alembic_version")]
    if heads != [OPTUNA_SCHEMA]:
        raise DatabaseError(
            f"{path} has Optuna's schema {', '.join(heads) or 'of no version'}; this nntune knows "
            f"{OPTUNA_SCHEMA}: run `optuna storage upgrade` on an older file, or upgrade nntune."
        )


def has_table(connection: Connection, name: str) -> bool:
    """Whether there is a table of this name; a file of an older nntune lacks the later ones."""
    return name in _tables(connection)


def _tables(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(_connected(f"{path.absolute().as_uri()}?mode=ro")) as connection:
        if _answers(connection):
            yield connection
            return
    # After a crash SQLite has to write beside the file before it can read it. Where it may not, a
    # copy is repaired instead; to open the file as immutable would miss what is in the log.
    with TemporaryDirectory() as folder:
        copy = Path(folder, "study.db")
        for ending in ("", "-wal", "-journal"):
            source = path.with_name(path.name + ending)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + ending))
        with closing(_connected(copy.as_uri())) as connection:
            yield connection


def _connected(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)


def _answers(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return False
        raise
    return True

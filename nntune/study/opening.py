"""Opening a study for its one writer: made, gone on with, or refused with what differs."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from nntune.errors import DatabaseError, NotFoundError, RefusedError
from nntune.study.changes import Addition, additions, changes, check
from nntune.study.database import (
    SCHEMA,
    TABLES,
    Connection,
    Stored,
    definition_of,
    faults,
    is_blank,
    reading,
    sense,
    stored_studies,
)
from nntune.study.lock import locked
from nntune.study.records import Definition
from nntune.study.rows import load_trials
from nntune.study.schema import OPTUNA_FORMAT, OPTUNA_SCHEMA, OPTUNA_TABLES
from nntune.study.server import Database, Server
from nntune.study.writer import StoredForm, Writer, insert_params, transaction


def open_writer(
    path: Database,
    name: str,
    definition: Definition,
    *,
    update_space: bool = False,
    fresh: bool = False,
) -> Writer:
    """Create a study, or go on with the one of that name.

    Args:
        path: the file, which is made with its folder if it is not there, or the server.
        name: of the study.
        definition: what it is, or what it should be.
        update_space: accept another search space; the old one is kept in the history.
        fresh: always a new study, called NAME-2, NAME-3, ... beside the ones that there are in
            the file and in others of its folder.

    Raises:
        RefusedError: the study there is not the one defined.
        DatabaseError: the file is in use, of something else, or cannot be written.
    """
    definition = Definition.from_json(definition.to_json())
    if isinstance(path, Server):
        return _open_on_server(path, name, definition, update_space, fresh)
    if not is_blank(path):
        _inspected(path)  # before anything is made beside a file that is not ours
    _make_folder(path.parent)
    with ExitStack() as stack, faults(path, "cannot be written"):
        stack.enter_context(locked(path))
        if is_blank(path):
            _create(path)
        found = _inspected(path)
        if fresh:
            name = _free_name(name, found.keys() | _names_in(path.parent))
        study = found.get(name)
        added = _resumed(path, study, definition, update_space) if study else []
        connection = stack.enter_context(_connected(path))
        with transaction(connection, path):
            study = _stored(connection, study, name, definition, added)
        return Writer(path, study, connection, stack.pop_all())


def _open_on_server(
    server: Server, name: str, definition: Definition, update_space: bool, fresh: bool
) -> Writer:
    server.make_tables()
    if fresh:
        name = _free_name(name, _inspected(server))
    with ExitStack() as stack:
        session = stack.enter_context(server.session())
        stack.enter_context(session.locked(name))
        study = _inspected(server).get(name)
        added = _resumed(server, study, definition, update_space) if study else []
        with transaction(session, server):
            study = _stored(session, study, name, definition, added)
        return Writer(server, study, session, stack.pop_all())


def open_existing(path: Database, name: str) -> Writer:
    """The study of that name, to add to it; what it is stays as it is.

    Raises:
        NotFoundError: there is no such file, or no such study of ours in it.
        DatabaseError: the file is in use, of something else, or cannot be written.
    """
    _existing(path, name)
    if isinstance(path, Server):
        with ExitStack() as stack:
            session = stack.enter_context(path.session())
            stack.enter_context(session.locked(name))
            return Writer(path, _existing(path, name), session, stack.pop_all())
    with ExitStack() as stack, faults(path, "cannot be written"):
        stack.enter_context(locked(path))
        study = _existing(path, name)
        connection = stack.enter_context(_connected(path))
        return Writer(path, study, connection, stack.pop_all())


def _existing(path: Database, name: str) -> Stored:
    study = _inspected(path).get(name)
    if study is None or study.definition is None:
        raise NotFoundError(f"{path} holds no study '{name}' of nntune.")
    return study


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"the folder {folder} cannot be made: {error.strerror}.") from error


def _inspected(path: Database) -> dict[str, Stored]:
    with reading(path) as connection:
        return {study.name: study for study in stored_studies(connection, path)}


def _create(path: Path) -> None:
    """Optuna's tables and ours, as a whole file or not at all."""
    new = path.with_name(f"{path.name}-new")
    # The log of a file that was deleted after a kill would be played into the new one.
    for ending in ("-new", "-wal", "-shm", "-journal"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    try:
        blank_database(new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def blank_database(path: Path) -> None:
    """A file with Optuna's tables and ours, and nothing in them."""
    from importlib.metadata import version  # takes longer than to read a study

    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("BEGIN;" + OPTUNA_TABLES + TABLES)
        connection.execute("INSERT INTO alembic_version VALUES (?)", (OPTUNA_SCHEMA,))
        made_by = (OPTUNA_FORMAT, version("optuna"))
        connection.execute("INSERT INTO version_info VALUES (1, ?, ?)", made_by)
        connection.commit()


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """The file for writing; at the end the log is folded into it."""
    with closing(sqlite3.connect(path.absolute(), timeout=60, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(TABLES)
        try:
            yield connection
        finally:
            # Leaving the mode of the log lets a read-only folder be read, and readers leave
            # nothing behind. While there are readers it fails, which does no harm.
            connection.execute("PRAGMA busy_timeout = 100")
            for pragma in ("wal_checkpoint(TRUNCATE)", "journal_mode = DELETE"):
                with suppress(sqlite3.DatabaseError):
                    connection.execute(f"PRAGMA {pragma}")


def _names_in(folder: Path) -> set[str]:
    """Names of the studies in all files of a folder, so that a new one is of one study."""
    names: set[str] = set()
    for path in folder.glob("*.db"):
        with suppress(NotFoundError, DatabaseError):
            names |= _inspected(path).keys()
    return names


def _free_name(name: str, taken: Iterable[str]) -> str:
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    return free


def _resumed(
    path: Database, study: Stored, definition: Definition, update_space: bool
) -> list[Addition] | None:
    """What to add to the trials of a changed study; None if it is as it was.

    Raises:
        RefusedError: the study is not ours or differs too much.
    """
    if study.definition is None:
        raise RefusedError(
            f"{path} has a study '{study.name}' that nntune did not make; use --study NAME."
        )
    with sense(path):
        old = definition_of(study)
    found = changes(old, definition)
    check(study.name, found, update_space=update_space)
    if not found:
        return None
    with reading(path) as connection:
        rows = connection.execute(
            "SELECT trial_id FROM trials WHERE study_id = ?", (study.study_id,)
        )
        trials = load_trials(connection, [trial_id for (trial_id,) in rows])
    return additions(study.name, trials, old, definition)


def _stored(
    connection: Connection,
    study: Stored | None,
    name: str,
    definition: Definition,
    added: list[Addition] | None,
) -> Stored:
    """The study as it is in the file from now on."""
    if study is None:
        return _new_study(connection, name, definition)
    if added is None:
        return study
    stored_form = StoredForm()
    ids = dict(
        connection.execute(
            "SELECT number, trial_id FROM trials WHERE study_id = ?", (study.study_id,)
        ).fetchall()
    )
    insert_params(
        connection,
        ((ids[a.number], a.name, *stored_form(a.value, a.distribution)) for a in added),
    )
    assert study.definition is not None
    old = json.loads(study.definition)
    text = definition.to_json([*old.pop("history"), old])
    connection.execute(
        "UPDATE nntune_study SET definition = ? WHERE study_id = ?", (text, study.study_id)
    )
    return study._replace(definition=text)


def _new_study(connection: Connection, name: str, definition: Definition) -> Stored:
    connection.execute("INSERT INTO studies (study_name) VALUES (?)", (name,))
    (study_id,) = connection.execute(
        "SELECT study_id FROM studies WHERE study_name = ?", (name,)
    ).fetchone()
    connection.execute(
        "INSERT INTO study_directions (direction, study_id, objective) VALUES (?, ?, 0)",
        (definition.direction.upper(), study_id),
    )
    text = definition.to_json()
    connection.execute("INSERT INTO nntune_study VALUES (?, ?, ?)", (study_id, SCHEMA, text))
    return Stored(study_id, name, text)

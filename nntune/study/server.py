"""A study on a database server, for teams that want one place: PostgreSQL, MySQL or MariaDB.

Our SQL is written once, for SQLite; a session says it in its server's words. Optuna makes its own
tables there, through SQLAlchemy, which is loaded for the address of a server and for nothing else.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nntune.errors import DatabaseError, UsageError
from nntune.study.dialects import DIALECTS, Dialect

if TYPE_CHECKING:
    from sqlalchemy import Engine

_HEARTBEAT = 60.0  # seconds


class Server(NamedTuple):
    """Where studies are: a database of a server. As text it has no password."""

    url: str

    def __str__(self) -> str:
        return without_password(self.url)

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.url.split(":")[0].split("+")[0]]

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """An open session.

        Raises:
            DatabaseError: the server does not let us in.
        """
        session = Session(self)
        try:
            yield session
        finally:
            session.close()

    def make_tables(self) -> None:
        """Optuna's tables and ours, where they are not there yet.

        Raises:
            DatabaseError: it is not allowed, or the tables are of another version.
        """
        from optuna.exceptions import OptunaError
        from optuna.storages import RDBStorage
        from sqlalchemy.exc import SQLAlchemyError

        try:
            storage = RDBStorage(self.dialect.address(self.url))
        except (OptunaError, RuntimeError, SQLAlchemyError) as error:
            raise DatabaseError(f"{self}: {_first_line(error)}.") from error
        storage.engine.dispose()
        with self.session() as session:
            for statement in self.dialect.tables:
                session.execute(statement)


Database = Path | Server


def database(text: str | Path) -> Database:
    """What `--db` names: a server if it is the address of one, else a file.

    >>> database("postgresql://me@host/tuning"), database("studies/iris.db").name
    (Server(url='postgresql://me@host/tuning'), 'iris.db')

    Raises:
        UsageError: servers of this kind are not known, or their driver is not installed.
    """
    kind, is_address, _ = str(text).partition("://")
    if not is_address or isinstance(text, Path):
        return Path(text)
    dialect = DIALECTS.get(kind.split("+")[0])
    if dialect is None:
        raise UsageError(f"--db {kind}://: there are postgresql, mysql, mariadb, and files.")
    if find_spec(dialect.driver) is None:
        raise UsageError(f"--db {kind}:// needs a driver: pip install 'nntune[{dialect.extra}]'.")
    return Server(str(text))


def for_optuna(place: Database) -> str:
    """The address of a file or a server as Optuna and its dashboard take it, password included.

    >>> for_optuna(Path("iris.db"))
    'sqlite:///iris.db'
    """
    if isinstance(place, Server):
        return place.dialect.address(place.url)
    return f"sqlite:///{place}"


def without_password(text: str) -> str:
    """A text with the passwords of the addresses in it left out.

    >>> without_password("--db mysql://me:secret@host/tuning")
    '--db mysql://me@host/tuning'
    """
    return re.sub(r"(\w://[^/:@\s]*):[^/\s]*@", r"\1@", text)


class Answer:
    """The rows of a query."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows, self.rowcount = iter(rows), rowcount

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class Session:
    """A connection that takes our SQL, as sqlite3's do. Its calls may come from several threads."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.in_transaction = False
        self._turn = threading.RLock()
        with self._faults():
            self._connection = _engine(server).raw_connection()
            self._cursor = self._connection.cursor()
            for statement in server.dialect.settings:
                self._cursor.execute(statement)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Answer:
        said = self.server.dialect.said(sql)
        with self._turn, self._faults():
            if parameters:
                self._cursor.execute(said, self.server.dialect.values(parameters))
            else:
                self._cursor.execute(said)
            self._note(sql)
            rows = self._cursor.fetchall() if self._cursor.description else []
            return Answer(list(rows), self._cursor.rowcount)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Answer:
        values = [self.server.dialect.values(row) for row in rows]
        if not values:
            return Answer([], 0)
        with self._turn, self._faults():
            self._cursor.executemany(self.server.dialect.said(sql), values)
            return Answer([], self._cursor.rowcount)

    @contextmanager
    def locked(self, study: str) -> Iterator[None]:
        """Be the only writer of a study; the lock dies with the session, and so with the process.

        Raises:
            DatabaseError: another session has it.
        """
        dialect = self.server.dialect
        if not self.execute(dialect.lock, (dialect.key(study),)).fetchone()[0]:
            raise DatabaseError(
                f"study '{study}' in {self.server} is in use by another nntune search; wait for it "
                "or use --study NAME."
            )
        ended = threading.Event()
        beats = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        beats.start()
        try:
            yield
        finally:
            ended.set()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turns what the server says into a sentence; a broken rule of the tables is a bug."""
        from sqlalchemy.exc import SQLAlchemyError

        driver = self.server.dialect.errors()
        try:
            yield
        except driver.IntegrityError:
            raise
        except (driver.Error, SQLAlchemyError) as error:
            raise DatabaseError(f"{self.server}: {_first_line(error)}.") from error

    def _note(self, sql: str) -> None:
        if sql.startswith("BEGIN"):
            self.in_transaction = True
        elif sql in ("COMMIT", "ROLLBACK"):
            self.in_transaction = False

    def close(self) -> None:
        with suppress(Exception):  # the server may have closed it first
            self._connection.close()

    def _beat(self, ended: threading.Event) -> None:
        """Keeps the session, and firewalls on the way, from falling asleep over a long training."""
        while not ended.wait(_HEARTBEAT):
            try:
                self.execute("SELECT 1")
            except DatabaseError:
                return  # the next write will say so


@cache
def _engine(server: Server) -> "Engine":
    """What connects; it asks the server for its version and more, once."""
    from sqlalchemy import NullPool, create_engine

    return create_engine(
        server.dialect.address(server.url),
        poolclass=NullPool,
        connect_args=server.dialect.arguments(),
        isolation_level="AUTOCOMMIT",
    )


def _first_line(error: Exception) -> str:
    """What went wrong, in one line, without addresses that have passwords."""
    said = str(error.args[-1]) if error.args else str(error)
    return without_password(said.strip().splitlines()[0].rstrip(".")) if said.strip() else "it left"

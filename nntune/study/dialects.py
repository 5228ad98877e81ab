"""What database servers want said differently from SQLite."""

import hashlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

# Sessions that are silent for so long are ended by the server, and their locks with them: after a
# machine has vanished from the network nobody else could tell.
_SILENCE = 300  # seconds

# Rows of ours go with the rows of Optuna that they belong to.
_TABLES = """
CREATE TABLE IF NOT EXISTS nntune_study (
    study_id INTEGER PRIMARY KEY,
    "schema" INTEGER NOT NULL,
    definition {text} NOT NULL,
    FOREIGN KEY (study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS nntune_trial (
    trial_id INTEGER PRIMARY KEY,
    bracket INTEGER NOT NULL,
    epoch INTEGER,
    loss DOUBLE PRECISION,
    reason VARCHAR(512) NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 1,
    seconds DOUBLE PRECISION NOT NULL DEFAULT 0,
    curve {blob},
    FOREIGN KEY (trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS nntune_rung (
    trial_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    loss DOUBLE PRECISION,
    PRIMARY KEY (trial_id, epoch),
    FOREIGN KEY (trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS nntune_weights (
    trial_id INTEGER PRIMARY KEY,
    parameters {blob} NOT NULL,
    FOREIGN KEY (trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS nntune_verdict (
    verdict_id {counter} PRIMARY KEY,
    study_id INTEGER NOT NULL,
    kind VARCHAR(64) NOT NULL,
    made_at VARCHAR(64) NOT NULL,
    content {text} NOT NULL,
    FOREIGN KEY (study_id) REFERENCES studies (study_id) ON DELETE CASCADE
)
"""


class Dialect(NamedTuple):
    """One kind of server.

    Attributes:
        driver: module that speaks to it.
        extra: of nntune, which brings the driver.
        scheme: of addresses, as SQLAlchemy has it.
        tables: ours, as statements.
        settings: statements that begin a session.
        lock: the query that takes a lock, or says that it is taken.
        words: patterns in our SQL and what takes their place.
        arguments: further ones for the driver.
        value: a parameter as the server can keep it.
        key: of a study's lock.
    """

    driver: str
    extra: str
    scheme: str
    tables: tuple[str, ...]
    settings: tuple[str, ...]
    lock: str
    words: tuple[tuple[str, str], ...]
    arguments: Callable[[], dict[str, Any]]
    value: Callable[[Any], Any]
    key: Callable[[str], Any]

    def address(self, url: str) -> str:
        """The URL as SQLAlchemy wants it, with our driver."""
        return f"{self.scheme}://{url.split('://', 1)[1]}"

    def errors(self) -> Any:
        """The driver's module, which has its exceptions."""
        return import_module(self.driver)

    def said(self, sql: str) -> str:
        """Our SQL in the server's words."""
        return _said(sql, self.words)

    def values(self, parameters: Sequence[Any]) -> list[Any]:
        return [self.value(each) for each in parameters]


@lru_cache(maxsize=256)
def _said(sql: str, words: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in words:
        sql = re.sub(pattern, replacement, sql)
    return sql


def _digest(study: str) -> str:
    return hashlib.sha256(f"nntune {study}".encode()).hexdigest()


def _times_as_text() -> dict[str, Any]:
    """PostgreSQL's times as SQLite has them."""
    import psycopg
    from psycopg.types.string import TextLoader

    adapters = psycopg.adapt.AdaptersMap(psycopg.adapters)
    adapters.register_loader("timestamp", TextLoader)
    return {"context": adapters}


def _mysql_arguments() -> dict[str, Any]:
    from pymysql.constants import FIELD_TYPE
    from pymysql.converters import conversions

    kept = {key: each for key, each in conversions.items() if key != FIELD_TYPE.DATETIME}
    return {"conv": kept}


def _finite(value: Any) -> Any:
    """MySQL has no infinity and no NaN: the largest number keeps the order, NULL reads as NaN."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else math.copysign(sys.float_info.max, value)


def _tables(**types: str) -> tuple[str, ...]:
    return tuple(_TABLES.format(**types).split(";"))


_LISTED = r"\(SELECT value FROM json_each\(\?\)\)"
_SCHEMA = r"SELECT name FROM sqlite_master"
_IN_SCHEMA = "SELECT table_name FROM information_schema.tables WHERE table_schema ="

_POSTGRESQL = Dialect(
    driver="psycopg",
    extra="postgresql",
    scheme="postgresql+psycopg",
    tables=_tables(text="TEXT", blob="BYTEA", counter="SERIAL"),
    settings=(
        # Unknown to servers before 14; there a vanished machine's lock goes with its connection.
        "UPDATE pg_settings SET setting = '300000' WHERE name = 'idle_session_timeout'",
    ),
    lock="SELECT pg_try_advisory_lock(?)",
    words=(
        (_LISTED, "(SELECT value::bigint FROM json_array_elements_text(?::json))"),
        (_SCHEMA, f"{_IN_SCHEMA} current_schema()"),
        ("^BEGIN$", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        ("^BEGIN IMMEDIATE$", "BEGIN"),
        (r"\?", "%s"),
    ),
    arguments=_times_as_text,
    value=lambda value: value,
    key=lambda study: int(_digest(study)[:15], 16),
)
_MYSQL = Dialect(
    driver="pymysql",
    extra="mysql",
    scheme="mysql+pymysql",
    tables=_tables(text="LONGTEXT", blob="LONGBLOB", counter="INTEGER AUTO_INCREMENT"),
    settings=(
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
        f"SET SESSION wait_timeout = {_SILENCE}",
    ),
    lock="SELECT GET_LOCK(LEFT(SHA2(CONCAT(DATABASE(), ?), 256), 64), 0)",
    words=(
        (
            _LISTED,
            "(SELECT value FROM JSON_TABLE(?, '$[*]' COLUMNS (value BIGINT PATH '$')) AS listed)",
        ),
        (_SCHEMA, f"{_IN_SCHEMA} DATABASE()"),
        ("^BEGIN$", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
        ("^BEGIN IMMEDIATE$", "START TRANSACTION"),
        (r"ON CONFLICT \([^)]*\) DO UPDATE SET", "ON DUPLICATE KEY UPDATE"),
        (r"\bexcluded\.(\w+)", r"VALUES(\1)"),
        (r"\?", "%s"),
    ),
    arguments=_mysql_arguments,
    value=_finite,
    key=_digest,
)
DIALECTS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}

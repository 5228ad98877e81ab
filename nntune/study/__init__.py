"""The study: one SQLite file, or a database server, in Optuna's own schema, with every trial.

One writer appends, guarded by a lock file; any number of readers ask, with the standard library's
sqlite3 alone. Optuna's command line and its dashboard open the file as it is.
"""

from nntune.study.opening import open_existing, open_writer
from nntune.study.reader import Summary, View, default_path, path_of, read, studies
from nntune.study.records import Definition, Listed, Outcome, Trial
from nntune.study.server import Database, Server, database, for_optuna, without_password
from nntune.study.writer import Writer

__all__ = [
    "Database",
    "Definition",
    "Listed",
    "Outcome",
    "Server",
    "Summary",
    "Trial",
    "View",
    "Writer",
    "database",
    "default_path",
    "for_optuna",
    "open_existing",
    "open_writer",
    "path_of",
    "read",
    "studies",
    "without_password",
]

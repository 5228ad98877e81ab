"""The study: one SQLite file in Optuna's own schema that remembers every trial.

One writer appends, guarded by a lock file; any number of readers ask, with the standard library's
sqlite3 alone. Optuna's command line and its dashboard open the file as it is.
"""

from nntune.study.opening import open_existing, open_writer
from nntune.study.reader import Summary, View, default_path, read, studies
from nntune.study.records import Definition, Listed, Outcome, Trial
from nntune.study.writer import Writer

__all__ = [
    "Definition",
    "Listed",
    "Outcome",
    "Summary",
    "Trial",
    "View",
    "Writer",
    "default_path",
    "open_existing",
    "open_writer",
    "read",
    "studies",
]

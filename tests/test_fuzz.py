"""Whatever a file or a range holds, the answer is a result or an nntune.Error: never a crash.

`make test` tries some inputs of each kind, always the same; `make fuzz` sets NNTUNE_FUZZ to how
many others are tried of each. Inputs are good ones with bytes flipped, cut, doubled and spliced,
and ones that are put together from the words of their grammar.
"""

import gzip
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_study import filled

from nntune import bundle, study
from nntune.data import Request, describe
from nntune.data.ducks import connect, literal
from nntune.errors import Error
from nntune.space import RULES, build, parse
from nntune.study.checking import check
from nntune.study.repair import repair

MANY = int(os.environ.get("NNTUNE_FUZZ", "0"))


def inputs(few: int) -> Callable[[Any], Any]:
    """So many inputs of a kind in `make test`."""
    return settings(
        max_examples=MANY or few,
        deadline=None,
        derandomize=not MANY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where inputs are written; hypothesis calls a test often, pytest makes its fixtures once."""
    with tempfile.TemporaryDirectory(prefix="nntune-fuzz-") as made:
        yield Path(made)


@cache
def tables() -> dict[str, bytes]:
    """A good table in every format that is read."""
    lines = [
        f"{i * 1.5},{['red', 'green', 'blue'][i % 3]},2020-01-{1 + i % 28:02d},{i % 7 or ''},"
        f"{'ab'[i % 2]}"
        for i in range(40)
    ]
    csv = "\n".join(["x,colour,day,z,y", *lines]).encode()
    arrays = io.BytesIO()
    np.savez(arrays, X=np.arange(80.0).reshape(40, 2), y=np.arange(40) % 2)
    with tempfile.TemporaryDirectory() as made, closing(connect()) as duck:
        Path(made, "a.csv").write_bytes(csv)
        for form in ("parquet", "json"):
            duck.execute(
                f"copy (from read_csv({literal(Path(made, 'a.csv'))})) "
                f"to {literal(Path(made, f'a.{form}'))}"
            )
        parquet, jsonl = (Path(made, f"a.{form}").read_bytes() for form in ("parquet", "json"))
    return {
        "a.csv": csv, "b.csv": csv.replace(b",", b";"), "a.tsv": csv.replace(b",", b"\t"),
        "a.csv.gz": gzip.compress(csv), "a.npz": arrays.getvalue(), "a.parquet": parquet,
        "a.jsonl": jsonl, "c.csv": csv.decode().encode("utf-16"),
    }  # fmt: skip


Change = tuple[str, float, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "drop", "double", "write", "put"]),
        st.floats(0, 1),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b'"', b"\n", b"\r", b",,", b"nan", b"-1", b"1e999", b"\x00" * 4,
                             b"\xff" * 4, b"{", b"}", b"[", b"null", b"\xef\xbb\xbf"]),
        ),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


def changed(content: bytes, changes: list[Change]) -> bytes:
    """The bytes with each change made at its place, a share of the length."""
    for kind, share, word in changes:
        place = int(share * len(content))
        rest = content[place:]
        match kind:
            case "flip":
                flipped = bytes(a ^ b for a, b in zip(rest, word, strict=False))
                content = content[:place] + flipped + rest[len(flipped) :]
            case "cut":
                content = content[:place]
            case "drop":
                content = content[:place] + rest[len(word) :]
            case "double":
                content = content[:place] + rest[:64] + rest
            case "write":
                content = content[:place] + word + rest[len(word) :]
            case "put":
                content = content[:place] + word + rest
    return content


def says(ask: Callable[[], object]) -> None:
    """A result, or a sentence; a sentence is one that can be printed."""
    said = "a result"
    try:
        ask()
    except Error as error:
        said = str(error)
    assert said
    assert "\n  File " not in said


@inputs(30)
@given(st.sampled_from(sorted(tables())), CHANGES)
def test_a_table_with_changed_bytes(folder: Path, name: str, changes: list[Change]) -> None:
    path = folder / name
    path.write_bytes(changed(tables()[name], changes))
    says(lambda: describe(Request(str(path), "y")))


CELLS = st.sampled_from(
    ["1", "2.5", "-3", "1e400", "nan", "NA", "", " ", "yes", "no", "a", "b", "é",
     "\U0001f600", "1,5", "1.234,5", "2020-01-31", "31.12.2020",
     "0001-01-01", "9999-12-31", '"', '""', "'", "a b c",
     "=1+1", "\x00", "\ufeff", "inf", "1_000", "0x10", "1e-320", "9" * 30, "x" * 300, "true"]
)  # fmt: skip


@inputs(30)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=40),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_a_table_of_odd_cells(
    folder: Path, rows: list[list[str]], delimiter: str, end: str, has_header: bool
) -> None:
    path = folder / "odd.csv"
    header = [f"c{place}" for place in range(max(map(len, rows)) - 1)] + ["y"]
    lines = [header, *rows] if has_header else rows
    path.write_bytes(end.join(delimiter.join(row) for row in lines).encode(errors="replace"))
    says(lambda: describe(Request(str(path), "y")))
    says(lambda: describe(Request(str(path))))


RANGES = st.one_of(
    st.lists(
        st.sampled_from(
            [":", ",", "log", "0", "1", "1e-4", "0.5", "-1", "1e999", "nan", "inf", "relu", "adam",
             "flat", " ", ".", "e", "+", "_", "0x1", "\u0661", "1:4", "0,", "9" * 40, "1e-400"]
        ),
        max_size=8,
    ).map("".join),
    st.text(max_size=20),
)  # fmt: skip


@inputs(1000)
@given(st.sampled_from(sorted(RULES)), RANGES)
def test_a_range(name: str, text: str) -> None:
    says(lambda: parse(name, text).distributions())


KEYS = st.one_of(st.sampled_from([*RULES, "learning_rate", "", "a b", '"']), st.text(max_size=5))
VALUES = st.one_of(
    RANGES.map(lambda text: f'"{text}"'),
    st.sampled_from(
        ["1", "0.5", "true", "[1, 2]", '["relu", "tanh"]', "{ low = 1 }", "1979-05-27", "nan",
         "inf",         "''", '"""', "[[]]", "9" * 30, "-0", "1e400"]
    ),
    st.text(max_size=10),
)  # fmt: skip


@inputs(200)
@given(st.lists(st.tuples(KEYS, VALUES), max_size=6), CHANGES)
def test_a_file_of_ranges(
    folder: Path, entries: list[tuple[str, str]], changes: list[Change]
) -> None:
    path = folder / "space.toml"
    text = "\n".join(f"{key} = {value}" for key, value in entries)
    for content in (text.encode(errors="replace"), changed(toml(), changes)):
        path.write_bytes(content)
        says(lambda: build({}, path))


@cache
def toml() -> bytes:
    return build({}).to_toml().encode()


@cache
def bundled() -> bytes:
    """A bundle of a small network for a table of all kinds of columns."""
    from test_bundle import made

    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "a.nnt")
        bundle.write(path, made())
        return path.read_bytes()


@inputs(300)
@given(CHANGES)
def test_a_bundle(folder: Path, changes: list[Change]) -> None:
    path = folder / "a.nnt"
    path.write_bytes(changed(bundled(), changes))
    says(lambda: bundle.load(path))


@cache
def database() -> bytes:
    with tempfile.TemporaryDirectory() as made:
        return filled(Path(made, "churn.db")).read_bytes()


def questions(path: Path) -> None:
    """All that is ever asked of a study's file."""
    says(lambda: study.studies(path))
    says(lambda: check(path))

    def asked() -> None:
        view = study.read(path)
        view.counts(), view.best(), view.attributes(), view.verdicts("test"), view.space
        for trial in view.trials():
            view.curve(trial.number), view.weights(trial.number)

    says(asked)


@inputs(30)
@given(CHANGES)
def test_a_database_with_changed_bytes(folder: Path, changes: list[Change]) -> None:
    path = folder / "churn.db"
    path.write_bytes(changed(database(), changes))
    questions(path)


VALUE = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["{}", "[]", "null", "1", '"a"', '{"name": "x"}', "RUNNING", "NAN", "FINITE"]),
)  # fmt: skip


@cache
def cells() -> list[tuple[str, str]]:
    """Table and column of every cell of a database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(database())
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            (table, row[1])
            for (table,) in names
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]


@inputs(15)
@given(st.lists(st.tuples(st.integers(0, 999), VALUE), min_size=1, max_size=3))
def test_a_database_with_changed_values(folder: Path, changes: list[tuple[int, Any]]) -> None:
    path = folder / "values.db"
    for beside in folder.glob("values.db*"):
        beside.unlink()
    path.write_bytes(database())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for place, value in changes:
            table, column = cells()[place % len(cells())]
            with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                connection.execute(f'UPDATE {table} SET "{column}" = ?', (value,))
    questions(path)
    says(lambda: repair(path))

"""Whatever a file or a range holds, the answer is a result or an nntune.Error: never a crash.

`make test` tries a thousand inputs of each kind, always the same; `make fuzz` sets NNTUNE_FUZZ to
how many others are tried of each. Inputs are good ones with bytes flipped, cut, doubled and
spliced, and ones that are put together from the words of their grammar. All are drawn from a few
bytes, which is quick, and what a fuzzer that is guided by coverage deals in: guided_fuzz.py.
"""

import gzip
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_study import filled

from nntune import bundle, study
from nntune.data import Request, describe, ducks
from nntune.errors import Error
from nntune.space import RULES, build, parse
from nntune.study.checking import check
from nntune.study.repair import repair

MANY = int(os.environ.get("NNTUNE_FUZZ", "0"))
MEMORY = "/dev/shm"

Item = TypeVar("Item")


def inputs(share: float = 1) -> Callable[[Callable[[bytes], None]], Any]:
    """All inputs of a kind, or a share of them where two tests have one kind."""
    chosen = settings(
        max_examples=round((MANY or 1000) * share),
        deadline=None,
        derandomize=not MANY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(given(st.binary(min_size=96, max_size=96))(test))


@contextmanager
def quick() -> Iterator[None]:
    """Files in memory and DuckDB opened once: either takes longer than what is tested."""
    home = MEMORY if os.path.isdir(MEMORY) else None
    with (
        tempfile.TemporaryDirectory(prefix="nntune-fuzz-", dir=home) as made,
        closing(ducks.connect()) as duck,
        pytest.MonkeyPatch.context() as patch,
    ):
        duck.execute("set threads = 1")
        patch.chdir(made)
        patch.setattr(tempfile, "tempdir", made)
        patch.setattr(ducks, "connect", duck.cursor)
        yield


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


class Drawn:
    """Choices out of bytes; the first choice where there are no more."""

    def __init__(self, content: bytes) -> None:
        self._left = iter(content)

    def below(self, bound: int) -> int:
        return (next(self._left, 0) << 8 | next(self._left, 0)) % bound

    def share(self) -> float:
        """Between 0 and 1."""
        return self.below(1 << 16) / (1 << 16)

    def of(self, options: Sequence[Item]) -> Item:
        """One of up to 256."""
        return options[next(self._left, 0) % len(options)]

    def some(self, draw: Callable[[], Item], least: int, most: int) -> list[Item]:
        return [draw() for _ in range(least + next(self._left, 0) % (most - least + 1))]

    def text(self) -> str:
        """Anything, of all that Unicode has."""
        return "".join(self.some(self._character, 0, 12))

    def _character(self) -> str:
        return chr(self.below(1 << 16) if self.of([0, 0, 0, 1]) else 32 + self.of(range(96)))


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
    with tempfile.TemporaryDirectory() as made, closing(ducks.connect()) as duck:
        Path(made, "a.csv").write_bytes(csv)
        for form in ("parquet", "json"):
            duck.execute(
                f"copy (from read_csv({ducks.literal(Path(made, 'a.csv'))})) "
                f"to {ducks.literal(Path(made, f'a.{form}'))}"
            )
        parquet, jsonl = (Path(made, f"a.{form}").read_bytes() for form in ("parquet", "json"))
    return {
        "a.csv": csv, "b.csv": csv.replace(b",", b";"), "a.tsv": csv.replace(b",", b"\t"),
        "a.csv.gz": gzip.compress(csv), "a.npz": arrays.getvalue(), "a.parquet": parquet,
        "a.jsonl": jsonl, "c.csv": csv.decode().encode("utf-16"),
    }  # fmt: skip


WORDS = [b'"', b"\n", b"\r", b",,", b"nan", b"-1", b"1e999", b"\x00" * 4, b"\xff" * 4, b"{", b"}",
         b"[", b"null", b"\xef\xbb\xbf", b"\x1b[2J"]  # fmt: skip


def changed(content: bytes, drawn: Drawn) -> bytes:
    """The bytes with up to six changes, each at a place of its own."""
    for _ in range(1 + drawn.of(range(6))):
        kind = drawn.of(["flip", "cut", "drop", "double", "write", "put"])
        place, word = int(drawn.share() * len(content)), drawn.of(WORDS)
        if drawn.of([False, True]):
            word = bytes(drawn.some(lambda: drawn.of(range(256)), 1, 8))
        content = content[:place] + _changed(content[place:], kind, word)
    return content


def _changed(rest: bytes, kind: str, word: bytes) -> bytes:
    match kind:
        case "flip":
            flipped = bytes(a ^ b for a, b in zip(rest, word, strict=False))
            return flipped + rest[len(flipped) :]
        case "cut":
            return b""
        case "drop":
            return rest[len(word) :]
        case "double":
            return rest[:64] + rest
        case "write":
            return word + rest[len(word) :]
    return word + rest


def says(ask: Callable[[], object]) -> None:
    """A result, or a sentence; a sentence is one that can be printed."""
    said = "a result"
    try:
        ask()
    except Error as error:
        said = str(error)
    assert said
    assert "\n  File " not in said


@inputs(0.7)
def test_a_table_with_changed_bytes(content: bytes) -> None:
    drawn = Drawn(content)
    name = drawn.of(sorted(tables()))
    Path(name).write_bytes(changed(tables()[name], drawn))
    says(lambda: describe(Request(name, "y")))


CELLS = [
    "1", "2.5", "-3", "1e400", "nan", "NA", "", " ", "yes", "no", "a", "b", "é", "\U0001f600",
    "1,5", "1.234,5", "2020-01-31", "31.12.2020", "0001-01-01", "9999-12-31", '"', '""', "'",
    "a b c", "=1+1", "\x00", "\ufeff", "inf", "1_000", "0x10", "1e-320", "9" * 30, "x" * 300,
    "true",
]  # fmt: skip


@inputs(0.3)
def test_a_table_of_odd_cells(content: bytes) -> None:
    drawn = Drawn(content)
    delimiter, end = drawn.of([",", ";", "\t", "|", " "]), drawn.of(["\n", "\r\n", "\r"])
    has_header, target = drawn.of([True, False]), drawn.of(["y", ""])
    width = 1 + drawn.of(range(5))
    rows = drawn.some(lambda: drawn.some(lambda: drawn.of(CELLS), width, width), 1, 15)
    if drawn.of([False, True]):
        rows.append(drawn.some(lambda: drawn.of(CELLS), 1, 5))
    header = [f"c{place}" for place in range(width - 1)] + ["y"]
    lines = [header, *rows] if has_header else rows
    text = end.join(delimiter.join(row) for row in lines)
    Path("odd.csv").write_bytes(text.encode(errors="replace"))
    says(lambda: describe(Request("odd.csv", target)))


WORDS_OF_RANGES = [
    ":", ",", "log", "0", "1", "1e-4", "0.5", "-1", "1e999", "nan", "inf", "relu", "adam", "flat",
    " ", ".", "e", "+", "_", "0x1", "\u0661", "1:4", "0,", "9" * 40, "1e-400",
]  # fmt: skip


def a_range(drawn: Drawn) -> str:
    if drawn.of([False, False, True]):
        return drawn.text()
    return "".join(drawn.some(lambda: drawn.of(WORDS_OF_RANGES), 0, 8))


@inputs()
def test_a_range(content: bytes) -> None:
    drawn = Drawn(content)
    says(lambda: parse(drawn.of(sorted(RULES)), a_range(drawn)).distributions())


KEYS = [*RULES, "learning_rate", "", "a b", '"']
VALUES = [
    "1", "0.5", "true", "[1, 2]", '["relu", "tanh"]', "{ low = 1 }", "1979-05-27", "nan", "inf",
    "''", '"""', "[[]]", "9" * 30, "-0", "1e400",
]  # fmt: skip


@inputs(0.5)
def test_a_file_of_odd_ranges(content: bytes) -> None:
    drawn = Drawn(content)

    def line() -> str:
        key = drawn.of([*KEYS, drawn.text()])
        return f"{key} = {drawn.of([drawn.of(VALUES), drawn.text(), repr(a_range(drawn))])}"

    text = "\n".join(drawn.some(line, 0, 6))
    Path("space.toml").write_bytes(text.encode(errors="replace"))
    says(lambda: build({}, Path("space.toml")))


@inputs(0.5)
def test_a_file_of_ranges_with_changed_bytes(content: bytes) -> None:
    Path("space.toml").write_bytes(changed(toml(), Drawn(content)))
    says(lambda: build({}, Path("space.toml")))


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


@inputs()
def test_a_bundle(content: bytes) -> None:
    Path("a.nnt").write_bytes(changed(bundled(), Drawn(content)))
    says(lambda: bundle.load("a.nnt"))


@cache
def database() -> bytes:
    """A study in pages as small as can be, so that fewer bytes hold nothing."""
    with tempfile.TemporaryDirectory() as made:
        path = filled(Path(made, "churn.db"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript("PRAGMA page_size = 512; VACUUM")
        return path.read_bytes()


def questions(path: Path) -> None:
    """All that is ever asked of a study's file."""
    says(lambda: study.studies(path))
    says(lambda: check(path))

    def asked() -> None:
        view = study.read(path)
        view.counts(), view.best(), view.attributes(), view.verdicts("test"), view.space
        for trial in view.trials()[:2]:
            view.curve(trial.number), view.weights(trial.number)

    says(asked)


@inputs(0.75)
def test_a_database_with_changed_bytes(content: bytes) -> None:
    path = Path("churn.db")
    path.write_bytes(changed(database(), Drawn(content)))
    questions(path)


def a_value(drawn: Drawn) -> object:
    """Of any type that SQLite has."""
    return drawn.of([
        None, drawn.text(), drawn.below(1 << 16) - 1, float("nan"), -(2**63), 2**63 - 1, 1e308,
        "{}", "[]", "null", "1", '"a"', '{"name": "x"}', "RUNNING", "NAN", "FINITE", b"\x00\x01",
    ])  # fmt: skip


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


def written(connection: sqlite3.Connection, drawn: Drawn) -> None:
    """Another value in a column, or what is there with bytes changed."""
    table, column = cells()[drawn.below(len(cells()))]
    value = a_value(drawn)
    if drawn.of([False, True]):
        (old,) = connection.execute(f'SELECT max("{column}") FROM {table}').fetchone()
        value = changed(str(old).encode(), drawn).decode(errors="replace")
    with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
        connection.execute(f'UPDATE {table} SET "{column}" = ?', (value,))


@inputs(0.25)
def test_a_database_with_changed_values(content: bytes) -> None:
    path, drawn = Path("values.db"), Drawn(content)
    for beside in Path().glob("values.db*"):
        beside.unlink()
    path.write_bytes(database())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for _ in range(1 + drawn.of(range(3))):
            written(connection, drawn)
    questions(path)
    says(lambda: repair(path))

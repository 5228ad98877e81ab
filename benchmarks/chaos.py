"""Faults over real searches, and what was lost: trials, time, the user's nerves.

    python -m benchmarks.chaos [--faults 300] [--seconds 240] [--log chaos.jsonl] [--seed 0]

Each episode is a search by two workers on the penguins, on a small file system of its own where
that may be mounted. Two dozen faults strike at random moments; what ends it is followed by the same
command. At the end the study has to be the one of a search to which nothing happened. One line a
fault goes to the log, so that a call goes on where the one before stopped; the table is of all.
Linux only.
"""

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.faults import FAULTS, NAME, Ended, Scene, prepared
from nntune import study
from nntune.errors import Error

ROOT = Path(__file__).resolve().parents[1]
SIZE = "48m"  # of the file system
FAULTS_AN_EPISODE, TRIALS = 24, 384
SEARCH = [
    sys.executable, "-m", "nntune", "search", str(ROOT / "studies" / "penguins.csv"),
    "-t", "species", "--epochs", "27", "--units", "8,16,32", "--workers", "2",
]  # fmt: skip

Line = dict[str, Any]


class Undisturbed(NamedTuple):
    """The study to which nothing happened."""

    definition: dict[str, Any]
    facts: str


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(FAULTS), help="one kind of fault")
    chosen = parser.parse_args()
    first, *lines = [json.loads(text) for text in _text(chosen.log).splitlines()] or [None]
    until = time.monotonic() + chosen.seconds
    with _file_system() as (folder, skipped):
        skipped += [text.partition(":")[0] for text in _noted(prepared(folder))]
        kinds = [chosen.only] if chosen.only else [k for k in FAULTS if k not in skipped]
        undisturbed = Undisturbed(*first) if first else _undisturbed(folder)
        _append(chosen.log, [] if first else [list(undisturbed)])
        while len(lines) < chosen.faults and time.monotonic() < until:
            episode = max((line["episode"] for line in lines), default=-1) + 1
            moments = random.Random(f"{chosen.seed} {episode}")
            drawn = _drawn(kinds, lines, moments)
            found = _episode(folder, episode, drawn, moments, undisturbed)
            _append(chosen.log, found)
            lines += found
    Console().print(shown(lines))
    sys.exit(any(_is_bad(line) for line in lines))


def _append(log: Path, lines: Sequence[object]) -> None:
    with log.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _noted(reasons: Iterator[str]) -> Iterator[str]:
    for reason in reasons:
        print(f"skipped: {reason}", file=sys.stderr)
        yield reason


@contextmanager
def _file_system() -> Iterator[tuple[Path, list[str]]]:
    """A small file system, or a folder and the faults that it cannot have."""
    folder = Path(tempfile.mkdtemp(prefix="nntune-chaos-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder],
        check=False, capture_output=True,
    ).returncode == 0  # fmt: skip
    needs = ["disk full", "folder read-only"]
    if not mounted:
        print(f"skipped: {', '.join(needs)}: no file system may be mounted", file=sys.stderr)
    try:
        yield folder, [] if mounted else needs
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _undisturbed(folder: Path) -> Undisturbed:
    """What a search comes to if nothing happens to it."""
    scene = Scene(folder / "undisturbed", [*SEARCH, "--trials", str(TRIALS)], random.Random(0))
    scene.folder.mkdir()
    scene.start()
    ended = scene.ended()
    if ended.code:
        raise RuntimeError(ended.messages)
    definition = json.loads(study.read(scene.path).definition.to_json())
    return Undisturbed(definition, _facts(scene.path))


def _facts(path: Path) -> str:
    """Hash of all that is known of the trials but when, how long and how often they trained."""
    try:
        view = study.read(path)
        facts = [
            (t.number, t.state, t.params, t.value, t.epoch, t.rungs, t.reason, t.bracket, t.loss,
             view.curve(t.number), view.weights(t.number))
            for t in sorted(view.trials())
        ]  # fmt: skip
    except Error as error:
        return str(error)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _drawn(kinds: list[str], lines: list[Line], moments: random.Random) -> list[str]:
    """Kinds for an episode: those that struck least often so far, in any order."""
    struck = Counter(line["kind"] for line in lines)
    mixed = moments.sample(kinds, len(kinds))
    chosen = sorted(mixed, key=lambda kind: struck[kind])[:FAULTS_AN_EPISODE]
    return moments.sample(chosen, len(chosen))


def _episode(
    folder: Path, episode: int, kinds: list[str], moments: random.Random, undisturbed: Undisturbed
) -> list[Line]:
    """Faults on one study, one after the other; what became of it."""
    scene = Scene(folder / f"episode-{episode}", [*SEARCH, "--trials", str(TRIALS)], moments)
    scene.folder.mkdir()
    definition = study.Definition.from_json(json.dumps(undisturbed.definition))
    study.open_writer(scene.path, NAME, definition).close()
    lines: list[Line] = []
    for kind in kinds:
        lines.append(_struck(scene, kind, lines))
        lines[-1]["episode"] = episode
        if lines[-1]["done"]:
            break
    if scene.is_running():
        _note(lines, _ended(scene))
    if not any(line["hung"] for line in lines):
        scene.start()
        _note(lines, _ended(scene))
    equal = _facts(scene.path) == undisturbed.facts
    can_be = not _has_crashed(scene.path)
    if can_be and not equal:
        kept = Path(tempfile.mkdtemp(prefix=f"nntune-unequal-{episode}-"))
        print(f"not equal: {shutil.copytree(scene.path.parent, kept / 'studies')}", file=sys.stderr)
    scene.clear()
    shutil.rmtree(scene.folder)
    return [line | {"equal": equal, "can_be": can_be} for line in lines]


def _has_crashed(path: Path) -> bool:
    """Whether an exception in every training, before the third, has failed a trial that was alone.

    Later trials are drawn from what is known of earlier ones, so that the study is another one.
    """
    query = "SELECT count(*) FROM nntune_trial WHERE reason LIKE 'crashed (RuntimeError)%'"
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=30)) as connection:
        return bool(connection.execute(query).fetchone()[0])
    return False


def _struck(scene: Scene, kind: str, before: list[Line]) -> Line:
    """One fault at a random moment of a search that is at work."""
    fault = FAULTS[kind]
    if scene.is_running() and fault.flags:
        scene.is_at_work()
        scene.process.terminate()
        _note(before, _ended(scene), 143, 0)
    if not scene.is_running():
        scene.start(*fault.flags)
    at_work = scene.is_at_work()
    known, began = _ended_trials(scene.path), time.monotonic()
    line: Line = {
        "kind": kind, "at_work": at_work, "code": None, "hung": False, "unexpected": False,
        "lost": 0, "duplicated": 0, "traceback": False, "said": "", "done": False,
    }  # fmt: skip
    try:
        ended = fault.strike(scene)
    except subprocess.TimeoutExpired:
        line["hung"] = True
        scene.process.kill()
        ended = scene.ended()
    if ended is not None:
        _note([line], ended, *fault.ends)
    after = _ended_trials(scene.path)
    if fault.keeps:
        line["lost"] = sum(after.get(number) != facts for number, facts in known.items())
    line["duplicated"] = _duplicates(scene.path)
    line["seconds"] = round(time.monotonic() - began, 2)
    line["done"] = len(after) == TRIALS
    return line


def _note(lines: list[Line], ended: Ended, *codes: int) -> None:
    """How a search ended belongs to the last fault that struck it."""
    if not lines:
        return
    line = lines[-1]
    tracebacks = ended.messages.count("Traceback")
    is_shown_once = tracebacks == 1 and line["kind"] == "exception in every training"
    line["code"] = ended.code
    line["unexpected"] |= ended.code not in (codes or (0,))
    line["traceback"] |= tracebacks > is_shown_once
    if line["unexpected"] or line["traceback"]:
        line["said"] += ended.messages


def _ended(scene: Scene) -> Ended:
    try:
        return scene.ended()
    except subprocess.TimeoutExpired:
        scene.process.kill()
        return Ended(scene.ended().code, "it hung: no end after so many seconds")


def _ended_trials(path: Path) -> dict[int, tuple[object, ...]]:
    """What the file says of trials that have ended."""
    query = (
        "SELECT number, state, value FROM trials LEFT JOIN trial_values USING (trial_id) "
        "WHERE state <> 'RUNNING'"
    )
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=30)) as connection:
        return {row[0]: row[1:] for row in connection.execute(query)}
    return {}


def _duplicates(path: Path) -> int:
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=30)) as connection:
        query = "SELECT count(*) - count(DISTINCT number) FROM trials"
        return int(connection.execute(query).fetchone()[0])
    return 0


def _is_bad(line: Line) -> bool:
    names = ("hung", "unexpected", "lost", "duplicated", "traceback")
    return (line["can_be"] and not line["equal"]) or any(line[name] for name in names)


def shown(lines: list[Line]) -> Table:
    """What became of the faults, by kind."""
    by_kind: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_kind[line["kind"]].append(line)
    table = Table(
        "fault", "times", "at work", "trials lost", "twice", "hangs", "tracebacks", "equal studies",
        title=f"{len(lines)} faults of {len(by_kind)} kinds",
    )  # fmt: skip
    for kind in [*[k for k in FAULTS if k in by_kind], "all"]:
        of_kind = lines if kind == "all" else by_kind[kind]
        sums = [
            sum(line[name] for line in of_kind)
            for name in ("at_work", "lost", "duplicated", "hung", "traceback", "equal", "can_be")
        ]
        *counts, equal, can_be = map(str, sums)
        table.add_row(kind, str(len(of_kind)), *counts, f"{equal} of {can_be}")
    return table


if __name__ == "__main__":
    main()

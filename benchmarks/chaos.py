"""Faults over real searches, and what was lost: trials, time, the user's nerves.

    python -m benchmarks.chaos [--faults 300] [--seconds 240] [--log chaos.jsonl] [--seed 0]

Each episode is a search by two workers on the penguins, on a small file system of its own where
that may be mounted. It grows by a bracket a fault: each strikes at a random moment of a search that
is at work. At the end the study has to be the one of a search to which nothing happened. One line a
fault goes to the log, so that a call goes on where the one before stopped; the table is of all.
Linux only.
"""

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.faults import FAULTS, NAME, Ended, Scene, prepared
from nntune import study

ROOT = Path(__file__).resolve().parents[1]
SIZE = "48m"  # of the file system
FAULTS_AN_EPISODE, BRACKET = 4, 32
SEARCH = [
    sys.executable, "-m", "nntune", "search", str(ROOT / "studies" / "penguins.csv"),
    "-t", "species", "--epochs", "27", "--units", "8,16,32", "--workers", "2", "--trials",
]  # fmt: skip

Facts = list[tuple[object, ...]]
Line = dict[str, Any]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(FAULTS), help="one kind of fault")
    chosen = parser.parse_args()
    lines = [json.loads(text) for text in _text(chosen.log).splitlines()]
    until = time.monotonic() + chosen.seconds
    with _file_system() as (folder, skipped):
        skipped += [text.partition(":")[0] for text in _noted(prepared(folder))]
        kinds = [chosen.only] if chosen.only else [k for k in FAULTS if k not in skipped]
        undisturbed, definition = _undisturbed(folder)
        while len(lines) < chosen.faults and time.monotonic() < until:
            episode = max((line["episode"] for line in lines), default=-1) + 1
            moments = random.Random(f"{chosen.seed} {episode}")
            found = _episode(folder, episode, _drawn(kinds, lines, moments), moments,
                             undisturbed, definition)  # fmt: skip
            lines += found
            with chosen.log.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in found)
    Console().print(shown(lines))
    sys.exit(any(_is_bad(line) for line in lines))


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


def _undisturbed(folder: Path) -> tuple[Facts, study.Definition]:
    scene = Scene(folder / "undisturbed", SEARCH, random.Random(0))
    scene.folder.mkdir()
    scene.trials = BRACKET * FAULTS_AN_EPISODE
    scene.start()
    ended = scene.ended()
    if ended.code:
        raise RuntimeError(ended.messages)
    return facts(scene.path), study.read(scene.path).definition


def facts(path: Path) -> Facts:
    """All that is known of the trials but when, how long and how often they were trained."""
    view = study.read(path)
    return [
        (t.number, t.state, repr(t.params), t.value, t.epoch, repr(t.rungs), t.reason, t.bracket,
         t.loss, repr(view.curve(t.number)), view.weights(t.number))
        for t in sorted(view.trials())
    ]  # fmt: skip


def _drawn(kinds: list[str], lines: list[Line], moments: random.Random) -> list[str]:
    """Kinds for an episode: those that struck least often so far, in any order."""
    struck = Counter(line["kind"] for line in lines)
    mixed = moments.sample(kinds, len(kinds))
    chosen = sorted(mixed, key=lambda kind: struck[kind])[:FAULTS_AN_EPISODE]
    return moments.sample(chosen, len(chosen))


def _episode(
    folder: Path, episode: int, kinds: list[str], moments: random.Random,
    undisturbed: Facts, definition: study.Definition,
) -> list[Line]:  # fmt: skip
    """Faults on one study, one after the other; what became of it."""
    scene = Scene(folder / f"episode-{episode}", SEARCH, moments)
    scene.folder.mkdir()
    study.open_writer(scene.path, NAME, definition).close()
    lines, known = [], dict[int, tuple[object, ...]]()
    for kind in kinds:
        scene.trials += BRACKET
        line, known = _struck(scene, kind, known)
        lines.append(line | {"episode": episode})
    if not any(line["hung"] for line in lines):
        scene.trials = BRACKET * FAULTS_AN_EPISODE
        scene.start()
        ended = _ended(scene)
        lines[-1]["traceback"] |= "Traceback" in ended.messages
        lines[-1]["said"] += ended.messages if ended.code else ""
    equal = _equal(scene.path, undisturbed)
    shutil.rmtree(scene.folder)
    return [line | {"equal": equal} for line in lines]


def _struck(
    scene: Scene, kind: str, known: dict[int, tuple[object, ...]]
) -> tuple[Line, dict[int, tuple[object, ...]]]:
    """One fault: a search is started, hurt at a random moment, and watched to its end."""
    fault = FAULTS[kind]
    scene.start(*fault.flags)
    scene.until_it_is_at_work()
    at_work = scene.process.poll() is None
    before = _ended_trials(scene.path) or known
    began, hung = time.monotonic(), False
    try:
        ended = fault.strike(scene)
    except subprocess.TimeoutExpired:
        hung, ended = True, _ended(scene, kill=True)
    after = _ended_trials(scene.path)
    lost = sum(after.get(number) != facts for number, facts in before.items())
    tracebacks = ended.messages.count("Traceback")
    expected = int(ended.code == 1 and kind == "exception in every training")
    line = {
        "kind": kind, "at_work": at_work, "code": ended.code, "hung": hung,
        "unexpected": ended.code not in fault.ends, "lost": lost if fault.keeps else 0,
        "duplicated": _duplicates(scene.path), "traceback": tracebacks > expected,
        "seconds": round(time.monotonic() - began, 2),
        "said": ended.messages if ended.code not in fault.ends or tracebacks > expected else "",
    }  # fmt: skip
    return line, after


def _ended(scene: Scene, *, kill: bool = False) -> Ended:
    if kill:
        scene.process.kill()
    try:
        return scene.ended()
    except subprocess.TimeoutExpired:
        scene.process.kill()
        return Ended(-9, "Traceback: it hung")


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


def _equal(path: Path, undisturbed: Facts) -> bool:
    try:
        return facts(path) == undisturbed
    except Exception as error:
        print(f"the study cannot be read: {error}", file=sys.stderr)
        return False


def _is_bad(line: Line) -> bool:
    names = ("hung", "unexpected", "lost", "duplicated", "traceback")
    return not line["equal"] or any(line[name] for name in names)


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
            for name in ("at_work", "lost", "duplicated", "hung", "traceback", "equal")
        ]
        table.add_row(kind, str(len(of_kind)), *map(str, sums))
    return table


if __name__ == "__main__":
    main()

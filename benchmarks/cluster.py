"""A search on a scheduler with four workers, disturbed and undisturbed, against one machine's own.

Every process is one of its own, started as a user would. Where the system allows it (Linux, root),
scheduler and search are in one network namespace with two workers, two more workers in another.

    python -m benchmarks.cluster faults               # kill -9 in a rung, a late worker, equality
    python -m benchmarks.cluster overhead --rounds 3  # a search of about a minute, alternately

Overhead is measured in wall time with as many workers on either side, and in processor time of all
processes together, which other work on the machine disturbs less.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from nntune import study
from nntune.study import View

NNTUNE = [sys.executable, "-m", "nntune"]
NAMES = ("nntune-left", "nntune-right")  # network namespaces
ADDRESSES = ("10.77.0.1", "10.77.0.2")
SEARCH = ["search", "sklearn:digits", "--epochs", "100", "--confirm", "0", "--quiet"]

Prefix = list[str]  # of a command, to run it in a namespace


class Ran(NamedTuple):
    """One search, to its end."""

    view: View
    wall: float  # seconds
    processor: float  # seconds of all processes that took part


class Cluster(NamedTuple):
    file: Path  # the scheduler's address
    processes: list[subprocess.Popen[bytes]]  # scheduler, then workers
    sides: list[Prefix]

    def join(self, place: int) -> subprocess.Popen[bytes]:
        """One more worker, without the nanny that would start a killed one again."""
        words = ["worker", str(self.file), "--workers", "1", "--no-nanny"]
        self.processes.append(started(self.sides[place % len(self.sides)], words))
        return self.processes[-1]


def started(side: Prefix, words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        [*side, *NNTUNE, *words], env=environment, stdout=nowhere, stderr=nowhere
    )


@contextmanager
def namespaces() -> Iterator[list[Prefix]]:
    """Two network namespaces with a cable between them; none where that is not allowed."""
    made: list[str] = []
    try:
        connect(made)
    except (OSError, subprocess.CalledProcessError):
        sides: list[Prefix] = [[]]
    else:
        sides = [["ip", "netns", "exec", name] for name in NAMES]
    try:
        yield sides
    finally:
        for name in made:
            ip("netns", "delete", name)


def connect(made: list[str]) -> None:
    for name in NAMES:
        ip("netns", "add", name)
        made.append(name)
    left, right = (["-n", name] for name in NAMES)
    ip(*left, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", NAMES[1])
    for side, address in zip((left, right), ADDRESSES, strict=True):
        ip(*side, "address", "add", f"{address}/24", "dev", "cable")
        ip(*side, "link", "set", "cable", "up")
        ip(*side, "link", "set", "lo", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def cluster(folder: Path, sides: list[Prefix], workers: int) -> Iterator[Cluster]:
    """A scheduler and so many workers, which have all joined."""
    file = folder / "scheduler.json"
    host = ADDRESSES[0] if sides[0] else "127.0.0.1"
    words = ["scheduler", "--host", host, "--port", "0", "--scheduler-file", str(file)]
    made = Cluster(file, [started(sides[0], words)], sides)
    try:
        while not file.exists():
            time.sleep(0.1)
        for place in range(workers):
            made.join(place)
        wait_for(made, workers)
        yield made
    finally:
        for process in reversed(made.processes):
            process.kill()
            process.wait()


def wait_for(made: Cluster, workers: int) -> None:
    code = "import sys, distributed as d; d.Client(scheduler_file=sys.argv[1])"
    code += f".wait_for_workers({workers})"
    command = [*made.sides[0], sys.executable, "-c", code, str(made.file)]
    subprocess.run(command, check=True, capture_output=True)


def searched(folder: Path, name: str, words: list[str], side: Prefix, *others: int) -> Ran:
    """A search in a process of its own; `others` take part and were there before."""
    path = folder / f"{name}.db"
    before = sum(processor_of(other) for other in others)
    begun = time.perf_counter()
    process = started(side, [*SEARCH, "--db", str(path), *words])
    seen: dict[int, float] = {}
    while process.poll() is None:  # what a process has used is gone with it
        for each in tree(process.pid):
            seen[each] = processor_of(each) or seen.get(each, 0.0)
        time.sleep(0.05)
    wall = time.perf_counter() - begun
    assert process.returncode == 0, f"{words} ended with {process.returncode}"
    after = sum(processor_of(other) for other in others)
    return Ran(study.read(path), wall, sum(seen.values()) + after - before)


def tree(pid: int) -> list[int]:
    with suppress(psutil.Error):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def processor_of(pid: int) -> float:
    with suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    return 0.0


def copy_of(view: View, path: Path) -> None:
    """A study of the same definition: which library multiplies faster is a measurement."""
    path.unlink(missing_ok=True)
    study.open_writer(path, view.name, view.definition).close()


def equal(view: View, other: View) -> bool:
    """All but when and how long trials were trained, curves and weights included."""
    left, right = (
        [t._replace(started="", finished="", seconds=0.0, attempts=0) for t in each.trials()]
        for each in (view, other)
    )
    numbers = [trial.number for trial in left]
    return left == right and all(
        (view.curve(n), view.weights(n)) == (other.curve(n), other.weights(n)) for n in numbers
    )


def is_training(pid: int) -> bool:
    """Whether a worker is in the middle of a stack: it uses most of a core, or of its share."""
    before = processor_of(pid)
    time.sleep(0.5)
    return processor_of(pid) - before > 0.1


def faults(folder: Path, sides: list[Prefix], trials: int) -> None:
    """Two of four workers are killed in the middle of a stack, and others join."""
    count = ["--trials", str(trials)]
    local = searched(folder, "local", ["--workers", "2", *count], [])
    with cluster(folder, sides, 4) as made:
        copy_of(local.view, folder / "cluster.db")
        moments, done = random.Random(8), threading.Event()

        def disturb() -> None:
            for victim in made.processes[1:3]:
                done.wait(moments.uniform(4, 8))
                while not done.is_set() and not is_training(victim.pid):
                    pass
                if done.is_set():
                    print("a search too short to be disturbed twice")
                    return
                victim.kill()
                print(f"killed a worker with a stack in training, process {victim.pid}")
                print(f"another one joins, process {made.join(moments.randrange(2)).pid}")

        hand = threading.Thread(target=disturb)
        hand.start()
        ran = searched(folder, "cluster", ["--dask", str(made.file), *count], sides[0])
        done.set()
        hand.join()
    print(
        f"{len(ran.view.trials())} trials; equal to the local study: {equal(ran.view, local.view)}"
    )


def overhead(folder: Path, sides: list[Prefix], arguments: argparse.Namespace) -> None:
    """The same search on this machine's processes and on a cluster of as many, in turns."""
    count, ratios = ["--trials", str(arguments.trials)], []
    first = searched(folder, "first", [*count, "--workers", str(arguments.workers)], [])
    with cluster(folder, sides, arguments.workers) as made:
        everyone = [process.pid for process in made.processes]
        for _ in range(arguments.rounds):
            for name in ("local", "cluster"):
                copy_of(first.view, folder / f"{name}.db")
            flags = ["--workers", str(arguments.workers), *count]
            local = searched(folder, "local", flags, [])
            flags = ["--dask", str(made.file), *count]
            ran = searched(folder, "cluster", flags, sides[0], *everyone)
            ratios.append((ran.wall / local.wall, ran.processor / local.processor))
            print(
                f"wall {local.wall:.1f} s local, {ran.wall:.1f} s cluster ({ratios[-1][0]:.2f}); "
                f"processor {local.processor:.1f}, {ran.processor:.1f} s ({ratios[-1][1]:.2f}); "
                f"equal: {equal(ran.view, local.view)}",
                flush=True,
            )
    wall, processor = (statistics.median(each) for each in zip(*ratios, strict=True))
    print(f"median ratio: wall {wall:.2f}, processor {processor:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("faults", "overhead"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="on either side, for overhead")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and take all processes along
    with TemporaryDirectory() as folder, namespaces() as sides:
        print("network:", "two namespaces" if sides[0] else "loopback")
        if arguments.part == "faults":
            faults(Path(folder), sides, arguments.trials)
        else:
            overhead(Path(folder), sides, arguments)


if __name__ == "__main__":
    main()

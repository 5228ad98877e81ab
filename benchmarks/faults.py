"""The faults of `benchmarks.chaos`: what each does to a search that runs, and how that may end.

Signals, limits of memory, a small file system and other processes do it from outside. Exceptions in
a worker come from a `sitecustomize` that is put on the path of the searched process; nothing of
this is in nntune.
"""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.memory import family, role

PATIENCE = 150  # seconds after which something hangs
NAME = "penguins"
TRAINED = "nntune.training"

# In the path of a search: NNTUNE_CHAOS says what the first trainings raise, how many of them, and
# of how many members at least: of two, and no trial has to fail.
SITE = f'''
import os, sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class Chaos(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "{TRAINED}":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            train = module.train

            def failing(*arguments, **named):
                word, left, least = os.environ["NNTUNE_CHAOS"].split()
                for number in range(int(left) if len(arguments[0]) >= int(least) else 0):
                    try:
                        os.close(os.open(f"chaos-{{number}}", os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        continue
                    raise {{"memory": MemoryError, "error": RuntimeError}}[word]("chaos")
                return train(*arguments, **named)

            module.train = failing

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("NNTUNE_CHAOS"):
    sys.meta_path.insert(0, Chaos())
'''

# A clock that is an hour earlier at every third look, for programs that are started with it.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int (*real)(clockid_t, struct timespec *);
int clock_gettime(clockid_t which, struct timespec *moment) {
    static long looks;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, moment);
    if (which == CLOCK_REALTIME && ++looks % 3 == 0) moment->tv_sec -= 3600 * (looks % 48);
    return result;
}
"""


class Ended(NamedTuple):
    """How a search came to its end."""

    code: int
    messages: str


class Scene:
    """One study in a folder of its own, and the search that runs on it.

    Args:
        folder: on a file system that may be filled.
        command: of the search.
        moments: when faults come.
    """

    def __init__(self, folder: Path, command: list[str], moments: random.Random) -> None:
        self.folder, self.moments = folder, moments
        self.path = folder / "studies" / f"{NAME}.db"
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._started: list[int] = []  # process groups

    @property
    def process(self) -> "subprocess.Popen[str]":
        assert self._process is not None, "no search runs"
        return self._process

    def start(self, *flags: str, **environment: str) -> None:
        """A search, in a process group and with a temporary folder of its own."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [*self._command, *flags], cwd=self.folder, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": str(temporary), **environment},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(self._process.pid)

    def clear(self) -> None:
        """Ends what is left: a stopped worker does not see that its search has been killed."""
        for group in self._started:
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_at_work(self) -> bool:
        """Waits for a few transactions of the search; False if it came to its end meanwhile."""
        log, seen = self.path.with_name(f"{self.path.name}-wal"), set[int]()
        count, until = self.moments.randrange(1, 5), time.monotonic() + PATIENCE
        while len(seen) < count and self.process.poll() is None and time.monotonic() < until:
            with suppress(OSError):
                seen.add(log.stat().st_mtime_ns)
            time.sleep(0.002)
        time.sleep(self.moments.uniform(0, 0.1))
        return self.is_running()

    def ended(self) -> Ended:
        """Waits for the search's end.

        Raises:
            TimeoutExpired: it hangs.
        """
        _, messages = self.process.communicate(timeout=PATIENCE)
        code, self._process = self.process.returncode, None
        return Ended(code, messages)

    def workers(self) -> list[int]:
        main = self.process.pid
        return [pid for pid in family(main) if role(pid, main) == "worker"]

    def fork_servers(self) -> list[int]:
        main = self.process.pid
        return [pid for pid in family(main) if role(pid, main) == "fork server"]


class Fault(NamedTuple):
    """One kind of fault.

    Attributes:
        strike: does it to a search that is at work; says how that ended, unless it goes on.
        ends: exit codes that may follow; 0 is a search that went on to its end.
        keeps: whether finished trials must be the same right after it.
        flags: for the search.
    """

    strike: Callable[[Scene], Ended | None]
    ends: tuple[int, ...] = (0,)
    keeps: bool = True
    flags: tuple[str, ...] = ()


def _signalled(scene: Scene, pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _at_main(number: int) -> Callable[[Scene], Ended]:
    def strike(scene: Scene) -> Ended:
        with suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGINT else os.kill)(scene.process.pid, number)
        return scene.ended()

    return strike


def kill_a_worker(scene: Scene) -> None:
    _signalled(scene, scene.workers()[:1], signal.SIGKILL)


def kill_all_workers(scene: Scene) -> None:
    _signalled(scene, scene.workers(), signal.SIGKILL)


def kill_the_fork_server(scene: Scene) -> None:
    _signalled(scene, [*scene.fork_servers(), *scene.workers()], signal.SIGKILL)


def stop_all_for_a_second(scene: Scene) -> None:
    """As a laptop does that sleeps."""
    everyone = list(family(scene.process.pid))
    _signalled(scene, everyone, signal.SIGSTOP)
    time.sleep(1)
    _signalled(scene, everyone[::-1], signal.SIGCONT)


def stop_a_worker_for_a_second(scene: Scene) -> None:
    stopped = scene.workers()[:1]
    _signalled(scene, stopped, signal.SIGSTOP)
    time.sleep(1)
    _signalled(scene, stopped, signal.SIGCONT)


def hang_a_worker(scene: Scene) -> None:
    _signalled(scene, scene.workers()[:1], signal.SIGSTOP)


def take_a_workers_memory(scene: Scene) -> None:
    for pid in scene.workers()[:1]:
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))


def fill_the_disk(scene: Scene) -> Ended:
    filler = scene.folder.parent / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(bytes(512)):
            pass
    try:
        return scene.ended()
    finally:
        filler.unlink()


def move_the_folder_away(scene: Scene) -> Ended:
    away = scene.path.parent.with_name("away")
    scene.path.parent.rename(away)
    try:
        return scene.ended()
    finally:
        shutil.rmtree(scene.path.parent, ignore_errors=True)
        away.rename(scene.path.parent)


def remove_the_shared_examples(scene: Scene) -> Ended:
    shutil.rmtree(scene.folder / "tmp", ignore_errors=True)
    kill_all_workers(scene)
    return scene.ended()


def lock_the_database(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.path, timeout=30, isolation_level=None)) as other:
        with suppress(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")
        time.sleep(2)
        with suppress(sqlite3.OperationalError):
            other.execute("ROLLBACK")


def search_twice_at_once(scene: Scene) -> Ended | None:
    second = Scene(scene.folder, scene._command, scene.moments)
    second.start()
    refused = second.ended()
    return None if refused.code == 5 else refused


def _after_a_kill(spoil: Callable[[Scene], None]) -> Callable[[Scene], Ended]:
    """The search is killed, its files are spoilt, and nntune says what it makes of them."""

    def strike(scene: Scene) -> Ended:
        scene.process.kill()
        scene.ended()
        kept = scene.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(scene.path.parent, kept)
        spoil(scene)
        said = [_ran(scene, "db", "check"), _ran(scene, "db", "repair"), _ran(scene, "best")]
        scene.start("--time", "2s")  # the study is put back afterwards
        said.append(scene.ended())
        shutil.rmtree(scene.path.parent)
        kept.rename(scene.path.parent)
        worst = next((each for each in said if "Traceback" in each.messages), said[-1])
        return worst if worst.code not in (2, 4, 7) else Ended(5, worst.messages)

    return strike


def _ran(scene: Scene, *command: str) -> Ended:
    ran = subprocess.run(
        [sys.executable, "-m", "nntune", *command, str(scene.path)], cwd=scene.folder,
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    return Ended(ran.returncode, ran.stderr)


def _flip_bits(scene: Scene) -> None:
    content = bytearray(scene.path.read_bytes())
    for _ in range(scene.moments.randrange(1, 200)):
        content[scene.moments.randrange(len(content))] ^= 1 << scene.moments.randrange(8)
    scene.path.write_bytes(content)


def _cut_the_file(scene: Scene) -> None:
    os.truncate(scene.path, scene.moments.randrange(scene.path.stat().st_size))


def cut_the_log(scene: Scene) -> None:
    """What a disk loses that did not write all it was given: the last transactions."""
    scene.process.kill()
    scene.ended()
    log = scene.path.with_name(f"{scene.path.name}-wal")
    with suppress(OSError):
        os.truncate(log, scene.moments.randrange(log.stat().st_size or 1))
    scene.start()


def make_the_folder_read_only(scene: Scene) -> Ended:
    scene.process.kill()
    scene.ended()
    studies = str(scene.path.parent)
    subprocess.run(["mount", "--bind", studies, studies], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", studies], check=True)
        scene.start()
        return scene.ended()
    finally:
        subprocess.run(["umount", studies], check=True)


def _restarted(*, to_its_end: bool = False, **environment: str) -> Callable[[Scene], Ended | None]:
    """The search is killed and goes on in another environment."""

    def strike(scene: Scene) -> Ended | None:
        scene.process.kill()
        scene.ended()
        for mark in scene.folder.glob("chaos-*"):
            mark.unlink()
        named = {k: v.format(parent=scene.folder.parent) for k, v in environment.items()}
        if "PYTHONPATH" in named:
            named["PYTHONPATH"] += f":{os.environ.get('PYTHONPATH', '')}"
        scene.start(**named)
        return scene.ended() if to_its_end else None

    return strike


SITE_PATH = "{parent}/site"
FAULTS: dict[str, Fault] = {
    "main process killed": Fault(_at_main(signal.SIGKILL), (-signal.SIGKILL, 0)),
    "main process terminated": Fault(_at_main(signal.SIGTERM), (143, 0)),
    "Ctrl-C": Fault(_at_main(signal.SIGINT), (130, 0)),
    "terminal closed": Fault(_at_main(signal.SIGHUP), (-signal.SIGHUP, 0)),
    "worker killed": Fault(kill_a_worker),
    "all workers killed": Fault(kill_all_workers),
    "fork server killed": Fault(kill_the_fork_server),
    "all stopped for a second": Fault(stop_all_for_a_second),
    "worker stopped for a second": Fault(stop_a_worker_for_a_second),
    "worker hangs": Fault(hang_a_worker, flags=("--trial-time", "20s")),
    "worker without memory": Fault(take_a_workers_memory),
    "MemoryError in training": Fault(
        _restarted(PYTHONPATH=SITE_PATH, NNTUNE_CHAOS="memory 5 2")
    ),
    "exception in training": Fault(_restarted(PYTHONPATH=SITE_PATH, NNTUNE_CHAOS="error 3 2")),
    "exception in every training": Fault(
        _restarted(to_its_end=True, PYTHONPATH=SITE_PATH, NNTUNE_CHAOS="error 9999 1"), (0, 1)
    ),
    "clock set back": Fault(_restarted(LD_PRELOAD="{parent}/site/clock.so")),
    "disk full": Fault(fill_the_disk, (0, 3, 5)),
    "folder read-only": Fault(make_the_folder_read_only, (0, 5)),
    "folder moved away": Fault(move_the_folder_away, (0, 5)),
    "shared examples removed": Fault(remove_the_shared_examples, (0, 3)),
    "database locked": Fault(lock_the_database),
    "second search on the study": Fault(search_twice_at_once),
    "bits of the file flipped": Fault(_after_a_kill(_flip_bits), (0, 5, 6)),
    "file cut off": Fault(_after_a_kill(_cut_the_file), (0, 5, 6)),
    "log cut off": Fault(cut_the_log, keeps=False),
}  # fmt: skip


def prepared(folder: Path) -> Iterator[str]:
    """Makes what faults need beside the scenes; yields those that cannot be had, and why not."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    (site / "clock.c").write_text(CLOCK)
    compiled = shutil.which("cc") and subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", site / "clock.so", site / "clock.c", "-ldl"], check=False
    )
    if not compiled or compiled.returncode:
        yield "clock set back: no C compiler"
    if not hasattr(resource, "prlimit"):
        yield "worker without memory: limits of other processes are Linux's"

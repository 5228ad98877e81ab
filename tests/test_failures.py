"""Training that fails, workers that die or hang: who is to blame fails, others do not.

Workers really die, hang and lack memory here; nothing is pretended.
"""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from test_search import SMALL, Budget, definition, facts, searched

from nntune import study
from nntune.errors import AllFailedError, CrashError, UsageError
from nntune.failures import Rescue, contained, failure_of, unfailed
from nntune.search import Search
from nntune.space import build
from nntune.training import Examples, train
from nntune.trials import Problem, Progress, Setting, Shape
from nntune.workers import Workers, processes

SETTING = Setting(Shape(6, (8,), 3), 32, "adam", "log_loss", 9, 7)
GRACE = 1.0  # seconds
METHOD = "spawn" if sys.platform == "win32" else "forkserver"


def members(count: int) -> list[Progress]:
    return [Progress(number, 0.01, 0.0, 0.0, 0.0, 9) for number in range(count)]


def outcomes(trained: Sequence[Progress]) -> list[str]:
    return [member.outcome for member in trained]


def test_a_stack_without_memory_is_halved_and_its_members_keep_their_bits(
    three_classes: Examples,
) -> None:
    def small_stacks_only(part: Sequence[Progress]) -> list[Progress]:
        if len(part) > 2:
            raise MemoryError
        return train(part, SETTING, three_classes, 3)

    whole = train(members(5), SETTING, three_classes, 3)
    halved = contained(small_stacks_only, members(5))
    assert [m.number for m in halved] == [0, 1, 2, 3, 4]
    assert [m.curve for m in halved] == [m.curve for m in whole]
    assert all(np.array_equal(a.best, b.best) for a, b in zip(halved, whole, strict=True))


def test_a_member_that_fails_alone_leaves_the_others() -> None:
    def third_fails(part: Sequence[Progress]) -> list[Progress]:
        if any(member.number == 2 for member in part):
            raise ValueError("of the third")
        return [member._replace(outcome="epochs") for member in part]

    trained = contained(third_fails, members(4))
    assert outcomes(trained) == ["epochs", "epochs", "crashed", "epochs"]
    assert trained[2].failure is not None
    assert trained[2].failure.error == "ValueError"
    assert trained[2].failure.place.startswith("test_failures.py:")
    assert "of the third" in trained[2].failure.traceback


def test_a_mistake_of_the_user_stays_one_sentence() -> None:
    def refuses(part: Sequence[Progress]) -> list[Progress]:
        raise UsageError("no such network.")

    with pytest.raises(UsageError):
        contained(refuses, members(2))


def test_refused_memory_is_known_whoever_refuses_it() -> None:
    for refused in (partial(torch.empty, 1 << 60), partial(np.empty, 1 << 58), _endless_bytes):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            refused()
        assert failure_of(caught.value).outcome == "out of memory"
    unmapped = ImportError("_common.so: failed to map segment from shared object")
    assert failure_of(unmapped).outcome == "out of memory"
    assert failure_of(RuntimeError("shape mismatch")).outcome == "crashed"


def _endless_bytes() -> bytes:
    return bytes(1 << 60)


def test_a_network_that_nothing_can_stand_in_for_says_why_it_failed() -> None:
    (member,) = members(1)
    assert unfailed(member) == member
    with pytest.raises(AllFailedError, match="not enough memory to train trial #0"):
        unfailed(member._replace(failure=failure_of(MemoryError())))
    with pytest.raises(CrashError, match="ended with ValueError"):
        unfailed(member._replace(failure=failure_of(ValueError("a bug"))))


def failing(*errors: Exception | None) -> Iterator[list[Progress]]:
    """What becomes of one member after the other, each with its exception."""
    rescue = Rescue(lambda: None)

    def submit(stack: list[Progress]) -> "Future[list[Progress]]":
        future: Future[list[Progress]] = Future()
        error = errors[stack[0].number]
        failure = None if error is None else failure_of(error)
        future.set_result([stack[0]._replace(outcome="crashed" if error else "", failure=failure)])
        return future

    for member in members(len(errors)):
        yield from rescue.train([[member]], submit)


def test_three_equal_crashes_in_a_row_stop_the_search() -> None:
    same = ValueError("a bug")
    found = failing(same, TypeError("other"), same, None, same, same, same, same)
    assert outcomes([next(found)[0] for _ in range(6)]) == ["crashed"] * 3 + [""] + ["crashed"] * 2
    with pytest.raises(CrashError, match=r"3 trainings in a row ended with the same ValueError"):
        next(found)


def test_crashed_members_wait_for_the_end_of_their_rung() -> None:
    """Two trainings that crash before a third one like them fail no trial."""
    rescue = Rescue(lambda: None)
    failure = failure_of(ValueError("a bug"))

    def submit(stack: list[Progress]) -> "Future[list[Progress]]":
        future: Future[list[Progress]] = Future()
        crashed = stack[0].number < crashing
        ended = {"outcome": "crashed", "failure": failure} if crashed else {"outcome": "epochs"}
        future.set_result([member._replace(**ended) for member in stack])
        return future

    crashing, formed = 2, [[member] for member in members(4)]
    found = [member for stack in rescue.train(formed, submit) for member in stack]
    assert outcomes(found) == ["epochs", "epochs", "crashed", "crashed"]
    crashing, told = 3, []
    with pytest.raises(CrashError):
        told.extend(rescue.train(formed[:3], submit))
    assert told == []


def test_a_trial_ends_at_its_limit_with_the_epochs_that_it_has(three_classes: Examples) -> None:
    at_once = train(members(2), SETTING._replace(trial_time=0.0), three_classes, 9)
    assert [(m.outcome, m.epoch) for m in at_once] == [("time limit", 0)] * 2
    first, second = train(members(2), SETTING, three_classes, 1)
    assert first.elapsed > 0
    tired = first._replace(elapsed=60.0)
    ended, fresh = train([tired, second], SETTING._replace(trial_time=60.0), three_classes, 9)
    assert (ended.outcome, ended.epoch, ended.best_epoch > 0) == ("time limit", 2, True)
    assert (fresh.outcome, fresh.epoch) == ("epochs", 9)


class Pool:
    """Two processes that give stacks back, but for the members that have a fate.

    Args:
        fates: member to 'die' or 'hang', in its first call, or in every call with an 's' behind.
    """

    def __init__(self, **fates: str) -> None:
        self._fates = {int(name[1:]): fate for name, fate in fates.items()}
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(METHOD))
        # A busy machine takes longer to start a process than the tests wait for a hung one.
        for start in [pool.submit(time.sleep, 0.1) for _ in range(2)]:
            start.result()
        return pool

    def submit(self, stack: list[Progress]) -> "Future[list[Progress]]":
        fate = next((self._fates[m.number] for m in stack if m.number in self._fates), "")
        for member in stack:
            if not fate.endswith("s"):
                self._fates.pop(member.number, None)
        try:
            return self._submitted(stack, fate)
        except BrokenExecutor:
            self._pool = self._new()
            return self._submitted(stack, fate)

    def _submitted(self, stack: list[Progress], fate: str) -> "Future[list[Progress]]":
        if fate.startswith("die"):
            return self._pool.submit(os._exit, 1)
        if fate.startswith("hang"):
            return self._pool.submit(time.sleep, 60)
        return self._pool.submit(list, stack)

    def renew(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(cancel_futures=True)
        self._pool = self._new()


def blamed(limit: float = math.inf, **fates: str) -> dict[int, str]:
    """Of eight members in four stacks those that fail, with their outcomes."""
    pool = Pool(**fates)
    rescue = Rescue(pool.renew, limit, GRACE)
    all_members = members(8)
    formed = [all_members[place : place + 2] for place in range(0, 8, 2)]
    trained = [member for part in rescue.train(formed, pool.submit) for member in part]
    pool.renew()
    assert sorted(member.number for member in trained) == list(range(8))
    return {m.number: m.outcome for m in trained if m.outcome}


def test_a_worker_that_dies_once_costs_no_trial() -> None:
    assert blamed(n3="die") == {}


def test_a_trial_that_kills_every_worker_fails_alone() -> None:
    assert blamed(n3="dies") == {3: "crashed"}


def test_a_worker_that_hangs_once_costs_no_trial() -> None:
    assert blamed(limit=GRACE, n0="hang") == {}


def test_a_trial_that_hangs_every_worker_fails_alone() -> None:
    assert blamed(limit=GRACE / 4, n6="hangs") == {6: "time limit"}


def test_workers_without_memory_are_replaced_and_the_study_is_as_it_would_be(
    tmp_path: Path, three_classes: Examples
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits of memory")
    made = definition(build(SMALL))
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(8), Workers(0))
    arrays = {n: getattr(three_classes, n).numpy() for n in ("x", "y", "x_valid", "y_valid")}
    with Workers(1) as workers, study.open_writer(tmp_path / "hurt.db", "made", made) as writer:
        workers.share(arrays)
        limited = workers.submit(os.getpid).result()
        workers.submit(resource.setrlimit, resource.RLIMIT_AS, (1 << 20, 1 << 20)).result()
        list(Search(writer, build(made.space), Problem(6, 150, 3), workers).run(Budget(8)))
        assert workers.submit(os.getpid).result() != limited
    assert facts(study.read(tmp_path / "hurt.db")) == facts(whole)


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="workers are not forked"
)
def test_what_workers_fork_from_is_started_again() -> None:
    with Workers(1) as workers:
        worker, server = workers.submit(os.getpid).result(), workers.submit(os.getppid).result()
        os.kill(server, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        with suppress(BrokenExecutor):  # of those, only the worker's death may not be known yet
            workers.submit(os.getpid).result()
        assert workers.submit(os.getppid).result() != server


def test_a_clock_that_is_set_back_changes_nothing(
    tmp_path: Path, three_classes: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = definition(build(SMALL))
    whole = searched(tmp_path / "whole.db", three_classes, made, Budget(8), Workers(0))
    looks = count()
    monkeypatch.setattr(time, "time", lambda: 2e9 - 3600 * next(looks))
    back = searched(tmp_path / "back.db", three_classes, made, Budget(8), Workers(0))
    assert facts(back) == facts(whole)


def test_data_that_no_training_takes_stop_the_search_with_one_traceback(
    tmp_path: Path, three_classes: Examples
) -> None:
    broken = three_classes._replace(y=three_classes.y + 3)  # classes that there are not
    made = definition(build(SMALL))
    with pytest.raises(CrashError, match=r"Error at training.py:\d+") as caught:
        searched(tmp_path / "a.db", broken, made, Budget(8), Workers(0))
    assert str(caught.value).count("Traceback (most recent call last)") == 1
    assert study.read(tmp_path / "a.db").counts()["running"] == 8  # to be trained once it is mended


def test_a_temporary_folder_that_is_removed_is_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REMOVES]
    ran = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"the temporary files in {tmp_path} were removed while nntune ran")


REMOVES = """
import os, shutil
from nntune.errors import DataError
from nntune.workers import Workers

with Workers(1) as workers:
    workers.submit(os.getpid).result()
    shutil.rmtree(os.environ["TMPDIR"])
    workers.renew()
    try:
        workers.submit(os.getpid).result()
    except DataError as error:
        print(error)
"""


def test_a_thread_that_is_about_to_start_is_not_waited_for() -> None:
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    pool._executor_manager_thread = threading.Thread()  # type: ignore[attr-defined]
    assert processes._thread(pool) is None
    pool._executor_manager_thread.start()  # type: ignore[attr-defined]
    assert processes._thread(pool) is not None

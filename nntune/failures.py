"""What becomes of members whose training fails, and of the stacks of workers that die or hang.

A member equals itself in any stack and on any worker, so what is tried again in smaller stacks, or
elsewhere, ends with the bits that it would have had.
"""

import errno
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    wait,
)
from pathlib import Path

from nntune.errors import AllFailedError, CrashError, Error
from nntune.trials import Failure, Progress

Train = Callable[[Sequence[Progress]], list[Progress]]
Submit = Callable[[list[Progress]], "Future[list[Progress]]"]

# Seconds: a process has to start, and training looks at the time between steps only.
_GRACE = 10.0
_EQUAL_CRASHES = 3
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "map segment",
)


def contained(train: Train, members: Sequence[Progress]) -> list[Progress]:
    """Trains a stack in a worker; where that fails its halves, down to members that fail alone.

    Raises:
        Error: what the user gave cannot be trained at all.
    """
    try:
        return train(members)
    except Error:
        raise
    except Exception as error:
        failure = failure_of(error)
    # Out here the frames of the failed training are gone, and with them its buffers.
    if len(members) > 1:
        half = (len(members) + 1) // 2
        return contained(train, members[:half]) + contained(train, members[half:])
    return [members[0]._replace(outcome=failure.outcome, failure=failure)]


def unfailed(member: Progress) -> Progress:
    """The member, where there is none to take its place.

    Raises:
        AllFailedError: there was not enough memory for it.
        CrashError: its training ended with an exception.
    """
    if member.failure is None:
        return member
    if member.failure.outcome == "out of memory":
        raise AllFailedError(f"there is not enough memory to train trial #{member.number}.")
    raise CrashError(
        f"the training of trial #{member.number} ended with {member.failure.error} at "
        f"{member.failure.place}.\n{member.failure.traceback.rstrip()}"
    )


def failure_of(error: Exception) -> Failure:
    """An exception as a value that travels: its kind, its innermost place and its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    outcome = "out of memory" if _lacks_memory(error) else "crashed"
    text = "".join(traceback.format_exception(error))
    return Failure(outcome, type(error).__name__, place, text)


def _lacks_memory(error: Exception) -> bool:
    """Whether memory was refused: by Python, NumPy, torch, the system, or for a library's code."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and any(
        text in str(error) for text in _NO_MEMORY
    )


class Rescue:
    """Trains the stacks of a rung, whatever happens to those who train them.

    Stacks of dead and hung workers are trained again, side by side, then one after the other, then
    member by member: what dies alone is to blame. Members without memory are trained once more at
    the end, each alone with new processes.

    Args:
        renew: ends all worker processes, so that no call is under way; others begin.
        limit: seconds that a trial may be in training.
        grace: a worker is taken for hung after the limit and as long again, or so many seconds.
        cure: what a user may have to do beside removing the cause of a crash.
    """

    def __init__(
        self, renew: Callable[[], None], limit: float = math.inf, grace: float = _GRACE,
        cure: str = "",
    ) -> None:  # fmt: skip
        self._renew, self._cure = renew, cure
        self._silence = None if limit == math.inf else limit + max(limit, grace)
        self._crash: tuple[str, str] = ("", "")
        self._crashes = 0

    def train(self, formed: Sequence[list[Progress]], submit: Submit) -> Iterator[list[Progress]]:
        """Members as their stacks reach the rung, in any order; those that crashed come last.

        Until then they may turn out to be the first of three equal crashes, which fail nobody.

        Args:
            formed: the stacks, in the order of training.
            submit: hands a stack to a worker.

        Raises:
            CrashError: the same exception ended three trainings in a row.
        """
        starved: list[Progress] = []
        crashed: list[Progress] = []
        for trained in self._whatever_happens(formed, submit):
            self._notice(trained)
            starved += [m for m in trained if m.outcome == "out of memory"]
            crashed += [m for m in trained if m.outcome == "crashed"]
            if rest := [m for m in trained if m.outcome not in ("out of memory", "crashed")]:
                yield rest
        if starved:
            self._renew()
        for member in starved:
            yield self._by_itself(member._replace(outcome="", failure=None), submit)
        if crashed:
            yield crashed

    def _whatever_happens(
        self, formed: Sequence[list[Progress]], submit: Submit
    ) -> Iterator[list[Progress]]:
        interrupted: list[list[Progress]] = []
        yield from self._together(formed, submit, interrupted)
        if interrupted:
            self._renew()
        again, interrupted = interrupted, []
        yield from self._together(again, submit, interrupted)
        for stack in interrupted:
            trained = self._alone(stack, submit)
            if isinstance(trained, list):
                yield trained
            else:
                yield from (self._by_itself(member, submit) for member in stack)

    def _together(
        self, formed: Sequence[list[Progress]], submit: Submit, interrupted: list[list[Progress]]
    ) -> Iterator[list[Progress]]:
        """Stacks side by side; those whose workers died or hung are added to `interrupted`."""
        pending = {submit(stack): stack for stack in formed}
        while pending:
            done, _ = wait(pending, self._silence, FIRST_COMPLETED)
            if not done:  # longer than any training may take
                self._renew()
                done = set(pending)
            for future in done:
                stack = pending.pop(future)
                try:
                    trained = future.result(0)
                except (BrokenExecutor, CancelledError, TimeoutError, MemoryError):
                    interrupted.append(stack)
                else:
                    yield trained

    def _alone(self, stack: list[Progress], submit: Submit) -> list[Progress] | str:
        """A stack while no other is trained, or what its worker did instead."""
        try:
            return submit(stack).result(self._silence)
        except (BrokenExecutor, CancelledError):
            return "crashed"
        except MemoryError:  # not even for its answer
            self._renew()
            return "out of memory"
        except TimeoutError:
            self._renew()
            return "time limit"

    def _by_itself(self, member: Progress, submit: Submit) -> list[Progress]:
        trained = self._alone([member], submit)
        return trained if isinstance(trained, list) else [member._replace(outcome=trained)]

    def _notice(self, trained: Sequence[Progress]) -> None:
        """Counts equal crashes in a row: what fails everywhere alike is a bug, not a trial's."""
        for member in trained:
            failure = member.failure
            if failure is None or failure.outcome != "crashed":
                self._crashes = 0
                continue
            crash = (failure.error, failure.place)
            self._crashes = self._crashes + 1 if crash == self._crash else 1
            self._crash = crash
            if self._crashes == _EQUAL_CRASHES:
                raise CrashError(
                    f"{_EQUAL_CRASHES} trainings in a row ended with the same {failure.error} at "
                    f"{failure.place}; all finished trials are kept, the same command goes on once "
                    f"the cause is gone{self._cure}.\n{failure.traceback.rstrip()}"
                )

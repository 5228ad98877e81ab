"""The order of ask, train, cut, tell, in rounds; and which trials share a stack.

In a round a new bracket may begin, all open ones are trained on side by side, those that have
reached a rung are cut, and what came of it is stored at once. Nothing here depends on time, on the
number of workers or on which worker is faster, but for the deadline itself.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import Any, NamedTuple

from nntune.brackets import Bracket, Plan
from nntune.errors import AllFailedError
from nntune.failures import Rescue
from nntune.metrics import METRICS
from nntune.proposals import Proposer
from nntune.pruners import Reached, Rung, going_on
from nntune.space import Space, Value
from nntune.stacks import epoch_seconds, shape_of, stacks
from nntune.stops import Budget, met, spent
from nntune.study import Definition, Outcome, Trial, Writer
from nntune.trials import Problem, Progress, Setting
from nntune.workers import Workers

_UNSURE = 2.0  # the factor within which durations are estimated


class Update(NamedTuple):
    """Where a search stands; given after every stack and every round."""

    bracket: int
    rung: int  # epochs that the bracket is trained to
    training: int  # trials of the bracket still in training
    states: Mapping[str, int]  # trials of the study by state
    best: Trial | None
    round_done: bool


class Search:
    """A search over one study, resumed from what the study holds.

    Args:
        writer: the open study.
        space: of its definition.
        problem: size of the data that the workers hold.
        workers: who trains.
        keep: the best so many trials' weights stay in the study.
        queue: configurations to try before the sampler's.

    Attributes:
        stopped: why the search has ended.
    """

    def __init__(
        self, writer: Writer, space: Space, problem: Problem, workers: Workers, keep: int = 3,
        queue: Sequence[Mapping[str, Value]] = (),
    ) -> None:  # fmt: skip
        self.stopped, self._queue = "", queue
        self._writer, self._space, self._problem, self._workers = writer, space, problem, workers
        self._definition: Definition = writer.definition
        training = dict(self._definition.training)
        self._product = training.pop("product")
        self._plan = Plan(**{**training, "rungs": tuple(training["rungs"])})
        self._metric = METRICS[self._definition.metric]
        self._minimize = self._metric.direction == "minimize"
        self._propose = Proposer(space, self._definition)
        self._trials: dict[int, Trial] = {}
        self._brackets: dict[int, list[int]] = defaultdict(list)
        self._open: dict[int, Bracket] = {}
        self._states: Counter[str] = Counter()
        self._reached = {rung: Reached() for rung in self._plan.rungs}
        self._best: Trial | None = None
        self._budget, self._rescue = Budget(), Rescue(workers.renew)
        self._keep_count, self._kept = keep, list[Trial]()  # whose weights stay, the best first
        for trial in writer.trials():
            self._keep(trial)

    def run(self, budget: Budget) -> Iterator[Update]:
        """Rounds until the budget is spent; each update comes after its results are stored.

        Raises:
            AllFailedError: no trial of the study could be trained.
        """
        self._budget = budget
        self._rescue = Rescue(self._workers.renew, budget.trial_time)
        self._reopen()
        while (turn := self._next_round()) is not None:
            yield from self._run_round(turn)
            if self._states["failed"] == len(self._trials):
                reasons = sorted({trial.reason for trial in self._trials.values()})
                raise AllFailedError(
                    f"all {len(self._trials)} trials failed ({', '.join(reasons)}); "
                    "lower --lr or scale the data."
                )

    def _reopen(self) -> None:
        """Takes up the brackets of a search that was killed."""
        self.stopped = met(self._budget, self._best, self._metric)
        orphans = [trial for trial in self._trials.values() if trial.state == "running"]
        if self.stopped or not orphans or self._is_late():
            return
        self._writer.retry([trial.number for trial in orphans])
        for index, each in groupby(orphans, key=lambda trial: trial.bracket):
            trials = list(each)
            reached = min(max(trial.rungs, default=0) for trial in trials)
            cuts = sum(rung <= reached for rung in self._plan.rungs)
            members = {trial.number: self._progress(trial.number) for trial in trials}
            self._open[index] = Bracket(index, members, cuts, self._plan)

    def _is_late(self) -> bool:
        return bool(self._trials) and time.monotonic() >= self._budget.deadline

    def _next_round(self) -> int | None:
        """The next round in which something is decided; a new bracket may begin with it."""
        due = [bracket.due for bracket in self._open.values()]
        first, index = len(self._trials), 1 + max(self._brackets, default=-1)
        begin = index * self._plan.interval
        if due and (not self._plan.interval or begin > min(due)):
            return min(due)
        self.stopped = met(self._budget, self._best, self._metric)
        if not self.stopped and self._is_late():
            self.stopped = "the time is over"
        self.stopped = self.stopped or spent(self._budget, first, self._best)
        if self.stopped:
            return min(due, default=None)
        left = math.inf if self._budget.trials is None else self._budget.trials - first
        numbers = self._ask(index, first, int(min(self._plan.width, left)))
        members = {number: self._progress(number) for number in numbers}
        self._open[index] = Bracket(index, members, 0, self._plan)
        return begin

    def _ask(self, bracket: int, first: int, count: int) -> list[int]:
        distributions = self._space.distributions()
        proposals = self._propose(list(self._trials.values()), count, self._queue)
        asked = [
            (first + place, params, {name: distributions[name] for name in params})
            for place, params in enumerate(proposals)
        ]
        self._writer.begin(bracket, asked)
        for number, params, _ in asked:
            self._keep(Trial.new(number, params, bracket))
        return [number for number, _, _ in asked]

    def _run_round(self, turn: int) -> Iterator[Update]:
        """Trains all open brackets for a round, cuts those that are due, and stores it at once."""
        for trained in self._train(turn):
            bracket = self._open[self._trials[trained[0].number].bracket]
            bracket.members |= {member.number: member for member in trained}
            yield self._update(bracket, turn, round_done=False)
        cut = [(bracket, self._cut(bracket, turn, end)) for bracket, end in self._due(turn)]
        self._tell([outcome for _, outcomes in cut for outcome in outcomes])
        for bracket, outcomes in cut:
            bracket.keep({outcome.number for outcome in outcomes if outcome.state == "running"})
            if not bracket.members:
                del self._open[bracket.index]
            yield self._update(bracket, turn, round_done=True)

    def _train(self, turn: int) -> Iterator[list[Progress]]:
        """Members as their stacks reach the end of the round, in any order."""
        until: dict[int, int] = {}
        formed: list[list[Progress]] = []
        for bracket in self._open.values():
            epoch = bracket.epoch(turn)
            ready = [m for m in bracket.members.values() if not m.outcome and m.epoch < epoch]
            until |= dict.fromkeys((m.number for m in ready), epoch)
            formed += self._stacks(ready)
        return self._rescue.train(
            self._ordered(formed, until), lambda stack: self._submit(stack, until[stack[0].number])
        )

    def _stacks(self, members: Sequence[Progress]) -> list[list[Progress]]:
        configurations = {m.number: self._configuration(m.number) for m in members}
        return stacks(members, configurations, self._problem, self._workers.count)

    def _ordered(
        self, formed: list[list[Progress]], until: Mapping[int, int]
    ) -> list[list[Progress]]:
        """Stacks in the order of training: longest first, or last where time is short for all."""

        def seconds(stack: list[Progress]) -> float:
            number = stack[0].number
            configuration = self._configuration(number)
            an_epoch = epoch_seconds(configuration, self._problem, len(stack))
            return (until[number] - stack[0].epoch) * an_epoch

        took = {stack[0].number: seconds(stack) for stack in formed}
        formed.sort(key=lambda stack: -took[stack[0].number])
        needed = _UNSURE * sum(took.values()) / max(self._workers.count, 1)
        if time.monotonic() + needed > self._budget.deadline:
            formed.reverse()  # what is cheap has a value then
            formed.sort(key=lambda stack: stack[0].number > 0)  # and so has the default
        return formed

    def _submit(self, stack: list[Progress], until: int) -> "Future[list[Progress]]":
        params, deadline = self._configuration(stack[0].number), self._budget.deadline
        if self._best is None and any(m.number == 0 and not m.epoch for m in stack):
            deadline = math.inf  # however short the time, a search ends with a value
        setting = Setting(
            shape_of(params, self._problem),
            params["batch_size"],
            params["optimizer"],
            self._definition.metric,
            self._plan.patience,
            self._definition.seed,
            self._product,
            self._budget.trial_time,
        )
        return self._workers.train(stack, setting, self._problem, until, deadline)

    def _due(self, turn: int) -> list[tuple[Bracket, str]]:
        """Brackets that are cut in a round, and why none of their members goes on, or nothing."""
        brackets = list(self._open.values())
        if any(m.outcome == "time" for bracket in brackets for m in bracket.members.values()):
            for bracket in brackets:
                if bracket.due > turn:  # its members would come back as they are
                    bracket.expire()
        due = [b for b in brackets if b.due <= turn or all(m.outcome for m in b.members.values())]
        values = [m.value for bracket in due for m in bracket.scored.values()]
        if self._budget.is_met(values, self._metric):
            return [(bracket, "good enough") for bracket in brackets]
        return [(bracket, "") for bracket in due]

    def _cut(self, bracket: Bracket, turn: int, end: str) -> list[Outcome]:
        """What becomes of each member of a bracket."""
        epoch, scored = bracket.epoch(turn), bracket.scored
        end = "epochs" if epoch == self._plan.rungs[-1] else end
        staying = set(scored)
        if not end and epoch == bracket.rung:
            staying = self._staying(bracket.index, epoch, scored)
        timed_out = {
            n: self._rank(m.value, m.loss)
            for n, m in bracket.members.items()
            if m.outcome == "time" and m.best_epoch
        }
        if timed_out:  # of a bracket without time to finish, the best is as good as finished
            staying.add(min(timed_out, key=lambda number: timed_out[number]))
        bracket.cuts += epoch == bracket.rung and epoch < self._plan.rungs[-1]
        return [
            _outcome(member, epoch, goes_on=number in staying, end=end)
            for number, member in bracket.members.items()
        ]

    def _staying(self, bracket: int, rung: int, scored: Mapping[int, Progress]) -> set[int]:
        """Of members with a value at a rung, those that the pruner keeps."""
        pruner, reached = self._definition.pruner, self._reached[rung]
        for number, member in scored.items():
            reached.keep(number, self._rank(member.value, member.loss))
        ranks = reached.ranks
        mine = {n: ranks[n] for n in self._brackets[bracket] if n in ranks}
        complete = {n: ranks[n] for n in ranks if self._trials[n].state == "complete"} if (
            pruner == "median"
        ) else {}  # fmt: skip
        place, count = self._plan.rungs.index(rung), len(self._plan.rungs)
        here = Rung(bracket, place, count, mine, reached.order, complete)
        return going_on(pruner, here, self._plan.eta)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        trials = [self._trials[outcome.number].with_outcome(outcome) for outcome in outcomes]
        members = {n: m for bracket in self._open.values() for n, m in bracket.members.items()}
        best = self._best_few([*self._kept, *trials])
        told = {trial.number for trial in trials}
        weights = {
            trial.number: _weights(members[trial.number]) if trial.number in told else None
            for trial in best
        }
        self._writer.report(outcomes, weights if best != self._kept else None)
        for trial in trials:
            self._keep(trial)

    def _best_few(self, trials: Sequence[Trial]) -> list[Trial]:
        """Of ended trials with a value, those whose weights stay, the best first."""
        ended = [t for t in trials if t.state in ("complete", "pruned") and t.value is not None]
        return sorted(ended, key=self._rank_of_best, reverse=True)[: self._keep_count]

    def _keep(self, trial: Trial) -> None:
        """Notes a trial as it is now; what brackets ask of all trials is never counted anew."""
        before = self._trials.get(trial.number)
        if before is None:
            self._brackets[trial.bracket].append(trial.number)
        else:
            self._states[before.state] -= 1
        self._states[trial.state] += 1
        self._trials[trial.number] = trial
        self._keep_ranks(trial)
        if trial.state in ("complete", "pruned") and trial.value is not None:
            rivals = [trial] if self._best is None else [self._best, trial]
            self._best = max(rivals, key=self._rank_of_best)
            self._kept = self._best_few([*self._kept, trial])

    def _keep_ranks(self, trial: Trial) -> None:
        """Its rank at each rung that it reached, or ended well before."""
        for rung, reached in self._reached.items():
            value = trial.rungs.get(rung)
            if value is None and trial.state == "complete" and max(trial.rungs, default=0) < rung:
                value = trial.value
            if value is not None:
                loss = trial.losses.get(rung, trial.loss or 0.0)
                reached.keep(trial.number, self._rank(value, loss))

    def _rank(self, value: float, loss: float) -> tuple[float, ...]:
        return (value if self._minimize else -value, loss)

    def _rank_of_best(self, trial: Trial) -> tuple[float, ...]:
        assert trial.value is not None
        return (-trial.value if self._minimize else trial.value, -trial.number)

    def _configuration(self, number: int) -> dict[str, Any]:
        return self._space.params(self._trials[number].params)

    def _progress(self, number: int) -> Progress:
        params = self._configuration(number)
        rates = {key: params[key] for key in ("lr", "l1", "l2", "epochs")}
        return Progress(number, **rates, dropout=params.get("dropout", 0.0))

    def _update(self, bracket: Bracket, turn: int, *, round_done: bool) -> Update:
        training, epoch = len(bracket.members), bracket.epoch(turn)
        return Update(bracket.index, epoch, training, +self._states, self._best, round_done)


def _weights(member: Progress) -> bytes | None:
    """Parameters at the best epoch as a study keeps them: little-endian single precision."""
    return None if member.best is None else member.best.astype("<f4").tobytes()


def _outcome(member: Progress, rung: int, *, goes_on: bool, end: str) -> Outcome:
    """What is stored of a member at a rung; `end` is why no member goes on, or nothing."""
    state, reason = ("complete" if end else "running"), end
    if _is_failed(member):
        state, reason = "failed", _failed_at(member)
    elif member.outcome in ("early stop", "epochs"):
        state, reason = "complete", member.outcome
    elif member.outcome == "time" and member.best_epoch:
        state, reason = ("complete" if goes_on else "pruned"), "time"
    elif member.outcome == "time limit":
        state, reason = "pruned", "time limit"
    elif member.outcome == "time":  # never trained: the next search takes it up
        state, reason = "running", ""
    elif not goes_on:
        state, reason = "pruned", f"rung {rung}"
    has_value = state != "failed" and member.best_epoch > 0
    step = rung if not member.outcome else member.epoch
    return Outcome(
        number=member.number,
        state=state,
        value=member.value if has_value else None,
        loss=member.loss if has_value else None,
        epoch=member.best_epoch or None,
        rungs={step: member.value} if has_value else {},
        losses={step: member.loss} if has_value else {},
        reason=reason,
        seconds=member.seconds,
        curve=member.curve,
    )


def _is_failed(member: Progress) -> bool:
    failed = ("diverged", "crashed", "out of memory")
    return member.outcome in failed or (member.outcome == "time limit" and not member.best_epoch)


def _failed_at(member: Progress) -> str:
    crash = member.failure if member.outcome == "crashed" else None
    kind = f" ({crash.error})" if crash else ""
    return f"{member.outcome}{kind} at epoch {member.epoch}"

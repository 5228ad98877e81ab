"""The order of ask, train to a rung, cut, tell; and which trials share a stack.

A bracket of trials is asked at once, trained to rising rungs (1, 3, 9, ... epochs) and cut at
each: successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) in which a trial has to
be among the best 1/eta of all trials that were ever seen at the rung, as in ASHA (Li et al.
2020, arXiv:1810.05934). Nothing here depends on time, on the number of workers or on which
worker is faster, but for the deadline itself.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

from nntune.errors import AllFailedError, UsageError
from nntune.failures import Rescue, failure_of
from nntune.metrics import METRICS
from nntune.proposals import Proposer
from nntune.pruners import Reached, Rung, going_on
from nntune.space import Space, Value
from nntune.stacks import UNSURE, epoch_seconds, shape_of, stacks
from nntune.stops import Budget, met, spent
from nntune.study import Definition, Outcome, Trial, Writer
from nntune.trials import Problem, Progress, Setting
from nntune.workers import Workers

# Estimated seconds of a core that the default configuration trains before any trial is cut.
_HEAD_START = 0.6


class Plan(NamedTuple):
    """How a study halves its trials; written into the study when it is created."""

    width: int = 32  # trials of a bracket
    first: int = 8  # of the first bracket; if fewer, the second has the rest of a width
    eta: int = 3
    rungs: tuple[int, ...] = (1, 3, 9, 27, 81, 100)
    patience: int = 20


class Update(NamedTuple):
    """Where a search stands; given after every stack and every rung."""

    bracket: int
    rung: int  # epochs that the bracket is trained to
    training: int  # trials of the bracket still in training
    states: Mapping[str, int]  # trials of the study by state
    best: Trial | None  # of those in training too
    rung_done: bool


def rungs(
    epochs: int, rows: int, batch_size: int, eta: int = 3, steps: int = 30
) -> tuple[int, ...]:
    """Epochs at which a bracket is cut; the last is the whole training.

    >>> rungs(100, 10_000, 64)
    (1, 3, 9, 27, 81, 100)
    >>> rungs(100, 400, 64)
    (5, 15, 45, 100)

    Args:
        epochs: of a whole training.
        rows: of the training split.
        batch_size: a typical one.
        eta: factor from rung to rung.
        steps: the first rung has at least so many of the typical batch size.
    """
    first = math.ceil(steps / math.ceil(rows / batch_size))
    rising = []
    while first < epochs:
        rising.append(first)
        first *= eta
    return (*rising, epochs)


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
        self._writer, self._problem, self._workers = writer, problem, workers
        self._definition: Definition = writer.definition
        # What a killed search left may be of families that are drawn no more.
        self._space = replace(space, past=self._definition.whole_space.past)
        self._has_own = "network" in self._definition.data  # code of the user's
        training = self._definition.training
        self._product = training["product"]
        known = {**training, "first": self._definition.first}
        plan = {name: known[name] for name in Plan._fields}  # another version may know more
        self._plan = Plan(**{**plan, "rungs": tuple(training["rungs"])})
        self._metric = METRICS[self._definition.metric]
        self._minimize = self._metric.direction == "minimize"
        self._propose = Proposer(space, self._definition)
        self._trials: dict[int, Trial] = {}
        self._brackets: dict[int, list[int]] = defaultdict(list)
        self._states: Counter[str] = Counter()
        self._reached = {rung: Reached() for rung in self._plan.rungs}
        self._best: Trial | None = None  # of those that have ended
        self._leader: Trial | None = None  # of those in training too
        self._budget, self._rescue = Budget(), Rescue(workers.renew)
        within = [r for r in self._plan.rungs if self._default_seconds(r) <= _HEAD_START]
        self._ahead = max(within, default=0)  # epochs
        self._keep_count, self._kept = keep, list[Trial]()  # whose weights stay, the best first
        for trial in writer.trials():
            self._keep(trial)

    def run(self, budget: Budget) -> Iterator[Update]:
        """Brackets until the budget is spent; each update comes after its results are stored.

        Raises:
            AllFailedError: no trial of the study could be trained.
        """
        self._budget = budget
        cure = ", with --fresh where that changed the network's code" * self._has_own
        self._rescue = Rescue(self._workers.renew, budget.trial_time, cure=cure)
        while bracket := self._open_bracket():
            yield from self._run_bracket(bracket)
            self._check_failed()
        self._check_failed()

    def _check_failed(self) -> None:
        if self._trials and self._states["failed"] == len(self._trials):
            reasons = sorted({trial.reason for trial in self._trials.values()})
            diverged = any(reason.startswith("diverged") for reason in reasons)
            advice = "lower --lr or scale the data" if diverged else "search other ranges"
            advice += ", or see what the network computes" * (diverged and self._has_own)
            count = len(self._trials)
            failed = f"all {count} trials" if count > 1 else "the one trial"
            raise AllFailedError(f"{failed} failed ({', '.join(reasons)}); {advice}.")

    def _open_bracket(self) -> list[int]:
        """Numbers of the trials to train next: orphans of a killed search first, else new ones."""
        budget, first = self._budget, len(self._trials)
        self.stopped = met(budget, self._best, self._metric)
        # However short the time, a search ends with a value, if that of the default configuration.
        is_waiting = first and self._best is None and self._trials[0].state == "running"
        if not (self.stopped or is_waiting) and first and time.monotonic() >= self._deadline():
            self.stopped = "the time is over"
        if not self.stopped and self._states["running"]:
            orphans = [n for n, trial in self._trials.items() if trial.state == "running"]
            self._writer.retry(orphans)
            return orphans
        self.stopped = self.stopped or spent(budget, first, self._best)
        if self.stopped:
            return []
        left = math.inf if budget.trials is None else budget.trials - first
        return self._ask(first, int(min(self._width(first), left)))

    def _width(self, first: int) -> int:
        """Trials of a bracket by the number of its first one."""
        width = self._plan.width
        if not first:
            return min(self._plan.first, width)
        return width - first if first < self._definition.start else width

    def _ask(self, first: int, count: int) -> list[int]:
        distributions = self._space.distributions()
        proposals = self._propose(list(self._trials.values()), count, self._queue)
        bracket = 1 + max(self._brackets, default=-1)
        asked = [
            (first + place, params, {name: distributions[name] for name in params})
            for place, params in enumerate(proposals)
        ]
        self._writer.begin(bracket, asked)
        for number, params, _ in asked:
            self._keep(Trial.new(number, params, bracket))
        return [number for number, _, _ in asked]

    def _deadline(self, alive: Iterable[Progress] = ()) -> float:
        """When the time is over, by the trials that have a value, those in training included."""
        ended = self._states["complete"] + self._states["pruned"]
        return self._budget.ends(ended + sum(member.best_epoch > 0 for member in alive))

    def _run_bracket(self, numbers: Sequence[int]) -> Iterator[Update]:
        alive = {number: self._progress(number) for number in numbers}
        index = self._trials[numbers[0]].bracket
        for rung in self._plan.rungs:
            deadline = self._deadline(alive.values())
            for trained in self._train(list(alive.values()), rung, deadline):
                alive |= {member.number: member for member in trained}
                self._tell_leader(trained)
                yield self._update(index, rung, len(alive), rung_done=False)
            outcomes = self._cut(index, rung, alive)
            self._tell(outcomes, alive)
            alive = {
                o.number: alive[o.number]
                for o in outcomes
                if o.state == "running" and not alive[o.number].outcome
            }
            yield self._update(index, rung, len(alive), rung_done=True)
            if not alive:
                return

    def _train(
        self, members: Sequence[Progress], rung: int, deadline: float
    ) -> Iterator[list[Progress]]:
        """Members as their stacks reach the rung, in any order; first those without a network."""
        tried = [self._tried(member) for member in members]
        if done := [member for member in tried if member.failure or member.epoch >= rung]:
            yield done
        waiting = [member for member in tried if not member.failure and member.epoch < rung]
        formed = self._formed(waiting, rung, deadline)
        yield from self._rescue.train(formed, lambda stack: self._submit(stack, rung, deadline))

    def _tried(self, member: Progress) -> Progress:
        """The member, failed if the user's code makes no network of its configuration.

        Raises:
            UsageError: it is not this configuration's fault.
        """
        try:
            shape_of(self._configuration(member.number), self._problem)
        except UsageError as error:
            if not isinstance(error.__cause__, Exception):
                raise
            failure = failure_of(error.__cause__)
            return member._replace(outcome=failure.outcome, failure=failure)
        return member

    def _formed(
        self, members: Sequence[Progress], rung: int, deadline: float
    ) -> list[list[Progress]]:
        """Stacks in the order of training: longest first, or last where time is short for all."""
        configurations = {m.number: self._configuration(m.number) for m in members}
        first = [m for m in members if self._is_ahead(m, rung, deadline)]
        rest = [m for m in members if not first or m.number]
        formed = stacks(rest, configurations, self._problem, self._workers.count)
        formed = [first, *formed] if first else formed
        seconds = UNSURE * sum(
            (rung - stack[0].epoch)
            * epoch_seconds(configurations[stack[0].number], self._problem, len(stack))
            for stack in formed
        )
        if time.monotonic() + seconds / max(self._workers.count, 1) > deadline:
            formed.reverse()  # what is cheap has a value then
            formed.sort(key=lambda stack: stack[0].number > 0)  # and so has the default
        return formed

    def _is_ahead(self, member: Progress, rung: int, deadline: float) -> bool:
        """Whether it is the default configuration, begins, and has the time to go on at once.

        It has often the best value of the first seconds. Its curve and its rank at a rung are what
        they would be otherwise.
        """
        if member.number or member.epoch or self._ahead <= rung:
            return False
        return time.monotonic() + UNSURE * self._default_seconds(self._ahead) < deadline

    def _default_seconds(self, epochs: int) -> float:
        return epochs * epoch_seconds(self._space.default, self._problem)

    def _submit(
        self, stack: list[Progress], rung: int, deadline: float
    ) -> "Future[list[Progress]]":
        params = self._configuration(stack[0].number)
        if self._is_ahead(stack[0], rung, deadline):
            rung = self._ahead
        elif self._best is None and any(m.number == 0 and not m.epoch for m in stack):
            deadline = math.inf
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
        return self._workers.train(stack, setting, self._problem, rung, deadline)

    def _cut(self, bracket: int, rung: int, alive: Mapping[int, Progress]) -> list[Outcome]:
        """What becomes of each member at a rung."""
        scored = {n: m for n, m in alive.items() if m.outcome in ("", "early stop", "epochs")}
        staying = self._staying(bracket, rung, scored)
        staying |= {number for number, member in scored.items() if member.epoch > rung}
        timed_out = {
            n: self._rank(m.value, m.loss)
            for n, m in alive.items()
            if m.outcome == "time" and m.best_epoch
        }
        if timed_out:  # of a bracket without time to finish, the best is as good as finished
            staying.add(min(timed_out, key=lambda number: timed_out[number]))
        is_met = self._budget.is_met([m.value for m in scored.values()], self._metric)
        end = "epochs" if rung == self._plan.rungs[-1] else "good enough" * is_met
        return [
            _outcome(member, self._told(member, rung), goes_on=number in staying, end=end)
            for number, member in alive.items()
        ]

    def _staying(self, bracket: int, rung: int, scored: Mapping[int, Progress]) -> set[int]:
        """Of members with a value at a rung, those that the pruner keeps; at the last one all."""
        if rung == self._plan.rungs[-1]:
            return set(scored)
        pruner, reached = self._definition.pruner, self._reached[rung]
        for number, member in scored.items():
            reached.keep(number, self._rank(self._value_at(member, rung), member.loss))
        ranks = reached.ranks
        mine = {n: ranks[n] for n in self._brackets[bracket] if n in ranks}
        place, count = self._plan.rungs.index(rung), len(self._plan.rungs)
        complete = {}
        if pruner == "median":
            before = self._plan.rungs[place - 1] if place else 0
            complete = {n: ranks[n] for n in ranks if self._was_complete(n, bracket, before)}
        here = Rung(bracket, place, count, mine, reached.order, complete)
        return going_on(pruner, here, self._plan.eta)

    def _told(self, member: Progress, rung: int) -> dict[int, float]:
        """The values that are stored of a member at a rung, by epoch."""
        if not member.outcome:
            return {rung: self._value_at(member, rung)}
        passed = [each for each in self._plan.rungs if rung <= each < member.epoch]
        return {each: self._value_at(member, each) for each in (*passed, member.epoch)}

    def _value_at(self, member: Progress, epoch: int) -> float:
        """The best value until then."""
        if member.epoch <= epoch:
            return member.value
        best = min if self._minimize else max
        return best(member.curve[:epoch])

    def _was_complete(self, number: int, bracket: int, rung: int) -> bool:
        """Whether a trial was complete when a bracket had a rung behind it, killed since or not."""
        trial = self._trials[number]
        is_before = trial.bracket < bracket or max(trial.rungs, default=0) <= rung
        return trial.state == "complete" and is_before

    def _tell(self, outcomes: Sequence[Outcome], members: Mapping[int, Progress]) -> None:
        trials = [self._trials[outcome.number].with_outcome(outcome) for outcome in outcomes]
        best = self._best_few([*self._kept, *trials])
        told = {trial.number for trial in trials}
        weights = {
            trial.number: _weights(members[trial.number]) if trial.number in told else None
            for trial in best
        }
        self._writer.report(outcomes, weights if best != self._kept else None)
        for trial in trials:
            self._keep(trial)

    def _tell_leader(self, members: Sequence[Progress]) -> None:
        """Stores a value that is better than all before; others wait for the end of the rung.

        Who looks meanwhile has it. A killed search trains its trial again as any other.
        """
        outcomes = [
            _outcome(member, {member.epoch: member.value}, goes_on=True, end="")
            for member in members
        ]
        valued = [each for each in outcomes if self._leads(each.value)]
        if valued:
            best = min(valued, key=lambda each: self._rank(each.value or 0.0, each.loss or 0.0))
            self._writer.report([best._replace(state="running", reason="")])
            self._leader = self._trials[best.number]._replace(value=best.value)

    def _leads(self, value: float | None) -> bool:
        best = None if self._leader is None else self._leader.value
        return value is not None and (best is None or self._metric.better(value, best))

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
            if self._leads(trial.value):
                self._leader = trial
        if self._leader and trial.number == self._leader.number and trial.state != "running":
            self._leader = self._best  # which it is now, if it did not diverge

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

    def _update(self, bracket: int, rung: int, training: int, *, rung_done: bool) -> Update:
        return Update(bracket, rung, training, +self._states, self._leader, rung_done)


def _weights(member: Progress) -> bytes | None:
    """Parameters at the best epoch as a study keeps them: little-endian single precision."""
    return None if member.best is None else member.best.astype("<f4").tobytes()


def _outcome(member: Progress, told: Mapping[int, float], *, goes_on: bool, end: str) -> Outcome:
    """What is stored of a member at a rung.

    Args:
        member: as its stack came back.
        told: values by epoch, the rung first.
        goes_on: whether it may.
        end: why no member goes on, or nothing.
    """
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
        state, reason = "pruned", f"rung {next(iter(told))}"
    has_value = state != "failed" and member.best_epoch > 0
    return Outcome(
        number=member.number,
        state=state,
        value=member.value if has_value else None,
        loss=member.loss if has_value else None,
        epoch=member.best_epoch or None,
        rungs=dict(told) if has_value else {},
        losses=dict.fromkeys(told, member.loss) if has_value else {},
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

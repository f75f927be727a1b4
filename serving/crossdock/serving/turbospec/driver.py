"""Keeps a policy and an engine in step, whichever engine it is, and keeps them from each other.

The engine's plug-in says what it schedules and what came of it; the driver asks the policy,
measures the steps, and tells the policy and the observers of what happened. Whatever a policy, an
observer or a clock does, a step of the engine goes on: the first error is logged and the policy is
asked no more.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable

from crossdock.serving.turbospec.clock import Clock, WallClock
from crossdock.serving.turbospec.step import Batch, Plan, Policy, Step, Verified, Work
from crossdock.serving.turbospec.stopwatch import Stopwatch

_FLIGHT_MAX = 64
"""Steps that an engine may have under way."""
_STRANGE_MAX = 20
"""Steps in a row without a length after which the policy is not asked any more."""

_NOTHING = Verified()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A step, and the plan that it followed."""

    time: float
    """When it ended, by the driver's clock."""
    step: Step
    plan: Plan | None
    """What had been drafted and was verified in it; None where nothing was planned."""
    prefill: int
    """Tokens of prompts in it."""
    busy: bool
    """The engine has more to do."""


Observer = Callable[[Outcome], None]
"""Is told of each step, such as a log or metrics."""


@dataclasses.dataclass(slots=True)
class _Flight:
    work: Work
    plan: Plan | None
    prefill: int
    key: object
    generated: int = 0
    verified: Verified = _NOTHING
    ended: float = math.nan
    busy: bool = False


class Driver:
    """Asks a policy on behalf of an engine; used by the thread that schedules.

    Args:
        policy: what decides; ``use`` changes it.
        max_draft: the most tokens that the engine can draft.
        warn: is given one line when the policy is given up.
        clock: what the steps are measured with.
        observers: are told of each step.
        ahead: the engine drafts at the end of a step, so that a plan is for the step after the one
            that is scheduled; else it drafts at the beginning.
    """

    def __init__(
        self,
        policy: Policy,
        max_draft: int,
        warn: Callable[[str], None],
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
        ahead: bool = True,
    ) -> None:
        self.max_draft = max_draft
        self.observers = list(observers)
        self._warn = warn
        self._ahead = ahead
        self.use(policy, clock)

    def use(self, policy: Policy, clock: Clock | None = None) -> None:
        """From now on, ask this policy; what was under way is forgotten.

        The engine must be idle.
        """
        self.policy: Policy | None = policy
        self.clock: Clock = clock or WallClock()
        self._stopwatch = Stopwatch()
        self._flights: deque[_Flight] = deque(maxlen=_FLIGHT_MAX)
        self._landed: _Flight | None = None
        self._plan: Plan | None = None
        self._doubted = False

    def begin(self) -> None:
        """The engine is about to schedule a step."""
        try:
            self._land()
            self._stopwatch.begin(self.clock.now())
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine goes on
            self.give_up(error)

    def plan(self, batch: Batch) -> Plan | None:
        """What to draft at the end of the step that is being scheduled, and to verify in the next.

        None: as the engine would without a policy.
        """
        if self.policy is None:
            return None
        try:
            plan = self.policy.plan(batch)
            _check(plan, batch, self.max_draft)
        except Exception as error:  # noqa: BLE001
            self.give_up(error)
            return None
        return plan

    def scheduled(self, key: object, work: Work, prefill: int, plan: Plan | None) -> None:
        """A step is on its way.

        Args:
            key: names it when it has ended.
            work: what it does.
            prefill: tokens of prompts in it.
            plan: what the step after it follows, or it itself where the engine drafts first.
        """
        followed = self._plan if self._ahead else plan
        self._flights.append(_Flight(work, followed, prefill, key))
        self._plan = plan

    def verified(self, key: object, verified: Verified, generated: int, busy: bool) -> None:
        """The results of a step are there. Steps before it that have none are dropped.

        Args:
            key: as in ``scheduled``.
            verified: what became of drafts.
            generated: tokens that requests got.
            busy: the engine has more to do, so the next step is measured from this one's end.
        """
        flight = None
        while self._flights and (flight is None or flight.key is not key):
            flight = self._flights.popleft()
        if flight is None or flight.key is not key:
            return
        self._landed = flight
        flight.verified, flight.generated, flight.busy = verified, generated, busy
        try:
            self.clock.ran(flight.work)
            flight.ended = self.clock.now()
        except Exception as error:  # noqa: BLE001
            self.give_up(error)

    def end(self) -> None:
        """The step whose results came last has its drafts too, and has ended."""
        try:
            if self._landed is not None:
                self._landed.ended = self.clock.now()
            self._land()
        except Exception as error:  # noqa: BLE001
            self.give_up(error)

    def forget(self, requests: Iterable[str]) -> None:
        """These requests have ended."""
        if self.policy is None:
            return
        try:
            self.policy.forget(requests)
        except Exception as error:  # noqa: BLE001
            self.give_up(error)

    def close(self) -> None:
        """The engine ends; observers that can be closed are."""
        self.end()
        for observer in self.observers:
            close = getattr(observer, "close", None)
            if close is None:
                continue
            try:
                close()
            except Exception as error:  # noqa: BLE001 - as when it is told of a step
                self._warn(f"{_text(error)}; what it was told last is lost")
        self.observers = []

    def _land(self) -> None:
        flight, self._landed = self._landed, None
        if flight is None:
            return
        seconds = self._stopwatch.end(flight.ended, flight.busy)
        if flight.work.tokens == 0:
            return
        if seconds is None:
            self._doubt_the_clock()
            return
        step = Step(
            flight.work,
            seconds,
            flight.verified,
            flight.generated,
            flight.prefill,
            _asked(flight.plan),
        )
        if self.policy is not None:
            self.policy.observe(step)
        self._tell(Outcome(flight.ended, step, flight.plan, flight.prefill, flight.busy))

    def _tell(self, outcome: Outcome) -> None:
        for observer in tuple(self.observers):
            try:
                observer(outcome)
            except Exception as error:  # noqa: BLE001
                self.observers.remove(observer)
                self._warn(f"{_text(error)}; what is chosen is no longer reported there")

    def _doubt_the_clock(self) -> None:
        if self.policy is None:
            return
        if not self._doubted:
            self._doubted = True
            self._warn("a step had no length that can be: the clock jumps; it is not learnt from")
        elif self._stopwatch.strange == _STRANGE_MAX:
            raise ArithmeticError(f"{_STRANGE_MAX} steps in a row had no length that can be")

    def give_up(self, error: Exception) -> None:
        """Ask the policy no more."""
        if self.policy is None:
            return
        self.policy = None
        self._warn(f"speculation is no longer controlled, the engine goes on alone: {_text(error)}")


def _asked(plan: Plan | None) -> float:
    """Drafts of each request that a plan has, in the mean."""
    return sum(plan.verify) / len(plan.verify) if plan is not None and plan.verify else 0.0


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _check(plan: Plan, batch: Batch, max_draft: int) -> None:
    if not 0 <= plan.draft_length <= max_draft:
        raise ValueError(f"it drafts {plan.draft_length} tokens of at most {max_draft}")
    if len(plan.verify) != len(batch.requests):
        raise ValueError(f"it plans {len(plan.verify)} requests of {len(batch.requests)}")
    used = set(plan.verify)  # few, of hundreds
    least, most = min(used, default=0), max(used, default=0)
    if not 0 <= least <= most <= plan.draft_length:
        raise ValueError(f"it verifies {least} to {most} drafts of {plan.draft_length}")
    if not (math.isfinite(plan.tokens) and math.isfinite(plan.seconds)):
        raise ValueError(f"it predicts {plan.tokens} tokens in {plan.seconds} s")

"""The loop: requests come, a policy plans, a step runs for as long as it costs, tokens come out."""

from __future__ import annotations

import math
from collections.abc import Callable

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.arrivals import Closed
from crossdock.serving.simulator.log import Log, log_of
from crossdock.serving.simulator.phases import Limits, Scenario
from crossdock.serving.simulator.scheduler import Live, Scheduled, Scheduler
from crossdock.serving.simulator.workload import NOISES, Workload
from crossdock.serving.turbospec.step import Batch, Plan, Policy, Step, Verified, Work

__all__ = ["Limits", "Simulation", "run"]

STEPS_MAX = 2_000_000
"""Of a run."""


def run(
    workload: Workload,
    policy: Policy,
    drain: bool = False,
    watch: Callable[[Simulation], None] | None = None,
) -> Log:
    """Serve all phases with a policy.

    Args:
        workload: scenario and seed.
        policy: plans and observes every step.
        drain: after the last phase, go on until every request of open loops has its answer.
        watch: called after each step.

    Raises:
        ArgumentError: a plan does not fit its batch, or the run does not end.
    """
    simulation = Simulation(workload, policy)
    while simulation.advance(drain):
        if watch is not None:
            watch(simulation)
        if len(simulation.steps) > STEPS_MAX:
            raise ArgumentError(f"the scenario takes more than {STEPS_MAX} steps; shorten it")
    simulation.close()
    preemptions = simulation.scheduler.preemptions
    return log_of(simulation.steps, simulation.ended, simulation.ends, preemptions)


class Simulation:
    """The state of a run, a step at a time.

    Args:
        workload: scenario and seed.
        policy: see ``run``.
    """

    def __init__(self, workload: Workload, policy: Policy) -> None:
        self.workload = workload
        self.scenario: Scenario = workload.scenario
        self.policy = policy
        self.scheduler = Scheduler(self.scenario.limits, self.scenario.draft_max)
        self.now = 0.0
        self.phase = -1
        self.steps: list[tuple[float, ...]] = []
        self.ended: list[tuple[float, ...]] = []
        self.ends = self.scenario.ends
        """Of each phase; of those that are not over, as far as is known."""
        self._asked = 0.0
        """Drafts of each request that the last plan had."""
        self._taken = 0
        """Requests of this phase that have come."""
        self._enter(0)

    def advance(self, drain: bool = False) -> bool:
        """Run a step, or pass the time until something comes; False at the end."""
        self._arrive()
        while self._is_over():
            self._leave()
            self._arrive()
        scheduler = self.scheduler
        if scheduler.running or scheduler.waiting:
            if self.phase >= len(self.ends) and not drain:
                return False
            self._step()
            return True
        if self.phase >= len(self.ends):
            return False
        self.now = min(self._next_arrival(), self.ends[self.phase])
        return True

    def close(self) -> None:
        """Enter what has not ended into the log, as cut."""
        for live in [*self.scheduler.running, *self.scheduler.waiting]:
            self._enter_request(live)

    def _enter(self, phase: int) -> None:
        self.phase = phase
        self._taken = 0

    def _is_over(self) -> bool:
        if self.phase >= len(self.ends) or self.now < self.ends[self.phase]:
            return False
        scheduler = self.scheduler
        answered = not (scheduler.running or scheduler.waiting)
        return answered or self.scenario.carry or self._is_closed()

    def _is_closed(self) -> bool:
        return isinstance(self.scenario.phases[self.phase].arrivals, Closed)

    def _leave(self) -> None:
        """To the next phase; the later ones begin as much later as this one took longer."""
        if self._is_closed():
            scheduler = self.scheduler
            gone = [
                live
                for live in [*scheduler.running, *scheduler.waiting]
                if live.phase == self.phase
            ]
            ids = set(map(id, gone))
            for live in gone:
                self._enter_request(live)
            scheduler.drop(ids)
            kept = [live for live in scheduler.waiting if id(live) not in ids]
            scheduler.waiting.clear()
            scheduler.waiting.extend(kept)
            self.policy.forget([live.request.name for live in gone])
        elif not self.scenario.carry:
            late = self.now - self.ends[self.phase]
            self.ends[self.phase :] = [end + late for end in self.ends[self.phase :]]
        self._enter(self.phase + 1)

    def _arrive(self) -> None:
        """Queue what has come by now."""
        if self.phase >= len(self.ends):
            return
        arrivals = self.scenario.phases[self.phase].arrivals
        scheduler = self.scheduler
        if isinstance(arrivals, Closed):
            # Those of earlier open phases have no client that waits for them.
            here = [*scheduler.running, *scheduler.waiting]
            for _ in range(arrivals.clients - sum(live.phase == self.phase for live in here)):
                self._queue(self.now)
            return
        times = self.workload.times(self.phase)
        start = self._start()
        while self._taken < len(times) and start + times[self._taken] <= self.now:
            self._queue(start + times[self._taken])

    def _queue(self, arrival: float) -> None:
        request = self.workload.request(self.phase, self._taken)
        self.scheduler.waiting.append(Live(request, self.phase, arrival))
        self._taken += 1

    def _start(self) -> float:
        return self.ends[self.phase - 1] if self.phase else 0.0

    def _next_arrival(self) -> float:
        times = self.workload.times(self.phase)
        return self._start() + times[self._taken] if self._taken < len(times) else math.inf

    def _step(self) -> None:
        scheduler = self.scheduler
        step = scheduler.schedule()
        planned = [live for live, _ in step.decodes]
        planned += [live for live, count in step.prompts if count == live.missing]
        plan = self._plan(planned, step)
        work = Work(
            requests=len(step.decodes),
            tokens=step.tokens,
            context=sum(live.computed for live in scheduler.running),
            draft_length=plan.draft_length,
        )
        noise = self.workload.noise[len(self.steps) % NOISES]
        seconds = self.scenario.cost.seconds(work) * noise
        start, self.now = self.now, self.now + seconds
        generated, verified = self._decode(step)
        generated += self._prefill(step)
        self._draft(planned, plan)
        drafts = sum(count for _, count in step.decodes)
        self.steps.append(
            (start, seconds, generated, work.requests, step.tokens, plan.draft_length, drafts)
        )
        self._finish()
        reported = seconds * self.scenario.misreport
        prompts = sum(count for _, count in step.prompts)
        self.policy.observe(Step(work, reported, verified, generated, prompts, self._asked))
        self._asked = sum(plan.verify) / len(planned) if planned else 0.0

    def _plan(self, planned: list[Live], step: Scheduled) -> Plan:
        """What is drafted at the end of a step and verified in the next one.

        It is planned when the step is scheduled, as in an engine that schedules ahead; the batch
        is what will decode then, as far as is known.
        """
        budget = self.scenario.limits.tokens - len(planned)
        plan = self.policy.plan(
            Batch(
                requests=[live.request.name for live in planned],
                context=sum(live.computed + live.missing for live in planned),
                prefill=max(0, min(budget, self.scheduler.prompts_left(step))),
                limits=[max(0, live.useful - 1) for live in planned],
            )
        )
        if not 0 <= plan.draft_length <= self.scenario.draft_max:
            raise ArgumentError(
                f"the plan drafts {plan.draft_length} tokens; 0 to {self.scenario.draft_max} can be"
            )
        if len(plan.verify) != len(planned):
            raise ArgumentError(
                f"the plan verifies drafts of {len(plan.verify)} requests; there are {len(planned)}"
            )
        return plan

    def _decode(self, step: Scheduled) -> tuple[int, Verified]:
        """Tokens of the decoding requests, and what became of their drafts."""
        generated = 0
        names: list[str] = []
        counts: list[int] = []
        good: list[int] = []
        for live, drafts in step.decodes:
            request = live.request
            accepted = 0
            if drafts:
                ease, decay, at = request.ease, request.decay, live.emitted
                while accepted < drafts and ease[at + accepted] < decay[accepted]:
                    accepted += 1
            gained = accepted + 1
            generated += gained
            live.emitted += gained
            live.computed += gained
            if drafts and live.emitted < request.output:
                names.append(request.name)
                counts.append(drafts)
                good.append(accepted)
        return generated, Verified(names, counts, good)

    def _prefill(self, step: Scheduled) -> int:
        """First tokens, of prompts that the step has come to the end of."""
        generated = 0
        for live, count in step.prompts:
            live.computed += count
            if live.computed < live.request.prompt + live.emitted:
                continue
            live.emitted += 1
            generated += 1
            if live.first < 0:
                live.first = self.now
        return generated

    def _draft(self, planned: list[Live], plan: Plan) -> None:
        """Propose for those that have got a token, and keep what is to be verified."""
        for live, verify in zip(planned, plan.verify, strict=True):
            request = live.request
            live.drafts = min(plan.draft_length, verify)
            if request.silent is not None and live.emitted < request.output:
                live.drafts = 0 if request.silent[live.emitted] else live.drafts

    def _finish(self) -> None:
        done = [live for live in self.scheduler.running if live.emitted >= live.request.output]
        if not done:
            return
        for live in done:
            self._enter_request(live)
        self.scheduler.drop(set(map(id, done)))
        self.policy.forget([live.request.name for live in done])

    def _enter_request(self, live: Live) -> None:
        whole = live.emitted >= live.request.output
        self.ended.append((live.arrival, live.first, self.now, live.emitted, float(whole)))

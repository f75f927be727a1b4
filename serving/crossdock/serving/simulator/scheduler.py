"""Which requests a step holds, as vLLM's scheduler decides it.

Requests that run come first, in the order in which they began: a decoding one with a token and its
drafts, one whose prompt is not done with as much of it as the budget leaves. What is left of the
budget goes to waiting requests, first come first served. When the KV cache is full, the request
that began last loses its blocks and goes back to the head of the queue; its tokens are computed
again. A step that took blocks away admits nobody.
"""

from __future__ import annotations

import dataclasses
from collections import deque

from crossdock.serving.simulator.phases import Limits
from crossdock.serving.simulator.workload import Request


class Live:
    """A request in the engine. ``computed`` tokens are in the KV cache, ``emitted`` are answered.

    It decodes when all but its last token are computed.
    """

    __slots__ = ("arrival", "computed", "drafts", "emitted", "first", "phase", "request", "room")

    def __init__(self, request: Request, phase: int, arrival: float) -> None:
        self.request = request
        self.phase = phase
        self.arrival = arrival
        self.first = -1.0
        self.computed = 0
        self.emitted = 0
        self.drafts = 0
        """That were proposed at the end of its last step and are to be verified in its next one."""
        self.room = 0
        """Tokens that its blocks hold."""

    @property
    def missing(self) -> int:
        """Tokens that must be computed before the next one of the answer; 1 if it decodes."""
        return self.request.prompt + self.emitted - self.computed

    @property
    def decodes(self) -> bool:
        """It gets a token in every step that it is part of."""
        return self.emitted > 0 and self.missing == 1

    @property
    def useful(self) -> int:
        """The most drafts that do not reach beyond its end."""
        return self.request.output - self.emitted - 1


@dataclasses.dataclass(slots=True)
class Scheduled:
    """A step that is about to run."""

    decodes: list[tuple[Live, int]] = dataclasses.field(default_factory=list)
    """(request, drafts that are verified)"""
    prompts: list[tuple[Live, int]] = dataclasses.field(default_factory=list)
    """(request, tokens of its prompt)"""
    tokens: int = 0
    """Of all."""


class Scheduler:
    """Queue, running requests and blocks.

    Args:
        limits: of the engine.
        lookahead: tokens beyond those of the step for which each decoding request has blocks.
    """

    def __init__(self, limits: Limits, lookahead: int) -> None:
        self.limits = limits
        self.lookahead = lookahead
        self.free = limits.blocks
        self.running: list[Live] = []
        self.waiting: deque[Live] = deque()
        self.preemptions = 0

    @property
    def in_use(self) -> int:
        """Blocks."""
        return self.limits.blocks - self.free

    def prompts_left(self, step: Scheduled) -> int:
        """Tokens of prompts that the step after this one could take, were there no budget."""
        taken = {id(live): count for live, count in step.prompts}
        prompts = [live for live in self.running if not live.decodes]
        left = sum(live.missing - taken.get(id(live), 0) for live in prompts)
        places = self.limits.requests - len(self.running)
        for live in self.waiting:
            if places <= 0 or left >= self.limits.tokens:
                break
            left, places = left + live.missing, places - 1
        return left

    def schedule(self) -> Scheduled:
        """The next step. Drafts that no budget is left for, or that are of no use, are left out."""
        step = Scheduled()
        before = self.preemptions
        place = 0
        while place < len(self.running) and step.tokens < self.limits.tokens:
            live = self.running[place]
            left = self.limits.tokens - step.tokens
            if not live.decodes:
                count = min(live.missing, left)
                if not self._grow_by_force(live, live.computed + count):
                    break
                step.prompts.append((live, count))
            else:
                drafts = max(0, min(live.drafts, live.useful, left - 1))
                count = 1 + drafts
                if not self._grow_by_force(live, live.computed + count + self.lookahead):
                    break
                step.decodes.append((live, drafts))
            step.tokens += count
            place += 1
        if self.preemptions == before:
            self._admit(step)
        return step

    def release(self, live: Live) -> None:
        """Its blocks are free again."""
        self.free += live.room // self.limits.block
        live.room = 0

    def drop(self, ended: set[int]) -> None:
        """Running requests, by ``id``, have ended."""
        for live in self.running:
            if id(live) in ended:
                self.release(live)
        self.running = [live for live in self.running if id(live) not in ended]

    def _admit(self, step: Scheduled) -> None:
        while self.waiting and len(self.running) < self.limits.requests:
            left = self.limits.tokens - step.tokens
            live = self.waiting[0]
            # All of a prompt must fit: admitted by its first chunk, it would be thrown out again.
            if left <= 0 or not self._grow(live, live.computed + live.missing):
                break
            self.running.append(self.waiting.popleft())
            count = min(live.missing, left)
            step.prompts.append((live, count))
            step.tokens += count

    def _grow_by_force(self, live: Live, tokens: int) -> bool:
        """Make room for ``tokens``; False if that cost the request its own place."""
        while not self._grow(live, tokens):
            victim = self.running.pop()
            self._preempt(victim)
            if victim is live:
                return False
        return True

    def _grow(self, live: Live, tokens: int) -> bool:
        if tokens <= live.room:
            return True
        size = self.limits.block
        more = -(-(tokens - live.room) // size)
        if more > self.free:
            return False
        self.free -= more
        live.room += more * size
        return True

    def _preempt(self, live: Live) -> None:
        self.release(live)
        live.computed = 0
        live.drafts = 0
        self.preemptions += 1
        self.waiting.appendleft(live)

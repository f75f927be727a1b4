"""A policy that decides by dice, anew in each step: whatever it says, answers must not change."""

from __future__ import annotations

import collections
import os
import random
from collections.abc import Iterable
from typing import Any

from crossdock.serving.turbospec import Batch, Plan, Step


class Wild:
    """Draws K, and k_i of each request."""

    def __init__(self, max_draft: int, seed: int = 1) -> None:
        self._dice = random.Random(seed)
        self._max = max_draft
        self.plans: collections.Counter[int] = collections.Counter()
        self.steps: list[Step] = []
        self.known: set[str] = set()
        self.forgotten: set[str] = set()
        self.previous: dict[str, int] = {}

    def plan(self, batch: Batch) -> Plan:
        """Dice."""
        length = self._dice.choice([0, 0, *range(self._max + 1), self._max])
        limits = batch.limits or [self._max] * len(batch.requests)
        verify = [min(self._dice.randint(0, length), limit) for limit in limits]
        if self._dice.random() < 0.3:
            verify = [min(length, limit) for limit in limits]
        self.plans[length] += 1
        self.known.update(batch.requests)
        return Plan(length, verify, "fixed", 0.0, 0.0)

    def observe(self, step: Step) -> None:
        """Keeps all of it."""
        self.steps.append(step)

    def forget(self, requests: Iterable[str]) -> None:
        """Keeps that too."""
        self.forgotten.update(requests)


class Failing(Wild):
    """Fails in its 40th plan."""

    def plan(self, batch: Batch) -> Plan:
        """Dice, until it fails."""
        if sum(self.plans.values()) == 40:
            raise RuntimeError("out of luck")
        return super().plan(batch)


def make(max_draft: int) -> Wild:
    """For ``CROSSDOCK_TURBOSPEC_POLICY``."""
    return (Failing if os.environ.get("WILD_FAILS") else Wild)(max_draft)


def report(driver: Any) -> dict[str, Any] | None:
    """What the policy of a driver has seen; None without one."""
    policy = getattr(driver, "policy", None)
    if not isinstance(policy, Wild):
        return None
    verified = [
        pair
        for step in policy.steps
        for pair in zip(step.verified.drafts, step.verified.accepted, strict=True)
    ]
    return {
        "plans": dict(policy.plans),
        "steps": len(policy.steps),
        "drafts": sum(drafts for drafts, _ in verified),
        "accepted": sum(accepted for _, accepted in verified),
        "rejections": sum(accepted < drafts for drafts, accepted in verified),
        "generated": sum(step.generated for step in policy.steps),
        "kept": len(policy.known - policy.forgotten),
        "seconds": [min(s.seconds for s in policy.steps), max(s.seconds for s in policy.steps)],
        "lengths": sorted({step.work.draft_length for step in policy.steps}),
    }

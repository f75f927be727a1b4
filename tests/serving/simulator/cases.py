"""Small scenarios, and policies that do as they please."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from crossdock.serving.simulator import Acceptance, Lengths, Limits, Phase, Scenario
from crossdock.serving.simulator.arrivals import Arrivals, Closed, Gamma, poisson
from crossdock.serving.simulator.costs import TrueCost
from crossdock.serving.simulator.models import H100, LLAMA_8B, dense, eagle
from crossdock.serving.turbospec.step import Batch, Plan, Step

COST: TrueCost = dense(LLAMA_8B, H100, 1, eagle(LLAMA_8B, H100, 1))
SHORT = Lengths(40, 30)


def scenario(
    arrivals: Arrivals | Closed | None = None,
    seconds: float = 1.0,
    acceptance: Acceptance | None = None,
    limits: Limits | None = None,
    carry: bool = True,
) -> Scenario:
    """Two phases of the same kind."""
    phase = Phase(seconds, arrivals or poisson(20.0), acceptance or Acceptance(0.7), SHORT)
    limits = limits or Limits(requests=16, tokens=256, blocks=200)
    return Scenario("case", "cases", COST, [phase, phase], limits, draft_max=4, carry=carry)


class Whim:
    """Plans at random, and writes down what it is told."""

    def __init__(self, seed: int, longest: int = 4) -> None:
        self._rng = np.random.default_rng(seed)
        self._longest = longest
        self.steps: list[Step] = []
        self.ended: list[str] = []

    def plan(self, batch: Batch) -> Plan:
        """Any length for the drafter, any for each request."""
        length = int(self._rng.integers(self._longest + 1))
        verify = self._rng.integers(0, length + 1, len(batch.requests))
        return Plan(length, verify.tolist(), "whim", 0.0, 0.0)

    def observe(self, step: Step) -> None:
        """Kept."""
        self.steps.append(step)

    def forget(self, requests: Iterable[str]) -> None:
        """Kept."""
        self.ended += requests


BATCHES = {
    "roomy": Limits(requests=12, tokens=256, blocks=100, block=32),
    "full": Limits(requests=12, tokens=256, blocks=14, block=32),
    "budget": Limits(requests=12, tokens=64, blocks=100, block=32),
}
"""Engines whose batches are compared: one with room, one that must preempt, and one whose prompts
take several steps."""


def batches(name: str) -> Scenario:
    """A burst of requests for one of ``BATCHES``.

    Its steps have no noise and the context costs nothing, so that the same batches take the same
    time.
    """
    phase = Phase(1.5, Gamma(40.0, cv=2.0), Acceptance(0.7), Lengths(60, 30))
    cost = dataclasses.replace(COST, per_context=0.0)
    return Scenario(
        name, "batches", cost, [phase], BATCHES[name], draft_max=4, noise=0.0, spikes=0.0
    )

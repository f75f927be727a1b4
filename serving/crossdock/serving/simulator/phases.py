"""A scenario: what a step costs, and phases of load that follow each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.acceptance import Acceptance
from crossdock.serving.simulator.arrivals import Arrivals, Closed
from crossdock.serving.simulator.costs import TrueCost

TOKENS_MAX = 100_000
"""Of a drawn prompt or answer; longer ones are cut."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompts and answers: log-normal, given by mean and variation."""

    prompt: float
    output: float
    prompt_cv: float = 0.5
    """Standard deviation over mean."""
    output_cv: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("prompt", self.prompt), ("output", self.output)):
            if not 1 <= value <= TOKENS_MAX:
                raise ArgumentError(f"{name} has {value} tokens; give 1 to {TOKENS_MAX}")

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """(prompt, output) of one request; at least one token each."""
        return (
            _log_normal(rng, self.prompt, self.prompt_cv),
            _log_normal(rng, self.output, self.output_cv),
        )


def _log_normal(rng: np.random.Generator, mean: float, cv: float) -> int:
    variance = math.log1p(cv**2)
    value = rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance))
    return min(TOKENS_MAX, max(1, round(float(value))))


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """A while in which load and prompts are of one kind.

    The clients of a closed loop leave at its end, with their requests. For those of an open loop
    see ``Scenario.carry``.
    """

    seconds: float
    arrivals: Arrivals | Closed
    acceptance: Acceptance
    lengths: Lengths

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ArgumentError(f"a phase of {self.seconds} s; it must last longer than 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Of the engine.

    Raises:
        ArgumentError: one is below what a step needs.
    """

    requests: int = 128
    """That run at a time."""
    tokens: int = 2048
    """Of a step."""
    blocks: int = 1 << 20
    """Of the KV cache."""
    block: int = 16
    """Tokens of a block."""

    def __post_init__(self) -> None:
        if min(self.requests, self.tokens, self.blocks, self.block) < 1:
            raise ArgumentError(f"every limit must be at least 1, got {self}")
        if self.tokens < self.requests:
            raise ArgumentError(
                f"a budget of {self.tokens} tokens is less than a token for each of "
                f"{self.requests} requests"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """All that a run depends on but the policy and the seed."""

    name: str
    family: str
    """What it is counted with in reports."""
    cost: TrueCost
    phases: Sequence[Phase]
    limits: Limits = Limits()
    draft_max: int = 7
    """The longest draft; room for so many tokens is kept in the KV cache for each request."""
    noise: float = 0.03
    """Of the length of a step: standard deviation of its logarithm."""
    spikes: float = 0.002
    """Share of steps that last three times as long."""
    carry: bool = True
    """Requests of an open loop that are not done when their phase ends go on into the next one and
    keep their acceptance; else the next one waits until they have their answers. To compare
    policies phase by phase it must: who was slow in one phase would have larger batches, so more
    goodput, in the next. Nor may they be dropped: who puts prompts off for long drafts would seem
    to be the fastest, and all policies must have done the same work."""
    misreport: float = 1.0
    """How many times its true length a step is reported to last."""

    def __post_init__(self) -> None:
        if not self.phases:
            raise ArgumentError(f"the scenario {self.name} has no phase")
        if self.limits.tokens < self.limits.requests * (1 + self.draft_max):
            raise ArgumentError(
                f"the budget of {self.limits.tokens} tokens does not hold {self.limits.requests} "
                f"requests with {self.draft_max} drafts each"
            )

    @property
    def ends(self) -> list[float]:
        """Seconds from the start to the end of each phase, if none takes longer than planned."""
        return [float(end) for end in np.cumsum([phase.seconds for phase in self.phases])]

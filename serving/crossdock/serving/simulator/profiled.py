"""What a profiler would have found, for policies that need a cost model before they start."""

from __future__ import annotations

import numpy as np

from crossdock.serving.simulator.costs import PARTS, TrueCost
from crossdock.serving.simulator.phases import Scenario
from crossdock.serving.turbospec import fitting
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.step import Work

_CONTEXTS = (128, 512, 2048)
_REPETITIONS = 5


def profiled(scenario: Scenario, truth: TrueCost | None = None, seed: int = 0) -> CostModel:
    """The fit to medians of noisy steps over a grid of batches, lengths, contexts and prompts.

    Args:
        scenario: whose limits bound the grid, and whose noise is on the samples.
        truth: measured instead of the scenario's cost.
        seed: of the noise.
    """
    cost = truth or scenario.cost
    rng = np.random.default_rng(seed)
    samples = []
    for work in grid(scenario):
        noise = np.exp(scenario.noise * rng.standard_normal(_REPETITIONS))
        samples.append((work, cost.seconds(work) * float(np.median(noise))))
    return fitting.fit(samples)


def grid(scenario: Scenario) -> list[Work]:
    """What is measured."""
    most = scenario.limits.requests
    batches = [size for size in (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256) if size <= most]
    works = []
    for requests in batches:
        for context in _CONTEXTS:
            for length in range(scenario.draft_max + 1):
                tokens = requests * (1 + length)
                works.append(Work(requests, tokens, requests * context, length))
        for prompts in (scenario.limits.tokens // 4, scenario.limits.tokens):
            tokens = max(prompts, 2 * requests)
            works.append(Work(requests, tokens, requests * _CONTEXTS[1] + tokens, 0))
    return works


def misjudged(cost: TrueCost, seed: int, by: float = 0.3) -> TrueCost:
    """Each part too long or too short by this share, drawn for each on its own."""
    rng = np.random.default_rng((seed, 30))
    signs = rng.choice((-1.0, 1.0), size=len(PARTS))
    return cost.scaled(**{part: 1 + by * float(s) for part, s in zip(PARTS, signs, strict=True)})

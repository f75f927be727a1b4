"""The requests of a scenario for one seed: the same objects for every policy."""

from __future__ import annotations

import dataclasses

import numpy as np

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.arrivals import Closed, Replay
from crossdock.serving.simulator.phases import Scenario
from crossdock.serving.simulator.traces import Row

_TIMES = 1_000_003
"""Seeds the times of arrivals; requests are seeded by their number, which is less."""
_NOISE = 1_000_004
NOISES = 4096
"""After so many steps the noise begins again."""
SPIKE = 3.0
"""How many times as long a step lasts that something else disturbed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and which drafts of the answer are right."""

    name: str
    prompt: int
    """Tokens."""
    output: int
    """Tokens."""
    ease: list[float]
    """[output]; see ``Acceptance.draw``."""
    silent: list[bool] | None
    decay: list[float]
    """[draft_max]: the factor for the j-th token of a draft."""


class Workload:
    """Draws requests when they are asked for, and keeps them.

    Args:
        scenario: whose phases are drawn.
        seed: of everything random.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self._requests: dict[tuple[int, int], Request] = {}
        self._times: dict[int, list[float]] = {}
        rng = np.random.default_rng((seed, _NOISE))
        noise = np.exp(scenario.noise * rng.standard_normal(NOISES) - scenario.noise**2 / 2)
        noise[rng.random(NOISES) < scenario.spikes] *= SPIKE
        self.noise: list[float] = noise.tolist()

    def times(self, phase: int) -> list[float]:
        """Of the arrivals of an open phase, in seconds since its start."""
        arrivals = self.scenario.phases[phase].arrivals
        if isinstance(arrivals, Closed):
            return []
        if phase not in self._times:
            rng = np.random.default_rng((self.seed, phase, _TIMES))
            self._times[phase] = arrivals.times(rng, self.scenario.phases[phase].seconds)
        return self._times[phase]

    def request(self, phase: int, number: int) -> Request:
        """The request of a phase with this number, from 0.

        Raises:
            ArgumentError: it does not fit the KV cache, even alone.
        """
        key = (phase, number)
        if key not in self._requests:
            self._requests[key] = self._draw(phase, number)
        return self._requests[key]

    def _draw(self, phase: int, number: int) -> Request:
        kind = self.scenario.phases[phase]
        rng = np.random.default_rng((self.seed, phase, number))
        prompt, output = kind.lengths.draw(rng)
        if isinstance(kind.arrivals, Replay):
            row: Row = kind.arrivals.rows[number]
            prompt, output = row.prompt, row.output
        if isinstance(kind.arrivals, Closed) and number < kind.arrivals.clients:
            # Else the first requests of all clients would end together, and the next ones, ...
            output = max(1, round(output * float(rng.random())))
        limits = self.scenario.limits
        room = limits.blocks * limits.block
        if prompt + output + self.scenario.draft_max + 1 > room:
            raise ArgumentError(
                f"a request of {prompt} + {output} tokens does not fit a KV cache of {room}"
            )
        ease, silent = kind.acceptance.draw(rng, output)
        decay = [kind.acceptance.decay**j for j in range(self.scenario.draft_max)]
        return Request(
            f"{phase}.{number}",
            prompt,
            output,
            ease.tolist(),
            None if silent is None else silent.tolist(),
            decay,
        )

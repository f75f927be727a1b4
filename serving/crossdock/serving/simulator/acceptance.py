"""Which drafts are right: drawn once for each request, the same whatever a policy does.

Each output position of a request has a number in [0, 1) and a probability; the draft for that
position is right if the number is below the probability, times a factor for how far the draft
reaches ahead. So two policies that verify a draft of the same reach at the same position of the
same request see the same, and their figures differ only by what they chose.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from crossdock.proxy.errors import ArgumentError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Bursts:
    """Stretches of text that are drafted badly, between those that are drafted well."""

    cold: float
    """The probability in a bad stretch."""
    hot_tokens: float
    """Mean length of a good stretch."""
    cold_tokens: float
    """Mean length of a bad one."""
    silent: bool = False
    """The drafter proposes nothing in a bad stretch, as a look-up that finds nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Acceptance:
    """Of the requests of a phase.

    Raises:
        ArgumentError: a probability outside [0, 1], a length below one token.
    """

    mean: float
    """The probability that a draft is right if all before it are."""
    spread: float = 0.0
    """Standard deviation of the mean from request to request."""
    decay: float = 1.0
    """Factor of the probability for each further token of a draft."""
    trend: float = 0.0
    """What the probability gains from the first to the last token of a request."""
    bursts: Bursts | None = None

    def __post_init__(self) -> None:
        chances = [("mean", self.mean), ("spread", self.spread), ("decay", self.decay)]
        if self.bursts is not None:
            chances.append(("bursts.cold", self.bursts.cold))
            for length in (self.bursts.hot_tokens, self.bursts.cold_tokens):
                if not 1 <= length < math.inf:
                    raise ArgumentError(f"a stretch has {length} tokens; 1 is the least")
        for name, value in chances:
            if not 0 <= value <= 1:
                raise ArgumentError(f"{name} is {value}, but must be between 0 and 1")

    def draw(self, rng: np.random.Generator, tokens: int) -> tuple[Floats, Flags | None]:
        """For the output positions of one request.

        Returns:
            ease: [tokens]; the draft of position p that is the j-th of its row, from 0, is right if
                ``ease[p] < decay ** j``.
            silent: [tokens] or None; where it is set nothing is proposed.
        """
        chance = np.full(tokens, self._own_mean(rng))
        if self.trend:
            chance += self.trend * (np.arange(tokens) / max(1, tokens - 1) - 0.5)
        silent = None
        if self.bursts is not None:
            cold = cold_stretches(rng, tokens, self.bursts)
            chance[cold] = self.bursts.cold
            silent = cold if self.bursts.silent else None
        number = rng.random(tokens)
        with np.errstate(all="ignore"):  # a chance of next to nothing divides to infinity
            ease = np.where(chance > 0, number / np.clip(chance, 0.0, 1.0), np.inf)
        return ease, silent

    def _own_mean(self, rng: np.random.Generator) -> float:
        most = self.mean * (1 - self.mean)
        if self.spread <= 0 or most <= 0:
            return self.mean
        # A beta distribution has less than the variance of a coin; near it, be a coin.
        strength = max(0.05, most / self.spread**2 - 1)
        return float(rng.beta(self.mean * strength, (1 - self.mean) * strength))


def cold_stretches(rng: np.random.Generator, tokens: int, bursts: Bursts) -> Flags:
    """[tokens]: True in bad stretches; a chain of two states in its stationary distribution."""
    cold = np.zeros(tokens, dtype=np.bool_)
    share = bursts.cold_tokens / (bursts.hot_tokens + bursts.cold_tokens)
    at, bad = 0, bool(rng.random() < share)
    while at < tokens:
        length = int(rng.geometric(1 / (bursts.cold_tokens if bad else bursts.hot_tokens)))
        cold[at : at + length] = bad
        at, bad = at + length, not bad
    return cold

"""When requests come: open loops, which do not wait for answers, and closed ones, which do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.traces import Row

MOST = 1_000_000
"""Arrivals of a phase; more are refused."""


class Arrivals(Protocol):
    """An open loop."""

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:
        """Ascending, from 0 to ``seconds``."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each of which sends its next request when it has its answer."""

    clients: int

    def __post_init__(self) -> None:
        if self.clients < 1:
            raise ArgumentError(f"a closed loop has {self.clients} clients; 1 is the least")


@dataclasses.dataclass(frozen=True, slots=True)
class Gamma:
    """Intervals of a gamma distribution; ``cv`` 1 makes it a Poisson process, more makes bursts."""

    rate: float
    """Requests a second."""
    cv: float = 1.0
    """Standard deviation of an interval over its mean."""

    def __post_init__(self) -> None:
        _expect_rate(self.rate)
        if not 0 < self.cv < math.inf:
            raise ArgumentError(f"cv is {self.cv}, but must be above 0")

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:
        """See ``Arrivals``."""
        _expect_few(self.rate * seconds)
        shape = 1 / self.cv**2
        times: list[float] = []
        # Begins at a random place of an interval, else each phase would begin with a gap.
        at = float(rng.random() * rng.gamma(shape, 1 / (self.rate * shape)))
        while at < seconds and len(times) < MOST:
            times.append(at)
            at += float(rng.gamma(shape, 1 / (self.rate * shape)))
        return times


def poisson(rate: float) -> Gamma:
    """Requests that know nothing of each other, so many a second in the mean."""
    return Gamma(rate)


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """A Poisson process whose rate changes at given times; the last rate stays."""

    steps: Sequence[tuple[float, float]]
    """(seconds that it lasts, requests a second)."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ArgumentError("steps of a rate are empty; give (seconds, rate) at least once")
        for seconds, rate in self.steps:
            _expect_rate(rate)
            if not 0 < seconds < math.inf:
                raise ArgumentError(f"a step of {seconds} s; it must last longer than 0")

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:
        """See ``Arrivals``."""
        times: list[float] = []
        begin = 0.0
        for place, (lasts, rate) in enumerate(self.steps):
            last = place == len(self.steps) - 1
            end = seconds if last else min(seconds, begin + lasts)
            if end > begin:
                times += [begin + at for at in Gamma(rate).times(rng, end - begin)]
            begin = end
        return times


@dataclasses.dataclass(frozen=True, slots=True)
class Markov:
    """A Poisson process whose rate jumps between two states."""

    rates: tuple[float, float]
    """Requests a second in each."""
    stays: tuple[float, float]
    """Mean seconds in each."""

    def __post_init__(self) -> None:
        for rate in self.rates:
            _expect_rate(rate)
        for stay in self.stays:
            _expect_rate(stay)

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:
        """See ``Arrivals``."""
        state = int(rng.random() < self.stays[1] / sum(self.stays))
        steps: list[tuple[float, float]] = []
        at = 0.0
        while at < seconds:
            stay = max(1e-6, float(rng.exponential(self.stays[state])))
            _expect_few(len(steps))
            steps.append((stay, self.rates[state]))
            at, state = at + stay, 1 - state
        return Steps(steps).times(rng, seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Diurnal:
    """A rate that swings as over a day: ``mean * (1 - swing * cos(2 pi t / period))``."""

    mean: float
    """Requests a second."""
    swing: float
    """From 0 to 1."""
    period: float
    """Seconds."""

    def __post_init__(self) -> None:
        _expect_rate(self.mean)
        _expect_rate(self.period)
        if not 0 <= self.swing <= 1:
            raise ArgumentError(f"swing is {self.swing}, but must be between 0 and 1")

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:
        """See ``Arrivals``; by thinning a process of the highest rate."""
        most = self.mean * (1 + self.swing)
        kept = []
        for at in Gamma(most).times(rng, seconds):
            rate = self.mean * (1 - self.swing * math.cos(2 * math.pi * at / self.period))
            if rng.random() * most < rate:
                kept.append(at)
        return kept


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """The requests of a trace, with its lengths."""

    rows: Sequence[Row]
    faster: float = 1.0
    """How many times as fast as it was recorded."""

    def __post_init__(self) -> None:
        _expect_rate(self.faster)

    def times(self, rng: np.random.Generator, seconds: float) -> list[float]:  # noqa: ARG002
        """See ``Arrivals``."""
        scaled = (row.seconds / self.faster for row in self.rows)
        return [at for at in scaled if at < seconds]


def _expect_rate(value: float) -> None:
    if not 0 < value < math.inf:
        raise ArgumentError(f"a rate or length of time is {value}, but must be above 0")


def _expect_few(count: float) -> None:
    if count > MOST:
        raise ArgumentError(f"a phase would have {count:.0f} arrivals, but {MOST} is the most")

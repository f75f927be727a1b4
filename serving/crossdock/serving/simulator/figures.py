"""Figures of one run: for each phase, and of its requests.

Two figures of merit, since a load may be more or less than the engine could serve:

- *goodput*, tokens that requests got for each second in which the engine was busy. Idle seconds do
  not count, so an open loop of little load says something as well. Where the engine is never idle
  but the load is below what it can serve, all policies give about what is asked of them, and
  goodput hardly tells them apart.
- *pace*, tokens for each second of a decoding request: the inverse of the mean time per token. In a
  closed loop it ranks as goodput does; in an open loop a slow policy has more requests at a time,
  and its pace shows it, amplified as queues amplify.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from crossdock.serving.simulator.log import Floats, Log
from crossdock.serving.simulator.phases import Scenario

TRANSITION = 0.25
"""Share of a phase that counts as transition; the rest is its steady state."""
SLICES = 40
"""Parts of a phase in which its course is kept."""


@dataclasses.dataclass(frozen=True)
class Phases:
    """By phase and slice: a step counts where it began."""

    tokens: Floats
    """[phases, SLICES]; tokens that requests got."""
    busy: Floats
    """[phases, SLICES]; seconds of steps."""
    held: Floats
    """[phases, SLICES]; seconds of steps, times their decoding requests."""
    drafted: Floats
    """[phases, SLICES]; seconds of steps, times the length of drafts."""

    def goodput(self, first: int = 0, last: int = SLICES) -> Floats:
        """[phases]; tokens per busy second in these slices; 0 where nothing ran."""
        return _ratio(self.tokens[:, first:last], self.busy[:, first:last])

    def pace(self) -> Floats:
        """[phases]; tokens per second of a decoding request; 0 where nothing decoded."""
        return _ratio(self.tokens, self.held)

    def length(self) -> Floats:
        """[phases]; mean length of drafts over busy time."""
        return _ratio(self.drafted, self.busy)


def _ratio(over: Floats, under: Floats) -> Floats:
    total = under.sum(axis=1)
    ratios: Floats = np.divide(over.sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    return ratios


def phases_of(scenario: Scenario, log: Log) -> Phases:
    """The steps of a log by phase and slice; steps after the last phase are left out.

    What a phase took longer than planned, see ``Scenario.carry``, is in its last slice.
    """
    ends = log.ends
    begins = np.concatenate(([0.0], ends[:-1]))
    start, seconds = log.step("start"), log.step("seconds")
    phase = np.searchsorted(ends, start, side="right")
    inside = phase < len(ends)
    phase, start, seconds = phase[inside], start[inside], seconds[inside]
    lasts = np.asarray([each.seconds for each in scenario.phases])
    part = (start - begins[phase]) / lasts[phase] * SLICES
    place = phase * SLICES + np.clip(part.astype(int), 0, SLICES - 1)

    def by_slice(weights: Floats) -> Floats:
        sums = np.bincount(place, weights=weights, minlength=len(ends) * SLICES)
        return sums.reshape(len(ends), SLICES).astype(np.float64)

    return Phases(
        tokens=by_slice(log.step("generated")[inside]),
        busy=by_slice(seconds),
        held=by_slice(seconds * log.step("requests")[inside]),
        drafted=by_slice(seconds * log.step("drafted")[inside]),
    )


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of requests, in seconds; 0 where there were none."""

    token_p50: float
    """Time per token after the first, over requests that got two or more."""
    token_p99: float
    whole_p50: float
    """From arrival to the last token, over requests that were answered whole."""
    whole_p99: float


def latency_of(log: Log) -> Latency:
    """From the requests of a log."""
    tokens = log.request("tokens")
    several = tokens >= 2
    span = (log.request("end") - log.request("first"))[several]
    each = span / (tokens[several] - 1)
    whole = log.request("whole") > 0
    all_of_it = (log.request("end") - log.request("arrival"))[whole]
    return Latency(*_quantiles(each), *_quantiles(all_of_it))


def _quantiles(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    p50, p99 = np.quantile(values, (0.5, 0.99))
    return float(p50), float(p99)

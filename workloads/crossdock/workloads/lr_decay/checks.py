"""What the study must show, fixed before it was run: claims, statistics, thresholds, seeds.

Claims of You, Long, Wang, Jordan: "How Does Learning Rate Decay Help Modern Neural Networks?"
(2019), in the words of the trials' values. Each statistic is a number of one trial and one decay;
it is averaged over the trials of a seed, and the seeds are resampled (paired: all that a statistic
compares has the same seed, and so the same samples, wrong labels, start and order).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from crossdock.workloads.lr_decay.problem import (
    COMPLEX,
    OTHER_CLASSES,
    SHARES_COMPLEX,
    SHARES_SIMPLE,
)
from crossdock.workloads.lr_decay.schedule import LARGE, SMALL, decay_name
from crossdock.workloads.lr_decay.trial import NOISE_FIT, TEST, probe_name, transfer_name
from crossdock.workloads.runner import Value

Floats = npt.NDArray[np.float64]
Verdict = Literal["held", "not held", "undecided"]

SEEDS = tuple(range(10))
"""Of the study that counts; settings were looked for on seeds from 100 on."""
CONFIDENCE = 0.95
RESAMPLES = 10_000
SEEDS_MIN = 5
"""With fewer, an interval says too little: undecided."""


class Trained:
    """A trial's values by the names of its schedules, NaN from where one has diverged."""

    def __init__(self, value: Value, names: Sequence[str]) -> None:
        self._value, self._place = value, {name: i for i, name in enumerate(names)}

    def of(self, measure: str, schedule: str) -> Floats:
        """By epoch, or by stage; ``KeyError`` for what this study does not measure."""
        return np.asarray(self._value[measure][self._place[schedule]], np.float64)


Statistic = Callable[[Trained, int], float]
"""Of a trial, for the schedule that decays at an epoch."""


def complex_rise(trained: Trained, decay: int) -> float:
    """Accuracy on complex patterns at the end, less that right before the decay."""
    found = trained.of(probe_name(COMPLEX), decay_name(decay))
    return float(found[-1] - found[decay])


def complex_ahead(trained: Trained, decay: int) -> float:
    """Accuracy on complex patterns at the end, less that without the decay, at the large rate."""
    found = trained.of(probe_name(COMPLEX), decay_name(decay))
    return float(found[-1] - trained.of(probe_name(COMPLEX), LARGE)[-1])


def noise_fit_spared(trained: Trained, _: int) -> float:
    """Part of the wrong labels that the small constant rate fits at the end, and the large not."""
    return float(trained.of(NOISE_FIT, SMALL)[-1] - trained.of(NOISE_FIT, LARGE)[-1])


def ahead_of_constants(trained: Trained, decay: int) -> float:
    """Accuracy at the end, less that of the better of the two constants."""
    ends = [float(trained.of(TEST, name)[-1]) for name in (LARGE, SMALL)]
    return float(trained.of(TEST, decay_name(decay))[-1]) - max(ends)


def _gains(trained: Trained, target: str, decay: int) -> tuple[float, float]:
    """What features gain on the target until the decay, and from there to the end."""
    start, before, end = trained.of(transfer_name(target), decay_name(decay))
    return float(before - start), float(end - before)


def gains_earlier(target: str) -> Statistic:
    """Transfer gain of features until the decay, less that from there to the end."""

    def statistic(trained: Trained, decay: int) -> float:
        before, after = _gains(trained, target, decay)
        return before - after

    return statistic


def later_is_specific(trained: Trained, decay: int) -> float:
    """Gain after the decay where complex patterns are shared, less that where simple ones are."""
    _, complex_gain = _gains(trained, SHARES_COMPLEX, decay)
    _, simple_gain = _gains(trained, SHARES_SIMPLE, decay)
    return complex_gain - simple_gain


@dataclass(frozen=True, kw_only=True)
class Check:
    """A claim, and the number that decides it."""

    claim: str
    statistic: Statistic
    above: float
    """The claim holds where the mean over seeds is above this."""


_EVERYWHERE = (
    Check(claim="noise fit is lower at the large rate", statistic=noise_fit_spared, above=0.0),
    Check(
        claim="decay ends at or above both constants", statistic=ahead_of_constants, above=-0.005
    ),
)
OF_PATTERNS = (
    Check(claim="complex accuracy rises after the decay", statistic=complex_rise, above=0.0),
    Check(claim="and ends above that without a decay", statistic=complex_ahead, above=0.0),
    *_EVERYWHERE,
    Check(
        claim="features gain more on a target before the decay than after it",
        statistic=gains_earlier(SHARES_SIMPLE),
        above=0.0,
    ),
    Check(
        claim="what is gained after it serves targets with the same complex patterns",
        statistic=later_is_specific,
        above=0.0,
    ),
)
OF_DATA = (
    *_EVERYWHERE,
    Check(
        claim="features gain more on a target before the decay than after it",
        statistic=gains_earlier(OTHER_CLASSES),
        above=0.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of a check."""

    claim: str
    mean: float
    """Over seeds; NaN without any."""
    low: float
    high: float
    """Ends of the interval."""
    above: float
    seeds: int
    """That have a value."""
    verdict: Verdict


def judge(check: Check, by_seed: Mapping[int, Sequence[float]]) -> Outcome:
    """Decide a check.

    Args:
        by_seed: the statistic of each trial and decay of a seed; NaN where there is none.
    """
    means = [
        float(np.mean(known))
        for values in by_seed.values()
        if (known := [value for value in values if not math.isnan(value)])
    ]
    mean, low, high = interval(means)
    verdict: Verdict = "undecided"
    if len(means) >= SEEDS_MIN and low > check.above:
        verdict = "held"
    elif len(means) >= SEEDS_MIN and high <= check.above:
        verdict = "not held"
    return Outcome(
        claim=check.claim,
        mean=mean,
        low=low,
        high=high,
        above=check.above,
        seeds=len(means),
        verdict=verdict,
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its percentile bootstrap interval; NaN where there are too few."""
    if len(values) < 2:
        return (values[0] if values else math.nan), math.nan, math.nan
    found = stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(np.mean(values)), float(found.low), float(found.high)

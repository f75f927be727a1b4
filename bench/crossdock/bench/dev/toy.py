"""The regression of the DEV paper, in which the density ratio is known.

Source x ~ N(1, 1/2), target x ~ N(2, 1/4), y = sinc(x) + N(0, 1/4): the numbers after the means
are deviations. A line is fitted to n source samples by least squares weighted with
ratio ** power, as You et al. (ICML 2019) do after Sugiyama, Krauledat, Müller (JMLR 2007).
"""

from __future__ import annotations

import msgspec
import numpy as np
from scipy.stats import norm

from crossdock.workloads.dev import dev_risk

POWERS = (0.0, 0.3, 0.5, 0.7, 1.0)
SAMPLES = 150
NOISE = 0.25
SOURCE, TARGET = norm(1, 0.5), norm(2, 0.25)
_TARGET_SAMPLES = 1000


class Toy(msgspec.Struct, frozen=True, kw_only=True):
    """Means and deviations over the trials, of squared errors."""

    power: float
    held_out: bool
    """Whether the risks are of fresh source samples, or of those that the line was fitted to."""
    trials: int
    target: float
    """The risk that is to be found."""
    iwcv: float
    iwcv_deviation: float
    dev: float
    dev_deviation: float


def toy(power: float, held_out: bool, trials: int, seed: int) -> Toy:
    """Estimate the target risk so many times."""
    random = np.random.default_rng((seed, round(1000 * power), held_out))
    found = np.array([_trial(random, power, held_out) for _ in range(trials)])
    target, iwcv, dev = map(float, found.mean(axis=0))
    _, iwcv_deviation, dev_deviation = map(float, found.std(axis=0, ddof=1))
    return Toy(
        power=power,
        held_out=held_out,
        trials=trials,
        target=target,
        iwcv=iwcv,
        iwcv_deviation=iwcv_deviation,
        dev=dev,
        dev_deviation=dev_deviation,
    )


def _trial(random: np.random.Generator, power: float, held_out: bool) -> tuple[float, float, float]:
    """Risk on the target, by IWCV, by DEV."""
    x, y = _samples(random, 1, 0.5, SAMPLES)
    line = np.polynomial.Polynomial.fit(x, y, 1, w=ratio(x) ** (power / 2))
    far, there = _samples(random, 2, 0.25, _TARGET_SAMPLES)
    if held_out:
        x, y = _samples(random, 1, 0.5, SAMPLES)
    # So few effective samples (about 10) would be refused; here the weights are known to be right.
    found = dev_risk(ratio(x), (line(x) - y) ** 2, effective_min=1)
    return float(np.mean((line(far) - there) ** 2)), found.importance_weighted, found.risk


def ratio(x: np.ndarray) -> np.ndarray:
    """Density of the target over that of the source."""
    return np.asarray(TARGET.pdf(x) / SOURCE.pdf(x))


def _samples(
    random: np.random.Generator, mean: float, deviation: float, n: int
) -> tuple[np.ndarray, np.ndarray]:
    x = random.normal(mean, deviation, n)
    return x, np.sinc(x) + random.normal(0, NOISE, n)

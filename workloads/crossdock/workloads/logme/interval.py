"""A confidence interval of a score, from the scores without one shard each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from crossdock.workloads.features import DataRefused
from crossdock.workloads.logme.solution import Mode
from crossdock.workloads.logme.sources import Source
from crossdock.workloads.logme.warnings import NoInterval


def of_source(source: Source, score: float, mode: Mode, confidence: float) -> tuple[float, float]:
    """The interval of a score; NaN, and the warning NoInterval, where none can be made."""
    shards = len(source.counts)
    if shards < 2:
        return _none(f"all samples are in {shards} shard")
    if not np.isfinite(score):
        return _none(f"the score is {score}")
    try:
        without = [source.without(shard, mode).score for shard in range(shards)]
    except DataRefused as error:
        return _none(f"without one of the {shards} shards there is no score: {error}")
    return jackknife(score, source.counts, without, confidence)


def _none(reason: str) -> tuple[float, float]:
    warnings.warn(f"no interval: {reason}", NoInterval, stacklevel=4)
    return np.nan, np.nan


def jackknife(
    score: float, counts: Sequence[int], without: Sequence[float], confidence: float
) -> tuple[float, float]:
    """The interval around `score` that g shards of `counts` samples give.

    `without[j]` is the score without shard j. With h_j = N / n_j, the pseudo-values are
    h_j score - (h_j - 1) without[j], and the variance is the mean of their squared distances from
    the jackknife's estimate, each over h_j - 1 (Busing, Meijer and van der Leeden, "Delete-m
    jackknife for unequal m", Statistics and Computing 9, 1999, equations 6 and 7). The interval is
    Student's, with g - 1 degrees of freedom. For equal shards that is the usual jackknife.
    """
    shards = len(counts)
    shares = np.sum(counts) / np.asarray(counts, dtype=np.float64)
    left = np.asarray(without, dtype=np.float64)
    estimate = shards * score - ((1 - 1 / shares) * left).sum()
    pseudo = shares * score - (shares - 1) * left
    variance = ((pseudo - estimate) ** 2 / (shares - 1)).mean()
    half = float(stats.t.ppf((1 + confidence) / 2, shards - 1) * np.sqrt(variance))
    return score - half, score + half

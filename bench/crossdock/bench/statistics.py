"""What is said about samples: spread, percentiles, and ratios of contenders that took turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rounds = Sequence[Sequence[float]]
"""The samples of one contender, grouped by the rounds in which it took its turn."""


@dataclass(frozen=True)
class Summary:
    """The usual numbers about some samples, in the unit of the samples."""

    count: int
    min: float
    max: float
    mean: float
    stdev: float
    p50: float
    p99: float
    p999: float

    @property
    def cv(self) -> float:
        """Coefficient of variation: how large the spread is beside the mean."""
        return self.stdev / self.mean if self.mean else 0.0


def summarise(samples: Sequence[float]) -> Summary:
    """The summary of at least one sample; percentiles lie between samples where need be."""
    if not samples:
        raise ValueError("there are no samples to summarise")
    values = np.asarray(samples, dtype=np.float64)
    p50, p99, p999 = np.quantile(values, (0.5, 0.99, 0.999))
    return Summary(
        count=len(values),
        min=float(values.min()),
        max=float(values.max()),
        mean=float(values.mean()),
        stdev=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        p50=float(p50),
        p99=float(p99),
        p999=float(p999),
    )


def flat(rounds: Rounds) -> list[float]:
    """All samples of all rounds."""
    return [sample for samples in rounds for sample in samples]


def median_ratio(over: Rounds, under: Rounds) -> float:
    """How many times as much `over` is as `under`: the median of the ratios of their rounds.

    Contenders take turns within a round, so what disturbs the machine for a while disturbs both and
    cancels out; a ratio of two medians would compare different moments.
    """
    if len(over) != len(under) or not over:
        raise ValueError(f"{len(over)} and {len(under)} rounds cannot be compared")
    ratios = [np.median(a) / np.median(b) for a, b in zip(over, under, strict=True)]
    return float(np.median(ratios))


def spans(starts: Sequence[Sequence[float]], ends: Sequence[Sequence[float]]) -> list[float]:
    """Per iteration the time from the first rank's start to the last rank's end.

    Both arguments hold a list for each rank, by one clock. Where ranks share cores, the duration
    on the slowest rank alone would miss that another began late.
    """
    first = np.asarray(starts, dtype=np.float64).min(axis=0)
    last = np.asarray(ends, dtype=np.float64).max(axis=0)
    return [float(span) for span in last - first]


def slowest(starts: Sequence[Sequence[float]], ends: Sequence[Sequence[float]]) -> list[float]:
    """Per iteration the duration on the slowest rank, for ranks whose clocks differ."""
    durations = np.asarray(ends, dtype=np.float64) - np.asarray(starts, dtype=np.float64)
    return [float(duration) for duration in durations.max(axis=0)]

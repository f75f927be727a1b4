"""Intervals by leaving out one fold of the rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtrit

from crossdock.workloads.rank.summary import Summary, merge

CONFIDENCE = 0.95


def without_each(folds: Sequence[Summary]) -> list[Summary]:
    """For each fold the summary of all others; with F folds by 2 F sums, none of them subtracted.

    A difference of sums would lose digits where a fold holds most of a class.
    """
    before: list[Summary | None] = [None]
    after: list[Summary | None] = [None]
    for left, right in zip(folds[:-1], folds[:0:-1], strict=True):
        before.append(_both(before[-1], left))
        after.append(_both(right, after[-1]))
    pairs = (_both(*pair) for pair in zip(before, reversed(after), strict=True))
    return [each for each in pairs if each is not None]


def _both(left: Summary | None, right: Summary | None) -> Summary | None:
    return merge([each for each in (left, right) if each is not None]) if left or right else None


def half_width(score: Callable[[Summary], float], rests: Sequence[Summary]) -> float:
    """Half the 95 % interval of a score: the delete-a-group jackknife's.

    Kott, *The delete-a-group jackknife* (2001): the variance is (F - 1)/F times the sum of squares
    of the F values about their mean, with Student's quantile for F - 1 degrees of freedom.

    Args:
        rests: what ``without_each`` gives for two folds or more.

    Raises what the score raises, where a fold holds all of something.
    """
    values = np.array([score(rest) for rest in rests])
    count = len(values)
    error = np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum())
    return float(error * stdtrit(count - 1, (1 + CONFIDENCE) / 2))

"""Scores of one model from the summaries of its folds, with their intervals and what they cost."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.workloads.features.inputs import targets_of
from crossdock.workloads.rank.jackknife import half_width, without_each
from crossdock.workloads.rank.scores import SCORES, Score
from crossdock.workloads.rank.summary import Summary, merge, summarise

FOLDS = 10


@dataclass(frozen=True)
class Scored:
    """A score of a model, or why there is none."""

    value: float | None
    half_width: float | None
    """Half of the 95 % interval; None where folds were not asked for, or leave a score none."""
    seconds: float
    """Of the value alone, on one core: without features, their sums, and the interval."""
    reason: str = ""
    """Why there is no value, or no interval; or in spite of what there is one."""


def score_features(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike | None = None,
    *,
    scores: Iterable[str] = SCORES,
    folds: int = FOLDS,
) -> dict[str, Scored]:
    """All scores of features (N, D) for labels (N,), with intervals.

    Args:
        labels: whole numbers or names.
        probabilities: (N, Z), what the model's own head says of its own Z classes.
        scores: names from ``SCORES``.
        folds: of the jackknife, row by row in turn; 0 for no intervals.

    Raises:
        ArgumentError: for an unknown name, or labels that do not fit (``DataRefused``).
        ModelFailed: for features or probabilities that cannot be scored.
    """
    names = known(scores)
    given = targets_of(labels, "classification")
    classes, codes = given.classes, given.codes
    assert codes is not None
    f, theta = np.asarray(features), None if probabilities is None else np.asarray(probabilities)
    numbers = np.arange(len(codes))
    if len(f) != len(codes):
        raise ArgumentError(f"{len(f)} rows of features have {len(codes)} labels")
    parts = [
        summarise(
            f[own],
            codes[own],
            classes=len(classes),
            probabilities=None if theta is None else theta[own],
            numbers=own,
        )
        for fold in range(max(folds, 1))
        if len(own := numbers[fold :: max(folds, 1)])
    ]
    return score_folds(parts, names)


def known(scores: Iterable[str]) -> tuple[str, ...]:
    """The names, as they are; ArgumentError for one that is none of a score."""
    names = tuple(scores)
    for name in names:
        if name not in SCORES:
            raise ArgumentError(f"score {name!r} is unknown; choose from {', '.join(SCORES)}")
    return names


def score_folds(folds: Sequence[Summary], scores: Iterable[str] = SCORES) -> dict[str, Scored]:
    """The scores of the rows of all folds; one fold is no basis for intervals."""
    rests = without_each(folds)
    return {name: _scored(SCORES[name], folds, rests) for name in known(scores)}


def _scored(score: Score, folds: Sequence[Summary], rests: Sequence[Summary]) -> Scored:
    from crossdock.workloads.logme import IllConditioned  # see n_leep

    whole = merge(folds)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", IllConditioned)
        try:
            if score.prepare is not None:
                folds = score.prepare(folds)
                whole = merge(folds)
            value = float(score.function(whole))
        except CrossdockError as error:
            return Scored(None, None, time.perf_counter() - start, str(error))
        seconds = time.perf_counter() - start
    if not np.isfinite(value):
        return Scored(None, None, seconds, f"the score is {value}")
    reason = "; ".join({str(one.message) for one in said if one.category is IllConditioned})
    if not rests:
        return Scored(value, None, seconds, reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditioned)  # said of the whole
        try:
            rests = rests if score.prepare is None else without_each(folds)
            return Scored(value, half_width(score.function, rests), seconds, reason)
        except CrossdockError as error:
            return Scored(value, None, seconds, f"no interval: without a fold, {error}")

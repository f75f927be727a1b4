"""Fits a cost model to measured steps."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import numpy as np

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec.cost import CostModel, Floats
from crossdock.serving.turbospec.step import Work

_KNOTS = (64, 24, 16, 12, 8)
"""Numbers of knots that are tried: few miss the steps of padded batches, many follow the scatter
of a noisy machine."""
_FEW = 16
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Errors:
    """Relative errors of a fit over its samples."""

    median: float
    p90: float
    worst: float
    worst_work: Work
    r2: float
    """Share of the variance of seconds that is explained."""


def fit(samples: Sequence[tuple[Work, float]]) -> CostModel:
    """The cost model of least relative squares, no coefficient below zero.

    The line of tokens has the number of knots that predicts left-out samples best.

    Args:
        samples: work and seconds of steps; medians of repetitions do better than single ones. What
            does not vary among them cannot be told apart and costs nothing in the fit.

    Raises:
        ArgumentError: fewer than two samples or numbers of tokens, or a time that is not positive.
    """
    for at, (work, seconds) in enumerate(samples):
        if not (math.isfinite(seconds) and seconds > 0):
            raise ArgumentError(f"sample {at} took {seconds} s, it must be positive: {work}")
    sizes = sorted({work.tokens for work, _ in samples})
    if len(sizes) < 2:
        raise ArgumentError(f"a fit needs samples of different numbers of tokens, got {sizes}")
    tried = {len(knots): knots for knots in (_knots(sizes, count) for count in _KNOTS)}
    best = min(tried.values(), key=lambda knots: _left_out(samples, knots))
    return _fit(samples, best)


def fit_weighted(samples: Sequence[tuple[Work, float]], weights: Sequence[float]) -> CostModel:
    """The same with a line of few knots, where samples are single steps of unequal weight."""
    return _fit(samples, _knots(sorted({work.tokens for work, _ in samples}), _FEW), weights)


def _fit(
    samples: Sequence[tuple[Work, float]], knots: Floats, weights: Sequence[float] | None = None
) -> CostModel:
    """The cost model whose line bends at these numbers of tokens."""
    from scipy.optimize import nnls  # only who profiles needs it

    works = [work for work, _ in samples]
    seconds = np.array([s for _, s in samples], float)
    columns = _columns(works, np.array([w.tokens for w in works], float), knots)
    scale = np.maximum(columns.max(axis=0), 1e-12)  # features differ by orders of magnitude
    wanted = np.ones(len(seconds)) if weights is None else np.asarray(weights, float)
    solved, _ = nnls(columns / scale * (wanted / seconds)[:, None], wanted)
    solved = solved / scale
    step, request, context, first, each_first, more, each_more = (float(x) for x in solved[:7])
    line = np.concatenate(([0.0], np.cumsum(solved[7:] * np.diff(knots))))
    return CostModel(
        step_s=max(step, 1e-9),
        request_s=request,
        context_s=context,
        knots=tuple(map(float, knots)),
        knots_s=tuple(map(float, line)),
        draft_s=first,
        draft_token_s=more,
        draft_request_s=each_more,
        draft_first_request_s=each_first,
    )


def errors(costs: CostModel, samples: Sequence[tuple[Work, float]]) -> Errors:
    """How far a model is off on samples."""
    seconds = np.array([s for _, s in samples], float)
    predicted = np.array([costs.seconds(work) for work, _ in samples])
    relative = np.abs(predicted / seconds - 1)
    around = float(((seconds - seconds.mean()) ** 2).sum())
    left = float(((seconds - predicted) ** 2).sum())
    return Errors(
        median=float(np.median(relative)),
        p90=float(np.quantile(relative, 0.9)),
        worst=float(relative.max()),
        worst_work=samples[int(relative.argmax())][0],
        r2=1 - left / around if around > 0 else 1.0,
    )


def _left_out(samples: Sequence[tuple[Work, float]], knots: Floats) -> float:
    """Mean square of the relative error of samples that had no part in the fit."""
    squares = []
    # A grid has its lengths by turns: every fifth sample may be all there is of one of them.
    shuffled = random.Random(0).sample(samples, len(samples))
    for fold in range(_FOLDS):
        own = [sample for at, sample in enumerate(shuffled) if at % _FOLDS != fold]
        if not own:
            return 0.0
        costs = _fit(own, knots)
        squares += [(costs.seconds(work) / s - 1) ** 2 for work, s in shuffled[fold::_FOLDS]]
    return float(np.mean(squares))


def _knots(sizes: Sequence[int], count: int) -> Floats:
    """Where the line may bend: at so many measured numbers of tokens, in even ratios."""
    unique = np.array(sizes, float)
    if len(unique) <= count:
        return unique
    wanted = np.geomspace(max(unique[0], 1.0), unique[-1], count)
    nearest = np.abs(np.log(np.maximum(unique, 1.0)[:, None] / wanted)).argmin(axis=0)
    spread: Floats = unique[np.unique(nearest)]
    return spread


def _columns(works: Sequence[Work], tokens: Floats, knots: Floats) -> Floats:
    """What each coefficient is multiplied by, (sample, coefficient)."""
    requests = np.array([w.requests for w in works], float)
    context = np.array([w.context for w in works], float)
    lengths = np.array([w.draft_length for w in works], float)
    ramps = np.clip(tokens[:, None] - knots[None, :-1], 0, np.diff(knots)[None, :])
    constant = np.ones(len(works))
    first, more = (lengths > 0).astype(float), np.maximum(lengths - 1, 0)
    drafts = (first, first * requests, more, more * requests)
    return np.column_stack((constant, requests, context, *drafts, ramps))

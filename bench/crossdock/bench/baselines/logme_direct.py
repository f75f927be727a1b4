"""LogME by its formula, as one writes it down: one SVD of the features, and a loop over classes.

Source: You et al., "Ranking and Tuning Pre-trained Models" (JMLR 2022), algorithm 3, with the
constants of the code that they published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Decomposed = tuple[Floats, Floats]
ROUNDS, NEAR, EPSILON = 11, 1e-3, 1e-5
_ZERO = 1e-10


def of_features(features: Floats) -> Decomposed:
    """U (N x r) and singular values (r,), of F itself."""
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    return left, singular


def of_square(features: Floats) -> Decomposed:
    """The same by an SVD of F'F, as the published code does for N > D."""
    _, squares, right = np.linalg.svd(features.T @ features)
    singular = np.sqrt(squares)
    rank = int((singular > _ZERO).sum())
    return (features @ right.T)[:, :rank] / singular[:rank], singular[:rank]


def score(
    features: Any,
    labels: NDArray[np.int64],
    decompose: Callable[[Floats], Decomposed] = of_features,
    rounds: int = ROUNDS,
    near: float = NEAR,
    epsilon: float = EPSILON,
) -> float:
    """The mean evidence over classes, for N > D.

    With the last three as they are this is what the published code gives on features of full rank;
    with many rounds, and `near` and `epsilon` 0, what its iteration tends to.
    """
    values = np.asarray(features, dtype=np.float64)
    left, singular = decompose(values)
    sigma = singular**2
    evidences = []
    for label in range(int(labels.max()) + 1):
        column = (labels == label).astype(np.float64)
        limits = (rounds, near, epsilon)
        evidences.append(_evidence(left, sigma, values.shape, column, limits))
    return float(np.mean(evidences))


def _evidence(
    left: Floats,
    sigma: Floats,
    shape: tuple[int, ...],
    column: Floats,
    limits: tuple[int, float, float],
) -> float:
    count, dimension = shape
    rounds, near, epsilon = limits
    along = (left.T @ column) ** 2
    beside = float(column @ column - along.sum())
    alpha = beta = 1.0
    for _ in range(rounds):
        t = alpha / beta
        gamma = (sigma / (sigma + t)).sum()
        length = (sigma * along / (t + sigma) ** 2).sum()
        residue = (along / (1 + sigma / t) ** 2).sum() + beside
        alpha = gamma / (length + epsilon)
        beta = (count - gamma) / (residue + epsilon)
        if abs(alpha / beta - t) <= near * t:
            break
    evidence = (
        dimension / 2 * np.log(alpha)
        + count / 2 * np.log(beta)
        - np.log(alpha + beta * sigma).sum() / 2
        - beta / 2 * residue
        - alpha / 2 * length
        - count / 2 * np.log(2 * np.pi)
    )
    return float(evidence) / count

"""The released fixed point, straight from its description: one SVD, and a loop over classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Published(NamedTuple):
    score: float
    alphas: Any
    betas: Any
    means: Any


def published(features: Any, targets: Any, drop: bool = False) -> Published:
    """Of targets in columns; `drop`: forget directions without features, as the released code."""
    count, dimension = features.shape
    left, singular, right = np.linalg.svd(features, full_matrices=False)
    sigma = singular**2
    parts = []
    for column in targets.T:
        along = left.T @ column
        rest = column @ column - along @ along
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = np.sum(sigma / (sigma + t))
            mean_square = np.sum(sigma * along**2 / (t + sigma) ** 2)
            residual = np.sum(along**2 / (1 + sigma / t) ** 2) + rest
            alpha = gamma / (mean_square + 1e-5)
            beta = (count - gamma) / (residual + 1e-5)
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        logs = np.sum(np.log(alpha + beta * sigma))
        if not drop:
            logs += (dimension - len(sigma)) * np.log(alpha)
        evidence = dimension / 2 * np.log(alpha) + count / 2 * np.log(beta) - logs / 2
        evidence -= beta / 2 * residual + alpha / 2 * mean_square + count / 2 * np.log(2 * np.pi)
        parts.append((evidence / count, alpha, beta, right.T @ (singular * along / (t + sigma))))
    evidences, alphas, betas, means = map(np.array, zip(*parts, strict=True))
    return Published(float(evidences.mean()), alphas, betas, means)

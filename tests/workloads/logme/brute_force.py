"""The evidence from its definition, maximised by general means; and problems to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
LIMIT = 32.0
"""Beyond e^32 of the scale of a problem its precisions are as good as infinite, to 1e-12."""


def evidence(features: Floats, labels: Floats, alpha: float, beta: float) -> float:
    """ln N(y; 0, I/beta + F F'/alpha) / N, by the density of a Gaussian."""
    count = len(labels)
    covariance = np.eye(count) / beta + features @ features.T / alpha
    return float(stats.multivariate_normal.logpdf(labels, cov=covariance)) / count


class Brute:
    """The same by eigenvectors of F F', so that it holds where precisions are far apart."""

    def __init__(self, features: Floats, labels: Floats) -> None:
        self.count = len(labels)
        tall = self.count > features.shape[1]
        left, singular, _ = np.linalg.svd(features, full_matrices=tall)
        values = np.zeros(self.count)
        values[: len(singular)] = singular**2
        values[values < 1e-24 * values.max()] = 0
        self._values, self._energies = values, (left.T @ labels) ** 2
        self._scale = np.log(values.max())

    def __call__(self, logs: Any) -> Any:
        """Minus the evidence over N, of (..., 2) logarithms of alpha and beta."""
        logs = np.asarray(logs)
        alpha, beta = np.exp(logs[..., 0, None] + self._scale), np.exp(logs[..., 1, None])
        variances = 1 / beta + self._values / alpha
        terms = np.log(2 * np.pi * variances) + self._energies / variances
        return terms.sum(-1) / 2 / self.count

    def maximum(self) -> float:
        """Over both precisions: a wide grid, and from its best points a general optimiser."""
        middle = np.log(self.count / self._energies.sum())
        lines = np.arange(-LIMIT, LIMIT + 60, 0.5), np.arange(-3, LIMIT, 0.5)
        points = np.stack(np.meshgrid(*lines, indexing="ij"), -1) + middle
        table = self(points)
        best = np.unravel_index(np.argsort(table, axis=None)[:3], table.shape)
        found = [
            optimize.minimize(
                self,
                points[i, j],
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
            )
            for i, j in zip(*best, strict=True)
        ]
        return -min(float(result.fun) for result in found)


def problem(seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Features and two or three classes: one kind of difficulty after the other."""
    dice = np.random.default_rng(seed)
    count, dimension = int(dice.integers(6, 40)), int(dice.integers(1, 25))
    kind = seed % 6
    if kind == 1:  # D > N
        dimension = count + int(dice.integers(1, 40))
    features = dice.normal(size=(count, dimension)) * dice.uniform(0.2, 3, dimension)
    if kind == 2:  # rank-deficient
        features = features @ dice.normal(size=(dimension, dimension + 4))
    if kind == 3:  # dead columns
        features = np.maximum(features, 0)
        features[:, dice.random(dimension) < 0.4] = 0
        features[0, 0] = 1
    if kind == 4:  # scaled features
        features *= 10.0 ** dice.uniform(-6, 6)
    if kind == 5:  # columns of different scales, and a constant one
        features *= 10.0 ** dice.uniform(-2, 2, dimension)
        features = np.hstack([features, np.ones((count, 1))])
    signal = features[:, :3] / np.abs(features).max()
    scores = dice.normal(size=(count, 3)) * 10 ** dice.uniform(-1.5, 1)
    scores[:, : signal.shape[1]] += signal * 10 ** dice.uniform(-1, 1)
    labels = scores.argmax(1)
    labels[:2] = 0, 1
    return features, labels

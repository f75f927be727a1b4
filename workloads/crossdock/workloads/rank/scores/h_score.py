"""H-score, plain and with a shrunk covariance."""

from __future__ import annotations

import numpy as np

from crossdock.workloads.features.inputs import Floats
from crossdock.workloads.rank.errors import NotAvailable
from crossdock.workloads.rank.summary import Summary

_ROUNDING = 16 * float(np.finfo(float).eps)
"""Of a sum of fourth powers: of 2000 rows some ten times less was seen."""
_UNSURE = 0.01
"""How unsure a shrinkage may be."""


def h_score(summary: Summary) -> float:
    """tr(cov(f)^-1 cov(E[f|y])): 0 to min(C - 1, D), larger is better.

    Bao et al., *An Information-Theoretic Approach to Transferability in Task Transfer Learning*
    (ICIP 2019), definition of the H-score. Directions without variance do not count.

    Raises:
        NotAvailable: if no feature varies.
    """
    values, vectors = _spectrum(summary)
    there = values > summary.noise
    return _trace(values[there], vectors[:, there], summary.between)


def regularised_h_score(summary: Summary) -> float:
    """(1 - a) tr(cov_a(f)^-1 cov(E[f|y])), with cov_a = (1 - a) cov(f) + a tr(cov(f))/D I.

    Ibrahim et al., *Newer is not always better: Rethinking transferability metrics* (2021);
    the shrinkage a is Ledoit and Wolf's (2004). Both covariances are divided by N.

    Raises:
        NotAvailable: if no feature varies, or all vary by far too little beside their means.
    """
    values, vectors = _spectrum(summary)
    shrinkage = ledoit_wolf(summary)
    shrunk = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * values.mean()
    there = shrunk > summary.noise
    return (1 - shrinkage) * _trace(shrunk[there], vectors[:, there], summary.between)


def ledoit_wolf(summary: Summary) -> float:
    """The shrinkage of the covariance towards a multiple of I, 0 to 1.

    Ledoit and Wolf, *A well-conditioned estimator for large-dimensional covariance matrices*
    (2004), lemma 3.2 and following. Beside the covariance it needs the mean of |f - m|^4, which is
    expanded into sums over rows of |f|^2, |f|^4 and |f|^2 f.

    Raises:
        NotAvailable: where nothing but rounding would be left of these sums.
    """
    covariance, mean, rows = summary.covariance, summary.mean, summary.rows
    squares, fourths, cross = summary.norms[0], summary.norms[1], summary.norms[2:]
    width, own = len(mean), float(mean @ mean)
    fourth = (
        fourths
        - 4 * mean @ cross
        + 4 * mean @ summary.statistics.gram @ mean
        + 2 * own * squares
        - 3 * rows * own**2
    ) / rows
    size = float((covariance**2).sum())
    scale = float(np.trace(covariance)) / width
    distance = size - width * scale**2  # all three times D
    if distance > 0 and _ROUNDING * own**2 / rows > _UNSURE * distance:
        raise NotAvailable(
            f"the root mean square of means, {np.sqrt(own / width):.3g}, is too far from 0 for"
            f" features that vary by {np.sqrt(scale):.3g}; subtract a constant from each"
        )
    error = min(max((fourth - size) / rows, 0.0), distance)
    return 0.0 if error == 0 else error / distance


def _spectrum(summary: Summary) -> tuple[Floats, Floats]:
    """Eigenvalues and vectors of the covariance; NotAvailable if none is above the rounding."""
    values, vectors = np.linalg.eigh(summary.covariance)
    if not (values > summary.noise).any():
        raise NotAvailable("no feature varies over the rows")
    return values, vectors


def _trace(values: Floats, vectors: Floats, between: Floats) -> float:
    """tr(V diag(1/values) V' between)."""
    along = np.einsum("di,di->i", vectors, between @ vectors)
    return float((along / values).sum())

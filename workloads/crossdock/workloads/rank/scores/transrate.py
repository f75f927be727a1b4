"""TransRate: what coding the features costs, less what coding each class costs."""

from __future__ import annotations

import numpy as np

from crossdock.workloads.features.inputs import Floats
from crossdock.workloads.rank.errors import NotAvailable
from crossdock.workloads.rank.summary import Summary

DISTORTION = 1e-4


def transrate(summary: Summary) -> float:
    """R(f) - mean over classes of R(f|y), R = 1/2 ln det(I + S / (n 1e-4)), in nats.

    Huang et al., *Frustratingly Easy Transferability Estimation* (ICML 2022), as the code in
    its appendix: S is the scatter about the mean of all rows, also of a class, and classes count
    alike. The score depends on the scale of the features, as the published one does.

    Raises:
        NotAvailable: without second moments by class.
    """
    grams = summary.statistics.moments
    if grams is None:
        raise NotAvailable("second moments by class were not gathered: they would be too large")
    there = summary.counts > 0
    counts, sums, mean = summary.counts[there], summary.statistics.cross.T[there], summary.mean
    outer = sums[:, :, None] * mean
    about_mean = counts[:, None, None] * np.outer(mean, mean)
    scatter = grams[there] - outer - outer.transpose(0, 2, 1) + about_mean
    whole = _rate(scatter.sum(0), float(summary.rows))
    return float(whole - np.mean(_rate(scatter, counts[:, None, None])))


def _rate(scatter: Floats, rows: Floats | float) -> Floats:
    """Of one matrix, or of many."""
    identity = np.eye(scatter.shape[-1])
    return np.asarray(np.linalg.slogdet(identity + scatter / (rows * DISTORTION))[1] / 2)

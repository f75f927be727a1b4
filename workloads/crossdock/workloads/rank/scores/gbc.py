"""GBC: how far classes overlap, each taken as a Gaussian."""

from __future__ import annotations

import numpy as np

from crossdock.workloads.rank.errors import NotAvailable
from crossdock.workloads.rank.summary import Summary

COMPONENTS = 64
LEAST_VARIANCE = 1e-4
"""So that a feature that is constant in a class does not make it infinitely far."""


def gbc(summary: Summary) -> float:
    """Minus the sum over ordered pairs of classes of exp(-Bhattacharyya distance); at most 0.

    Pandy et al., *Transferability Estimation using Bhattacharyya Class Separability* (CVPR 2022):
    spherical Gaussians in the first 64 principal components. The least variance is
    that of the published code.

    Raises:
        NotAvailable: without second moments by class, or with fewer than two classes.
    """
    grams = summary.statistics.moments
    if grams is None:
        raise NotAvailable("second moments by class were not gathered: they would be too large")
    there = summary.counts > 0
    if there.sum() < 2:
        raise NotAvailable("fewer than two classes have rows")
    _, vectors = np.linalg.eigh(summary.covariance)
    components = vectors[:, ::-1][:, :COMPONENTS]
    means = summary.class_means[there] @ components
    projected = grams[there] @ components
    squares = np.einsum("di,cdi->ci", components, projected) / summary.counts[there, None]
    variances = np.maximum(squares - means**2, LEAST_VARIANCE).mean(1)
    between = (variances[:, None] + variances) / 2
    gaps = ((means[:, None] - means) ** 2).sum(-1)
    shapes = np.log(between) - (np.log(variances)[:, None] + np.log(variances)) / 2
    # Unlike the published code, the second term counts every dimension of a spherical Gaussian:
    # its determinant is the variance to the power of the dimensions.
    distances = gaps / between / 8 + components.shape[1] * shapes / 2
    overlap = np.exp(-distances)
    return float(-(overlap.sum() - np.trace(overlap)))

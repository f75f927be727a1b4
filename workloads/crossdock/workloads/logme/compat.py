"""The fixed point as the reference of LogME computes it.

Source: the code that You et al. published with "Ranking and Tuning Pre-trained Models" (JMLR 2022),
written down again from its description: at most eleven rounds from alpha = beta = 1, until t
changes by no more than 1e-3 of itself, with 1e-5 added to both denominators; the evidence mixes the
new alpha and beta with residuals at the old t, and the means belong to the old t. Its constants
depend on the scale of features. One thing is not taken over: its sum of logarithms leaves out the
directions without features, which is wrong wherever there are any; here it runs over all D.
"""

from __future__ import annotations

import numpy as np

from crossdock.workloads.features.inputs import Floats
from crossdock.workloads.logme.evidence import Optimum
from crossdock.workloads.logme.spectrum import Spectrum

ROUNDS = 11
NEAR = 1e-3
EPSILON = 1e-5


def fixed_point(spectrum: Spectrum) -> Optimum:
    """Where the reference stops, for each of C columns; `ratios` are those of its means."""
    count = spectrum.squares.size
    alphas, betas, ratios, evidences = (np.empty(count) for _ in range(4))
    for column in range(count):
        found = _column(spectrum, column)
        alphas[column], betas[column], ratios[column], evidences[column] = found
    return Optimum(alphas, betas, ratios, evidences)


def _column(spectrum: Spectrum, column: int) -> tuple[float, float, float, float]:
    sigma: Floats = spectrum.values
    energies = spectrum.along[:, column] ** 2
    count, dimension = spectrum.count, spectrum.dimension
    alpha = beta = ratio = 1.0
    lengths = residue = 0.0
    for _ in range(ROUNDS):
        ratio = alpha / beta
        gamma = float((sigma / (sigma + ratio)).sum())
        lengths = float((sigma * energies / (ratio + sigma) ** 2).sum())
        residue = float((energies / (1 + sigma / ratio) ** 2).sum() + spectrum.beside[column])
        alpha = gamma / (lengths + EPSILON)
        beta = (count - gamma) / (residue + EPSILON)
        if abs(alpha / beta - ratio) <= NEAR * ratio:
            break
    logs = np.log(alpha + beta * sigma).sum() + (dimension - len(sigma)) * np.log(alpha)
    evidence = (
        dimension * np.log(alpha)
        + count * np.log(beta)
        - logs
        - beta * residue
        - alpha * lengths
        - count * np.log(2 * np.pi)
    )
    return alpha, beta, ratio, float(evidence) / (2 * count)

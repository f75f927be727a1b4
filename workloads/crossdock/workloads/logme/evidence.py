"""The evidence of a Bayesian linear model of labels, and its maximum.

y ~ N(F m, 1/beta), m ~ N(0, 1/alpha) (You et al., "LogME", ICML 2021, section 4; also Bishop, PRML,
section 3.5). With t = alpha/beta and q(t) = y'(I + F F'/t)^-1 y the logarithm of the evidence is

    N/2 ln(beta / 2 pi) - 1/2 sum_i ln(1 + sigma_i/t) - beta/2 q(t)

and the best beta is N/q(t): one unknown is left, t. That is the same as

    D/2 ln alpha + N/2 ln beta - 1/2 sum_{i <= D} ln(alpha + beta sigma_i)
        - beta/2 |y - F m|^2 - alpha/2 |m|^2 - N/2 ln 2 pi

where the sum runs over all D directions, also those with sigma_i = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossdock.workloads.features.inputs import Floats
from crossdock.workloads.logme.spectrum import Spectrum

STEP = 0.25
"""Of the search in ln t. The evidence is analytic within pi/2 of the real line there, so that it
has no bump as narrow."""
MARGIN = 30.0
"""How far the search goes beyond all singular values: e^-30 is what the limits are off by there."""
_MOST_STEPS = 80
_NEAR = 1e-11
_FLAT = 1e-11
"""Evidence, over N, that is no better than a limit by more than this is that limit's."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the evidence of each of C columns is greatest."""

    alphas: Floats
    """(C,): precision of the weights; infinite where no weight but 0 is worth it."""
    betas: Floats
    """(C,): precision of the labels; infinite where the features explain them exactly."""
    ratios: Floats
    """(C,): t = alpha/beta."""
    evidences: Floats
    """(C,): logarithm of the evidence over N; infinite for labels that are linear in the features
    while there are more samples than directions of features."""


def maximum(spectrum: Spectrum) -> Optimum:
    """The greatest evidence over all alpha and beta, of several maxima the highest.

    The limits count: alpha without bound (then the mean of the weights is 0), and beta without
    bound (then the weights are those of least squares).
    """
    problem = _Problem(spectrum)
    gains, places = problem.searched()
    alone, exact = gains <= 0, np.zeros(len(gains), dtype=bool)
    gains[alone] = 0.0
    limit = problem.limit_without_noise()
    if limit is not None:
        exact = limit >= gains - _FLAT * spectrum.count
        gains = np.where(exact, limit, gains)
        alone &= ~exact
    count, squares = spectrum.count, spectrum.squares
    ratios = np.where(exact, 0.0, np.where(alone, np.inf, np.exp(places) * problem.scale))
    with np.errstate(divide="ignore", invalid="ignore"):
        betas = count / (problem.misfit(places) * squares)
        alphas = np.where(alone, np.inf, ratios * betas)
        betas = np.where(alone, count / squares, np.where(exact, np.inf, betas))
        least = (spectrum.along**2 / spectrum.values[:, None]).sum(axis=0)
        alphas = np.where(exact, len(spectrum.values) / least, alphas)
    base = -0.5 * np.log(2 * np.pi * np.e * squares / count)
    return Optimum(alphas, betas, ratios, base + gains / count)


class _Problem:
    """The gain in evidence over a model without weights, in u = ln(t / greatest sigma).

    In these units neither the scale of the features nor that of the labels is left. The gain is
    written so that it keeps its digits where it is small: for t beyond all sigma it tends to 0.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        self._count = spectrum.count
        self.scale = float(spectrum.values[-1])
        self._values = spectrum.values / self.scale
        self._energies = spectrum.along**2 / spectrum.squares
        self._beside = spectrum.beside / spectrum.squares

    def searched(self) -> tuple[Floats, Floats]:
        """(C,) the greatest gain between the limits, and (C,) where."""
        low = np.log(self._values[0]) - MARGIN
        grid = np.arange(low, MARGIN, STEP)
        table = self._gains_on(grid)
        middle = table[1:-1]
        peaks = np.zeros(table.shape, dtype=bool)
        peaks[1:-1] = (middle >= table[:-2]) & (middle >= table[2:])
        peaks[table.argmax(axis=0), np.arange(table.shape[1])] = True
        rows, columns = np.nonzero(peaks)
        places = self._climbed(grid[rows] - STEP, grid[rows] + STEP, columns)
        heights = self._gains_at(places, columns)
        # Columns by columns the highest peak: the last of each in this order.
        order = np.lexsort((heights, columns))
        last = np.flatnonzero(np.diff(columns[order], append=-1))
        return heights[order][last], places[order][last]

    def limit_without_noise(self) -> Floats | None:
        """(C,): the gain for t to 0; None where that is minus infinity in all columns.

        Where there are as many directions as samples it is finite. Where there are fewer, labels
        in their span have evidence without bound, and others none.
        """
        if len(self._values) == self._count:
            misfit = (self._energies / self._values[:, None]).sum(axis=0)
            return np.asarray(-(self._count * np.log(misfit) + np.log(self._values).sum()) / 2)
        if (self._beside == 0).any():
            return np.where(self._beside == 0, np.inf, -np.inf)
        return None

    def misfit(self, places: Floats) -> Floats:
        """(C,): q / y'y at one place a column."""
        _, left = _shares(self._values, places)
        return np.asarray(self._beside + (self._energies * left).sum(axis=0))

    def _gains_on(self, grid: Floats) -> Floats:
        """(points, C): all columns on one grid, as products of matrices."""
        t = np.exp(grid)[:, None]
        fit = (self._values / (self._values + t)) @ self._energies
        misfit = self._beside + (t / (self._values + t)) @ self._energies
        logs = np.log1p(self._values / t).sum(axis=1)[:, None]
        return np.asarray(-(self._count * _log_misfit(fit, misfit) + logs) / 2)

    def _gains_at(self, places: Floats, columns: NDArray[np.intp]) -> Floats:
        """(P,): column `columns[i]` at `places[i]`."""
        kept, left = _shares(self._values, places)
        energies = self._energies[:, columns]
        fit = (energies * kept).sum(axis=0)
        misfit = self._beside[columns] + (energies * left).sum(axis=0)
        logs = np.log1p(self._values[:, None] * np.exp(-places)).sum(axis=0)
        return np.asarray(-(self._count * _log_misfit(fit, misfit) + logs) / 2)

    def _climbed(self, low: Floats, high: Floats, columns: NDArray[np.intp]) -> Floats:
        """(P,): where the slope is 0 between `low` and `high`; Newton's steps, halving if need be.

        There the usual equations of the fixed point hold: alpha = gamma/|m|^2 and
        beta = (N - gamma)/|y - F m|^2.
        """
        place = (low + high) / 2
        energies, beside = self._energies[:, columns], self._beside[columns]
        for _ in range(_MOST_STEPS):
            slope, bend = self._slope(place, energies, beside)
            low, high = np.where(slope > 0, place, low), np.where(slope > 0, high, place)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = place - slope / bend
            inside = (bend < 0) & (step > low) & (step < high)
            fresh = np.where(inside, step, (low + high) / 2)
            moved = np.abs(fresh - place).max()
            place = fresh
            if moved < _NEAR:
                break
        return place

    def _slope(self, places: Floats, energies: Floats, beside: Floats) -> tuple[Floats, Floats]:
        """(P,): first and second derivative of twice the gain, by u."""
        kept, left = _shares(self._values, places)
        spread = kept * left
        misfit = beside + (energies * left).sum(axis=0)
        first = -(energies * spread).sum(axis=0) / misfit
        second = (energies * spread * (left - kept)).sum(axis=0) / misfit
        slope = self._count * first + kept.sum(axis=0)
        return slope, self._count * (second + first**2) - spread.sum(axis=0)


def _shares(values: Floats, places: Floats) -> tuple[Floats, Floats]:
    """(r, P): what of labels a prior leaves to the weights, and to the noise, in each direction.

    sigma/(sigma + t) and t/(sigma + t): either is exact where the other is 1 but for rounding.
    """
    t = np.exp(places)
    total = values[:, None] + t
    return values[:, None] / total, t / total


def _log_misfit(fit: Floats, misfit: Floats) -> Floats:
    """ln q, of q = 1 - fit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(fit < 0.5, np.log1p(-np.minimum(fit, 0.5)), np.log(misfit))

"""Features and labels as LogME sees them: singular values, and labels along singular vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossdock.workloads.features import NotFinite, Statistics
from crossdock.workloads.features.inputs import Floats

_EPS = float(np.finfo(np.float64).eps)
RESOLVED = 1e-10
"""A square matrix tells eigenvalues apart from 0 that are this much of the greatest."""
_LEAST, _MOST = 1e-280, 1e300
"""Sums of squares within which their parts, down to rounding, are numbers of full precision."""
RESIDUE = 1e-5
"""What labels leave beside features is known well enough from F'F where it is this much of them."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """F = U S V', of rank r, and Y: N samples, D features, C columns of labels."""

    count: int
    """N."""
    dimension: int
    """D."""
    values: Floats
    """(r,): squares of the singular values, rising."""
    along: Floats
    """(r, C): U'Y."""
    beside: Floats
    """(C,): squared length of what is left of Y; 0 where that is no more than rounding."""
    squares: Floats
    """(C,): diagonal of Y'Y."""
    right: Floats | None
    """(D, r): V."""
    left: Floats | None
    """(N, r): U, where V was not made."""
    solver: str
    """What it was made of."""
    resolved: bool
    """Whether squares told all that there is; if not, take a root."""

    @property
    def condition(self) -> float:
        """Greatest over least singular value, of those that are not 0."""
        return float(np.sqrt(self.values[-1] / self.values[0]))

    def means(self, ratios: Floats) -> Floats:
        """(C, D): posterior means V S x / (t + S^2) at t = `ratios` (C,); needs V."""
        assert self.right is not None
        return (self.right @ (np.sqrt(self.values)[:, None] * self._shrunk(ratios))).T

    def dual(self, ratios: Floats) -> Floats:
        """(N, C): what F' makes posterior means of; needs U."""
        assert self.left is not None
        return self.left @ self._shrunk(ratios)

    def _shrunk(self, ratios: Floats) -> Floats:
        return self.along / (ratios + self.values[:, None])


def of_gram(statistics: Statistics) -> Spectrum:
    """From F'F; for many samples."""
    values, vectors = _eigen(statistics.gram)
    kept = values > _cut(len(values)) * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    along = (vectors.T @ statistics.cross) / np.sqrt(values)[:, None]
    squares = statistics.squares
    full = len(values) == statistics.count
    beside = np.zeros_like(squares) if full else squares - (along**2).sum(axis=0)
    left_enough = full or bool((beside > RESIDUE * squares).all())
    return Spectrum(
        count=statistics.count,
        dimension=statistics.dimension,
        values=values,
        along=along,
        beside=np.where(beside > 1e-12 * squares, beside, 0.0),
        squares=squares,
        right=vectors,
        left=None,
        solver="gram",
        resolved=left_enough and _is_resolved(values, statistics.gram, statistics.count),
    )


def of_root(statistics: Statistics) -> Spectrum:
    """From a root of [F Y]; where some features are nearly sums of others."""
    assert statistics.root is not None
    root, size = statistics.root, statistics.dimension
    over = min(len(root), size)
    left, singular, right = np.linalg.svd(root[:over, :size], full_matrices=False)
    greatest = float(singular[0])
    _expect_size(greatest * greatest)  # a power would raise an error of its own
    kept = singular > _cut(size) * singular[0]
    upper = root[:over, size:]
    along = left[:, kept].T @ upper
    # The rows below have no part in the features; those above, what no kept direction explains.
    beside = (root[over:, size:] ** 2).sum(axis=0)
    beside += ((upper - left[:, kept] @ along) ** 2).sum(axis=0)
    squares = statistics.squares
    full = int(kept.sum()) == statistics.count
    return Spectrum(
        count=statistics.count,
        dimension=size,
        values=singular[kept][::-1] ** 2,
        along=along[::-1],
        beside=np.where((beside > 1e-26 * squares) & (not full), beside, 0.0),
        squares=squares,
        right=right[kept][::-1].T,
        left=None,
        solver="root",
        resolved=True,
    )


def of_kernel(kernel: Floats, columns: Floats, dimension: int) -> Spectrum:
    """From F F' (N x N) and Y (N x C); for more features than samples."""
    values, vectors = _eigen(kernel)
    kept = values > _cut(len(values)) * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    along = vectors.T @ columns
    squares = (columns**2).sum(axis=0)
    beside = ((columns - vectors @ along) ** 2).sum(axis=0)
    full = len(values) == len(kernel)
    return Spectrum(
        count=len(kernel),
        dimension=dimension,
        values=values,
        along=along,
        beside=np.where((beside > 1e-26 * squares) & (not full), beside, 0.0),
        squares=squares,
        right=None,
        left=vectors,
        solver="kernel",
        resolved=_is_resolved(values, kernel, dimension),
    )


def _eigen(square: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, rising, and eigenvectors of a symmetric matrix."""
    _expect_size(float(np.trace(square)))
    values, vectors = np.linalg.eigh(square)
    return values, vectors


def _expect_size(square: float) -> None:
    if not _LEAST < square < _MOST:
        raise NotFinite(
            f"squares of features add up to {square}; scale the features, which changes no score"
        )


def expect_size_of_targets(squares: Floats) -> None:
    """NotFinite where squares of a column of targets lose digits, or are no numbers."""
    wrong = np.flatnonzero(~((squares > _LEAST) & (squares < _MOST)))
    if len(wrong):
        raise NotFinite(
            f"squares of column {wrong[0]} of the targets add up to {squares[wrong[0]]}; scale it,"
            " which adds the logarithm of the scale to minus its evidence"
        )


def _cut(size: int) -> float:
    """What is less than so much of the greatest is rounding, and stands for 0."""
    return _EPS * max(4 * size, 256)


def _is_resolved(values: Floats, square: Floats, other_side: int) -> bool:
    """Whether what is not among the eigenvalues is 0 for sure: by zeros, or by the shape of F."""
    alive = min(int((np.diagonal(square) > 0).sum()), other_side)
    return len(values) == alive and bool(values[0] > RESOLVED * values[-1])

"""Features that are wider than there are samples: K = F F', from blocks of columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdock.proxy.errors import ArgumentError, MismatchError
from crossdock.workloads.features import WrongShape, inputs
from crossdock.workloads.features.blocks import BLOCK_BYTES
from crossdock.workloads.features.inputs import Floats


@dataclass(frozen=True, eq=False)
class Kernel:
    """F F' of N samples and some of their features; adds up over blocks of features."""

    matrix: Floats
    """(N, N)."""
    dimension: int
    """How many features went into it."""
    varies: bool
    """Whether any two samples differ in them."""

    @classmethod
    def of(cls, features: Any, first_column: int = 0) -> Kernel:
        """Of a block of features (N x any), an array or a tensor; NotFinite, WrongShape.

        `first_column` is the place of the block among all features, for what errors say.
        """
        found = inputs.features_of(features)
        width = max(BLOCK_BYTES // (8 * len(found)), 1)
        return reduce(
            Kernel.merge,
            (
                _of_block(found[:, start : start + width], first_column + start)
                for start in range(0, found.shape[1], width)
            ),
        )

    @classmethod
    def total(cls, parts: Iterable[Kernel]) -> Kernel:
        """Of several blocks of features; ArgumentError where there are none."""
        listed = list(parts)
        if not listed:
            raise ArgumentError("there are no kernels to add up")
        return reduce(Kernel.merge, listed)

    def merge(self, other: Kernel) -> Kernel:
        """Over the features of both; MismatchError where the samples differ in number."""
        if len(self.matrix) != len(other.matrix):
            raise MismatchError(
                f"kernels to be merged are of {len(self.matrix)} and {len(other.matrix)} samples"
            )
        return Kernel(
            self.matrix + other.matrix,
            self.dimension + other.dimension,
            self.varies or other.varies,
        )

    def part(self, rows: NDArray[np.int64]) -> Kernel:
        """Of some of the samples."""
        return Kernel(self.matrix[np.ix_(rows, rows)], self.dimension, self.varies)


def weights(features: Any, dual: Floats) -> Floats:
    """(C, any): F' dual, of a block of features."""
    found = inputs.features_of(features)
    if len(found) != len(dual):
        raise WrongShape(f"{len(found)} rows of features for {len(dual)} samples")
    if inputs.is_tensor(found):
        return _weights_on_device(found, dual)
    return np.asarray(dual.T @ found.astype(np.float64, copy=False))


def _weights_on_device(features: Any, dual: Floats) -> Floats:
    import torch

    there = torch.as_tensor(dual, device=features.device)
    return np.asarray(inputs.home(there.T @ features.to(torch.float64)))


def _of_block(given: Any, start: int) -> Kernel:
    width = int(given.shape[1])
    if inputs.is_tensor(given):
        import torch

        there = given.to(torch.float64)
        matrix = inputs.home(there @ there.T)
        varies = bool((there != there[0]).any())
    else:
        block = np.asarray(given, dtype=np.float64)
        matrix = block @ block.T
        varies = bool((block != block[0]).any())
    if not np.isfinite(np.diagonal(matrix)).all():
        inputs.expect_finite(inputs.home(given), "features", first_column=start)
    return Kernel(matrix, width, varies)

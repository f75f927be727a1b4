"""Sums over a block of rows: in this process with NumPy, on another device with PyTorch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crossdock.workloads.features import inputs
from crossdock.workloads.features.inputs import Floats, Targets

BLOCK_BYTES = 1 << 26
"""Of the rows that are converted to float64 at a time."""
_LEAST_ROWS = 64


class Sums(NamedTuple):
    """See the fields of the same names of ``Statistics``."""

    gram: Floats
    cross: Floats
    sums: Floats
    first: Floats
    varies: bool
    moments: Floats | None


def rows_of(features: Any) -> int:
    """How many rows a block of such features has."""
    return max(BLOCK_BYTES // (8 * int(features.shape[1])), _LEAST_ROWS)


def summed(given: Any, targets: Targets, moments: str, first_row: int) -> Sums:
    """The sums of a block, whose first is row `first_row` of all; NotFinite names a bad row."""
    if inputs.is_tensor(given):
        return _on_device(given, targets, moments, first_row)
    return _here(np.ascontiguousarray(given, dtype=np.float64), targets, moments, first_row)


def _here(block: Floats, targets: Targets, moments: str, first_row: int) -> Sums:
    with np.errstate(invalid="ignore", over="ignore"):
        sums = block.sum(axis=0)
    if not np.isfinite(sums).all():  # a NaN or infinity outlives a sum, and this is one pass
        inputs.expect_finite(block, "features", first_row)
    hot = _one_hot(targets, len(block))
    return Sums(
        gram=block.T @ block,
        cross=np.ascontiguousarray((hot @ block).T),
        sums=sums,
        first=block[0].copy(),
        varies=bool((block[:2] != block[0]).any() or (block != block[0]).any()),
        moments=_moments(block, targets, moments, hot),
    )


def _one_hot(targets: Targets, count: int) -> Any:
    """Y' (C x N); of classes sparse, for as many steps as there are samples, however many C."""
    if targets.codes is None:
        return targets.rows(0, count).T
    return sparse.csr_array(
        (np.ones(count), (targets.codes, np.arange(count))),
        shape=(len(targets.classes), count),
    )


def _moments(block: Floats, targets: Targets, moments: str, hot: Any) -> Floats | None:
    if moments == "diagonal":
        return np.asarray(hot @ block**2)
    if moments == "full":
        own = (block[targets.codes == code] for code in range(len(targets.classes)))
        return np.stack([members.T @ members for members in own])
    return None


def _on_device(given: Any, targets: Targets, moments: str, first_row: int) -> Sums:
    """Only the sums come home."""
    import torch

    block = given.to(torch.float64)
    sums = block.sum(0)
    if not bool(torch.isfinite(sums).all()):
        inputs.expect_finite(inputs.home(block), "features", first_row)
    hot = torch.as_tensor(targets.rows(0, len(block)), device=block.device)
    found: NDArray[np.float64] | None = None
    if moments == "diagonal":
        found = inputs.home(hot.T @ block**2)
    elif moments == "full":
        own = (block[hot[:, code] == 1] for code in range(len(targets.classes)))
        found = np.stack([inputs.home(members.T @ members) for members in own])
    return Sums(
        gram=inputs.home(block.T @ block),
        cross=inputs.home(block.T @ hot),
        sums=inputs.home(sums),
        first=inputs.home(block[0]),
        varies=bool((block != block[0]).any()),
        moments=found,
    )

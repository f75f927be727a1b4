"""Counts what came out wrong: tokens, not bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from crossdock.bench.workload import Arrived

ROUNDING = 2.0**-6
"""Of a row's largest value: how far sums may be off that round elsewhere than the reference."""


def count_wrong_arrivals(got: Arrived, expected: Arrived) -> int:
    """Rows that are not there, not in place, or differ in a bit, and counts that differ."""
    wrong = torch.zeros(max(len(got.rows), len(expected.rows)), dtype=torch.bool)
    wrong[min(len(got.rows), len(expected.rows)) :] = True
    for mine, right in zip(got[:4], expected[:4], strict=True):
        if (mine is None) != (right is None):
            wrong[:] = True
        elif mine is not None and right is not None:
            _mark_different(wrong, mine, right)
    counts_differ = got.counts.tolist() != expected.counts.tolist()
    return int(wrong.sum()) or int(counts_differ)


def count_wrong_sums(got: Tensor, expected: Tensor, exact: bool) -> int:
    """Tokens whose sum differs, in a bit or by more than rounding."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return len(expected)
    if exact:
        wrong = torch.zeros(len(expected), dtype=torch.bool)
        _mark_different(wrong, got, expected)
        return int(wrong.sum())
    far = (got.float() - expected.float()).abs().amax(1)
    near_enough = far <= ROUNDING * expected.float().abs().amax(1)  # false for a NaN
    return int((~near_enough).sum())


def _mark_different(wrong: Tensor, mine: Tensor, right: Tensor) -> None:
    if mine.dtype != right.dtype or mine.shape[1:] != right.shape[1:]:
        wrong[:] = True
        return
    both = min(len(mine), len(right))
    if both == 0:
        return
    mine, right = _bits(mine[:both]), _bits(right[:both])
    if not torch.equal(mine, right):
        wrong[:both] |= (mine != right).any(1)


def _bits(rows: Tensor) -> Tensor:
    """Rows as whole numbers, as wide as they allow: a NaN equals itself, and it is fast."""
    raw = rows.contiguous().view(torch.uint8).flatten(1)
    return raw.view(torch.int64) if raw.shape[1] % 8 == 0 else raw

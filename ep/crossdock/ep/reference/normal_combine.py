"""Normal mode, back: the unweighted sum of a token's rows, in a fixed order."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import expect_dtype, expect_one_per_rank, expect_shape, expect_tables
from .layouts import ranks_by_node
from .normal_dispatch import Dispatched

Bias = Tensor | tuple[Tensor, Tensor]


class Combined(NamedTuple):
    combined_x: Tensor  # [T, H] of the dtype of x
    combined_topk_weights: Tensor | None  # float32[T, K]


def combine(
    x: Sequence[Tensor],
    dispatched: Sequence[Dispatched],
    topk_weights: Sequence[Tensor] | None = None,
    bias: Sequence[Bias | None] | None = None,
    node_of: Sequence[int] | None = None,
) -> list[Combined]:
    """Sum each token's rows, one from each rank that received it.

    `x` and the biases are bf16 or float32. The sum is that of `_sum_of_rows`, in which nodes send
    partial sums in the dtype of `x`; then each bias is added in float32, and the result is rounded
    to that dtype once. A token that went nowhere gives
    0 (and its bias). `topk_weights` (one row per received row) are summed in the same order, all
    in float32.
    """
    nodes = ranks_by_node(node_of, len(dispatched))
    num_rows = [len(received.source_rank) for received in dispatched]
    expect_tables("x", x, num_rows, torch.bfloat16, torch.float32)
    if topk_weights is not None:
        expect_tables("topk_weights", topk_weights, num_rows, torch.float32)
    if bias is not None:
        expect_one_per_rank("bias", bias, len(dispatched))

    results = []
    for source in range(len(dispatched)):
        total = _sum_of_rows(x, dispatched, source, nodes, partial_dtype=x[source].dtype)
        for term in bias_terms(bias[source] if bias is not None else None):
            expect_dtype("bias", term, x[source].dtype)
            expect_shape("bias", term, *total.shape)
            total += term.float()
        weights = None
        if topk_weights is not None:
            weights = _sum_of_rows(topk_weights, dispatched, source, nodes, torch.float32)
        results.append(Combined(total.to(x[source].dtype), weights))
    return results


def _sum_of_rows(
    rows: Sequence[Tensor],
    dispatched: Sequence[Dispatched],
    source: int,
    nodes: list[list[int]],
    partial_dtype: torch.dtype,
) -> Tensor:
    """For each token of rank `source` the float32 sum of its rows.

    Start from 0 and walk the nodes in ascending order. The source's own node adds the row of each
    of its ranks, ascending, one by one. Another node first sums the rows of its ranks, ascending,
    by itself in float32, and rounds that partial sum to `partial_dtype`; the partial is added.
    """
    shape = (dispatched[source].num_tokens, rows[source].shape[1])
    total = rows[source].new_zeros(shape, dtype=torch.float32)
    for ranks in nodes:
        if source in ranks:
            _add_rows(total, ranks, rows, dispatched, source)
        else:
            # A partial may start from 0 instead of the first row: they differ only in the sign
            # of a zero, and the total, which is never -0, hides that.
            partial = torch.zeros_like(total)
            _add_rows(partial, ranks, rows, dispatched, source)
            total += partial.to(partial_dtype).float()
    return total


def _add_rows(
    total: Tensor,
    ranks: list[int],
    rows: Sequence[Tensor],
    dispatched: Sequence[Dispatched],
    source: int,
) -> None:
    for rank in ranks:
        is_from_source = dispatched[rank].source_rank == source
        # A rank has at most one row of a token, so no index occurs twice.
        tokens = dispatched[rank].source_token[is_from_source]
        total[tokens] += rows[rank][is_from_source].float()


def bias_terms(bias: Bias | None) -> tuple[Tensor, ...]:
    if bias is None:
        return ()
    if isinstance(bias, Tensor):
        return (bias,)
    if not isinstance(bias, tuple) or len(bias) != 2:
        raise TypeError(f"bias is {bias!r}; pass None, a tensor, or a tuple of two tensors")
    return bias

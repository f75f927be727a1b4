"""Where tokens go: expert e lives on rank e // L, rank r on node node_of[r]."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import expect_one_per_rank, expect_topk_idx, local_experts


class Layout(NamedTuple):
    """What one rank sends; a token counts once per rank, once per node, once per expert."""

    num_tokens_per_rank: Tensor  # int32[R]
    num_tokens_per_node: Tensor | None  # int32[N], None when there is one node
    num_tokens_per_expert: Tensor  # int32[E]
    is_token_in_rank: Tensor  # bool[T, R]


def layout(
    topk_idx: Tensor, num_experts: int, num_ranks: int, node_of: Sequence[int] | None = None
) -> Layout:
    """The layout of one rank's tokens. Without `node_of` all ranks are on one node."""
    num_local = local_experts(num_experts, num_ranks)
    nodes = ranks_by_node(node_of, num_ranks)
    in_expert = tokens_in_experts(topk_idx, num_experts)
    in_rank = torch.unflatten(in_expert, 1, (num_ranks, num_local)).any(2)
    in_node = torch.stack([in_rank[:, ranks].any(1) for ranks in nodes], dim=1)
    return Layout(
        num_tokens_per_rank=_count(in_rank),
        num_tokens_per_node=_count(in_node) if len(nodes) > 1 else None,
        num_tokens_per_expert=_count(in_expert),
        is_token_in_rank=in_rank,
    )


def tokens_in_experts(topk_idx: Tensor, num_experts: int) -> Tensor:
    """bool[T, E]: whether a token names an expert, however often."""
    expect_topk_idx("topk_idx", topk_idx, num_experts)
    # One column more takes the -1s.
    named = torch.zeros(
        topk_idx.shape[0], num_experts + 1, dtype=torch.bool, device=topk_idx.device
    )
    named.scatter_(1, torch.where(topk_idx < 0, num_experts, topk_idx), True)
    return named[:, :num_experts]


def ranks_by_node(node_of: Sequence[int] | None, num_ranks: int) -> list[list[int]]:
    """For each node its ranks, ascending."""
    if node_of is None:
        node_of = [0] * num_ranks
    expect_one_per_rank("node_of", node_of, num_ranks)
    nodes = sorted(set(node_of))
    if nodes != list(range(len(nodes))):
        raise ValueError(f"node_of names nodes {nodes}; number them from 0 without gaps")
    return [[rank for rank in range(num_ranks) if node_of[rank] == node] for node in nodes]


def _count(is_in: Tensor) -> Tensor:
    return is_in.sum(0, dtype=torch.int32)

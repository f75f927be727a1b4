"""Normal mode, there: one copy of a token per destination rank."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import expect_at_least, expect_shape, expect_tables, local_experts
from .layouts import layout, tokens_in_experts


@dataclass(frozen=True)
class Dispatched:
    """What one rank received: rows by source rank, then by source token.

    Padding rows, which only `num_worst_tokens` makes, come last: their expert ids and sources
    are -1 and their weights 0; their recv_x and recv_scales are unspecified (zero here).
    """

    recv_x: Tensor  # [rows, H], bf16, float32 or fp8
    recv_scales: Tensor | None  # [rows, S]
    recv_topk_idx: Tensor | None  # int64[rows, K]: local expert ids, -1 where it lives elsewhere
    recv_topk_weights: Tensor | None  # float32[rows, K]: 0 where the expert lives elsewhere
    num_recv_tokens_per_expert: list[int] | None  # of local experts, rounded up to the alignment
    source_rank: Tensor  # int64[rows]
    source_token: Tensor  # int64[rows]
    num_tokens: int  # how many tokens this rank itself sent from


def dispatch(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor] | None,
    topk_weights: Sequence[Tensor] | None,
    num_experts: int,
    scales: Sequence[Tensor] | None = None,
    expert_alignment: int = 1,
    num_worst_tokens: int = 0,
    is_token_in_rank: Sequence[Tensor] | None = None,
) -> list[Dispatched]:
    """Send each token once to each rank that has an expert of it.

    Without `topk_idx` (a cached handle) `is_token_in_rank` decides, and expert ids, weights and
    counts are None. With both, they must agree. With `num_worst_tokens` each rank gets that many
    rows, and an empty list of counts.
    """
    _expect_tokens(x, topk_idx, topk_weights, scales)
    expect_at_least("expert_alignment", expert_alignment, 1)
    expect_at_least("num_worst_tokens", num_worst_tokens, 0)
    num_local = local_experts(num_experts, len(x))
    in_rank = _tokens_in_ranks(x, topk_idx, num_experts, is_token_in_rank)

    results = []
    for rank in range(len(x)):
        sent = [tokens[:, rank].nonzero().flatten() for tokens in in_rank]
        padding = _num_padding(rank, sum(len(tokens) for tokens in sent), num_worst_tokens)
        recv_idx = recv_weights = counts = None
        if topk_idx is not None:
            expert = _receive(topk_idx, sent, padding, fill=-1)
            is_here = (expert >= 0) & (expert // num_local == rank)
            recv_idx = torch.where(is_here, expert - rank * num_local, -1)
            counts = [] if num_worst_tokens else _counts(recv_idx, num_local, expert_alignment)
            if topk_weights is not None:
                weights = _receive(topk_weights, sent, padding, fill=0)
                recv_weights = torch.where(is_here, weights, 0.0)
        sources = [torch.full_like(tokens, source) for source, tokens in enumerate(sent)]
        results.append(
            Dispatched(
                recv_x=_receive(x, sent, padding, fill=0),
                recv_scales=None if scales is None else _receive(scales, sent, padding, fill=0),
                recv_topk_idx=recv_idx,
                recv_topk_weights=recv_weights,
                num_recv_tokens_per_expert=counts,
                source_rank=_pad(torch.cat(sources), padding, fill=-1),
                source_token=_pad(torch.cat(sent), padding, fill=-1),
                num_tokens=x[rank].shape[0],
            )
        )
    return results


def _tokens_in_ranks(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor] | None,
    num_experts: int,
    given: Sequence[Tensor] | None,
) -> Sequence[Tensor]:
    if given is not None:
        expect_tables("is_token_in_rank", given, [len(tokens) for tokens in x], torch.bool)
        expect_shape("is_token_in_rank", given[0], None, len(x))
    if topk_idx is None:
        if given is None:
            raise ValueError("topk_idx and is_token_in_rank are both None; pass one of them")
        return given
    derived = [layout(idx, num_experts, len(x)).is_token_in_rank for idx in topk_idx]
    for rank in range(len(x)):
        if given is not None and not torch.equal(given[rank], derived[rank]):
            raise ValueError(f"is_token_in_rank of rank {rank} is not the layout of its topk_idx")
    return derived


def _num_padding(rank: int, num_rows: int, num_worst_tokens: int) -> int:
    if num_worst_tokens == 0:
        return 0
    if num_rows > num_worst_tokens:
        raise ValueError(
            f"rank {rank} receives {num_rows} tokens and num_worst_tokens is {num_worst_tokens}; "
            f"pass {num_rows} or more"
        )
    return num_worst_tokens - num_rows


def _receive(tables: Sequence[Tensor], sent: list[Tensor], padding: int, fill: int) -> Tensor:
    rows = [table[tokens] for table, tokens in zip(tables, sent, strict=True)]
    return _pad(torch.cat(rows), padding, fill)


def _pad(rows: Tensor, padding: int, fill: int) -> Tensor:
    filled = torch.full((padding, *rows.shape[1:]), float(fill), dtype=torch.float32)
    return torch.cat([rows, filled.to(rows)])


def _counts(recv_topk_idx: Tensor, num_local: int, alignment: int) -> list[int]:
    exact = tokens_in_experts(recv_topk_idx, num_local).sum(0).tolist()
    return [-(-count // alignment) * alignment for count in exact]


def _expect_tokens(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor] | None,
    topk_weights: Sequence[Tensor] | None,
    scales: Sequence[Tensor] | None,
) -> None:
    expect_tables("x", x, [None] * len(x), torch.bfloat16, torch.float32, torch.float8_e4m3fn)
    num_tokens = [len(tokens) for tokens in x]
    if scales is not None:
        expect_tables("scales", scales, num_tokens, torch.float32, torch.int32)
    if topk_idx is not None:
        expect_tables("topk_idx", topk_idx, num_tokens, torch.int64)
    if topk_weights is not None:
        if topk_idx is None:
            raise ValueError("topk_weights without topk_idx; pass both, or neither")
        expect_tables("topk_weights", topk_weights, num_tokens, torch.float32)
        expect_shape("topk_weights", topk_weights[0], None, topk_idx[0].shape[1])

"""Engines set the default device and dtype while they build a model. What a Buffer allocates is for
CPU tensors all the same: its native half writes there."""

from __future__ import annotations

from typing import Any

import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import build, check_both_modes, even_weights, routes_to, rows

EXPERTS = 8


def inputs(buffer: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    idx = routes_to(1 - buffer.rank, 8)
    return rows(8, buffer.rank + 1), idx, even_weights(idx)


def call_all(rank: RankContext) -> None:
    buffer: Any = build(rank, group=rank.exchange("built elsewhere"))
    x, idx, weights = inputs(buffer)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, EXPERTS)
        received, _, back, _, handle, _ = buffer.dispatch(
            x,
            num_tokens_per_rank=per_rank,
            num_tokens_per_expert=per_expert,
            is_token_in_rank=in_rank,
            topk_idx=idx,
            topk_weights=weights,
        )
        combined, _, _ = buffer.combine(received, handle, topk_weights=back)
        arrived, _, known, _, _ = buffer.low_latency_dispatch(x, idx, 64, EXPERTS, use_fp8=False)
        summed, _, _ = buffer.low_latency_combine(arrived, idx, weights, known)
    torch.set_default_dtype(torch.float32)
    assert torch.equal(combined, x)
    assert torch.equal(summed, x)
    check_both_modes(buffer)
    buffer.destroy()


def test_defaults_of_torch_do_not_matter() -> None:
    run_ranks(call_all, 2)

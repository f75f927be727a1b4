"""A credit of the low-latency mode says that tokens were taken, not results. Tokens of a larger
shape would reach into results of two rounds ago, for which a slower rank may still wait."""

from __future__ import annotations

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import HIDDEN, LOCAL_EXPERTS, MAX_TOKENS, built, rows

from crossdock.ep import Buffer
from crossdock.proxy.errors import ArgumentError, CapacityError

FEW = MAX_TOKENS // 4


def round_trip(buffer: Buffer, max_tokens: int, hidden: int) -> None:
    """One token to each expert and back."""
    experts = LOCAL_EXPERTS * buffer.group_size
    idx = torch.arange(experts).view(experts, 1)
    x = rows(experts, 3, hidden)
    received, _, handle, _, _ = buffer.low_latency_dispatch(
        x, idx, max_tokens, experts, use_fp8=False
    )
    assert isinstance(received, torch.Tensor)
    combined, _, _ = buffer.low_latency_combine(received, idx, torch.ones(experts, 1), handle)
    assert torch.equal(combined, x)


def grow(rank: RankContext) -> None:
    """Rounds that grow are refused until all ranks have cleaned together."""
    with built(rank) as buffer:
        experts = LOCAL_EXPERTS * rank.size
        round_trip(buffer, FEW, HIDDEN // 2)
        round_trip(buffer, FEW, HIDDEN // 2)
        with pytest.raises(ArgumentError, match="clean_low_latency_buffer on all ranks"):
            round_trip(buffer, MAX_TOKENS, HIDDEN)
        buffer.clean_low_latency_buffer(MAX_TOKENS, HIDDEN, experts)
        round_trip(buffer, MAX_TOKENS, HIDDEN)
        round_trip(buffer, FEW, HIDDEN // 2)
        round_trip(buffer, MAX_TOKENS, HIDDEN)
        with pytest.raises(CapacityError, match="get_low_latency_rdma_size_hint"):
            buffer.clean_low_latency_buffer(MAX_TOKENS + 1, HIDDEN, experts)


def test_rounds_that_grow_are_refused_until_the_buffer_is_clean() -> None:
    run_ranks(grow, 2)


def clean_with_a_live_result(rank: RankContext) -> None:
    """What is live would be void, so that the rank is told instead."""
    with built(rank) as buffer:
        experts = LOCAL_EXPERTS * rank.size
        idx = torch.zeros(1, 1, dtype=torch.int64)
        x = rows(1, 1)
        received, _, handle, _, _ = buffer.low_latency_dispatch(
            x, idx, MAX_TOKENS, experts, use_fp8=False
        )
        with pytest.raises(ArgumentError, match="is live"):
            buffer.clean_low_latency_buffer(MAX_TOKENS, HIDDEN, experts)
        assert isinstance(received, torch.Tensor)
        combined, _, _ = buffer.low_latency_combine(received, idx, torch.ones(1, 1), handle)
        assert torch.equal(combined, x)
        buffer.clean_low_latency_buffer(MAX_TOKENS, HIDDEN, experts)


def test_a_live_result_is_not_cleaned_away() -> None:
    run_ranks(clean_with_a_live_result, 2)

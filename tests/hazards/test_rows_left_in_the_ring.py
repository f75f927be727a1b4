"""A call may return while its rows are still on their way, and its rank may turn to other things
for long. With inline proxies nobody waits then who would run them. They must go all the same."""

from __future__ import annotations

import time

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    MAX_TOKENS,
    built,
    even_weights,
    low_latency_dispatch,
    routes_to,
    rows,
)

LATE_S = 0.4
SOON_S = 2.5
DEADLINE_S = 4.0
MANY = 512  # more than the inbox of a peer holds


def combine_and_turn_away(
    rank: RankContext, transport: str, threads: int, own_tokens: int
) -> float:
    """Rank 0 has nothing, or little, to wait for, and is the last to come."""
    with built(rank, transport, threads, timeout_s=DEADLINE_S) as buffer:
        pace = rank.exchange("pace")
        tokens = MAX_TOKENS if rank.rank == 1 else own_tokens
        idx = routes_to(1 - rank.rank, tokens)
        x = rows(tokens, rank.rank + 1)
        received, _, handle, _, hook = low_latency_dispatch(buffer, x, idx, return_recv_hook=True)
        hook()
        pace.all_gather(b"", DEADLINE_S)
        if rank.rank == 0:
            time.sleep(LATE_S)
        start = time.monotonic()
        combined, _, _ = buffer.low_latency_combine(received, idx, even_weights(idx), handle)
        took = time.monotonic() - start
        assert torch.equal(combined, x)
        pace.all_gather(b"", 2 * DEADLINE_S)
        return took


@EACH_WAY
@pytest.mark.parametrize("own_tokens", [0, 8])
def test_rows_of_a_combine_whose_rank_waits_for_little(
    transport: str, threads: int, own_tokens: int
) -> None:
    took = run_ranks(combine_and_turn_away, 2, transport, threads, own_tokens)
    assert max(took) < LATE_S + SOON_S


def dispatch_and_turn_away(rank: RankContext, transport: str, threads: int) -> float:
    """Rank 0 sends more than rank 1, which comes late, can be handed at once."""
    with built(rank, transport, threads, max_tokens=MANY, timeout_s=DEADLINE_S) as buffer:
        pace = rank.exchange("pace")
        tokens = MANY if rank.rank == 0 else 0
        idx = routes_to(1, tokens)
        x = rows(tokens, 3)
        if rank.rank == 1:
            time.sleep(LATE_S)
        start = time.monotonic()
        received, count, handle, _, hook = low_latency_dispatch(
            buffer, x, idx, MANY, return_recv_hook=True
        )
        if rank.rank == 1:
            hook()
        took = time.monotonic() - start
        pace.all_gather(b"", 2 * DEADLINE_S)
        if rank.rank == 0:
            hook()
        assert count.tolist() == [MANY * rank.rank] * LOCAL_EXPERTS
        combined, _, _ = buffer.low_latency_combine(received, idx, even_weights(idx), handle)
        assert torch.equal(combined, x)
        return took


@EACH_WAY
def test_rows_of_a_dispatch_whose_hook_is_called_late(transport: str, threads: int) -> None:
    took = run_ranks(dispatch_and_turn_away, 2, transport, threads)
    assert max(took) < SOON_S


def fence_while_the_peer_computes(rank: RankContext, transport: str, threads: int) -> None:
    """What arrives at a rank that computes must be acknowledged: a fence waits for it."""
    with built(rank, transport, threads, max_tokens=MANY, timeout_s=DEADLINE_S) as buffer:
        pace = rank.exchange("pace")
        tokens = MANY if rank.rank == 1 else 0
        idx = routes_to(0, tokens)
        received, _, handle, _, hook = low_latency_dispatch(
            buffer, rows(tokens, 5), idx, MANY, return_recv_hook=True
        )
        if rank.rank == 1:
            buffer.communicator.fence(SOON_S)
        pace.all_gather(b"", 2 * DEADLINE_S)
        hook()
        buffer.low_latency_combine(received, idx, even_weights(idx), handle)


@EACH_WAY
def test_a_rank_that_computes_acknowledges(transport: str, threads: int) -> None:
    run_ranks(fence_while_the_peer_computes, 2, transport, threads)

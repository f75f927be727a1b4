"""The normal mode leaves no rank out. While one is masked it refuses, instead of taking the rows of
a round that went before."""

from __future__ import annotations

import time

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    build,
    check_both_modes,
    dispatch,
    routes,
    rows,
    values_of,
)

from crossdock.proxy.errors import ArgumentError, CutOff

EXPERTS = 2 * LOCAL_EXPERTS
NOTICE_S = 4.0


def go_on_with_a_mask(rank: RankContext, transport: str, threads: int) -> None:
    buffer = build(rank, transport, threads, enable_shrink=True)
    idx = routes(32, EXPERTS, seed=rank.rank)
    for value in (10, 20):
        x = rows(32, value + rank.rank)
        received, _, _, _, handle, _ = dispatch(buffer, x, idx, EXPERTS)
        assert values_of(received) == [value, value + 1]
    check_both_modes(buffer)
    rank.exchange("pace").all_gather(b"", 10)
    x = rows(32, 30 + rank.rank)
    if rank.rank == 0:
        buffer.low_latency_update_mask_buffer(1, True)
        with pytest.raises(ArgumentError, match=r"rank\(s\) \[1\] are masked"):
            dispatch(buffer, x, idx, EXPERTS)
        with pytest.raises(ArgumentError, match=r"rank\(s\) \[1\] are masked"):
            buffer.combine(received, handle)
    else:
        start = time.monotonic()
        with pytest.raises(CutOff) as caught:
            dispatch(buffer, x, idx, EXPERTS)
        assert list(caught.value.ranks) == [0]
        assert time.monotonic() - start < NOTICE_S, "who is masked learns it before its deadline"
    rank.exchange("end").all_gather(b"", 10)
    buffer.destroy()


@EACH_WAY
def test_the_normal_mode_refuses(transport: str, threads: int) -> None:
    run_ranks(go_on_with_a_mask, 2, transport, threads)


def mask_for_good(rank: RankContext) -> None:
    """Nobody knows what a masked rank has missed: it cannot be taken in again."""
    buffer = build(rank, enable_shrink=True)
    buffer.low_latency_clean_mask_buffer()
    buffer.low_latency_update_mask_buffer(1 - rank.rank, False)
    check_both_modes(buffer)
    rank.exchange("pace").all_gather(b"", 10)
    with pytest.raises(ArgumentError, match="cannot mask itself"):
        buffer.low_latency_update_mask_buffer(rank.rank, True)
    if rank.rank == 0:
        buffer.low_latency_update_mask_buffer(1, True)
        with pytest.raises(ArgumentError, match="masked for good"):
            buffer.low_latency_update_mask_buffer(1, False)
        with pytest.raises(ArgumentError, match="masked for good"):
            buffer.low_latency_clean_mask_buffer()
    rank.exchange("end").all_gather(b"", 10)
    buffer.destroy()


def test_a_mask_is_for_good() -> None:
    run_ranks(mask_for_good, 2)

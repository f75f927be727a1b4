"""A hook is dropped and never called, while rows of its round are still under way: its half of the
memory may not be used again, or the next results in it would be those of the past."""

from __future__ import annotations

import gc

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    built,
    check_both_modes,
    even_weights,
    low_latency_dispatch,
    routes,
    rows,
    values_of,
)

from crossdock.ep import Buffer
from crossdock.proxy.errors import CapacityError

TOKENS = 16


def begin(buffer: Buffer, value: float, hook: bool = False) -> tuple[torch.Tensor, object]:
    """The rows and the handle of a dispatch."""
    idx = routes(TOKENS, buffer.group_size * LOCAL_EXPERTS, seed=buffer.rank)
    received, _, handle, _, _ = low_latency_dispatch(
        buffer, rows(TOKENS, value), idx, return_recv_hook=hook
    )
    return received, handle


def end(buffer: Buffer, begun: tuple[torch.Tensor, object], hook: bool = False) -> torch.Tensor:
    """The sums of its combine."""
    idx = routes(TOKENS, buffer.group_size * LOCAL_EXPERTS, seed=buffer.rank)
    combined, _, _ = buffer.low_latency_combine(
        begun[0], idx, even_weights(idx), begun[1], return_recv_hook=hook
    )
    return combined


def drop_the_hook(rank: RankContext, transport: str, threads: int, which: str) -> None:
    with built(rank, transport, threads) as buffer:
        pace = rank.exchange("pace")
        if which == "dispatch":
            begin(buffer, 1, hook=True)
        else:
            end(buffer, begin(buffer, 1), hook=True)
        gc.collect()
        pace.all_gather(b"", 10)
        second = begin(buffer, 2)
        assert values_of(end(buffer, second)) == [2.0]
        pace.all_gather(b"", 10)
        with pytest.raises(CapacityError, match="every hook must be called"):
            begin(buffer, 3)
        pace.all_gather(b"", 10)


@EACH_WAY
@pytest.mark.parametrize("which", ["dispatch", "combine"])
def test_a_dropped_hook_keeps_its_half(transport: str, threads: int, which: str) -> None:
    run_ranks(drop_the_hook, 2, transport, threads, which)


def drop_handles(rank: RankContext, transport: str, threads: int) -> None:
    """Who has received and wants no combine may let the handle go: that half is free again."""
    with built(rank, transport, threads) as buffer:
        for number in range(6):
            begin(buffer, number)
        gc.collect()
        assert values_of(end(buffer, begin(buffer, 9))) == [9.0]
        check_both_modes(buffer)


@EACH_WAY
def test_a_dropped_handle_frees_its_half(transport: str, threads: int) -> None:
    run_ranks(drop_handles, 2, transport, threads)

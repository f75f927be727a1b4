"""Ranks pass handles of different dispatches to one combine: their layouts do not fit each other,
and rows would go astray. All learn it, and the Buffer can go on."""

from __future__ import annotations

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    built,
    check_both_modes,
    dispatch,
    even_weights,
    low_latency_dispatch,
    routes,
    rows,
)

from crossdock.proxy.errors import ArgumentError, MismatchError

EXPERTS = 2 * LOCAL_EXPERTS


def mix_handles(rank: RankContext, transport: str, threads: int, alike: bool, cached: bool) -> str:
    """With ``alike`` both dispatches have the same layout, and only their rows differ."""
    with built(rank, transport, threads) as buffer:
        done = []
        for number in range(2):
            tokens = 32 if alike else 32 + 16 * number
            idx = routes(tokens, EXPERTS, seed=7 if alike else 2 * number + rank.rank)
            x = rows(tokens, 10 * number + rank.rank + 1)
            received, _, _, _, handle, _ = dispatch(buffer, x, idx, EXPERTS)
            done.append((x, received, handle))
        x, received, handle = done[rank.rank]
        with pytest.raises(MismatchError) as caught:
            buffer.dispatch(x, handle=handle) if cached else buffer.combine(received, handle)
        for x, received, handle in done:
            again = buffer.dispatch(x, handle=handle)[0]
            assert isinstance(again, torch.Tensor)
            assert torch.equal(again, received)
            buffer.combine(received, handle)
        check_both_modes(buffer)
        return str(caught.value)


@EACH_WAY
@pytest.mark.parametrize(("alike", "cached"), [(False, False), (True, False), (False, True)])
def test_all_ranks_learn_it(transport: str, threads: int, alike: bool, cached: bool) -> None:
    messages = run_ranks(mix_handles, 2, transport, threads, alike, cached)
    for rank, message in enumerate(messages):
        assert f"dispatch that made the handle is {rank + 1} here" in message


def use_the_handle_of_another_buffer(rank: RankContext) -> None:
    with (
        built(rank, group=rank.exchange("one")) as one,
        built(rank, group=rank.exchange("two")) as two,
    ):
        idx = routes(16, EXPERTS, seed=rank.rank)
        received, _, handle, _, _ = low_latency_dispatch(one, rows(16, 1), idx)
        with pytest.raises(ArgumentError, match="made by another Buffer"):
            two.low_latency_combine(received, idx, even_weights(idx), handle)
        with pytest.raises(ArgumentError, match="made by another Buffer"):
            two.get_next_low_latency_combine_buffer(handle)
        one.low_latency_combine(received, idx, even_weights(idx), handle)
        received, _, _, _, normal, _ = dispatch(one, rows(16, 1), idx, EXPERTS)
        with pytest.raises(ArgumentError, match="made by another Buffer"):
            two.combine(received, normal)
        one.combine(received, normal)


def test_the_handle_of_another_buffer() -> None:
    run_ranks(use_the_handle_of_another_buffer, 2)

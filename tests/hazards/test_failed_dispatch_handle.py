"""An asynchronous dispatch returns its handle before it is known whether it ends well. When a rank
had no room, the handle has no rows, and a combine with it must refuse."""

from __future__ import annotations

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    LOCAL_EXPERTS,
    built,
    dispatch,
    routes,
    rows,
)
from tests.networks import NETWORK

from crossdock.proxy.errors import ArgumentError, CapacityError, PeerArgumentError

SIZE = 4
CRAMPED = 3
HEAP_BYTES = 1 << 20
TOKENS = 600


def combine_after_a_failed_dispatch(rank: RankContext, transport: str, threads: int) -> None:
    """Two nodes of two ranks; the last rank cannot take what comes."""
    cramped = {"heap_bytes": HEAP_BYTES} if rank.rank == CRAMPED else {}
    node = f"node{rank.rank // 2}"
    with built(rank, transport, threads, max_tokens=8, hidden=64, node=node, **cramped) as buffer:
        experts = SIZE * LOCAL_EXPERTS
        idx = routes(TOKENS, experts, 8, seed=rank.rank)
        x = rows(TOKENS, 1)
        if rank.rank == CRAMPED:
            with pytest.raises(CapacityError, match="heap"):
                dispatch(buffer, x, idx, experts, async_finish=True)
            received, handle = x, None
        else:
            received, _, _, _, handle, event = dispatch(buffer, x, idx, experts, async_finish=True)
            with pytest.raises(PeerArgumentError, match=f"rank {CRAMPED} has no room"):
                event.current_stream_wait()
        with pytest.raises(ArgumentError, match=r"dispatch that failed|handle is a None"):
            buffer.combine(received, handle)
        if handle is not None:
            with pytest.raises(ArgumentError, match="dispatch that failed"):
                buffer.dispatch(x, handle=handle)
        else:
            with pytest.raises(ArgumentError):
                buffer.dispatch(x, handle="none")
        few = routes(8, experts, seed=rank.rank)
        received, _, _, _, handle, _ = dispatch(buffer, rows(8, 1), few, experts)
        buffer.combine(received, handle)


@pytest.mark.parametrize(("transport", "threads"), [("auto", 0), ("auto", 1), (NETWORK, 0)])
def test_a_combine_refuses(transport: str, threads: int) -> None:
    run_ranks(combine_after_a_failed_dispatch, SIZE, transport, threads)

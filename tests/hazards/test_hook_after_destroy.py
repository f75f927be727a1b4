"""A hook outlives its Buffer: calling it is an error, and touches no memory that is gone."""

from __future__ import annotations

import gc

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    build,
    even_weights,
    low_latency_dispatch,
    routes,
    rows,
)

from crossdock.proxy.errors import DestroyedError


def destroy_before_the_hook(rank: RankContext, transport: str, threads: int, which: str) -> None:
    buffer = build(rank, transport, threads)
    idx = routes(16, rank.size * LOCAL_EXPERTS, seed=rank.rank)
    received, _, handle, _, hook = low_latency_dispatch(
        buffer, rows(16, 1), idx, return_recv_hook=True
    )
    if which == "combine":
        hook()
        _, _, hook = buffer.low_latency_combine(
            received, idx, even_weights(idx), handle, return_recv_hook=True
        )
    rank.exchange("pace").all_gather(b"", 10)
    buffer.destroy()
    del buffer, received, handle
    gc.collect()
    filler = [torch.full((4096,), 255, dtype=torch.uint8) for _ in range(2000)]
    with pytest.raises(DestroyedError, match="build a new one"):
        hook()
    hook()  # its chance is gone
    assert len(filler) == 2000


@EACH_WAY
@pytest.mark.parametrize("which", ["dispatch", "combine"])
def test_a_hook_after_destroy(transport: str, threads: int, which: str) -> None:
    run_ranks(destroy_before_the_hook, 2, transport, threads, which)

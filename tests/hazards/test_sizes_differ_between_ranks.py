"""Ranks write to places in each other's memory that follow from the sizes of a Buffer. Ranks whose
sizes differ learn it when they build, not by rows at the wrong places."""

from __future__ import annotations

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    HIDDEN,
    LOCAL_EXPERTS,
    MAX_TOKENS,
    build,
    built,
    check_both_modes,
)

from crossdock.ep import Buffer, Config
from crossdock.proxy.errors import MismatchError


def build_unlike(rank: RankContext, transport: str, threads: int, what: str) -> str:
    size = rank.size
    hint = Buffer.get_low_latency_rdma_size_hint(MAX_TOKENS, HIDDEN, size, size * LOCAL_EXPERTS)
    sizes = {
        "num_nvl_bytes": Config().get_nvl_buffer_size_hint(1, size),
        "num_rdma_bytes": hint,
    }
    unlike = dict(sizes)
    if rank.rank == size - 1:
        unlike[what] += 4096
    with pytest.raises(MismatchError) as caught:
        build(rank, transport, threads, group=rank.exchange("unlike"), **unlike)  # type: ignore[arg-type]
    with built(rank, transport, threads, group=rank.exchange("alike"), **sizes) as buffer:
        check_both_modes(buffer)
    return str(caught.value)


@EACH_WAY
@pytest.mark.parametrize("what", ["num_nvl_bytes", "num_rdma_bytes"])
def test_all_ranks_learn_it(transport: str, threads: int, what: str) -> None:
    messages = run_ranks(build_unlike, 2, transport, threads, what)
    for rank, message in enumerate(messages):
        assert message.startswith(f"rank {rank}: num_nvl_bytes and num_rdma_bytes are [")
        assert message.endswith(f"on rank {1 - rank}; they must be the same on every rank")

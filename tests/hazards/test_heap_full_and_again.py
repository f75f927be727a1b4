"""A dispatch does not fit the heap of one rank. Each rank keeps the error, as a handler
does, and calls again for less: what the first call had got by then must be free."""

from __future__ import annotations

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    HIDDEN,
    LOCAL_EXPERTS,
    built,
    dispatch,
    routes_to,
    rows,
)

from crossdock.ep import Buffer
from crossdock.proxy.errors import CapacityError, PeerArgumentError

HEAP_BYTES = 2 << 20
FITS_JUST = (HEAP_BYTES - (64 << 10)) // (2 * HIDDEN)  # rows for which indices leave no room
FITS_TWICE = HEAP_BYTES // (2 * HIDDEN) // 4


def dispatch_into(buffer: Buffer, num_rows: int) -> torch.Tensor:
    x, idx = rows(8, buffer.rank + 1), routes_to(1 - buffer.rank, 8)
    received, *_ = dispatch(buffer, x, idx, 2 * LOCAL_EXPERTS, num_worst_tokens=num_rows)
    return received  # type: ignore[no-any-return]


def call_again_with_the_error_alive(rank: RankContext, threads: int) -> None:
    too_many = (FITS_JUST, 3 * FITS_TWICE)[rank.rank]  # on rank 1 it fits, but only once
    with built(rank, "shm", threads, heap_bytes=HEAP_BYTES) as buffer:
        for _ in range(3):
            with pytest.raises((CapacityError, PeerArgumentError)[rank.rank]) as kept:
                dispatch_into(buffer, too_many)
            received = dispatch_into(buffer, 2 * FITS_TWICE)
            assert torch.equal(received[:8], rows(8, 2 - rank.rank))
            del received, kept


@pytest.mark.parametrize("threads", [0, 1])
def test_what_did_not_fit_leaves_its_room(threads: int) -> None:
    run_ranks(call_again_with_the_error_alive, 2, threads)

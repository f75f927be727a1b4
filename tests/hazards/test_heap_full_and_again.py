"""A dispatch does not fit the heap of one rank. Each rank keeps the error, as a handler
does, and calls again for less: what the first call had got by then must be free."""

from __future__ import annotations

from typing import Any

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


def dispatch_into(buffer: Buffer, num_rows: int, **more: bool) -> Any:
    x, idx = rows(8, buffer.rank + 1), routes_to(1 - buffer.rank, 8)
    return dispatch(buffer, x, idx, 2 * LOCAL_EXPERTS, num_worst_tokens=num_rows, **more)


def too_many(rank: RankContext) -> int:
    """On rank 1 it fits, but only once."""
    return (FITS_JUST, 3 * FITS_TWICE)[rank.rank]


def call_again_with_the_error_alive(rank: RankContext, threads: int) -> None:
    with built(rank, "shm", threads, heap_bytes=HEAP_BYTES) as buffer:
        for _ in range(3):
            with pytest.raises((CapacityError, PeerArgumentError)[rank.rank]) as kept:
                dispatch_into(buffer, too_many(rank))
            received = dispatch_into(buffer, 2 * FITS_TWICE)[0]
            assert torch.equal(received[:8], rows(8, 2 - rank.rank))
            del received, kept


@pytest.mark.parametrize("threads", [0, 1])
def test_what_did_not_fit_leaves_its_room(threads: int) -> None:
    run_ranks(call_again_with_the_error_alive, 2, threads)


def asynchronously_with_the_error_alive(rank: RankContext, threads: int) -> None:
    """Rank 1 hears of it through the event; its stream and its error go on."""
    with built(rank, "shm", threads, heap_bytes=HEAP_BYTES) as buffer:
        for _ in range(3):
            with pytest.raises((CapacityError, PeerArgumentError)[rank.rank]) as kept:
                dispatch_into(buffer, too_many(rank), async_finish=True)[-1].current_stream_wait()
            received = dispatch_into(buffer, 2 * FITS_TWICE)[0]
            assert torch.equal(received[:8], rows(8, 2 - rank.rank))
            del received, kept


@pytest.mark.parametrize("threads", [0, 1])
def test_what_did_not_fit_leaves_its_room_on_the_stream(threads: int) -> None:
    run_ranks(asynchronously_with_the_error_alive, 2, threads)

"""A masked rank wakes up and goes on where it was. What it writes then belongs to a round that is
over for the others, and must not land in the results of the round that has taken its place."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    HIDDEN,
    build,
    limit_low_latency,
    rows,
    values_of,
)
from torch import Tensor

from crossdock.ep import Buffer
from crossdock.proxy.errors import CrossdockError

SIZE = 3
SLEEPER = 2
MAX_TOKENS = 4
DEADLINE_S = 0.7
LONG_S = 10.0
OLD, NEW = 77.0, 5.0


def begin(buffer: Buffer, expert: int | None, value: float, **more: Any) -> tuple[Any, Tensor]:
    """A dispatch of one token, or none, to an expert of which each rank has one."""
    idx = torch.empty((0, 1), dtype=torch.int64) if expert is None else torch.tensor([[expert]])
    x = rows(idx.shape[0], value)
    sent = buffer.low_latency_dispatch(x, idx, MAX_TOKENS, SIZE, use_fp8=False, **more)
    return sent, idx


def end(buffer: Buffer, begun: tuple[Any, Tensor], **more: Any) -> tuple[Tensor, Any]:
    """Its combine."""
    (received, _, handle, _, _), idx = begun
    weights = torch.ones(idx.shape)
    combined, _, hook = buffer.low_latency_combine(received, idx, weights, handle, **more)
    return combined, hook


def sleep_and_wake(rank: RankContext, buffer: Buffer) -> None:
    """Rank 2 has taken the token of round 0, and returns it when nobody wants it any more."""
    meet = rank.exchange("pace")
    begun = begin(buffer, None, 0, return_recv_hook=True)
    begun[0][4]()
    assert begun[0][1].tolist() == [1]
    meet.all_gather(b"", 20)
    with contextlib.suppress(CrossdockError):
        end(buffer, begun, return_recv_hook=True)
        buffer.communicator.fence(1)
    meet.all_gather(b"", 20)


def go_on(rank: RankContext, buffer: Buffer) -> list[float]:
    """Rank 0 sends its token to rank 2 in round 0, and to rank 1 in round 2: the same half."""
    meet = rank.exchange("pace")
    sends = rank.rank == 0
    limit_low_latency(buffer, DEADLINE_S)
    for expert in (SLEEPER, None):
        # Rank 1 is done with round 0 at once, but must not mask rank 0, which waits for rank 2.
        end(buffer, begin(buffer, expert if sends else None, OLD))
    limit_low_latency(buffer, LONG_S)
    status = torch.zeros(SIZE, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    assert status.tolist() == [0, 0, 1]
    combined, hook = end(buffer, begin(buffer, 1 if sends else None, NEW), return_recv_hook=True)
    if not sends:
        hook()
        buffer.communicator.fence(5)
    meet.all_gather(b"", 20)  # the sleeper wakes
    meet.all_gather(b"", 20)  # and has written
    if sends:
        hook()
    return values_of(combined)


def job(rank: RankContext, transport: str, threads: int) -> list[float]:
    buffer = build(
        rank,
        transport,
        threads,
        max_tokens=MAX_TOKENS,
        hidden=HIDDEN,
        local_experts=1,
        enable_shrink=True,
    )
    if rank.rank == SLEEPER:
        sleep_and_wake(rank, buffer)
        result = []
    else:
        result = go_on(rank, buffer)
    rank.exchange("end").all_gather(b"", 20)
    buffer.communicator.abort()
    buffer.destroy()
    return result


@EACH_WAY
def test_what_a_masked_rank_returns_late(transport: str, threads: int) -> None:
    assert run_ranks(job, SIZE, transport, threads) == [[NEW], [], []]

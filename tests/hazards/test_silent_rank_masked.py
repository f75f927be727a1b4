"""A rank that stops, alive but silent, is masked at the deadline; the others go on, round after
round. What was under way to it is never acknowledged, and nothing may wait for that."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    EACH_WAY,
    LOCAL_EXPERTS,
    built,
    even_weights,
    low_latency_dispatch,
    routes,
    rows,
)

from crossdock.ep import Buffer
from crossdock.proxy.errors import CrossdockError

SIZE = 3
SILENT = 2
STOPS_IN = 2
ROUNDS = 10
DEADLINE_S = 0.5
TOKENS = 32
EXPERTS = SIZE * LOCAL_EXPERTS


def round_of(buffer: Buffer, value: float) -> list[float]:
    """A round in which every result is ``value``, times the share of experts that took part."""
    idx = routes(TOKENS, EXPERTS, seed=buffer.rank)
    x = rows(TOKENS, value)
    received, _, handle, _, _ = low_latency_dispatch(buffer, x, idx)
    combined, _, _ = buffer.low_latency_combine(received, idx, even_weights(idx), handle)
    status = torch.zeros(SIZE, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    taking_part = status[idx // LOCAL_EXPERTS] == 0
    expected = taking_part.float().mean(1, keepdim=True) * value
    assert torch.equal(combined.float(), expected.expand_as(combined))
    return status.tolist()


def go_on(rank: RankContext, transport: str, threads: int) -> list[float]:
    """Seconds of the rounds without the silent rank."""
    took = []
    with built(rank, transport, threads, enable_shrink=True, timeout_s=10.0) as buffer:
        buffer._low_latency._timeout_s = DEADLINE_S
        (rank.folder / f"pid{rank.rank}").write_text(str(os.getpid()))
        others = rank.exchange("others", {0, 1}) if rank.rank != SILENT else None
        for number in range(STOPS_IN):
            assert round_of(buffer, 2.0**number) == [0, 0, 0]
        rank.exchange("pace").all_gather(b"", 10)
        if others is None:
            os.kill(os.getpid(), signal.SIGSTOP)
            with contextlib.suppress(CrossdockError):
                round_of(buffer, 1024.0)
            return []
        for number in range(STOPS_IN, ROUNDS):
            start = time.monotonic()
            assert round_of(buffer, 2.0**number) == [0, 0, 1]
            took.append(time.monotonic() - start)
            if number == STOPS_IN:
                others.all_gather(b"", 10)
        others.all_gather(b"", 10)
        if rank.rank == 0:
            os.kill(int((rank.folder / f"pid{SILENT}").read_text()), signal.SIGCONT)
    return took


@EACH_WAY
def test_the_others_go_on(transport: str, threads: int) -> None:
    for took in run_ranks(go_on, SIZE, transport, threads)[:SILENT]:
        assert max(took[1:]) < DEADLINE_S, "a masked rank is not waited for again"

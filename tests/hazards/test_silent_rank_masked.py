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
    limit_low_latency,
    low_latency_dispatch,
    routes,
    rows,
)

from crossdock.ep import Buffer
from crossdock.proxy import StoreExchange
from crossdock.proxy.errors import CrossdockError

SIZE = 3
SILENT = 2
STOPS_IN = 2
ROUNDS = 10
DEADLINE_S = 0.7
LONG_S = 10.0
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


def fall_silent(buffer: Buffer) -> None:
    """Stopped in the middle of nowhere; who is woken finds that the others have gone on."""
    os.kill(os.getpid(), signal.SIGSTOP)
    with contextlib.suppress(CrossdockError):
        round_of(buffer, 1024.0)


def go_on(buffer: Buffer, others: StoreExchange) -> float:
    """Seconds of the rounds after the one in which the silent rank is masked."""
    limit_low_latency(buffer, DEADLINE_S)
    assert round_of(buffer, 2.0**STOPS_IN) == [0, 0, 1]
    limit_low_latency(buffer, LONG_S)
    others.all_gather(b"", LONG_S)
    start = time.monotonic()
    for number in range(STOPS_IN + 1, ROUNDS):
        assert round_of(buffer, 2.0**number) == [0, 0, 1]
    took = time.monotonic() - start
    others.all_gather(b"", LONG_S)
    return took


def job(rank: RankContext, transport: str, threads: int) -> float:
    others = rank.exchange("others", {0, 1}) if rank.rank != SILENT else None
    with built(rank, transport, threads, enable_shrink=True, timeout_s=LONG_S) as buffer:
        for number in range(STOPS_IN):
            assert round_of(buffer, 2.0**number) == [0, 0, 0]
        pids = rank.exchange("pids").all_gather(str(os.getpid()).encode(), LONG_S)
        if others is None:
            fall_silent(buffer)
            return 0.0
        try:
            return go_on(buffer, others)
        finally:
            os.kill(int(pids[SILENT]), signal.SIGCONT)


@EACH_WAY
def test_the_others_go_on(transport: str, threads: int) -> None:
    took = run_ranks(job, SIZE, transport, threads)
    assert max(took) < LONG_S / 2, "a masked rank is not waited for again"

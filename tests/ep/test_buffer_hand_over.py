"""Inline proxies, and a rank that turns to other things right after its call: what the call has
pushed is on its way already. There is no caretaker here, who would send it milliseconds later; but
where the network is paced, what the window holds back is sent by nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, combine, dispatch
from tests.ep.worlds import World, build, on_one_node
from tests.harness import RankContext, run_ranks
from tests.networks import NETWORK
from tests.proxy.jobs import without_caretaker

SIZE = 2
BUSY = 0
AWAY_S = 0.3
PACED = ("verbs", "efa")
ROUNDS = 4  # credits are waited for from the third on
SPEC = LowLatencySpec((8,) * SIZE, 8, 256)


def waits(rank: RankContext, world: World) -> list[float]:
    """How long this rank waits for the rows of the one that is away after each call."""
    torch.set_num_threads(1)
    with nullcontext() if world.transport in PACED else without_caretaker():
        buffer = build(rank, world, low_latency=(8, 256, SIZE * SPEC.local_experts))
    exchange = rank.exchange("pace")
    case = LowLatencyCase(SPEC)
    took: list[float] = []

    def meet_and_wait(receive: Callable[[], None]) -> None:
        exchange.all_gather(b"", 20)  # all have sent; who is away has not come back
        start = time.monotonic()
        if rank.rank == BUSY:
            time.sleep(AWAY_S)
        receive()
        took.append(time.monotonic() - start)
        exchange.all_gather(b"", 20)

    for _ in range(ROUNDS):
        *results, receive = dispatch(buffer, case, return_recv_hook=True)
        meet_and_wait(receive)
        *_, receive = combine(buffer, case, results[2], return_recv_hook=True)
        meet_and_wait(receive)
    buffer.destroy()
    return took


@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_a_call_leaves_nothing_behind_in_its_rings(transport: str) -> None:
    took = run_ranks(waits, SIZE, on_one_node(SIZE, transport))
    assert min(took[BUSY]) >= AWAY_S
    assert max(took[1 - BUSY]) < AWAY_S / 2

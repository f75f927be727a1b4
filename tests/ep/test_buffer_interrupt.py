"""Ctrl-C while a call waits: it is heard at once, the Buffer is aborted, the others learn of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_low_latency
from tests.ep.low_latency_cases import dispatch as low_latency_dispatch
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, build, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer
from crossdock.proxy.errors import Aborted, PeerLost

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 3
INTERRUPTED = 1
ABSENT = 2
HEARD_S = 0.3
SPEC = NormalSpec((40, 50, 60), hidden=1024)
LOW_LATENCY = LowLatencySpec((8,) * SIZE, 8)
ROOM = (8, 128, 12)


def normal(buffer: Buffer) -> None:
    x = torch.ones((4, 256), dtype=torch.bfloat16)
    topk_idx = torch.arange(4)[:, None] % SIZE
    per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(topk_idx, SIZE)
    buffer.dispatch(
        x,
        num_tokens_per_rank=per_rank,
        is_token_in_rank=in_rank,
        num_tokens_per_expert=per_expert,
        topk_idx=topk_idx,
        topk_weights=torch.ones((4, 1)),
    )


def low_latency(buffer: Buffer) -> None:
    low_latency_dispatch(buffer, LowLatencyCase(LOW_LATENCY))


def hook(buffer: Buffer) -> None:
    case = LowLatencyCase(LOW_LATENCY)
    *_, receive = low_latency_dispatch(buffer, case, return_recv_hook=True)
    assert receive is not None
    receive()


def event(buffer: Buffer) -> None:
    case = LowLatencyCase(LOW_LATENCY)
    *_, passed, _ = low_latency_dispatch(buffer, case, async_finish=True)
    passed.current_stream_wait()


def interrupt_in(seconds: float, noted: list[float]) -> None:
    """As a terminal does: the signal reaches the process while its main thread waits."""

    def strike() -> None:
        noted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(seconds, strike).start()


def interrupted(rank: RankContext, world: World, call: Callable[[Buffer], Any]) -> float:
    """One rank never comes; one that waits for it gets the signal; a third one waits for both."""
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM)
    seat = Seat(rank, world, buffer)
    check_normal(seat, SPEC)
    check_low_latency(seat, LOW_LATENCY)
    exchange = rank.exchange("pace")
    exchange.all_gather(b"", 10)
    took = 0.0
    if rank.rank == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        struck: list[float] = []
        interrupt_in(0.3, struck)
        with pytest.raises(KeyboardInterrupt):
            call(buffer)
        took = time.monotonic() - struck[0]
        with pytest.raises(Aborted, match="build a new one"):
            normal(buffer)
    elif rank.rank != ABSENT:
        with pytest.raises(PeerLost, match=f"rank {INTERRUPTED} has aborted") as caught:
            call(buffer)
        assert caught.value.rank == INTERRUPTED
    exchange.all_gather(b"", 10)
    buffer.destroy()
    return took


@EACH_WAY
@pytest.mark.parametrize("call", [normal, low_latency], ids=lambda call: call.__name__)
def test_a_call_hears_ctrl_c(call: Callable[[Buffer], Any], transport: str, threads: int) -> None:
    took = run_ranks(interrupted, SIZE, on_one_node(SIZE, transport, threads), call)
    assert max(took) < HEARD_S


@pytest.mark.parametrize("call", [hook, event], ids=lambda call: call.__name__)
def test_a_hook_and_an_event_hear_ctrl_c(call: Callable[[Buffer], Any]) -> None:
    took = run_ranks(interrupted, SIZE, on_one_node(SIZE, "shm"), call)
    assert max(took) < HEARD_S

"""A child that a rank forks has the rank's rings and counters, but is no rank: its calls are
refused, and what it does with its copy of the Buffer changes nothing for the parent.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_combine,
    check_received,
    dispatch,
)
from tests.ep.normal_cases import NormalCase, NormalSpec, check_dispatch
from tests.ep.normal_cases import check_combine as check_normal_combine
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import EventHandle, EventOverlap
from crossdock.proxy.errors import ForkedError

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 2
ROOM = (8, 256, 8)


def in_a_child(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each call raised in a forked child; None for nothing. The child ends as it is told."""
    mine, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        raised: list[tuple[str, str] | None] = []
        for call in calls:
            try:
                call()
                raised.append(None)
            except BaseException as error:  # noqa: BLE001 - told to the parent
                raised.append((type(error).__name__, str(error)))
        os.write(theirs, pickle.dumps(raised))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(mine, "rb") as told:
        result: list[Any] = pickle.loads(told.read())  # noqa: S301
    os.waitpid(child, 0)
    return result


def forks(rank: RankContext, world: World) -> list[Any]:
    """In the middle of everything: a handle, a hook and an event are open."""
    torch.set_num_threads(1)
    with built(rank, world, low_latency=ROOM) as buffer:
        seat = Seat(rank, world, buffer)
        normal = NormalCase(NormalSpec((9, 7), hidden=256), world.nodes)
        raw, passed = check_dispatch(seat, normal)
        case = LowLatencyCase(LowLatencySpec((8, 5), 8, 256))
        x, count, handle, _, hook = dispatch(buffer, case, return_recv_hook=True)
        gate: Future[object] = Future()
        idx = normal.topk_idx[rank.rank]
        held = EventOverlap(EventHandle(gate))
        *_, event = buffer.get_dispatch_layout(
            idx, normal.num_experts, previous_event=held, async_finish=True
        )
        told = in_a_child(
            [
                lambda: buffer.get_dispatch_layout(idx, normal.num_experts),
                lambda: check_dispatch(seat, normal),
                lambda: check_normal_combine(seat, normal, raw, passed),
                lambda: dispatch(buffer, case),
                hook,
                event.current_stream_wait,
                buffer.communicator.barrier,
                buffer.destroy,
            ]
        )
        gate.set_result(None)
        hook()
        check_received(case, case.want[rank.rank], x, count, handle)
        check_combine(buffer, case, handle)
        check_normal_combine(seat, normal, raw, passed)
        return told


@EACH_WAY
def test_a_forked_child_is_no_rank(transport: str, threads: int) -> None:
    for told in run_ranks(forks, SIZE, on_one_node(SIZE, transport, threads)):
        *refused, destroyed = told
        assert [error and error[0] for error in refused] == [ForkedError.__name__] * len(refused)
        assert "this one was forked from it and is no rank" in refused[0][1]
        assert destroyed is None

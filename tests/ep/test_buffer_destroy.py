"""``destroy`` while calls of other threads, or asynchronous ones, are under way: it ends them, soon
and in order, and nothing of what they use is gone before they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec
from tests.ep.low_latency_cases import dispatch as low_latency_dispatch
from tests.ep.normal_cases import NormalCase, NormalSpec, check_dispatch
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, build, built, on_one_node
from tests.harness import RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import Buffer, EventHandle, EventOverlap
from crossdock.proxy.errors import Aborted, DestroyedError, PeerLost

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 2
SPEC = NormalSpec((30, 40), hidden=1024)
ROOM = (8, 128, 8)
LEFT_WITHIN_S = 1.2
# In a guest with soft-RoCE NICs all threads share one emulated processor.
ENDED_WITHIN_S = 0.2 if NETWORK == "tcp" else 2.0
BEGUN_S = 0.3


def normal(buffer: Buffer, **more: Any) -> Any:
    given = NormalCase(SPEC, (0,) * SIZE).arguments(buffer.rank)
    return buffer.dispatch(**given, **more)


def low_latency(buffer: Buffer) -> None:
    low_latency_dispatch(buffer, LowLatencyCase(LowLatencySpec((8, 8), 8)))


def in_a_thread(call: Callable[[], object]) -> Future[object]:
    """What it returns or raises; the call has begun when this returns."""
    ended: Future[object] = Future()

    def run() -> None:
        try:
            ended.set_result(call())
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    time.sleep(BEGUN_S)
    assert not ended.done(), ended
    return ended


def destroyed_soon(buffer: Buffer) -> None:
    begun = time.monotonic()
    buffer.destroy()
    took = time.monotonic() - begun
    assert took < LEFT_WITHIN_S, f"destroy took {took:.1f} s"


def leave_a_waiter(rank: RankContext, world: World, call: Callable[[Buffer], object]) -> None:
    """Rank 1 comes when rank 0 has left."""
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM)
    line = rank.exchange("line")
    if rank.rank == 0:
        ended = in_a_thread(lambda: call(buffer))
        destroyed_soon(buffer)
        assert isinstance(ended.exception(ENDED_WITHIN_S), (DestroyedError, Aborted))
        line.all_gather(b"", 10)
    else:
        line.all_gather(b"", 10)
        if call is low_latency:
            call(buffer)  # rank 0 had sent all for it before it waited
        with pytest.raises(PeerLost, match="rank 0 has left the job"):
            call(buffer)
        buffer.destroy()


@EACH_WAY
@pytest.mark.parametrize("call", [normal, low_latency])
def test_it_releases_a_waiter_of_another_thread(
    transport: str, threads: int, call: Callable[[Buffer], object]
) -> None:
    run_ranks(leave_a_waiter, SIZE, on_one_node(SIZE, transport, threads), call)


def leave_an_asynchronous_call(rank: RankContext, world: World, with_a_call: bool) -> None:
    """With a call of another thread that waits for it, or without."""
    torch.set_num_threads(1)
    buffer = build(rank, world)
    case = NormalCase(SPEC, world.nodes)
    handle, _ = check_dispatch(Seat(rank, world, buffer), case)
    line = rank.exchange("line")
    if rank.rank == 0:
        output = case.outputs()[0]
        *_, event = buffer.combine(output, handle, async_finish=True)
        waiting = in_a_thread(event.current_stream_wait)
        if with_a_call:
            calling = in_a_thread(lambda: buffer.combine(output, handle, async_finish=True))
        destroyed_soon(buffer)
        assert isinstance(waiting.exception(ENDED_WITHIN_S), (DestroyedError, Aborted))
        if with_a_call:
            assert isinstance(calling.exception(ENDED_WITHIN_S), (DestroyedError, Aborted))
        with pytest.raises((DestroyedError, Aborted)):
            event.current_stream_wait()
    line.all_gather(b"", 10)
    if rank.rank == 1:
        buffer.destroy()


@EACH_WAY
@pytest.mark.parametrize("with_a_call", [False, True])
def test_it_ends_an_asynchronous_call_that_waits_in_vain(
    transport: str, threads: int, with_a_call: bool
) -> None:
    run_ranks(leave_an_asynchronous_call, SIZE, on_one_node(SIZE, transport, threads), with_a_call)


def leave_what_ends_by_itself(rank: RankContext, world: World) -> None:
    """An asynchronous call is under way on every rank when the first one destroys its Buffer."""
    torch.set_num_threads(1)
    buffer = build(rank, world)
    x, *_, event = normal(buffer, async_finish=True)
    buffer.destroy()
    event.current_stream_wait()
    assert same(x, NormalCase(SPEC, world.nodes).want[rank.rank].recv_x)


@EACH_WAY
def test_an_asynchronous_call_has_time_to_end(transport: str, threads: int) -> None:
    run_ranks(leave_what_ends_by_itself, SIZE, on_one_node(SIZE, transport, threads))


def leave_who_waits_for_something_else(rank: RankContext) -> None:
    """Calls that have yet to begin when all is over: one waits for an event that is not of this
    Buffer, and another one for the first. Neither may touch what is gone."""
    buffer = build(rank, on_one_node(1, "shm"), low_latency=(8, 128, 4))
    idx = torch.zeros((4, 1), dtype=torch.int64)
    gate: Future[object] = Future()
    previous = EventOverlap(EventHandle(gate))
    calls = [
        in_a_thread(lambda: buffer.get_dispatch_layout(idx, 4, previous_event=previous)),
        in_a_thread(lambda: buffer.get_dispatch_layout(idx, 4, async_finish=True)),
        in_a_thread(lambda: buffer.low_latency_dispatch(torch.ones(4, 128).bfloat16(), idx, 8, 4)),
    ]
    destroyed_soon(buffer)
    with pytest.raises(DestroyedError, match="the Buffer is destroyed"):
        buffer.get_dispatch_layout(idx, 4)
    gate.set_result(None)
    calls[0].result(5)  # it needs no other rank
    for call in calls[1:]:
        assert isinstance(call.exception(5), DestroyedError)


def test_calls_that_have_not_begun_are_refused() -> None:
    run_ranks(leave_who_waits_for_something_else, 1)


def destroy_in_two_threads(rank: RankContext, world: World) -> None:
    with built(rank, world) as buffer:
        gate: Future[object] = Future()
        buffer.get_comm_stream().submit(gate.result)
        first = in_a_thread(buffer.destroy)
        with pytest.raises(DestroyedError, match="the Buffer is destroyed; build a new one"):
            buffer.destroy()
        gate.set_result(None)
        assert first.result(5) is None


def test_it_is_done_once_whichever_thread_calls() -> None:
    run_ranks(destroy_in_two_threads, SIZE, on_one_node(SIZE, "shm"))

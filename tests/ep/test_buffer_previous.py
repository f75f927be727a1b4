"""A ``previous_event`` that is none, or whose operation failed: the call is refused on every rank,
as with any other argument."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.ep.normal_cases import NormalCase, NormalSpec, check_dispatch, check_normal
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World, build, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import EventHandle, EventOverlap
from crossdock.proxy.errors import ArgumentError, CapacityError, PeerArgumentError, PeerLost

WORLD = World((0, 0, 1), "shm")
SPEC = NormalSpec((5, 6, 7), hidden=128)
pool = pool_of(WORLD)


def failed() -> EventOverlap:
    future: Future[object] = Future()
    future.set_exception(CapacityError("what it waits for did not fit"))
    return EventOverlap(EventHandle(future))


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a name": (
        lambda: "now",
        ArgumentError,
        r"previous_event is a str, but must be an EventOverlap, as Buffer.capture\(\) returns",
    ),
    "a handle": (EventHandle, ArgumentError, "previous_event is a EventHandle"),
    "an event of something": (
        lambda: EventOverlap(7),  # type: ignore[arg-type]
        ArgumentError,
        "previous_event holds a int, but must hold an EventHandle",
    ),
    "one that failed": (failed, CapacityError, "what it waits for did not fit"),
}
CALLS = ["dispatch", "cached dispatch", "combine"]


def call(seat: Seat, which: str, handle: Any, **more: Any) -> object:
    case = NormalCase(SPEC, seat.world.nodes)
    if which == "combine":
        return seat.buffer.combine(case.outputs()[seat.rank], handle, **more)
    if which == "cached dispatch":
        return seat.buffer.dispatch(case.x[seat.rank], handle, **more)
    return seat.buffer.dispatch(**case.arguments(seat.rank), **more)


def call_after(seat: Seat, which: str, name: str, async_finish: bool) -> None:
    wrong, error, message = WRONG[name]
    handle, _ = check_dispatch(seat, NormalCase(SPEC, seat.world.nodes))
    if seat.rank == 1:
        with pytest.raises(error, match=message):
            call(seat, which, handle, previous_event=wrong(), async_finish=async_finish)
    else:
        with pytest.raises(PeerArgumentError, match="rank 1 refused its arguments"):
            call(seat, which, handle)
    check_normal(seat, SPEC)


@pytest.mark.parametrize("async_finish", [False, True])
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("which", CALLS)
def test_it_is_refused_on_every_rank(
    pool: RankPool, which: str, name: str, async_finish: bool
) -> None:
    pool.check(call_after, which, name, async_finish)


def layout_after(seat: Seat, name: str, async_finish: bool) -> None:
    """Not collective: nobody else is told."""
    wrong, error, message = WRONG[name]

    def both() -> None:
        idx = torch.zeros((3, 2), dtype=torch.int64)
        more: Any = {"previous_event": wrong(), "async_finish": async_finish}
        seat.buffer.get_dispatch_layout(idx, 12, **more)[4].current_stream_wait()

    if seat.rank == 0:
        with pytest.raises(error, match=message):
            both()
    check_normal(seat, SPEC)


@pytest.mark.parametrize("async_finish", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_a_layout_refuses_it_too(pool: RankPool, name: str, async_finish: bool) -> None:
    pool.check(layout_after, name, async_finish)


def layout_of_what_is_to_come(seat: Seat, chosen: int, async_finish: bool) -> torch.Tensor:
    """The event is that of what writes the choices: nothing is said of them before that."""
    idx = torch.full((3, 2), 99)
    gate: Future[object] = Future()

    def write() -> None:
        idx.fill_(chosen)
        gate.set_result(None)

    threading.Timer(0.05, write).start()
    *_, counts, _, event = seat.buffer.get_dispatch_layout(
        idx, 12, previous_event=EventOverlap(EventHandle(gate)), async_finish=async_finish
    )
    event.current_stream_wait()
    return counts


def check_what_is_to_come(seat: Seat, async_finish: bool) -> None:
    counts = layout_of_what_is_to_come(seat, 5, async_finish)
    assert counts.tolist() == [3 * (expert == 5) for expert in range(12)]
    with pytest.raises(ArgumentError, match="topk_idx holds 12, but must hold -1"):
        layout_of_what_is_to_come(seat, 12, async_finish)


@pytest.mark.parametrize("async_finish", [False, True])
def test_a_layout_waits_for_its_choices(pool: RankPool, async_finish: bool) -> None:
    pool.check(check_what_is_to_come, async_finish)


def after_a_lost_rank(rank: RankContext) -> None:
    """What has aborted the Buffer is told as it was: there is nobody left to wait for."""
    world = on_one_node(2, "shm")
    buffer = build(rank, world)
    seat = Seat(rank, world, buffer)
    case = NormalCase(NormalSpec((5, 6), hidden=128), world.nodes)
    handle, _ = check_dispatch(seat, case)
    line = rank.exchange("line")
    if rank.rank == 0:
        output = case.outputs()[0]
        _, _, lost = buffer.combine(output, handle, async_finish=True)
        line.all_gather(b"", 10)
        for _ in range(2):
            with pytest.raises(PeerLost, match="rank 1 has left the job"):
                buffer.combine(output, handle, previous_event=lost)
            with pytest.raises(PeerLost, match="rank 1 has left the job"):
                buffer.dispatch(case.x[0], handle, previous_event=lost)
    else:
        line.all_gather(b"", 10)
    buffer.destroy()


def test_a_lost_rank_is_named_by_what_comes_after() -> None:
    run_ranks(after_a_lost_rank, 2)

"""Calls with ``async_finish`` and ``previous_event``: they run one after another on the stream of
the Buffer, and say through their events how they went."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, combine, dispatch
from tests.ep.normal_cases import NormalCase, NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer, EventHandle, EventOverlap
from crossdock.proxy.errors import ArgumentError, CrossdockError, PeerArgumentError

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 2
SOON_S = 0.1
SPEC = NormalSpec((30, 40), hidden=256)


def begin(buffer: Buffer, case: NormalCase, previous: EventOverlap | None = None) -> Any:
    given = case.arguments(buffer.rank)
    return buffer.dispatch(**given, previous_event=previous, async_finish=True)


@contextlib.contextmanager
def passing_soon() -> Iterator[EventOverlap]:
    """An event that has passed when the block ends, if the block has waited for it."""
    gate: Future[object] = Future()
    threading.Timer(SOON_S, gate.set_result, [None]).start()
    yield EventOverlap(EventHandle(gate))
    assert gate.done()


def overlapped(rank: RankContext, world: World) -> None:
    """Three dispatches and their combines under way at once, waited for in any order."""
    torch.set_num_threads(1)
    with built(rank, world) as buffer:
        cases = [NormalCase(NormalSpec((30, 40), 256, seed=seed), world.nodes) for seed in range(3)]
        begun = [begin(buffer, case) for case in cases]
        outputs = [case.outputs()[rank.rank] for case in cases]
        summed = [
            buffer.combine(y, one[4], previous_event=one[5], async_finish=True)
            for y, one in zip(outputs, begun, strict=True)
        ]
        for one in reversed(summed):
            one[2].current_stream_wait()
        for case, one in zip(cases, begun, strict=True):
            assert one[5].event.query()
            assert same(one[0], case.want[rank.rank].recv_x)
        for y, one, total in zip(outputs, begun, summed, strict=True):
            assert same(total[0], buffer.combine(y, one[4])[0])


@EACH_WAY
def test_calls_may_overlap_with_the_caller(transport: str, threads: int) -> None:
    run_ranks(overlapped, SIZE, on_one_node(SIZE, transport, threads))


def back_before_the_others_call(rank: RankContext) -> None:
    with built(rank, on_one_node(SIZE, "shm")) as buffer:
        case = NormalCase(SPEC, (0,) * SIZE)
        handle = begin(buffer, case)[4]
        output = case.outputs()[rank.rank]
        line = rank.exchange("line")
        if rank.rank == 1:
            line.all_gather(b"", 10)
        y, _, event = buffer.combine(output, handle, async_finish=True)
        if rank.rank == 0:
            assert not event.event.query()  # type: ignore[union-attr]
            line.all_gather(b"", 10)
        event.current_stream_wait()
        assert same(y, buffer.combine(output, handle)[0])


def test_an_asynchronous_call_waits_for_nobody() -> None:
    run_ranks(back_before_the_others_call, SIZE)


def plain_after_asynchronous(rank: RankContext) -> None:
    """What runs in the caller's thread waits for what runs on the stream."""
    world = on_one_node(SIZE, "shm")
    with built(rank, world, low_latency=(8, 128, 8)) as buffer:
        case = NormalCase(SPEC, world.nodes)
        x, *_, event = begin(buffer, case)
        small = LowLatencyCase(LowLatencySpec((8, 8), 8))
        with passing_soon() as gate:
            buffer.get_comm_stream().submit(gate.current_stream_wait)
            handle = dispatch(buffer, small)[2]
        assert event.event.query()
        assert same(x, case.want[rank.rank].recv_x)
        y, later, _ = combine(buffer, small, handle, async_finish=True)
        buffer.get_comm_stream().synchronize()
        assert later.event.query()
        assert same(y, small.combined()[rank.rank])


def test_plain_calls_come_after_asynchronous_ones() -> None:
    run_ranks(plain_after_asynchronous, SIZE)


def previous_from_elsewhere(rank: RankContext) -> None:
    """A call begins only when its previous event has passed, whoever makes it pass."""
    world = on_one_node(SIZE, "shm")
    with built(rank, world) as buffer:
        case = NormalCase(SPEC, world.nodes)
        idx = case.topk_idx[rank.rank]
        gate: Future[object] = Future()
        *layout, event = buffer.get_dispatch_layout(
            idx, case.num_experts, previous_event=EventOverlap(EventHandle(gate)), async_finish=True
        )
        time.sleep(SOON_S)
        assert not event.event.query()  # type: ignore[union-attr]
        gate.set_result(None)
        event.current_stream_wait(release_handle=True)
        assert event.event is None
        assert same(layout[3], case.layouts[rank.rank].is_token_in_rank)  # type: ignore[arg-type]
        with passing_soon() as previous:
            buffer.get_dispatch_layout(idx, case.num_experts, previous_event=previous)
        with passing_soon() as previous:
            handle = begin(buffer, case, previous)[4]
        with passing_soon() as previous:
            buffer.combine(case.outputs()[rank.rank], handle, previous_event=previous)
        check_normal(Seat(rank, world, buffer), SPEC)


def test_a_call_waits_for_its_previous_event() -> None:
    run_ranks(previous_from_elsewhere, SIZE)


def errors_of_events(rank: RankContext) -> None:
    """What can be refused is refused by the call; ranks that disagree in combine learn it later."""
    world = on_one_node(SIZE, "shm")
    with built(rank, world) as buffer:
        case = NormalCase(SPEC, world.nodes)
        handle = begin(buffer, case)[4]
        output = case.outputs()[rank.rank]
        if rank.rank == 0:
            with pytest.raises(ArgumentError):
                buffer.combine(output.double(), handle, async_finish=True)
        else:
            _, _, event = buffer.combine(output, handle, async_finish=True)
            with pytest.raises(PeerArgumentError):
                event.current_stream_wait()
            with pytest.raises(PeerArgumentError), event:
                pass
        check_normal(Seat(rank, world, buffer), SPEC)


def test_an_event_raises_what_its_call_ran_into() -> None:
    run_ranks(errors_of_events, SIZE)


def destroyed_meanwhile(rank: RankContext) -> None:
    """``destroy`` waits for what is on the stream."""
    world = on_one_node(SIZE, "shm", 1)
    with built(rank, world) as buffer:
        case = NormalCase(SPEC, world.nodes)
        x, *_, event = begin(buffer, case)
        buffer.destroy()
        assert event.event.query()
        assert same(x, case.want[rank.rank].recv_x)
        with pytest.raises(CrossdockError, match="destroyed"):
            begin(buffer, case)


def test_destroy_lets_the_stream_finish() -> None:
    run_ranks(destroyed_meanwhile, SIZE)


def test_a_captured_event_has_passed() -> None:
    event = Buffer.capture()
    assert isinstance(event, EventOverlap)
    assert isinstance(event.event, EventHandle)
    assert event.event.query()
    with event:
        pass
    event.current_stream_wait()


def reach_of_rounds(rank: RankContext) -> None:
    """Rounds take the halves of the region in turn, also those that have not begun yet."""
    with built(rank, on_one_node(1, "shm"), low_latency=(8, 512, 4)) as buffer:

        def case(tokens: int) -> LowLatencyCase:
            return LowLatencyCase(LowLatencySpec((tokens,), tokens, 512))

        for first, second in [(2, 8), (8, 2)]:
            buffer.clean_low_latency_buffer(8, 512, 4)
            for tokens in (first, second):
                combine(buffer, case(tokens), dispatch(buffer, case(tokens))[2])
            gate: Future[object] = Future()
            idx = torch.zeros(1, 1, dtype=torch.int64)
            held = EventOverlap(EventHandle(gate))
            buffer.get_dispatch_layout(idx, 4, previous_event=held, async_finish=True)
            begun = dispatch(buffer, case(first), async_finish=True)
            if second < first:
                with pytest.raises(ArgumentError, match="call clean_low_latency_buffer"):
                    dispatch(buffer, case(first), async_finish=True)
            last = dispatch(buffer, case(second), async_finish=True)
            gate.set_result(None)
            for tokens, (_, _, handle, event, _) in ((first, begun), (second, last)):
                event.current_stream_wait()
                x = combine(buffer, case(tokens), handle)[0]
                assert same(x, case(tokens).combined()[0])
            del begun, last, handle


def test_a_round_is_compared_with_the_last_one_in_its_place() -> None:
    run_ranks(reach_of_rounds, 1)

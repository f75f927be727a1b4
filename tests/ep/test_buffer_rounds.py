"""Many low-latency rounds: two live at a time, in any order, at different speeds, mixed with the
normal mode, and with the rank away after each call."""

from __future__ import annotations

import random
import time

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_received,
    combine,
    dispatch,
)
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer
from crossdock.proxy.errors import ArgumentError, CapacityError

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
ROOM = (8, 512, 12)
SIZE = 3


def example(seed: int, form: str = "bf16") -> LowLatencyCase:
    """A small case that differs from round to round."""
    tokens = tuple(random.Random(seed * SIZE + rank).randrange(9) for rank in range(SIZE))
    return LowLatencyCase(LowLatencySpec(tokens, 8, 512, format=form, masked=0.1, seed=seed))


def check_sums(rank: int, case: LowLatencyCase, x: torch.Tensor) -> None:
    assert same(x, case.combined()[rank])


# ---- two live results ---------------------------------------------------------------------------


def two_live(rank: RankContext, world: World) -> None:
    """Both are sent before either is received; received, combined and summed in any order."""
    torch.set_num_threads(1)
    with built(rank, world, low_latency=ROOM) as buffer:
        for seed, order in enumerate([(0, 1), (1, 0), (0, 1), (1, 0)]):
            cases = [example(2 * seed, "fp8"), example(2 * seed + 1)]
            begun = [dispatch(buffer, case, return_recv_hook=True) for case in cases]
            for which in order:
                begun[which][4]()
            sent = {}
            for which in order:
                x, count, handle, _, _ = begun[which]
                check_received(cases[which], cases[which].want[rank.rank], x, count, handle)
                sent[which] = combine(buffer, cases[which], handle, return_recv_hook=True)
            for which in reversed(order):
                sent[which][2]()
                check_sums(rank.rank, cases[which], sent[which][0])


@EACH_WAY
def test_two_results_live_at_once(transport: str, threads: int) -> None:
    run_ranks(two_live, SIZE, on_one_node(SIZE, transport, threads))


def third_live(rank: RankContext, world: World) -> None:
    with built(rank, world, low_latency=ROOM) as buffer:
        case = example(1)
        first, second = (dispatch(buffer, case)[2] for _ in range(2))
        with pytest.raises(CapacityError, match="third live low-latency result: at most two"):
            dispatch(buffer, case)
        check_sums(rank.rank, case, combine(buffer, case, first)[0])
        with pytest.raises(ArgumentError, match="combined already"):
            combine(buffer, case, first)
        third = dispatch(buffer, case)[2]
        for handle in (second, third):
            check_sums(rank.rank, case, combine(buffer, case, handle)[0])


def test_a_third_live_result_is_refused_and_nothing_is_lost() -> None:
    run_ranks(third_live, SIZE, on_one_node(SIZE, "shm"))


def dropped(rank: RankContext, world: World) -> None:
    with built(rank, world, low_latency=ROOM) as buffer:
        for seed in range(8):
            case = example(seed)
            x, count, handle, _, _ = dispatch(buffer, case)
            check_received(case, case.want[rank.rank], x, count, handle)
            if seed % 3 == 0:
                check_sums(rank.rank, case, combine(buffer, case, handle)[0])


@EACH_WAY
def test_a_result_may_be_dropped_without_a_combine(transport: str, threads: int) -> None:
    run_ranks(dropped, SIZE, on_one_node(SIZE, transport, threads))


# ---- speeds -------------------------------------------------------------------------------------


def at_different_speeds(rank: RankContext, world: World, rounds: int) -> None:
    """Each rank dawdles at other places; hooks and plain calls take turns."""
    torch.set_num_threads(1)
    pace = random.Random(rank.rank)

    def dawdle() -> None:
        if pace.random() < 0.3:
            time.sleep(pace.random() * 0.004)

    with built(rank, world, low_latency=ROOM) as buffer:
        for seed in range(rounds):
            case = example(seed, ("bf16", "fp8")[seed % 2])
            dawdle()
            x, count, handle, _, hook = dispatch(buffer, case, return_recv_hook=seed % 3 == 0)
            dawdle()
            if hook is not None:
                hook()
            check_received(case, case.want[rank.rank], x, count, handle)
            dawdle()
            y, _, hook = combine(
                buffer, case, handle, return_recv_hook=seed % 5 == 0, zero_copy=seed % 2 == 0
            )
            dawdle()
            if hook is not None:
                hook()
            check_sums(rank.rank, case, y)


@EACH_WAY
def test_many_rounds_at_different_speeds(transport: str, threads: int) -> None:
    run_ranks(at_different_speeds, SIZE, on_one_node(SIZE, transport, threads), 60)


def overtake(rank: RankContext, world: World) -> None:
    """Rank 1 has sent two rounds and received neither when the others begin a third."""
    torch.set_num_threads(1)
    with built(rank, world, low_latency=ROOM) as buffer:
        cases = [example(seed) for seed in range(4)]
        waiting = []
        if rank.rank == 1:
            waiting = [dispatch(buffer, case, return_recv_hook=True) for case in cases[:2]]
            time.sleep(0.4)
        for case in cases:
            x, count, handle, _, hook = (
                waiting.pop(0) if waiting else dispatch(buffer, case, return_recv_hook=True)
            )
            hook()
            check_received(case, case.want[rank.rank], x, count, handle)
            del x, count, handle, hook


@EACH_WAY
def test_a_fast_rank_does_not_overrun_a_slow_one(transport: str, threads: int) -> None:
    run_ranks(overtake, SIZE, on_one_node(SIZE, transport, threads))


def mixed(rank: RankContext, world: World) -> None:
    torch.set_num_threads(1)
    with built(rank, world, low_latency=ROOM) as buffer:
        seat = Seat(rank, world, buffer)
        for seed in range(6):
            check_normal(seat, NormalSpec((5, 9, 2), masked=0.2, seed=seed))
            buffer.clean_low_latency_buffer(*ROOM)
            case = example(seed)
            handle = dispatch(buffer, case)[2]
            # A result may stay live while the normal mode runs.
            check_normal(seat, NormalSpec((3, 0, 4), kind="float32", hidden=128, seed=seed))
            check_sums(rank.rank, case, combine(buffer, case, handle)[0])


@pytest.mark.parametrize("world", [World((0, 0, 1), "auto", 1), on_one_node(SIZE, "shm")], ids=str)
def test_both_modes_on_one_buffer(world: World) -> None:
    run_ranks(mixed, SIZE, world)


# ---- what a call has sent arrives, though the rank calls no more --------------------------------


def leave_at_once(rank: RankContext, world: World, tokens: int, hidden: int) -> None:
    """Only rank 1 has tokens: rank 0 has nothing to wait for, and turns to other things."""
    spec = LowLatencySpec((0, tokens), tokens, hidden, local_experts=2, topk=4)
    case = LowLatencyCase(spec)
    pace = rank.exchange("pace")
    with built(rank, world, low_latency=(tokens, hidden, 4)) as buffer:
        handle = dispatch(buffer, case)[2]
        pace.all_gather(b"", 15)
        x = combine(buffer, case, handle)[0]
        pace.all_gather(b"", 15)
        check_sums(rank.rank, case, x)


@EACH_WAY
@pytest.mark.parametrize(("tokens", "hidden"), [(8, 64), (300, 1024)])
def test_nobody_waits_for_a_rank_that_calls_no_more(
    transport: str, threads: int, tokens: int, hidden: int
) -> None:
    run_ranks(leave_at_once, 2, on_one_node(2, transport, threads), tokens, hidden)


def statistics_of_waits(rank: RankContext, world: World) -> tuple[int, int]:
    """Rank 1 is late for both calls."""
    with built(rank, world, low_latency=ROOM) as buffer:
        case = LowLatencyCase(LowLatencySpec((8,) * SIZE, 8, 512))
        waited = [torch.full((SIZE,), 1000, dtype=torch.int64) for _ in range(2)]
        time.sleep(0.6 * (rank.rank == 1))
        handle = dispatch(buffer, case, dispatch_wait_recv_cost_stats=waited[0])[2]
        time.sleep(0.6 * (rank.rank == 1))
        combine(buffer, case, handle, combine_wait_recv_cost_stats=waited[1])
        return int(waited[0][1]) - 1000, int(waited[1][1]) - 1000


def test_waits_are_counted_in_microseconds_for_the_rank_that_was_late() -> None:
    first, second, third = run_ranks(statistics_of_waits, SIZE, on_one_node(SIZE, "shm", 1))
    for waited in (first, third):
        assert 100_000 < waited[0] < 20_000_000
        assert 100_000 < waited[1] < 20_000_000
    assert max(second) < min(*first, *third)


def test_the_hook_and_the_event_exclude_each_other() -> None:
    run_ranks(both_ways, 1)


def both_ways(rank: RankContext) -> None:
    world = on_one_node(1, "shm")
    with built(rank, world, low_latency=(4, 64, 4)) as buffer:
        case = LowLatencyCase(LowLatencySpec((4,), 4, 64))
        assert isinstance(buffer, Buffer)
        with pytest.raises(ArgumentError, match="exclude each other"):
            dispatch(buffer, case, async_finish=True, return_recv_hook=True)
        handle = dispatch(buffer, case)[2]
        with pytest.raises(ArgumentError, match="exclude each other"):
            combine(buffer, case, handle, async_finish=True, return_recv_hook=True)
        check_sums(0, case, combine(buffer, case, handle)[0])

"""``enable_shrink``: a rank that does not take part in low-latency calls is masked after the
deadline. Its tokens contribute nothing; the others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection

import pytest
import torch
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_combine,
    check_dispatch,
    combine,
    dispatch,
)
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, build, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer
from crossdock.proxy.errors import Aborted, ArgumentError, CutOff

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 3
ABSENT = 2
ROOM = (8, 256, 12)


def example(seed: int, masked: Collection[int] = ()) -> LowLatencyCase:
    form = ("bf16", "fp8")[seed % 2]
    way = ("plain", "hook", "async")[seed % 3]
    spec = LowLatencySpec(
        (8, 5, 8), 8, 256, format=form, dispatch_way=way, combine_way=way, seed=seed
    )
    return LowLatencyCase(spec, masked)


def round_of(buffer: Buffer, seed: int, masked: Collection[int] = ()) -> None:
    case = example(seed, masked)
    check_combine(buffer, case, check_dispatch(buffer, case))


def masks(buffer: Buffer) -> list[int]:
    status = torch.full((SIZE,), 7, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    return status.tolist()


def start_anew(rank: RankContext, world: World) -> None:
    """All ranks, the masked one among them, build another Buffer."""
    with built(rank, world, "anew", low_latency=ROOM, enable_shrink=True) as buffer:
        for seed in range(3):
            round_of(buffer, seed)
        buffer.low_latency_clean_mask_buffer()
        assert masks(buffer) == [0] * SIZE


def until_cut_off(buffer: Buffer, case: LowLatencyCase) -> None:
    """Rounds until the others are known to have masked this rank."""

    def again_and_again() -> None:
        for _ in range(3):
            combine(buffer, case, dispatch(buffer, case)[2])

    with pytest.raises(CutOff, match=r"given up by rank\(s\) [01]") as caught:
        again_and_again()
    assert set(caught.value.ranks) <= {0, 1}


def shrink(rank: RankContext, world: World) -> float:
    """The absent rank stays away from the fourth round on."""
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM, enable_shrink=True, timeout_s=0.6)
    exchange = rank.exchange("pace")
    for seed in range(3):
        round_of(buffer, seed)
    assert masks(buffer) == [0] * SIZE
    exchange.all_gather(b"", 10)
    took = 0.0
    if rank.rank != ABSENT:
        start = time.monotonic()
        round_of(buffer, 3, {ABSENT})
        took = time.monotonic() - start
        assert masks(buffer) == [0, 0, 1]
        start = time.monotonic()
        for seed in range(4, 12):
            round_of(buffer, seed, {ABSENT})
        assert time.monotonic() - start < 0.5 * 8, "a masked rank is not waited for again"
        with pytest.raises(
            ArgumentError, match=r"rank\(s\) \[2\] are masked for good; build a new"
        ):
            buffer.low_latency_clean_mask_buffer()
        with pytest.raises(ArgumentError, match="rank 2 is masked for good; build a new Buffer"):
            buffer.low_latency_update_mask_buffer(ABSENT, False)
        seat = Seat(rank, world, buffer)
        with pytest.raises(ArgumentError, match=r"leaves no rank out, but rank\(s\) \[2\] are"):
            check_normal(seat, NormalSpec((3, 3, 3)))
    exchange.all_gather(b"", 20)
    if rank.rank == ABSENT:
        # What they sent before they hung up is there; then it learns that they have.
        case = example(3)
        until_cut_off(buffer, case)
        assert masks(buffer) == [0, 0, 0], "who goes on is not masked for it"
        with pytest.raises(Aborted):
            dispatch(buffer, case)
    exchange.all_gather(b"", 20)
    buffer.destroy()
    start_anew(rank, world)
    return took


@EACH_WAY
def test_a_rank_that_stays_away_is_masked_for_good(transport: str, threads: int) -> None:
    took = run_ranks(shrink, SIZE, on_one_node(SIZE, transport, threads))
    assert 0.5 < max(took) < 4


def stopped(rank: RankContext, world: World) -> None:
    """The absent rank is stopped while it waits, and wakes long after its own deadline."""
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM, enable_shrink=True, timeout_s=1.0)
    exchange = rank.exchange("pace")
    pids = [int(data) for data in exchange.all_gather(str(os.getpid()).encode(), 10)]
    case = LowLatencyCase(LowLatencySpec((8, 8, 8), 8, 256))
    for _ in range(3):
        combine(buffer, case, dispatch(buffer, case)[2])
    exchange.all_gather(b"", 10)
    if rank.rank == ABSENT:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGSTOP]).start()
        until_cut_off(buffer, case)
    else:
        time.sleep(0.6)
        buffer.low_latency_update_mask_buffer(ABSENT, True)
        case = LowLatencyCase(case.spec, {ABSENT})
        for _ in range(6):
            check_combine(buffer, case, check_dispatch(buffer, case))
            time.sleep(0.25)
        if rank.rank == 0:
            os.kill(pids[ABSENT], signal.SIGCONT)
    exchange.all_gather(b"", 20)
    buffer.destroy()


@EACH_WAY
def test_a_rank_that_was_stopped_learns_that_it_is_cut_off(transport: str, threads: int) -> None:
    run_ranks(stopped, SIZE, on_one_node(SIZE, transport, threads))


def masked_by_hand(rank: RankContext, world: World) -> None:
    """All agree on the mask beforehand: nobody waits at all."""
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM, enable_shrink=True)
    round_of(buffer, 0)
    rank.exchange("before").all_gather(b"", 10)
    start = time.monotonic()
    if rank.rank != ABSENT:
        buffer.low_latency_update_mask_buffer(ABSENT, True)
        for seed in range(1, 6):
            round_of(buffer, seed, {ABSENT})
        assert masks(buffer) == [0, 0, 1]
    assert time.monotonic() - start < 10
    rank.exchange("after").all_gather(b"", 10)
    buffer.destroy()
    start_anew(rank, world)


@EACH_WAY
def test_a_mask_set_by_hand(transport: str, threads: int) -> None:
    run_ranks(masked_by_hand, SIZE, on_one_node(SIZE, transport, threads))


def killed(rank: RankContext, world: World) -> None:
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM, enable_shrink=True, timeout_s=10.0)
    for seed in range(3):
        round_of(buffer, seed)
    rank.exchange("before").all_gather(b"", 10)  # what the dead one has pushed would die with it
    if rank.rank == ABSENT:
        os.kill(os.getpid(), signal.SIGKILL)
    start = time.monotonic()
    for seed in range(3, 10):
        round_of(buffer, seed, {ABSENT})
    assert time.monotonic() - start < 5, "a dead rank is masked before the deadline"
    assert masks(buffer) == [0, 0, 1]
    rank.exchange("pace", {0, 1}).all_gather(b"", 10)
    buffer.destroy()


@EACH_WAY
def test_a_dead_rank_is_masked_at_once(transport: str, threads: int) -> None:
    run_ranks(killed, SIZE, on_one_node(SIZE, transport, threads), may_die={ABSENT})


def arguments(rank: RankContext) -> None:
    world = on_one_node(2, "shm")
    with built(rank, world, low_latency=(4, 64, 4), enable_shrink=True) as buffer:
        with pytest.raises(ArgumentError, match="rank is 2, but there are 2 ranks"):
            buffer.low_latency_update_mask_buffer(2, True)
        with pytest.raises(ArgumentError, match="rank is -1"):
            buffer.low_latency_update_mask_buffer(-1, True)
        with pytest.raises(ArgumentError, match=r"mask_status is torch\.int64, but must be"):
            buffer.low_latency_query_mask_buffer(torch.zeros(2, dtype=torch.int64))
        with pytest.raises(
            ArgumentError, match=r"mask_status has shape \[3\], but must have \[2\]"
        ):
            buffer.low_latency_query_mask_buffer(torch.zeros(3, dtype=torch.int32))
        with pytest.raises(ArgumentError, match=f"rank {rank.rank} cannot mask itself"):
            buffer.low_latency_update_mask_buffer(rank.rank, True)
        buffer.low_latency_update_mask_buffer(rank.rank)
        buffer.low_latency_clean_mask_buffer()
        status = torch.full((2,), 7, dtype=torch.int32)
        buffer.low_latency_query_mask_buffer(status)
        assert status.tolist() == [0, 0]


def test_masks_are_checked() -> None:
    run_ranks(arguments, 2)

"""Building and destroying: any number of times, without leaks, and never used afterwards."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_low_latency, dispatch
from tests.ep.normal_cases import NormalCase, NormalSpec, check_dispatch, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, build, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer, Config
from crossdock.proxy.errors import ArgumentError, DestroyedError

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
SIZE = 2
SPEC = NormalSpec((5, 6))
ROOM = (8, 128, 8)


def footprint() -> tuple[int, int, int]:
    """File descriptors, threads, mappings of shared memory."""
    process = Path("/proc/self")
    maps = (process / "maps").read_text().splitlines()
    shared = sum("memfd:" in line or "/dev/shm" in line for line in maps)
    return len([*(process / "fd").iterdir()]), len([*(process / "task").iterdir()]), shared


def cycle(rank: RankContext, world: World) -> None:
    torch.set_num_threads(1)
    seen = []
    for number in range(20):
        with built(rank, world, f"job{number}", low_latency=ROOM) as buffer:
            if number % 5 == 0:
                seat = Seat(rank, world, buffer)
                check_normal(seat, SPEC)
                check_low_latency(seat, LowLatencySpec((8, 8), 8, dispatch_way="async"))
        del buffer
        gc.collect()
        seen.append(footprint())
    assert seen[2:] == [seen[2]] * 18, seen


@EACH_WAY
def test_nothing_leaks_over_many_lives(transport: str, threads: int) -> None:
    before = set(Path("/dev/shm").iterdir())
    run_ranks(cycle, SIZE, on_one_node(SIZE, transport, threads))
    assert set(Path("/dev/shm").iterdir()) <= before


def after_destroy(rank: RankContext) -> None:
    world = on_one_node(SIZE, "shm")
    buffer = build(rank, world, low_latency=ROOM, enable_shrink=True)
    seat = Seat(rank, world, buffer)
    case = NormalCase(SPEC, world.nodes)
    handle, _ = check_dispatch(seat, case)
    small = LowLatencyCase(LowLatencySpec((8, 8), 8))
    round_ = dispatch(buffer, small)[2]
    buffer.destroy()
    idx, x = case.topk_idx[rank.rank], case.x[rank.rank]
    calls: list[Callable[[], object]] = [
        buffer.destroy,
        lambda: buffer.get_dispatch_layout(idx, 8),
        lambda: buffer.dispatch(x, handle=handle),
        lambda: buffer.combine(x, handle),
        lambda: buffer.internode_dispatch(x, handle=handle),
        lambda: buffer.internode_combine(x, handle),
        lambda: dispatch(buffer, small),
        lambda: buffer.low_latency_combine(x, idx, case.weights[rank.rank], round_),
        lambda: buffer.get_next_low_latency_combine_buffer(round_),
        lambda: buffer.clean_low_latency_buffer(*ROOM),
        lambda: buffer.low_latency_update_mask_buffer(0, True),
        lambda: buffer.low_latency_query_mask_buffer(torch.zeros(2, dtype=torch.int32)),
        buffer.low_latency_clean_mask_buffer,
        buffer.get_comm_stream,
        lambda: buffer.get_local_buffer_tensor(torch.uint8),
    ]
    for call in calls:
        with pytest.raises(
            DestroyedError, match=f"rank {rank.rank}: the Buffer is destroyed; build"
        ):
            call()


def test_every_call_after_destroy_is_refused_and_so_is_destroy() -> None:
    run_ranks(after_destroy, SIZE)


def forgotten(rank: RankContext) -> None:
    """As vLLM keeps them: in a dictionary that does not keep them alive."""
    world = on_one_node(SIZE, "shm", 1)
    kept: weakref.WeakValueDictionary[str, Buffer] = weakref.WeakValueDictionary()
    buffer = build(rank, world)
    kept["one"] = buffer
    check_normal(Seat(rank, world, buffer), SPEC)
    threads = threading.active_count()
    tasks = footprint()[1]
    rank.exchange("pace").all_gather(b"", 10)
    del buffer
    gc.collect()
    assert "one" not in kept
    assert threading.active_count() <= threads
    assert footprint()[1] < tasks, "its proxy thread has ended"
    with built(rank, world, "second") as again:
        check_normal(Seat(rank, world, again), SPEC)


def test_a_forgotten_buffer_leaves_by_itself() -> None:
    run_ranks(forgotten, SIZE)


def two_at_once(rank: RankContext) -> None:
    world = on_one_node(SIZE, "shm")
    with built(rank, world, low_latency=ROOM) as one, built(rank, world, "second") as other:
        case = NormalCase(SPEC, world.nodes)
        handle, _ = check_dispatch(Seat(rank, world, one), case)
        x = case.outputs()[rank.rank]
        for call in (
            lambda: other.combine(x, handle),
            lambda: other.dispatch(case.x[rank.rank], handle=handle),
        ):
            with pytest.raises(ArgumentError, match="handle was made by another Buffer"):
                call()
        check_normal(Seat(rank, world, other), SPEC)
        one.combine(x, handle)
        check_low_latency(Seat(rank, world, one), LowLatencySpec((8, 8), 8))


def test_a_handle_is_of_no_use_to_another_buffer() -> None:
    run_ranks(two_at_once, SIZE)


def low_latency_handles(rank: RankContext) -> None:
    world = on_one_node(SIZE, "shm")
    with (
        built(rank, world, low_latency=ROOM) as one,
        built(rank, world, "second", low_latency=ROOM) as other,
    ):
        case = LowLatencyCase(LowLatencySpec((8, 8), 8))
        handle = dispatch(one, case)[2]
        arguments = (case.outputs[rank.rank], case.topk_idx[rank.rank], case.weights[rank.rank])
        with pytest.raises(ArgumentError, match="handle was made by another Buffer"):
            other.low_latency_combine(*arguments, handle)
        with pytest.raises(ArgumentError, match="handle was made by another Buffer"):
            other.get_next_low_latency_combine_buffer(handle)
        one.low_latency_combine(*arguments, handle)


def test_a_low_latency_handle_is_of_no_use_to_another_buffer() -> None:
    run_ranks(low_latency_handles, SIZE)


def keywords(rank: RankContext) -> None:
    """Every keyword that engines pass."""
    size = Config().get_nvl_buffer_size_hint(1, SIZE)
    hint = Buffer.get_low_latency_rdma_size_hint(8, 128, SIZE, 8)
    buffer = Buffer(
        group=rank.exchange(),
        num_nvl_bytes=size,
        num_rdma_bytes=hint,
        low_latency_mode=True,
        num_qps_per_rank=4,
        allow_nvlink_for_low_latency_mode=False,
        allow_mnnvl=True,
        explicitly_destroy=True,
        enable_shrink=False,
        comm=None,
        use_fabric=True,
    )
    assert buffer.low_latency_mode
    assert buffer.group_size == SIZE
    buffer.destroy()


def test_the_keywords_of_engines_are_taken() -> None:
    run_ranks(keywords, SIZE)

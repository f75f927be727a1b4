"""Rows of the normal mode that ranks of a node write into each other's devices by themselves. In
the interpreter that memory is the host's, but no region of the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tests.ep.gpu.lives import is_all_given_back
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import INTERPRETED, build, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer
from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.gpu.region import Region
from crossdock.proxy.errors import CapacityError

SIZE = 3
WORLD = on_one_node(SIZE, "shm", 1)
LARGE, SMALL = 1 << 20, 1 << 16
SPEC = NormalSpec((4, 0, 3), hidden=72, masked=0.2, biases=1)
# Twice 64 KiB of rows.
MANY_BYTES = NormalSpec((2, 2, 1), hidden=32 * 1024, masked=0.0, topk=3)


def seated(rank: RankContext, inbox: int, device: str = "interpreter", **more: Any) -> Seat:
    torch.set_num_threads(1)
    return Seat(rank, WORLD, build(rank, WORLD, device=device, inbox_bytes=inbox, **more))


def is_staged(buffer: Buffer) -> bool:
    """Whether memory of the host for rows has seen any."""
    if buffer._gpu is None:
        return True
    assert buffer._gpu.normal is not None
    arena = buffer._gpu.normal._arena
    heap = buffer.communicator.region_array(1)
    return bool(heap[arena._begin : arena._begin + arena._size].any())


def ended(seat: Seat) -> None:
    gpu = seat.buffer._gpu
    seat.buffer.destroy()
    if gpu is not None:
        assert isinstance(gpu.platform, InterpreterPlatform)
        assert is_all_given_back(gpu.platform)


def check(
    rank: RankContext, inbox: int, specs: Sequence[NormalSpec], device: str = "interpreter"
) -> list[bool]:
    """Whether the rank writes to all others; after each spec whether rows were staged so far."""
    seat = seated(rank, inbox, device)
    staged = [seat.buffer.writes_to_peers]
    for spec in specs:
        check_normal(seat, spec)
        staged.append(is_staged(seat.buffer))
    ended(seat)
    return staged


def test_no_row_goes_through_memory_of_the_host() -> None:
    found = run_ranks(check, SIZE, LARGE, [SPEC, MANY_BYTES], environment=INTERPRETED)
    assert found == [[True, False, False]] * SIZE


def test_what_does_not_fit_is_staged() -> None:
    found = run_ranks(check, SIZE, SMALL, [SPEC, MANY_BYTES], environment=INTERPRETED)
    assert found == [[True, False, True]] * SIZE


def one_out_of_reach(rank: RankContext) -> tuple[list[bool], bool]:
    seat = seated(rank, LARGE, peer_access=rank.rank != 1)
    gpu = seat.buffer._gpu
    assert gpu is not None
    assert gpu._device is not None
    reached = [address != 0 for address in gpu._device.inboxes]
    assert not seat.buffer.writes_to_peers
    check_normal(seat, SPEC)
    check_normal(seat, MANY_BYTES)
    staged = is_staged(seat.buffer)
    ended(seat)
    return reached, staged


def test_rows_from_near_and_from_far_in_one_call() -> None:
    found = run_ranks(one_out_of_reach, SIZE, environment=INTERPRETED)
    near = [True, False, True]
    assert found == [(near, True), ([False] * SIZE, True), (near, True)]


def beside_the_cpu(rank: RankContext) -> list[bool]:
    device = "cpu" if rank.rank == 0 else "interpreter"
    return check(rank, LARGE, [SPEC, MANY_BYTES], device)


def test_beside_a_rank_without_a_gpu() -> None:
    found = run_ranks(beside_the_cpu, SIZE, environment=INTERPRETED)
    assert not any(writes for writes, *_ in found)


def one_without_memory(rank: RankContext) -> list[bool]:
    if rank.rank == 1:
        InterpreterPlatform.allocate = no_room  # type: ignore[method-assign, assignment]
    return check(rank, LARGE, [SPEC])


def no_room(_: InterpreterPlatform, size: int) -> int:
    raise CapacityError(f"the device has no room for {size} bytes")


def test_a_device_without_room_stages() -> None:
    """Rank 1 has no tokens, but gets some."""
    assert run_ranks(one_without_memory, SIZE, environment=INTERPRETED) == [[False, True]] * SIZE


def alone_on_a_gpu(rank: RankContext) -> bool:
    made: list[int] = []
    allocate = Region.__init__

    def counted(self: Region, platform: Any, size: int) -> None:
        made.append(size)
        allocate(self, platform, size)

    Region.__init__ = counted  # type: ignore[method-assign]
    check(rank, LARGE, [SPEC], "interpreter" if rank.rank == 2 else "cpu")
    return bool(made)


def test_the_only_gpu_of_a_job_has_no_inbox() -> None:
    assert run_ranks(alone_on_a_gpu, SIZE, environment=INTERPRETED) == [False] * SIZE

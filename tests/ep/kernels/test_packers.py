"""Commands that kernels write: bit by bit those of the other packers, and each applied once."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.worlds import INTERPRETED
from tests.harness import RankContext, run_ranks
from tests.proxy import jobs, test_schema
from tests.proxy.test_schema import command_numbers

from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.proxy.schema import Command

LANES = 64
COUNTER = 3
SLOTS = 16
# Kernels write no SIGNAL and no WRITE_SEQUENCED, but their packers know all fields of each.
batches = st.lists(test_schema.commands, min_size=1, max_size=LANES)
answers = test_schema.answers


def packed_by_kernel(commands: list[Command]) -> list[tuple[int, int]]:
    from tests.ep.kernels.launched import pack

    rows = [
        (c.op, c.peer, c.bytes, c.src_region, c.src_offset, c.dst_region, c.dst_offset, c.counter,
         c.value)
        for c in commands
    ]  # fmt: skip
    fields = torch.tensor(rows, dtype=torch.int64).t().contiguous()
    low, high = torch.zeros((2, len(commands)), dtype=torch.int64)
    pack[(1,)](fields, low, high, len(commands), LANES=LANES)
    unsigned = (1 << 64) - 1
    return [(a & unsigned, b & unsigned) for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def compare_with_python(rank: RankContext) -> None:
    @settings(deadline=None, max_examples=60, database=None)
    @given(batches)
    def check(commands: list[Command]) -> None:
        for command, words in zip(commands, packed_by_kernel(commands), strict=True):
            data = command.pack()
            want = (int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little"))
            assert words == want, command

    check()


def test_kernels_and_python_pack_alike() -> None:
    run_ranks(compare_with_python, 1, environment=INTERPRETED)


def pack_random(rank: RankContext, commands: list[Command]) -> list[tuple[int, int]]:
    starts = range(0, len(commands), LANES)
    return [words for at in starts for words in packed_by_kernel(commands[at : at + LANES])]


def test_kernels_and_cpp_pack_alike(answers: Any) -> None:
    random_ = random.Random(5)
    commands = [test_schema.random_command(random_) for _ in range(1000)]
    lines = ["c " + " ".join(map(str, command_numbers(one, 0))) for one in commands]
    want = [(low, high) for low, high, *_ in answers(lines)]
    assert run_ranks(pack_random, 1, commands, environment=INTERPRETED) == [want]


# ---- pushes -------------------------------------------------------------------------------------


@contextmanager
def device_of(rank: RankContext, threads: int, **more: Any) -> Iterator[Any]:
    """A communicator without tensors, and the device that pushes into its rings."""
    from crossdock.ep.gpu.device import Device

    with ExitStack() as stack:
        built = stack.enter_context(
            jobs.communicator(rank, "shm", threads, ring_slots=SLOTS, **more)
        )
        device = Device(InterpreterPlatform(), built, rank.exchange("device"), 0, 0)
        stack.callback(device.release)
        yield device


def launch(device: Any, values: torch.Tensor, peer: int) -> None:
    from tests.ep.kernels.launched import push_values

    programs, pushes, batch = values.shape
    push_values[(programs,)](
        device.view, device.state, values, COUNTER, pushes,
        PEER=peer, BATCH=batch, RINGS=device.num_rings, CAPACITY=SLOTS,
    )  # fmt: skip


def tickets(device: Any) -> int:
    from crossdock.ep.kernels import view as table

    first = table.TICKETS.value
    return int(device.state[first : first + device.num_rings].sum())


def push_over_laps(rank: RankContext, threads: int) -> None:
    """Each rank adds to a counter of the next; the sums must be those of the values."""
    generator = torch.Generator().manual_seed(7)
    shapes = [(5, 12, 4), (3, 20, 16), (1, 40, 1)]
    next_rank, last_rank = (rank.rank + 1) % rank.size, (rank.rank - 1) % rank.size
    with device_of(rank, threads) as device:
        total, pushed = 0, 0
        for shape in shapes:
            values = torch.randint(0, 5, shape, generator=generator)
            values[0, 0] = 0  # a push of nothing
            launch(device, values, next_rank)
            total += int(values.sum())
            pushed += int((values > 0).sum())
        native = device.communicator.native
        assert tickets(device) == pushed > 4 * SLOTS * device.num_rings
        device.communicator.wait([last_rank], COUNTER, total, "sums")
        with device.host_rings():
            device.communicator.fence()
            device.communicator.push([jobs.counted(next_rank, COUNTER, 9)])
            device.communicator.fence()
        launch(device, torch.full((2, 1, 4), 2), next_rank)  # after the host, from its ticket on
        device.communicator.wait([last_rank], COUNTER, total + 9 + 16, "sums")
        with device.host_rings():
            device.communicator.fence()
        carried_out = sum(native.statistics(p)["commands"] for p in range(device.num_rings))
        assert carried_out == pushed + 1 + 8
        rank.exchange("end").all_gather(b"", 20)
        assert native.counter(last_rank, COUNTER)[0] == total + 9 + 16


@pytest.mark.parametrize(("size", "threads"), [(1, 1), (2, 2)])
def test_each_push_of_several_programs_is_carried_out_once(size: int, threads: int) -> None:
    run_ranks(push_over_laps, size, threads, environment=INTERPRETED)


def push_into_a_full_ring(rank: RankContext) -> None:
    """Nobody pops for a while; then the waiting program goes on, and nothing is overwritten."""
    with jobs.without_caretaker(), device_of(rank, 0) as device:
        communicator = device.communicator
        launch(device, torch.ones((1, 1, SLOTS), dtype=torch.int64), 0)
        done = threading.Event()

        def push_more() -> None:
            launch(device, torch.ones((1, 1, 4), dtype=torch.int64), 0)
            done.set()

        thread = threading.Thread(target=push_more)
        thread.start()
        time.sleep(0.3)
        assert not done.is_set(), "the ring is full"
        end = time.monotonic() + 20
        while communicator.native.counter(0, COUNTER)[0] < SLOTS + 4 and time.monotonic() < end:
            communicator.native.progress()
        thread.join()
        assert communicator.native.counter(0, COUNTER)[0] == SLOTS + 4


def test_a_full_ring_is_waited_out() -> None:
    run_ranks(push_into_a_full_ring, 1, environment=INTERPRETED)


def give_up_a_full_ring(rank: RankContext) -> None:
    from crossdock.ep.kernels import view as table

    with jobs.without_caretaker(), device_of(rank, 0) as device:
        launch(device, torch.ones((1, 1, SLOTS), dtype=torch.int64), 0)
        ring = device.communicator.native.ring_stretches()[0]
        before = bytes_of(*ring)
        timer = threading.Timer(0.2, device.control.fill_, [table.GIVE_UP.value])
        timer.start()
        launch(device, torch.full((1, 1, 4), 3), 0)
        assert bytes_of(*ring) == before, "what is not popped yet stays"
        device.communicator.abort()


def bytes_of(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def test_an_abort_ends_the_wait_for_room() -> None:
    run_ranks(give_up_a_full_ring, 1, environment=INTERPRETED)

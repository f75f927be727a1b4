from __future__ import annotations

import ctypes
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossdock.bench import _native, ranks


def plan_of(producers: int, batch: int, commands: int) -> _native.StreamPlan:
    plan = _native.StreamPlan()
    plan.producers, plan.batch, plan.commands, plan.slots = producers, batch, commands, 64
    return plan


@pytest.mark.parametrize("stream", [_native.stream_ring, _native.stream_locked])
@pytest.mark.parametrize(("producers", "batch"), [(1, 1), (1, 7), (3, 1), (3, 7)])
def test_every_command_comes_out_in_order(stream: object, producers: int, batch: int) -> None:
    assert callable(stream)
    for in_order in (True, False):
        plan = plan_of(producers, batch, 3001)
        plan.in_order = in_order
        result = stream(plan)
        assert result.wrong == 0
        assert result.seconds > 0


def test_impossible_plans_are_refused() -> None:
    for plan in (plan_of(0, 1, 1), plan_of(1, 0, 1), plan_of(65, 1, 1), plan_of(1, 257, 1)):
        with pytest.raises(ValueError, match="must be"):
            _native.stream_ring(plan)
    plan = plan_of(1, 1, 1)
    plan.slots = 63
    with pytest.raises(ValueError, match="power of two"):
        _native.stream_ring(plan)


def test_nobody_leaves_a_meeting_before_all_have_come() -> None:
    shared = (ctypes.c_ubyte * ranks.MEETING_BYTES)()
    address = ranks.aligned_address(shared)
    assert address % ranks.CACHE_LINE == 0
    came: list[float] = []
    left: list[float] = []

    def rank(number: int) -> None:
        for _ in range(3):
            time.sleep(0.02 * number)
            came.append(time.monotonic())
            assert _native.meet(address, 3, 20.0)
            left.append(time.monotonic())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(rank, range(3)))
    came.sort()
    left.sort()
    for first in (0, 3, 6):
        assert left[first] >= came[first + 2]


def test_a_meeting_has_a_deadline() -> None:
    shared = (ctypes.c_ubyte * ranks.MEETING_BYTES)()
    assert not _native.meet(ranks.aligned_address(shared), 2, 0.05)


def test_copies_copy() -> None:
    src = np.arange(1000, dtype=np.uint8)
    dst = np.zeros_like(src)
    assert len(_native.copies(src.ctypes.data, dst.ctypes.data, 1000, 3)) == 3
    assert (src == dst).all()


def test_socket_ping_pong_carries_bytes_both_ways() -> None:
    size, ends = 300_000, socket.socketpair()
    src = [np.full(size, 1 + number, dtype=np.uint8) for number in range(2)]
    dst = [np.zeros(size, dtype=np.uint8) for _ in range(2)]
    times: dict[int, list[float]] = {}

    def rank(number: int) -> None:
        plan = _native.PingPong()
        plan.bytes, plan.count, plan.first = size, 4, number == 0
        times[number] = _native.ping_pong_socket(
            ends[number].fileno(), src[number].ctypes.data, dst[number].ctypes.data, plan
        )

    other = threading.Thread(target=rank, args=(1,))
    other.start()
    rank(0)
    other.join()
    assert (dst[0] == 2).all()
    assert (dst[1] == 1).all()
    assert len(times[0]) == 4
    assert times[1] == []
    for end in ends:
        end.close()


def test_a_closed_socket_is_an_error() -> None:
    near, far = socket.socketpair()
    far.close()
    memory = np.zeros(16, dtype=np.uint8)
    plan = _native.PingPong()
    plan.bytes, plan.count, plan.first = 16, 1, False
    with near, pytest.raises(OSError, match="recv"):
        _native.ping_pong_socket(near.fileno(), memory.ctypes.data, memory.ctypes.data, plan)


def test_worker_latencies() -> None:
    seconds = _native.locked_latencies(64, 50, -1)
    assert len(seconds) == 50
    assert all(second > 0 for second in seconds)

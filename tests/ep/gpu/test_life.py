"""Buffers on a GPU that are forgotten, built again and again, or used after their end."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from tests.ep.gpu.lives import (
    SIZE,
    SPEC,
    device_of,
    interpreted,
    is_all_given_back,
    round_of,
    where_it_runs,
)
from tests.ep.low_latency_cases import LowLatencyCase
from tests.ep.low_latency_cases import dispatch as low_latency_dispatch
from tests.ep.test_buffer_life import footprint
from tests.ep.worlds import INTERPRETED
from tests.harness import PATIENCE, RankContext, run_ranks

from crossdock.proxy.errors import ArgumentError, DestroyedError

ENDED_WITHIN_S = 10 * PATIENCE


def forgotten(rank: RankContext) -> None:
    buffer = interpreted(rank)
    platform = where_it_runs(buffer)
    round_of(buffer)
    rank.exchange("pace").all_gather(b"", 20)
    del buffer
    gc.collect()
    end = time.monotonic() + ENDED_WITHIN_S
    while [one.name for one in threading.enumerate() if one.name == "crossdock-gpu-watch"]:
        assert time.monotonic() < end, "the thread that watches kernels keeps the Buffer alive"
        time.sleep(0.01)
    assert is_all_given_back(platform)
    again = interpreted(rank, "second")
    round_of(again)
    again.destroy()


def test_a_forgotten_buffer_gives_all_back() -> None:
    run_ranks(forgotten, SIZE, environment=INTERPRETED)


def cycle(rank: RankContext) -> None:
    seen = []
    for number in range(5):
        buffer = interpreted(rank, f"job{number}")
        if number == 0:
            round_of(buffer)
        buffer.destroy()
        platform = where_it_runs(buffer)
        del buffer
        gc.collect()
        assert is_all_given_back(platform)
        seen.append(footprint())
    assert seen[1:] == [seen[1]] * 4, seen


def test_nothing_leaks_over_many_lives() -> None:
    run_ranks(cycle, SIZE, environment=INTERPRETED)


def after_destroy(rank: RankContext) -> None:
    buffer = interpreted(rank)
    device, platform = device_of(buffer), where_it_runs(buffer)
    case = LowLatencyCase(SPEC)
    *_, hook = low_latency_dispatch(buffer, case, return_recv_hook=True)
    rank.exchange("pace").all_gather(b"", 20)

    patch = pytest.MonkeyPatch()
    patch.setattr(platform, "is_capturing", lambda: True)
    with pytest.raises(ArgumentError, match="a graph is being captured, but destroy waits"):
        buffer.destroy()
    patch.undo()

    kept = device.region_tensor(0, 64)
    kept.fill_(5)
    buffer.destroy()
    for call in (hook, buffer.destroy, lambda: device.region_tensor(0, 1)):
        with pytest.raises(DestroyedError, match=f"rank {rank.rank}: the Buffer is destroyed"):
            call()
    assert kept.eq(5).all(), "a tensor of the user keeps the memory"
    assert len(platform._memory) >= 1
    del kept
    assert is_all_given_back(platform)


def test_what_is_called_after_the_end_is_refused() -> None:
    run_ranks(after_destroy, SIZE, environment=INTERPRETED)

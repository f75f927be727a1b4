"""What the ranks of ``bench gpu`` do for the ring: rank 0 lets its GPU write commands."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

import msgspec
import numpy as np
import torch

from crossdock.bench import gpu_kernels
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import Rank
from crossdock.bench.record import OURS, Series
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.platform import Platform, platform_of
from crossdock.proxy import Communicator, Options
from crossdock.proxy._native import Communicator as Native

RATE = "ring rate"
LATENCY = "ring latency"
_COUNTER = 1
_NUM_COUNTERS = 2
_REGION_BYTES = 4096


class Plan(msgspec.Struct, frozen=True):
    """What to measure."""

    device: str
    proxies: tuple[int, ...]
    batches: tuple[int, ...]
    programs: int
    commands: int
    exchanges: int
    rounds: int


def body(rank: Rank, plan: Plan) -> bytes:
    """Measure; rank 0 returns the series."""
    os.sched_setaffinity(0, rank.all_cpus)  # rank 0 alone is at work
    platform = platform_of(plan.device)
    if platform is None:
        raise BenchFailed(f"--device {plan.device} is no GPU")
    series: list[Series] = []
    for proxies in plan.proxies:
        with contextlib.ExitStack() as stack:
            exchange = rank.exchange()
            options = Options(transport="shm", proxy_threads=proxies, proxy_sleep_us=0)
            communicator = Communicator(
                exchange, options, main_bytes=_REGION_BYTES, num_counters=_NUM_COUNTERS
            )
            stack.callback(communicator.destroy)
            device = Device(platform, communicator, exchange, 0, 0)
            stack.callback(device.release)
            if rank.rank == 0:
                series += _measured(plan, platform, device)
            rank.meet()
    return msgspec.json.encode(series)


def _measured(plan: Plan, platform: Platform, device: Device) -> list[Series]:
    rings = {
        "RINGS": device.num_rings,
        "CAPACITY": device.ring_slots,
        "BACKEND": platform.backend,
    }
    series = []
    for batch in plan.batches:
        rounds = [_rate(plan, batch, device, rings) for _ in range(plan.rounds + 1)][1:]
        point: dict[str, str | int] = {
            "kind": RATE, "proxies": device.num_rings, "batch": batch, "programs": plan.programs,
        }  # fmt: skip
        series.append(Series(contender=OURS, point=point, rounds=[[r] for r in rounds], wrong=0))
    if platform.backend != "interpreter":
        point = {"kind": LATENCY, "proxies": device.num_rings, "batch": 1, "programs": 1}
        times = [_latencies(plan, device, rings) for _ in range(plan.rounds + 1)][1:]
        series.append(Series(contender=OURS, point=point, rounds=times))
    return series


def _rate(plan: Plan, batch: int, device: Device, rings: dict[str, object]) -> float:
    """Seconds a command, from the launch to the acknowledgement of the last one."""
    pushes = max(1, plan.commands // (plan.programs * batch))
    total = pushes * plan.programs * batch
    cells = [
        np.ctypeslib.as_array((ctypes.c_int64 * 1).from_address(address + Native.RING_COMPLETED_AT))
        for address, _ in device.communicator.native.ring_stretches()
    ]
    before = sum(int(cell[0]) for cell in cells)
    device.platform.synchronize()
    start = time.perf_counter()
    gpu_kernels.flood[(plan.programs,)](
        device.view, device.state, pushes,
        PEER=0, COUNTER=_COUNTER, BATCH=batch, num_warps=1, **rings,
    )  # fmt: skip
    end = start + device.communicator.options.timeout_s
    while sum(int(cell[0]) for cell in cells) - before < total:
        if time.perf_counter() > end:
            raise BenchFailed(f"{total} commands of the GPU were not acknowledged in time")
    seconds = time.perf_counter() - start
    device.platform.synchronize()
    return seconds / total


def _latencies(plan: Plan, device: Device, rings: dict[str, object]) -> list[float]:
    times = torch.zeros(plan.exchanges, dtype=torch.int64, device=device.platform.device)
    gpu_kernels.ping[(1,)](
        device.view, device.state, times, plan.exchanges,
        PEER=0, COUNTER=_COUNTER, NUM_COUNTERS=_NUM_COUNTERS, num_warps=1, **rings,
    )  # fmt: skip
    device.platform.synchronize()
    return [nanoseconds * 1e-9 for nanoseconds in times.tolist()]

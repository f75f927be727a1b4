"""What the ranks of ``bench gpu`` do for each mode: all of them on one GPU."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import torch
import torch.distributed as dist

from crossdock.bench import parcels
from crossdock.bench.checks import count_wrong_arrivals, count_wrong_sums
from crossdock.bench.gpu_normal_way import GpuNormalWay
from crossdock.bench.gpu_way import GpuWay
from crossdock.bench.ranks import Rank
from crossdock.bench.record import OURS, Series
from crossdock.bench.workload import Shape

LOW_LATENCY, NORMAL = "low latency", "normal"
COPY = "copy"
_WARMUPS = 3


class Plan(msgspec.Struct, frozen=True):
    """What to measure on one set of ranks."""

    device: str
    shape: Shape
    ways: tuple[str, ...]
    """direct: peers write into each other's memory; staged: proxies carry rows."""
    replays: int
    rounds: int


def body(rank: Rank, plan: Plan) -> bytes:
    """Measure; rank 0 returns the series."""
    expected = parcels.expected_on(rank, plan.shape)
    series: list[Series] = []
    moved = _total(len(expected.arrived.rows)) * (
        plan.shape.dispatched_row_bytes + plan.shape.combined_row_bytes
    )
    for name in plan.ways:
        way = _way(plan, rank, name)
        way.round()
        wrong = count_wrong_arrivals(way.arrived(), expected.arrived)
        way.answer()
        wrong += count_wrong_sums(way.combined(), expected.combined, exact=True)
        for how, call in way.calls().items():
            seconds = _timed(rank, plan, call, way.synchronize)
            wrong += count_wrong_sums(way.combined(), expected.combined, exact=True)
            point = _point(plan.shape, how)
            series.append(
                Series(
                    contender=f"{OURS} {name}",
                    point=point,
                    rounds=[[s] for s in seconds],
                    bytes=moved,
                    wrong=_total(wrong),
                )
            )
        way.close()
    copied = _timed(rank, plan, _copier(rank, plan, moved), _synchronizer(plan))
    for how in {str(one.point["how"]): None for one in series}:
        series.append(
            Series(
                contender=COPY,
                point=_point(plan.shape, how),
                rounds=[[s] for s in copied],
                bytes=moved,
            )
        )
    return msgspec.json.encode(series)


def _way(plan: Plan, rank: Rank, name: str) -> GpuWay | GpuNormalWay:
    if plan.shape.mode == "normal":
        return GpuNormalWay(plan.shape, rank.rank, plan.device, direct=name == "direct")
    return GpuWay(plan.shape, rank.rank, plan.device, direct=name == "direct")


def _point(shape: Shape, how: str) -> dict[str, str | int]:
    kind = NORMAL if shape.mode == "normal" else LOW_LATENCY
    return {"kind": kind, "ranks": shape.ranks, "dtype": shape.dtype, "how": how}


def _total(wrong: int) -> int:
    counts = torch.tensor([wrong])
    dist.all_reduce(counts)
    return int(counts)


def _timed(
    rank: Rank, plan: Plan, call: Callable[[], None], synchronize: Callable[[], None]
) -> list[float]:
    """Seconds of a call on all ranks at once, by rounds: from the first start to the last end."""
    for _ in range(_WARMUPS):
        call()
    synchronize()
    result = []
    for _ in range(plan.rounds):
        rank.meet()
        start = time.perf_counter()
        for _ in range(plan.replays):
            call()
        synchronize()
        rank.meet()
        result.append((time.perf_counter() - start) / plan.replays)
    return result


def _copier(rank: Rank, plan: Plan, moved: int) -> Callable[[], None]:
    """Rank 0 copies all bytes inside the memory of the device; the others do nothing."""
    if rank.rank != 0:
        return lambda: None
    source = torch.zeros(moved, dtype=torch.uint8, device=_device(plan))
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)

    return copy


def _device(plan: Plan) -> str:
    return "cuda" if plan.device == "cuda" else "cpu"


def _synchronizer(plan: Plan) -> Callable[[], None]:
    return torch.cuda.synchronize if plan.device == "cuda" else lambda: None

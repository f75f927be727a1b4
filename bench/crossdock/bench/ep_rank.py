"""What a rank of ``bench ep`` and of the demo does: all contenders at one shape after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from crossdock.bench import ours, parcels
from crossdock.bench.baselines import gloo, memcpy, mpi
from crossdock.bench.baselines.gloo import GlooWire
from crossdock.bench.baselines.memcpy import MemcpyContender
from crossdock.bench.baselines.plain import PlainWay
from crossdock.bench.ranks import Rank
from crossdock.bench.record import Series
from crossdock.bench.schedule import Contender, merged, take_turns
from crossdock.bench.way import STEPS, WayContender
from crossdock.bench.workload import Expected, Shape, inputs_of


class Plan(msgspec.Struct, frozen=True):
    """What to measure on one set of ranks."""

    shapes: tuple[Shape, ...]
    transports: tuple[str, ...]
    baselines: tuple[str, ...]
    rounds: int
    warmups: int


def body(rank: Rank, plan: Plan) -> bytes:
    """Measure; rank 0 returns the series."""
    series: list[Series] = []
    with contextlib.ExitStack() as stack:
        partner = None
        if mpi.NAME in plan.baselines:
            partner = mpi.MpiPartner(rank)
            stack.callback(partner.close)
        for number, shape in enumerate(plan.shapes):
            series += _measure(rank, plan, number, shape, partner)
    return msgspec.json.encode(series)


def _measure(
    rank: Rank, plan: Plan, number: int, shape: Shape, partner: mpi.MpiPartner | None
) -> list[Series]:
    per_shape = plan.warmups + plan.rounds
    steps = len(plan.shapes) * per_shape
    what = f"{shape.ranks} ranks, {shape.mode.replace('_', '-')}, {shape.dtype}"

    def tell(done: int) -> None:
        rank.tell(number * per_shape + done, steps, what)

    tell(0)
    expected = parcels.expected_on(rank, shape)
    moved = _moved_bytes(shape, rank.rank, expected)
    contenders = _contenders(rank, plan, shape, expected, moved, partner)
    try:
        timings = take_turns(rank, contenders, STEPS, plan.rounds, plan.warmups, tell)
    finally:
        for contender in contenders:
            contender.close()
    most = _largest(rank, moved)
    row_bytes = {"dispatch": shape.dispatched_row_bytes, "combine": shape.combined_row_bytes}
    return [
        Series(
            contender=name,
            point=_point(shape, step),
            rounds=[[seconds] for seconds in times],
            bytes=most[step],
            count=most[step] // row_bytes[step],
            wrong=wrong,
        )
        for name, by_step in merged(rank, timings).items()
        for step, (times, wrong) in by_step.items()
    ]


def _contenders(
    rank: Rank,
    plan: Plan,
    shape: Shape,
    expected: Expected,
    moved: dict[str, int],
    partner: mpi.MpiPartner | None,
) -> Sequence[Contender]:
    contenders: list[Contender] = [
        WayContender(ours.our_way(shape, rank.rank, transport), expected)
        for transport in plan.transports
    ]
    if gloo.NAME in plan.baselines:
        way = PlainWay(gloo.NAME, GlooWire(), shape, rank.rank)
        contenders.append(WayContender(way, expected))
    if partner is not None:
        contenders.append(mpi.MpiContender(partner, shape, expected))
    if memcpy.NAME in plan.baselines:
        contenders.append(MemcpyContender(moved))
    return contenders


def _moved_bytes(shape: Shape, rank: int, expected: Expected) -> dict[str, int]:
    """What a rank receives in each step: a row for each (token, rank) or (token, expert)."""
    if shape.mode == "normal":
        owners = inputs_of(shape, rank).topk_idx // shape.local_experts
        returned = sum(int((owners == owner).any(1).sum()) for owner in range(shape.ranks))
    else:
        returned = shape.tokens * shape.topk
    return {
        "dispatch": len(expected.arrived.rows) * shape.dispatched_row_bytes,
        "combine": returned * shape.combined_row_bytes,
    }


def _largest(rank: Rank, moved: dict[str, int]) -> dict[str, int]:
    """Of any rank: the one that the others wait for."""
    gathered = rank.gather(msgspec.json.encode(moved))
    each = [msgspec.json.decode(data, type=dict[str, int]) for data in gathered]
    return {step: max(m[step] for m in each) for step in moved}


def _point(shape: Shape, step: str) -> dict[str, str | int]:
    return {
        "mode": shape.mode,
        "dtype": shape.dtype,
        "ranks": shape.ranks,
        "step": step,
    }

"""What the ranks of ``bench ring`` do: rank 0 measures, rank 1 is there to be written to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from crossdock.bench import _native, machine
from crossdock.bench.baselines import queues
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import Rank
from crossdock.bench.record import Series
from crossdock.proxy import Communicator, Options, ThreadExchange

STREAM = "stream"
LATENCY = "latency"
RING = "ring"
REGION_BYTES = 1 << 20
MOST_PRODUCERS = 64
MOST_BATCH = 256
"""What the native measurement has room for."""
LOCKED_SHARE = 16
"""The locked queue gets one in so many commands, Python's one in so many of those."""


class Plan(msgspec.Struct, frozen=True):
    """What to measure."""

    producers: tuple[int, ...]
    batches: tuple[int, ...]
    commands: int
    bytes: int
    exchanges: int
    rounds: int


Stream = Callable[[], tuple[float, int]]
"""Seconds a command, and how many came out wrong."""
Latencies = Callable[[], list[float]]


def body(rank: Rank, plan: Plan) -> bytes:
    """Measure; rank 0 returns the series."""
    with contextlib.ExitStack() as stack:
        peer = Communicator(
            rank.exchange(),
            Options(transport="shm", proxy_threads=0),
            main_bytes=REGION_BYTES,
        )
        stack.callback(peer.destroy)
        series: list[Series] = []
        if rank.rank == 0:
            # This rank alone is at work: it may use the cores of all.
            os.sched_setaffinity(0, rank.all_cpus)
            series = [*_streams(rank, plan), *_latencies(rank, plan, peer, stack)]
        rank.meet()
    return msgspec.json.encode(series)


def _streams(rank: Rank, plan: Plan) -> Iterator[Series]:
    points = [(p, b) for p in plan.producers for b in plan.batches]
    for number, (producers, batch) in enumerate(points):
        rank.tell(number, len(points) + 1, f"{producers} producers, batches of {batch}")
        contenders: dict[str, Stream] = {
            RING: partial(_stream, _native.stream_ring, producers, batch, plan.commands),
            queues.LOCKED: partial(
                _stream, _native.stream_locked, producers, batch, plan.commands // LOCKED_SHARE
            ),
        }
        if producers == batch == 1:
            few = max(1, plan.commands // LOCKED_SHARE**2)
            contenders[queues.PYTHON] = partial(queues.stream_seconds, few)
        point: dict[str, str | int] = {
            "kind": STREAM,
            "what": f"{producers} x {batch}",
            "producers": producers,
            "batch": batch,
        }
        rounds: dict[str, list[list[float]]] = {name: [] for name in contenders}
        wrong = {RING: _out_of_order(producers, batch, plan.commands // LOCKED_SHARE)}
        for name in _turns(list(contenders), plan.rounds):
            seconds, bad = contenders[name]()
            rounds[name].append([seconds])
            wrong[name] = wrong.get(name, 0) + bad
        for name, samples in rounds.items():
            yield Series(contender=name, point=point, rounds=samples, wrong=wrong[name])


def _out_of_order(producers: int, batch: int, commands: int) -> int:
    """Looks at the order of commands once; while times are taken only their sum is looked at."""
    return _stream(_native.stream_ring, producers, batch, commands, in_order=True)[1]


def _stream(
    run: Callable[[_native.StreamPlan], _native.StreamResult],
    producers: int,
    batch: int,
    commands: int,
    in_order: bool = False,
) -> tuple[float, int]:
    cpus = machine.cpuset()
    plan = _native.StreamPlan()
    plan.producers, plan.batch, plan.in_order = producers, batch, in_order
    plan.commands = max(1, commands // producers)
    if len(cpus) > 1:
        plan.consumer_cpu, plan.producer_cpus = cpus[0], list(cpus[1:])
    result = run(plan)
    return result.seconds / (plan.commands * producers), result.wrong


def _latencies(
    rank: Rank, plan: Plan, peer: Communicator, stack: contextlib.ExitStack
) -> Iterator[Series]:
    cpus = machine.cpuset()
    alone = {
        threads: Communicator(
            ThreadExchange.group(1)[0],
            Options(transport="shm", proxy_threads=threads),
            main_bytes=REGION_BYTES,
        )
        for threads in (0, 1)
    }
    for communicator in alone.values():
        stack.callback(communicator.destroy)
    # Proxy threads are pinned to the last core; the device has the first.
    os.sched_setaffinity(0, cpus[:1])
    contenders: dict[str, Latencies] = {
        "inline proxy, to itself": partial(_command_latencies, rank, plan, alone[0], 0),
        "inline proxy, to a process": partial(_command_latencies, rank, plan, peer, 1),
        "proxy thread, to itself": partial(_command_latencies, rank, plan, alone[1], 0),
        "mutex, worker thread": partial(
            _native.locked_latencies, plan.bytes, plan.exchanges, cpus[-1]
        ),
        "python, worker thread": partial(queues.latencies, plan.bytes, plan.exchanges // 4 + 1),
    }
    rank.tell(1, 1, "latencies")
    rounds: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for measure in contenders.values():
        measure()
    for name in _turns(list(contenders), plan.rounds):
        rounds[name].append(contenders[name]())
    for name, samples in rounds.items():
        point: dict[str, str | int] = {"kind": LATENCY, "what": "to completion"}
        yield Series(contender=name, point=point, rounds=samples, bytes=plan.bytes)


def _command_latencies(
    rank: Rank, plan: Plan, communicator: Communicator, peer: int
) -> list[float]:
    view = communicator.native.device_view()
    seconds = _native.command_latencies(view, peer, plan.bytes, plan.exchanges, rank.deadline_s)
    if len(seconds) < plan.exchanges:
        raise BenchFailed(f"{len(seconds)} of {plan.exchanges} commands were completed")
    return seconds


def _turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    for number in range(rounds):
        first = number % len(names)
        yield from (*names[first:], *names[:first])

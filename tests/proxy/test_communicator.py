"""What a communicator promises, over every transport and both ways of running proxies."""

from __future__ import annotations

import collections
import random
from typing import Any

import numpy as np
import pytest
from tests.harness import RankContext, run_ranks
from tests.networks import NETWORK
from tests.proxy.jobs import MIB, WAYS, communicator, counted, options, write

from crossdock.proxy import (
    ArgumentError,
    CapacityError,
    Communicator,
    DestroyedError,
    Options,
    ThreadExchange,
)
from crossdock.proxy.schema import Command, Op

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)


def scatter_and_check(context: RankContext, transport: str, threads: int) -> tuple[str, ...]:
    """Every rank writes pieces of several sizes to every rank, itself included."""
    sizes = [16, 1040, 65536]
    with communicator(context, transport, threads) as c:
        region = c.region_array(0)
        own = region.reshape(c.size, -1)[c.rank]
        own[:] = np.random.default_rng(c.rank).integers(0, 256, own.size, np.uint8)
        c.barrier()
        for peer in range(c.size):
            offset = c.rank * own.size
            for size in sizes:
                c.push([write(peer, offset, size)], ring=peer % c.num_proxies)
                offset += size
            c.push([Command(Op.SEAL, peer, counter=1, value=len(sizes))])
        c.wait(range(c.size), 1, len(sizes), "pieces")
        for peer in range(c.size):
            expected = np.random.default_rng(peer).integers(0, 256, own.size, np.uint8)
            got = region.reshape(c.size, -1)[peer]
            assert np.array_equal(got[: sum(sizes)], expected[: sum(sizes)])
        c.fence()
        c.barrier()
        return tuple(c.transport_of(peer) for peer in range(c.size))


@EACH_WAY
@pytest.mark.parametrize("size", [1, 2, 4])
def test_payload_has_arrived_when_it_is_counted(transport: str, threads: int, size: int) -> None:
    routes = run_ranks(scatter_and_check, size, transport, threads)
    for rank, row in enumerate(routes):
        expected = ["shm" if peer == rank else transport for peer in range(size)]
        assert list(row) == expected


def signals_after_writes(context: RankContext, transport: str, threads: int) -> None:
    rounds, size = 300, 4096
    with communicator(context, transport, threads, writes_per_peer=8) as c:
        region = c.region_array(0)
        peer = (c.rank + 1) % c.size
        source = (c.rank - 1) % c.size
        for number in range(1, rounds + 1):
            region[:size] = number % 256
            commands = [
                Command(Op.WRITE_SEQUENCED, peer, size // 4, src_offset=at, dst_offset=size + at)
                for at in range(0, size, size // 4)
            ]
            c.push([*commands, Command(Op.SIGNAL, peer, counter=2, value=1)])
            c.wait([source], 2, number, "signal")
            assert set(region[size : 2 * size]) == {number % 256}
            c.push([Command(Op.SIGNAL, source, counter=3, value=1)])  # read: may be overwritten
            c.wait([peer], 3, number, "credit")


@EACH_WAY
def test_a_signal_never_overtakes_the_writes_before_it(transport: str, threads: int) -> None:
    run_ranks(signals_after_writes, 2, transport, threads)


def count_barriers(context: RankContext, transport: str, threads: int) -> None:
    random.seed(context.rank)
    with communicator(context, transport, threads) as c:
        others = [peer for peer in range(c.size) if peer != c.rank]
        for number in range(1, 101):
            c.push([counted(peer, 4) for peer in others])
            if random.random() < 0.1:
                c.fence()
            c.barrier()
            # A peer is at most one barrier ahead, and never behind the one that we have passed.
            for peer in others:
                assert c.native.counter(peer, 0)[0] <= 1
            c.wait(others, 4, number, "what was sent before the barrier")


@EACH_WAY
def test_barrier_holds_everybody_back(transport: str, threads: int) -> None:
    run_ranks(count_barriers, 3, transport, threads)


def write_then_fence(context: RankContext, transport: str, threads: int) -> None:
    with communicator(context, transport, threads) as c:
        region = c.region_array(0)
        peer = (c.rank + 1) % c.size
        for number in range(1, 51):
            region[:65536] = number
            c.push([Command(Op.WRITE, peer, 65536, dst_offset=65536)])
            c.fence()
            c.barrier()
            assert set(region[65536:131072]) == {number}
            c.barrier()


@EACH_WAY
def test_what_was_fenced_is_there_after_the_barrier(transport: str, threads: int) -> None:
    run_ranks(write_then_fence, 2, transport, threads)


def flood(context: RankContext, transport: str, threads: int) -> int:
    """More commands than rings, windows and inboxes hold, both ways at once."""
    count = 5000
    with communicator(context, transport, threads, ring_slots=64, window=32) as c:
        peer = (c.rank + 1) % c.size
        for _ in range(count // 50):
            c.push([write(peer, 64 * i) for i in range(50)])
        c.wait([peer], 1, count, "flood")
        c.barrier()
        c.fence()
        return sum(c.native.statistics(proxy)["commands"] for proxy in range(c.num_proxies))


@EACH_WAY
def test_more_commands_than_room(transport: str, threads: int) -> None:
    assert min(run_ranks(flood, 2, transport, threads)) > 5000


# ---- nodes --------------------------------------------------------------------------------------


def routes_of(context: RankContext, transport: str, nodes: str) -> tuple[tuple[int, ...], str]:
    with communicator(context, transport, node=nodes[context.rank]) as c:
        c.barrier()
        return c.node_of, "".join(c.transport_of(peer)[0] for peer in range(c.size))


@pytest.mark.parametrize(
    ("transport", "nodes", "routes"),
    [
        ("auto", "xxy", ["ssn", "ssn", "nns"]),
        ("shm", "xyz", ["sss", "sss", "sss"]),
        ("tcp", "xxx", ["stt", "tst", "tts"]),
        ("auto", "yxy", ["sns", "nsn", "sns"]),
    ],
)
def test_shm_inside_a_node_and_tcp_between_nodes(
    transport: str, nodes: str, routes: list[str]
) -> None:
    got = run_ranks(routes_of, 3, transport, nodes)
    assert [row for _, row in got] == [row.replace("n", NETWORK[0]) for row in routes]
    numbers = collections.OrderedDict((name, None) for name in nodes)
    assert {node_of for node_of, _ in got} == {tuple(map(list(numbers).index, nodes))}


def agree_on_proxies(context: RankContext) -> tuple[int, bool]:
    with communicator(context, threads=[3, 2, 0][context.rank]) as c:
        c.barrier()
        return c.num_proxies, c.threaded


def test_ranks_agree_on_the_smallest_number_of_proxies() -> None:
    assert run_ranks(agree_on_proxies, 3) == [(1, True), (1, True), (1, False)]
    assert run_ranks(agree_on_proxies, 2) == [(2, True), (2, True)]


# ---- one rank, memory ---------------------------------------------------------------------------


def alone(**more: Any) -> Communicator:
    return Communicator(ThreadExchange.group(1)[0], options(**more), main_bytes=MIB)


def test_heap_refuses_what_does_not_fit_and_says_what_would() -> None:
    c = alone()
    kept = c.allocate(MIB // 2)
    with pytest.raises(CapacityError, match=rf"{MIB} bytes .* {MIB // 2} of {MIB} bytes are free"):
        c.allocate(MIB)
    del kept
    assert c.allocate(MIB).bytes == MIB
    with pytest.raises(ArgumentError, match="-1 bytes"):
        c.allocate(-1)
    c.destroy()


def test_an_array_outlives_its_communicator() -> None:
    c = alone()
    array = c.native.block_array(c.allocate(4096))
    region = c.region_array(0)
    c.destroy()
    del c
    array[:] = 7
    region[:] = 9
    assert array.sum() == 7 * 4096
    assert region[-1] == 9


def test_use_after_destroy_is_an_error_and_destroying_twice_is_none() -> None:
    c = alone()
    c.destroy()
    c.destroy()
    c.abort()
    assert c.destroyed
    for use in (c.barrier, c.fence, lambda: c.allocate(1), lambda: c.region_array(0)):
        with pytest.raises(DestroyedError, match="build a new one"):
            use()


def test_the_default_heap_costs_nothing_until_it_is_touched() -> None:
    before = resident_bytes()
    c = Communicator(ThreadExchange.group(1)[0], Options(proxy_threads=0))
    assert c.native.heap_total() > 1 << 30
    assert resident_bytes() - before < 64 * MIB
    c.destroy()


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan")])
def test_a_deadline_in_the_past_is_refused(timeout_s: float) -> None:
    c = alone()
    with pytest.raises(ArgumentError, match="timeout_s"):
        c.fence(timeout_s)
    c.destroy()

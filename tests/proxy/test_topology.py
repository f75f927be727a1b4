"""Nodes and cores: who shares what."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from crossdock.proxy import Communicator, Options, ThreadExchange, builder, topology


def test_nodes_are_numbered_in_order_of_their_first_rank() -> None:
    assert topology.numbered(["b", "a", "b", "c", "a"]) == (0, 1, 0, 2, 1)


def test_this_host_has_one_identity() -> None:
    assert topology.host_identity() == topology.host_identity() != ":"


def test_allowed_cpus_are_those_of_the_cpuset() -> None:
    assert set(topology.allowed_cpus()) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8\n", [0, 1, 2, 3, 8]), ("5\n", [5]), ("\n", []), ("0,2-3", [0, 2, 3])]
)
def test_cpu_lists_of_the_kernel(text: str, cpus: list[int]) -> None:
    assert topology.parsed_cpu_list(text) == cpus


def test_numa_nodes_come_from_the_kernel(tmp_path: Path) -> None:
    for node, cpus in (("node0", "0-1\n"), ("node1", "2-3\n"), ("possible", "0-1\n")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "cpulist").write_text(cpus)
    assert topology.numa_nodes(tmp_path) == {0: 0, 1: 0, 2: 1, 3: 1}
    assert topology.numa_nodes(tmp_path / "nowhere") == {}


def shares(hosts: str, cpusets: list[range], numa: dict[int, int] | None = None) -> list[list[int]]:
    ranks = range(len(hosts))
    return [list(topology.share_of_cpus(r, list(hosts), cpusets, numa or {})) for r in ranks]


def test_ranks_of_a_host_divide_its_cores() -> None:
    assert shares("aab", [range(8)] * 3) == [[0, 1, 2, 3], [4, 5, 6, 7], list(range(8))]


def test_a_share_stays_on_one_numa_node() -> None:
    alternating = {cpu: cpu % 2 for cpu in range(8)}
    assert shares("aa", [range(8)] * 2, alternating) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_ranks_that_are_bound_apart_keep_their_own_cores() -> None:
    assert shares("aa", [range(4), range(4, 8)]) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_cpusets_that_overlap_in_part_give_no_share() -> None:
    assert shares("aa", [range(6), range(4, 8)]) == [[], []]


def test_fewer_cores_than_ranks_give_no_share() -> None:
    assert shares("aaa", [range(2)] * 3) == [[], [], []]


@pytest.mark.parametrize(
    ("wanted", "cores", "threads"),
    [(None, 0, 0), (None, 1, 0), (None, 2, 1), (None, 64, 4), (0, 64, 0), (6, 1, 6)],
)
def test_threads_leave_a_core_to_the_rank(wanted: int | None, cores: int, threads: int) -> None:
    assert topology.threads_for(wanted, range(cores)) == threads


@pytest.mark.parametrize(
    ("threads", "share", "cpus"),
    [(0, range(4), ()), (2, range(4), (2, 3)), (4, range(4), ()), (1, (), ())],
)
def test_threads_are_pinned_only_where_cores_suffice(
    threads: int, share: range, cpus: tuple[int, ...]
) -> None:
    assert topology.cpus_for(threads, share) == cpus


# ---- what a communicator makes of it ------------------------------------------------------------


def cpus_of_threads() -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()]


@pytest.mark.skipif(len(topology.allowed_cpus()) < 2, reason="needs two cores")
@pytest.mark.parametrize("pin", [True, False])
def test_proxy_threads_are_pinned_unless_that_is_switched_off(pin: bool) -> None:
    last = {topology.allowed_cpus()[-1]}
    before = cpus_of_threads().count(last)
    chosen = Options(proxy_threads=1, pin=pin, heap_bytes=4096)
    c = Communicator(ThreadExchange.group(1)[0], chosen)
    c.barrier()
    c.native.await_arrivals([0], 0, 1, 0.05)  # the thread has begun by then
    assert cpus_of_threads().count(last) == before + pin
    c.destroy()


def test_the_choice_of_threads_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    builder._tell_once.cache_clear()
    with caplog.at_level(logging.INFO, "crossdock.proxy"):
        for threads in (None, None, 0, 1):
            chosen = Options(proxy_threads=threads, heap_bytes=4096)
            Communicator(ThreadExchange.group(1)[0], chosen).destroy()
    said = [r.message for r in caplog.records if "CROSSDOCK_PROXY_THREADS" in r.message]
    assert len(said) == 1

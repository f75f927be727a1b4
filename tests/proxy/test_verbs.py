"""Verbs and EFA over the stand-in: what is left behind, links that go down, NICs that refuse."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.harness import RankContext, run_ranks
from tests.proxy.jobs import MIB, communicator, counted, options, write
from tests.stand_in import StandIn, stand_in

from crossdock.proxy import (
    Communicator,
    CutOff,
    NicFailed,
    PeerArgumentError,
    PeerLost,
    TransportError,
)

NETWORKS = {"verbs": "rc", "efa": "efa"}
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS)
Script = Sequence[tuple[float, str, str]]


def exchange_rounds(c: Communicator, rounds: range) -> None:
    """Each rank writes the number of the round to the next one, and checks what it is sent."""
    region = c.region_array(0)
    peer, source = (c.rank + 1) % c.size, (c.rank - 1) % c.size
    for number in rounds:
        region[:4096] = number % 251
        c.push([write(peer, at, 1024, dst_offset=8192 + at) for at in range(0, 4096, 1024)])
        c.wait([source], 1, 4 * number, "rows")
        assert np.all(region[8192 : 8192 + 4096] == number % 251)
        c.fence()
        c.barrier()


# ---- what is left behind ------------------------------------------------------------------------


def build_and_leave(context: RankContext, network: str, end: str) -> None:
    with communicator(context, network, 1) as c:
        exchange_rounds(c, range(1, 4))
        if end == "abort" and c.rank == 0:
            c.abort()
        elif end == "abort":
            with pytest.raises(PeerLost):
                c.barrier()


@EACH_NETWORK
@pytest.mark.parametrize("end", ["destroy", "abort"])
def test_nothing_is_left_registered(network: str, end: str) -> None:
    with stand_in(f"{NETWORKS[network]}:2") as devices:
        run_ranks(build_and_leave, 3, network, end, environment=devices.environment)
        assert devices.left_open() == {}


def die_in_the_middle(context: RankContext, network: str) -> tuple[int, float]:
    died = context.folder / "died"
    with communicator(context, network, 1) as c:
        if c.rank == 1:
            exchange_rounds(c, range(1, 3))
            died.write_text(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(PeerLost) as caught:
            exchange_rounds(c, range(1, 1000))
        return caught.value.rank, time.monotonic() - float(died.read_text())


@EACH_NETWORK
def test_a_rank_that_dies_is_named(network: str) -> None:
    with stand_in(f"{NETWORKS[network]}:3") as devices:
        found = run_ranks(
            die_in_the_middle, 3, network, may_die=[1], environment=devices.environment
        )
    for culprit, seconds in (found[0], found[2]):
        assert culprit == 1
        assert seconds < 2.0


# ---- links --------------------------------------------------------------------------------------


def talk(context: RankContext, nics: list[str], seconds: float, mend_s: float) -> int:
    """Goes on exchanging until rank 0 says that the time is over."""
    with communicator(context, "verbs", 0, rdma_devices=nics[context.rank], mend_s=mend_s) as c:
        ends_at = time.monotonic() + seconds
        rounds = told = 0
        over = False
        while not over:
            exchange_rounds(c, range(rounds + 1, rounds + 21))
            rounds += 20
            if c.rank == 0:
                over = time.monotonic() > ends_at
                c.push([counted(peer, 2, 1 if over else 2) for peer in range(1, c.size)])
                c.fence()
            c.barrier()
            if c.rank > 0:
                before, told = told, c.native.counter(0, 2)[0]
                over = told - before == 1
        return rounds


def run_script(devices: StandIn, script: Script) -> threading.Thread:
    def change() -> None:
        for pause, device, state in script:
            time.sleep(pause)
            devices.set_port(device, state)

    thread = threading.Thread(target=change)
    thread.start()
    return thread


def talk_meanwhile(nics: list[str], script: Script, seconds: float, mend_s: float = 8.0) -> Any:
    with stand_in("rc:4") as devices:
        changes = run_script(devices, script)
        try:
            return run_ranks(talk, 2, nics, seconds, mend_s, environment=devices.environment)
        finally:
            changes.join()


LINKS: dict[str, tuple[list[str], Script]] = {
    "down and back": (["fake0", "fake1"], [(1.0, "fake0", "down"), (1.0, "fake0", "up")]),
    "silent and back": (["fake0", "fake1"], [(1.0, "fake1", "mute"), (1.0, "fake1", "up")]),
    "flapping": (
        ["fake0", "fake1"],
        [(1.0, "fake0", "down")]
        + [(0.3, f"fake{i % 2}", "up" if (i - 1) // 2 % 2 else "down") for i in range(1, 9)],
    ),
    "over to the other NIC": (
        ["fake0,fake1", "fake2,fake3"],
        [(1.0, "fake1", "down"), (1.0, "fake1", "up"), (0.5, "fake2", "down")],
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_no_row_is_lost_or_doubled_when_a_link_changes(name: str) -> None:
    rounds = talk_meanwhile(*LINKS[name], seconds=4.0)
    assert rounds[0] == rounds[1]


def talk_until_it_fails(context: RankContext) -> str:
    with pytest.raises((NicFailed, CutOff)) as caught:
        talk(context, ["fake0", "fake1"], 20.0, 1.0)
    error = caught.value
    if isinstance(error, NicFailed):
        assert error.rank == 1 - context.rank
        assert error.status in ("RETRY_EXC_ERR", "GENERAL_ERR", "RESP_TIMEOUT_ERR", "PORT_DOWN")
        assert error.queue_pair > 0
        assert error.nic == f"fake{context.rank}:1"
        assert f"rank {error.rank} is out of reach: a write" in str(error)
    return type(error).__name__


def test_a_link_that_stays_down_is_named() -> None:
    with stand_in("rc:2") as devices:
        changes = run_script(devices, [(1.0, "fake1", "down")])
        found = run_ranks(talk_until_it_fails, 2, environment=devices.environment)
        changes.join()
    # One may have heard of it from the other.
    assert "NicFailed" in found


# ---- what is refused ----------------------------------------------------------------------------


def refused(context: RankContext, network: str, rank: int, chosen: dict[str, Any]) -> str:
    mine = chosen if context.rank == rank else {}
    with pytest.raises((TransportError, PeerArgumentError)) as caught:
        Communicator(
            context.exchange(), options(network, 0, **({"timeout_s": 8.0} | mine)), main_bytes=MIB
        )
    kind = TransportError if context.rank == rank else PeerArgumentError
    assert isinstance(caught.value, kind)
    return str(caught.value)


REFUSALS: dict[str, tuple[str, dict[str, Any], dict[str, str], str]] = {
    "no such device": ("verbs", {"rdma_devices": "mlx5_7"}, {}, "no RDMA device mlx5_7; there is"),
    "no such port": ("verbs", {"rdma_devices": "fake0:3"}, {}, "has no port 3; its ports: 1"),
    "no such GID": ("verbs", {"rdma_gid_index": 77}, {}, "has no GID with index 77; its GIDs: 0"),
    "wrong kind": ("efa", {"rdma_devices": "fake0"}, {}, "offers rc, but srd is needed"),
    "memory": ("verbs", {"heap_bytes": 64 * MIB}, {"FAKE_VERBS_MEMLOCK": str(8 * MIB)}, "register"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_nic_cannot_do_is_refused_on_both_sides(name: str) -> None:
    network, chosen, environment, message = REFUSALS[name]
    with stand_in("rc:2,efa:2") as devices:
        found = run_ranks(
            refused, 2, network, 1, chosen, environment=devices.environment | environment
        )
        assert devices.left_open() == {}
    for text in found:
        assert message in text
        assert "rank 1 cannot set up its NICs" in text


def test_no_device_at_all_is_refused() -> None:
    with stand_in("efa:1") as devices:
        texts = run_ranks(no_device, 2, environment=devices.environment)
    assert all("transport verbs needs an RDMA device with RC" in text for text in texts)


def no_device(context: RankContext) -> str:
    with pytest.raises((TransportError, PeerArgumentError)) as caught:
        Communicator(context.exchange(), options("verbs"), main_bytes=MIB)
    return str(caught.value)


def test_a_missing_library_is_refused() -> None:
    environment = {"CROSSDOCK_LIBIBVERBS": "/nowhere/libibverbs.so.1"}
    texts = run_ranks(no_device, 2, environment=environment)
    assert all("cannot open /nowhere/libibverbs.so.1" in text for text in texts)
    assert all("install libibverbs1" in text for text in texts)


def test_a_port_that_is_down_is_refused() -> None:
    with stand_in("rc:1") as devices:
        devices.set_port("fake0", "down")
        texts = run_ranks(no_device, 2, environment=devices.environment)
    assert all("fake0 (rc, port 1 DOWN)" in text for text in texts)


# ---- registration in chunks ---------------------------------------------------------------------


def write_across_chunks(context: RankContext) -> None:
    """Transfers that begin before a chunk's end and end behind it."""
    heap = 256 * MIB
    with communicator(context, "verbs", 0, heap_bytes=heap) as c:
        block = c.allocate(heap - MIB)
        region = c.native.block_array(block)
        peer = 1 - c.rank
        size = 4 * MIB
        places = [at * 64 * MIB - size // 2 for at in (1, 2, 3)]
        for number, at in enumerate(places):
            region[:size] = 10 * c.rank + number
            c.push(
                [
                    write(
                        peer,
                        0,
                        size,
                        src_region=1,
                        dst_region=1,
                        src_offset=block.offset,
                        dst_offset=block.offset + at,
                    )
                ]
            )
            c.wait([peer], 1, number + 1, "rows")
            assert np.all(region[at : at + size] == 10 * peer + number)
            c.fence()
            c.barrier()


def test_memory_is_registered_in_chunks_where_one_piece_is_refused() -> None:
    environment = {"FAKE_VERBS_MAX_MR_BYTES": str(100 * MIB)}
    with stand_in("rc:2") as devices:
        run_ranks(write_across_chunks, 2, environment=devices.environment | environment)
        assert devices.left_open() == {}

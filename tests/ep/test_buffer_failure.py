"""Ranks that die or fall silent in the middle of a call: who is told what, how soon, and how the
others go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_low_latency, dispatch
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import WAYS, World, build, built, on_one_node
from tests.harness import Died, RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import Buffer, Config
from crossdock.proxy.errors import Aborted, CutOff, DeadlineExceeded, PeerLost

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
NOTICE_S = 2.0
VICTIM = 1
SIZE = 3
# In a guest with soft-RoCE NICs all ranks share one emulated processor.
SILENCE_S = 1.0 if NETWORK == "tcp" else 2.0
SPEC = NormalSpec((40, 50, 60), hidden=1024)
ROOM = (8, 128, 12)


def die(rank: RankContext) -> None:
    (rank.folder / "moment").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)


def seconds_since_death(rank: RankContext) -> float:
    return time.time() - float((rank.folder / "moment").read_text())


def until_lost(rank: RankContext, call: Callable[[], object]) -> float:
    """Call until the victim is lost; how long that took."""

    def again_and_again() -> None:
        for _ in range(10_000):
            call()

    with pytest.raises(PeerLost) as caught:
        again_and_again()
    noticed = seconds_since_death(rank)
    assert caught.value.rank == VICTIM, caught.value
    assert f"rank {rank.rank}: " in str(caught.value)
    return noticed


def go_on(rank: RankContext, world: World) -> None:
    """The survivors meet anew and work."""
    left = [r for r in range(world.size) if r != VICTIM]
    fewer = World((0,) * len(left), world.transport, world.threads)
    with built(rank, fewer, "survivors", ranks=left, low_latency=(8, 128, 8)) as buffer:
        seat = Seat(RankContext(buffer.rank, len(left), rank.folder), fewer, buffer)
        check_normal(seat, NormalSpec((20,) * len(left)))
        check_low_latency(seat, LowLatencySpec((8,) * len(left), 8))


# ---- death in the normal mode -------------------------------------------------------------------


def killed_between_header_and_grant(rank: RankContext, world: World) -> float:
    """The others wait in the native core for what it has promised."""
    torch.set_num_threads(1)
    buffer = build(rank, world)
    seat = Seat(rank, world, buffer)
    check_normal(seat, SPEC)
    if rank.rank == VICTIM:
        pytest.MonkeyPatch().setattr("crossdock.ep.normal.heap_tensor", lambda *_: die(rank))
    noticed = until_lost(rank, lambda: check_normal(seat, SPEC))
    buffer.destroy()
    go_on(rank, world)
    return noticed


def check_deaths(job: Callable[..., float], world: World) -> None:
    before = set(Path("/dev/shm").iterdir())
    results = run_ranks(job, world.size, world, may_die={VICTIM})
    assert results[VICTIM] == Died(signal.SIGKILL)
    noticed = [seconds for r, seconds in enumerate(results) if r != VICTIM]
    assert max(noticed) < NOTICE_S, noticed
    assert set(Path("/dev/shm").iterdir()) <= before


@EACH_WAY
def test_a_rank_killed_in_the_middle_of_a_dispatch(transport: str, threads: int) -> None:
    check_deaths(killed_between_header_and_grant, on_one_node(SIZE, transport, threads))


@pytest.mark.parametrize("transport", ["auto", NETWORK])
def test_a_rank_killed_in_a_dispatch_between_nodes(transport: str) -> None:
    """The victim is a gateway."""
    check_deaths(killed_between_header_and_grant, World((0, 1, 1), transport))


def killed_while_rows_move(rank: RankContext, world: World) -> float:
    torch.set_num_threads(1)
    buffer = build(rank, world)
    seat = Seat(rank, world, buffer)
    check_normal(seat, SPEC)
    if rank.rank == VICTIM:
        threading.Timer(0.15, die, [rank]).start()
    noticed = until_lost(rank, lambda: check_normal(seat, SPEC))
    buffer.destroy()
    go_on(rank, world)
    return noticed


@pytest.mark.parametrize(("transport", "threads"), [("shm", 0), (NETWORK, 2)])
def test_a_rank_killed_at_any_moment(transport: str, threads: int) -> None:
    check_deaths(killed_while_rows_move, on_one_node(SIZE, transport, threads))


# ---- death in the low-latency mode --------------------------------------------------------------


def killed_before_its_hook(rank: RankContext, world: World) -> float:
    torch.set_num_threads(1)
    buffer = build(rank, world, low_latency=ROOM)
    seat = Seat(rank, world, buffer)
    spec = LowLatencySpec((8,) * SIZE, 8)
    check_low_latency(seat, spec)
    if rank.rank == VICTIM:
        dispatch(buffer, LowLatencyCase(spec), return_recv_hook=True)
        die(rank)
    noticed = until_lost(rank, lambda: check_low_latency(seat, spec))
    buffer.destroy()
    go_on(rank, world)
    return noticed


@EACH_WAY
def test_a_rank_killed_between_its_dispatch_and_its_hook(transport: str, threads: int) -> None:
    check_deaths(killed_before_its_hook, on_one_node(SIZE, transport, threads))


# ---- the group of the survivors -----------------------------------------------------------------


def survive_on_a_process_group(rank: RankContext) -> None:
    """As an engine does it: a new torch group of those that are left."""
    store = dist.FileStore(str(rank.folder / "gloo"), SIZE)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank.rank, world_size=SIZE)
    size = Config().get_nvl_buffer_size_hint(1, SIZE)
    world = on_one_node(SIZE, "shm")
    buffer = Buffer(dist.group.WORLD, size, options=world.options(rank.rank))
    check_normal(Seat(rank, world, buffer), SPEC)
    if rank.rank == VICTIM:
        die(rank)
    until_lost(rank, lambda: check_normal(Seat(rank, world, buffer), SPEC))
    buffer.destroy()
    dist.destroy_process_group()
    number = 1 if rank.rank == 2 else 0
    store = dist.FileStore(str(rank.folder / "survivors"), 2)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=number, world_size=2)
    fewer = on_one_node(2, "shm")
    buffer = Buffer(dist.group.WORLD, size, options=fewer.options(0))
    seat = Seat(RankContext(buffer.rank, 2, rank.folder), fewer, buffer)
    check_normal(seat, NormalSpec((30, 20)))
    buffer.destroy()
    dist.destroy_process_group()


def test_survivors_build_a_buffer_on_a_new_process_group() -> None:
    run_ranks(survive_on_a_process_group, SIZE, may_die={VICTIM})


# ---- silence ------------------------------------------------------------------------------------


def silent(rank: RankContext, world: World, stopped: bool) -> float:
    """The victim is alive, but does not call; with ``stopped`` it does not even run."""
    torch.set_num_threads(1)
    buffer = build(rank, world, timeout_s=SILENCE_S)
    seat = Seat(rank, world, buffer)
    check_normal(seat, SPEC)
    (rank.folder / f"pid{rank.rank}").write_text(str(os.getpid()))
    exchange = rank.exchange("pace")
    exchange.all_gather(b"", 10)
    if rank.rank == VICTIM:
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        exchange.all_gather(b"", 30)
        with pytest.raises(CutOff, match=r"given up by rank\(s\) [02]"):
            check_normal(seat, SPEC)
        buffer.destroy()
        return 0.0
    start = time.monotonic()
    with pytest.raises((DeadlineExceeded, PeerLost)) as caught:
        check_normal(seat, SPEC)
    took = time.monotonic() - start
    if isinstance(caught.value, DeadlineExceeded):
        assert caught.value.missing == (VICTIM,), caught.value
    elif isinstance(caught.value, PeerLost):
        # The other one was a moment faster, and says who is to blame.
        assert caught.value.rank == VICTIM, caught.value
    with pytest.raises(Aborted, match=f"aborted because of rank {VICTIM}"):
        check_normal(seat, SPEC)
    buffer.destroy()
    if rank.rank == 0 and stopped:
        os.kill(int((rank.folder / f"pid{VICTIM}").read_text()), signal.SIGCONT)
    exchange.all_gather(b"", 30)
    return took


@EACH_WAY
def test_a_rank_that_does_not_call_is_named(transport: str, threads: int) -> None:
    took = run_ranks(silent, SIZE, on_one_node(SIZE, transport, threads), False)
    assert max(took) < SILENCE_S + 2.0
    assert took[0] > SILENCE_S / 2


@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_a_rank_that_is_stopped_is_named(transport: str) -> None:
    took = run_ranks(silent, SIZE, on_one_node(SIZE, transport, 1), True)
    assert max(took) < SILENCE_S + 2.0

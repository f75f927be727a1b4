"""Ranks that die, abort, leave or stay away: who is told what, and how soon."""

from __future__ import annotations

import _thread
import os
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest
from tests.harness import Died, RankContext, run_ranks
from tests.networks import NETWORK
from tests.proxy.jobs import WAYS, communicator, names_in_shared_memory, options, write

from crossdock.proxy import (
    Aborted,
    Communicator,
    CutOff,
    DeadlineExceeded,
    DestroyedError,
    PeerLost,
    ThreadExchange,
)

EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)
NOTICE_S = 2.0


def lost(wait: Callable[[], object]) -> PeerLost:
    with pytest.raises(PeerLost) as caught:
        wait()
    return caught.value


def build(context: RankContext, transport: str, threads: int) -> Communicator:
    chosen = options(transport, threads)
    return Communicator(context.exchange(), chosen, main_bytes=1 << 20, num_counters=8)


# ---- death --------------------------------------------------------------------------------------


def survive(context: RankContext, transport: str, threads: int, victim: int) -> float:
    """Traffic until the victim dies; then a new communicator of those that are left."""
    c = build(context, transport, threads)
    others = [peer for peer in range(c.size) if peer != c.rank]
    moment = context.folder / "moment"
    for number in range(1, 10_000):
        if context.rank == victim and number == 50:
            c.push([write(peer, 0, 65536) for peer in others])
            moment.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            c.push([write(peer, 0, 65536) for peer in others])
            c.wait(others, 1, number, "traffic")
        except PeerLost as error:
            noticed, named = time.time() - float(moment.read_text()), error.rank
            break
    assert named == victim
    c.destroy()
    ranks = sorted({*range(c.size)} - {victim})
    again = Communicator(context.exchange("survivors", ranks), options(transport, threads))
    again.barrier()
    again.destroy()
    return noticed


@EACH_WAY
def test_a_killed_rank_is_named_and_the_others_go_on(transport: str, threads: int) -> None:
    names = names_in_shared_memory()
    results = run_ranks(survive, 3, transport, threads, 1, may_die={1})
    assert results[1] == Died(signal.SIGKILL)
    assert max(results[0], results[2]) < NOTICE_S
    assert names_in_shared_memory() <= names


def wait_idly(context: RankContext, transport: str, threads: int) -> float:
    c = build(context, transport, threads)
    c.barrier()
    if context.rank == 0:
        time.sleep(0.5)  # the others are asleep by then
        (context.folder / "moment").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    error = lost(lambda: c.wait([0], 1, 1, "word from rank 0"))
    noticed = time.time() - float((context.folder / "moment").read_text())
    assert error.rank == 0
    assert "word from rank 0" in str(error)
    c.destroy()
    return noticed


@EACH_WAY
def test_a_death_wakes_a_sleeping_waiter(transport: str, threads: int) -> None:
    results = run_ranks(wait_idly, 2, transport, threads, may_die={0})
    assert results[1] < NOTICE_S


# ---- abort --------------------------------------------------------------------------------------


def abort_from_a_thread(context: RankContext, transport: str, threads: int) -> None:
    c = build(context, transport, threads)
    c.barrier()
    if context.rank != 0:
        assert lost(c.barrier).rank == 0
        c.destroy()
        return
    timers = [threading.Timer(0.3, c.abort) for _ in range(4)]
    for timer in timers:
        timer.start()
    start = time.monotonic()
    with pytest.raises(Aborted, match="rank 0: never: the communicator was aborted"):
        c.wait([1], 1, 1, "never")
    assert time.monotonic() - start < NOTICE_S
    for timer in timers:
        timer.join()
    with pytest.raises(Aborted):
        c.barrier()
    c.abort()
    c.destroy()


@EACH_WAY
def test_abort_releases_waiters_everywhere(transport: str, threads: int) -> None:
    run_ranks(abort_from_a_thread, 3, transport, threads)


def blame_another(context: RankContext, transport: str, threads: int) -> str | None:
    c = build(context, transport, threads)
    c.barrier()
    context.exchange("ready").all_gather(b"", 10)  # nobody is in the barrier any more
    if context.rank == 1:
        c.abort(blame=2)
        c.destroy()
        return None
    with pytest.raises((PeerLost, CutOff)) as caught:
        c.wait([1], 1, 1, "rank 1")
    error = caught.value
    if isinstance(error, CutOff):
        assert (context.rank, error.ranks) == (2, (1,))
    elif isinstance(error, PeerLost):
        assert (context.rank, error.rank) == (0, 2)
    # Before anybody goes: else it might be this departure that the other one sees.
    context.exchange("over", {0, 2}).all_gather(b"", 10)
    c.destroy()
    return str(error)


@EACH_WAY
def test_an_abort_names_whom_it_blames(transport: str, threads: int) -> None:
    said = run_ranks(blame_another, 3, transport, threads)
    assert "rank 2 is lost, says rank 1" in said[0]
    assert "this rank was given up by rank(s) 1, which go on without it or have" in said[2]


def destroy_meanwhile(context: RankContext, threads: int) -> None:
    c = build(context, "shm", threads)
    c.barrier()
    timer = threading.Timer(0.2, c.destroy)
    timer.start()
    with pytest.raises((DestroyedError, PeerLost)):
        c.wait([1 - c.rank], 1, 1, "never")
    timer.join()


@pytest.mark.parametrize("threads", [0, 2])
def test_destroy_releases_a_waiter_of_another_thread(threads: int) -> None:
    run_ranks(destroy_meanwhile, 2, threads)


# ---- leaving ------------------------------------------------------------------------------------


def send_and_leave(context: RankContext, transport: str, threads: int) -> None:
    """What was sent before the farewell arrives, whichever proxy carried it."""
    count = 2000
    with communicator(context, transport, threads) as c:
        if c.rank == 0:
            for at in range(count):
                c.push([write(1, 64 * (at % 1000), counter=2)], ring=at % c.num_proxies)
            return
        time.sleep(0.3)
        c.wait([0], 2, count, "what rank 0 sent before it left")
        error = lost(lambda: c.wait([0], 2, count + 1, "more"))
        assert error.rank == 0
        assert "has left the job" in str(error)


@EACH_WAY
def test_nothing_is_lost_when_a_rank_leaves_in_peace(transport: str, threads: int) -> None:
    run_ranks(send_and_leave, 2, transport, threads)


def leave_after_a_loss(context: RankContext) -> None:
    """Rank 0 hears of a death and destroys; rank 2, who hears only of rank 0, blames the dead."""
    c = build(context, "shm", 0)
    c.barrier()
    exchange = context.exchange("pace", {0, 2}) if context.rank != 1 else None
    if exchange is None:
        os.kill(os.getpid(), signal.SIGKILL)
    elif context.rank == 0:
        lost(lambda: c.wait([1], 1, 1, "rank 1"))
        c.destroy()
        exchange.all_gather(b"", 10)
    else:
        exchange.all_gather(b"", 10)
        assert lost(lambda: c.wait([0], 1, 1, "rank 0")).rank == 1
        c.destroy()


def test_a_departure_after_a_death_does_not_hide_the_death() -> None:
    run_ranks(leave_after_a_loss, 3, may_die={1})


# ---- deadlines ----------------------------------------------------------------------------------


def build_without(context: RankContext, absent: int) -> tuple[int, ...]:
    if context.rank == absent:
        return ()
    with pytest.raises(DeadlineExceeded, match=f"rank\\(s\\) {absent} to join") as caught:
        Communicator(context.exchange(), options(timeout_s=1.0))
    return caught.value.missing


def test_a_rank_that_never_shows_up_is_named() -> None:
    assert run_ranks(build_without, 3, 1) == [(1,), (), (1,)]


def late_for_the_barrier(context: RankContext, transport: str, threads: int) -> None:
    with communicator(context, transport, threads) as c:
        exchange = context.exchange("pace")
        if c.rank == 1:
            exchange.all_gather(b"", 10)
        else:
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="barrier: no word from rank") as caught:
                c.barrier(timeout_s=0.3)
            assert 0.25 < time.monotonic() - start < NOTICE_S
            assert caught.value.missing == (1,)
            assert f"rank 1 ({transport}) is alive; counter 0: 0 arrived of 1" in str(caught.value)
            exchange.all_gather(b"", 10)
        for _ in range(10):  # the barrier that was late, and others
            c.barrier()


@EACH_WAY
def test_a_barrier_names_who_is_late_and_can_be_resumed(transport: str, threads: int) -> None:
    run_ranks(late_for_the_barrier, 3, transport, threads)


def die_in_the_barrier(context: RankContext, transport: str, threads: int) -> None:
    """Rank 0 enters and is gone, so rank 2 does not come: rank 1 must not wait for it."""
    c = build(context, transport, threads)
    c.barrier()
    start = time.monotonic()
    if c.rank == 0:
        with pytest.raises(DeadlineExceeded):
            c.barrier(timeout_s=0.3)
        c.abort()
    elif c.rank == 1:
        assert lost(c.barrier).rank == 0
        assert time.monotonic() - start < NOTICE_S
    context.exchange("over").all_gather(b"", 10)
    c.destroy()


@EACH_WAY
def test_a_death_in_the_barrier_ends_it_for_all(transport: str, threads: int) -> None:
    run_ranks(die_in_the_barrier, 3, transport, threads)


def leave_the_barrier_and_compute(context: RankContext) -> float:
    """Rank 1 finds the signal of rank 0 there, so it need not wait: its own must go out anyway."""
    with communicator(context, "shm") as c:
        pace = context.exchange("pace")
        if c.rank == 0:
            with pytest.raises(DeadlineExceeded):
                c.barrier(timeout_s=0.1)
            c.push([write(1, 0)])
            c.fence()
            pace.all_gather(b"", 10)
            start = time.monotonic()
            c.barrier()
            return time.monotonic() - start
        pace.all_gather(b"", 10)
        c.wait([0], 1, 1, "what follows the signal")
        c.barrier()
        time.sleep(2 * NOTICE_S)
        return 0.0


def test_an_inline_barrier_leaves_no_signal_behind() -> None:
    assert max(run_ranks(leave_the_barrier_and_compute, 2)) < NOTICE_S


def fence_to_a_stopped_rank(context: RankContext, transport: str) -> None:
    """Rank 1 is stopped and does not run its proxy, so its inbox, or its socket, fills up."""
    with communicator(context, transport, ring_slots=1 << 15, window=1 << 14) as c:
        exchange = context.exchange("pace")
        pids = [int(data) for data in exchange.all_gather(str(os.getpid()).encode(), 20)]
        if c.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(0.2)
            for _ in range(20):
                c.push([write(1, 0, 65536) for _ in range(256)])
            with pytest.raises(DeadlineExceeded, match="fence: no word from rank") as caught:
                c.fence(timeout_s=0.5)
            assert caught.value.missing == (1,)
            assert re.search(r"rank 1: last command, ticket \d+.*: WRITE_ADD", str(caught.value))
            os.kill(pids[1], signal.SIGCONT)
        exchange.all_gather(b"", 20)
        if c.rank == 1:
            c.wait([0], 1, 20 * 256, "the rest")
        else:
            c.fence()


@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_a_fence_names_who_does_not_acknowledge(transport: str) -> None:
    run_ranks(fence_to_a_stopped_rank, 2, transport)


def test_a_wait_hears_an_interrupt() -> None:
    c = Communicator(ThreadExchange.group(1)[0], options(), num_counters=8)
    # Shells start background jobs with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, _thread.interrupt_main).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        c.wait([0], 1, 1, "never")
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < NOTICE_S
    c.destroy()

"""A host that takes nothing for too long, and what the sockets are told of it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import RankContext, run_ranks
from tests.proxy.jobs import communicator, options, write

from crossdock.proxy import PeerLost


@pytest.mark.parametrize(
    ("timeout_s", "silence_s"),
    [(0.5, 1.0), (2.0, 2.0), (30.0, 30.0), (1e9, 86400.0)],
)
def test_silence_follows_from_the_deadline(timeout_s: float, silence_s: float) -> None:
    assert options(timeout_s=timeout_s).tcp_silence_s == silence_s


def connections() -> Iterator[socket.socket]:
    """Copies of the connected sockets of this process."""
    for path in list(Path("/proc/self/fd").iterdir()):
        if not path.is_socket():
            continue
        with socket.socket(fileno=os.dup(int(path.name))) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6):
                yield found


def set_up(context: RankContext) -> list[tuple[int, int]]:
    with communicator(context, "tcp", timeout_s=8.0, connections_per_peer=2):
        return [
            (
                found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            )
            for found in connections()
        ]


def test_sockets_are_told_of_it() -> None:
    assert run_ranks(set_up, 2) == [[(1, 8000)] * 2] * 2


def fill_up(context: RankContext) -> float:
    """Rank 1 is stopped, so that its kernel takes no more, and answers no less."""
    with communicator(context, "tcp", timeout_s=2.0, ring_slots=1 << 12) as c:
        pids = context.exchange("pace").all_gather(str(os.getpid()).encode(), 20)
        if c.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
            return 0.0
        time.sleep(0.2)
        c.push([write(1, 0, 1 << 16) for _ in range(1024)])
        start = time.monotonic()
        with pytest.raises(PeerLost, match=f"rank 1 is out of reach: errno {errno.ETIMEDOUT}"):
            c.wait([1], 1, 1, "an answer", timeout_s=20.0)
        took = time.monotonic() - start
        os.kill(int(pids[1]), signal.SIGKILL)
        return took


def test_a_host_that_takes_nothing_is_lost() -> None:
    took = run_ranks(fill_up, 2, may_die={1})
    assert 1.0 < took[0] < 8.0

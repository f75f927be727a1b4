"""Proxy threads read the caller's tensor through a window. A call that fails in the middle must not
close the window, and let the tensor go, while they read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import LOCAL_EXPERTS, build, dispatch, routes_to, rows
from tests.networks import NETWORK

import crossdock.ep.normal
from crossdock.ep.outcomes import settle
from crossdock.proxy import Communicator
from crossdock.proxy._native import FaultCode, PeerState
from crossdock.proxy.errors import CutOff, DeadlineExceeded, PeerLost

TOKENS = 16
NARROW, WIDE = 16, (9 << 20) // 2  # a wide row fills a transfer
HEAD_START_S = 0.3
PAUSE_S = 0.3


def threads() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


def settle_slowly(communicator: Communicator, *args: Any) -> None:
    """What lies between the end of the call in the core and the end of the proxies may take long.
    They go on meanwhile, and must not stumble."""
    time.sleep(PAUSE_S)
    assert communicator.native.fault()[0] == FaultCode.NONE
    assert communicator.native.peer_state(1)[0] == PeerState.ALIVE
    settle(communicator, *args)


def fail_while_rows_move(rank: RankContext, transport: str, failing: str) -> str:
    """Rank 1 is in the call when rank 0 comes, pushes its rows, and finds that its time is up."""
    before = threads()
    buffer = build(rank, transport, threads=1, writes_per_peer=1)
    for thread in threads() - before:
        os.setpriority(os.PRIO_PROCESS, thread, 10)  # so that the waiter is faster
    idx = routes_to(1 - rank.rank, TOKENS)
    x = rows(TOKENS, 1, NARROW)
    handle = dispatch(buffer, x, idx, 2 * LOCAL_EXPERTS)[4]
    wide = rows(TOKENS, 1, WIDE)
    exchange = rank.exchange("pace")
    exchange.all_gather(b"", 20)
    if rank.rank == 0:
        time.sleep(HEAD_START_S)
        buffer._normal._timeout_s = 0.0
        crossdock.ep.normal.settle = settle_slowly  # type: ignore[assignment, attr-defined]
    error = ""
    try:
        if failing == "combine":
            buffer.combine(wide, handle)
        else:
            buffer.dispatch(wide, handle=handle)
    except (CutOff, DeadlineExceeded, PeerLost) as caught:
        error = type(caught).__name__
    del wide
    exchange.all_gather(b"", 5)
    buffer.destroy()
    return error


@pytest.mark.parametrize("failing", ["dispatch", "combine"])
@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_the_deadline_passes_while_proxies_read(transport: str, failing: str) -> None:
    ended = run_ranks(fail_while_rows_move, 2, transport, failing)
    assert ended[0] == DeadlineExceeded.__name__
    # All that it waits for may have come in time; if not, rank 0 has given it up.
    assert ended[1] in ("", CutOff.__name__, PeerLost.__name__)

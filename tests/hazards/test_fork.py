"""A rank forks. The child has the memory, but neither the threads nor the job: however it ends, it
ends, and the parent and its peers go on."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import time

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import EACH_WAY, build, check_both_modes
from tests.networks import NETWORK

from crossdock.ep import Buffer

CHILD_S = 5.0


def child(kept: list[Buffer], ending: str) -> None:
    """Never returns."""
    code = 1
    try:
        if ending == "destroy":
            kept[0].destroy()
        elif ending == "abort":
            kept[0].communicator.abort()
        elif ending == "collect":
            kept.clear()
            gc.collect()
        elif ending == "exit":
            atexit._run_exitfuncs()
        code = 0
    finally:
        os._exit(code)


def end_of(process: int) -> int:
    """Its exit code; -9 when it did not end in time."""
    end = time.monotonic() + CHILD_S
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def fork_and_go_on(rank: RankContext, transport: str, threads: int, ending: str) -> int:
    kept = [build(rank, transport, threads)]
    pace = rank.exchange("pace")
    check_both_modes(kept[0])
    pace.all_gather(b"", 10)
    code = 0
    if rank.rank == 0:
        process = os.fork()
        if process == 0:
            child(kept, ending)
        code = end_of(process)
    pace.all_gather(b"", 2 * CHILD_S)
    for _ in range(3):
        check_both_modes(kept[0])
    kept[0].destroy()
    return code


@EACH_WAY
@pytest.mark.parametrize("ending", ["collect", "exit"])
def test_the_parent_goes_on(transport: str, threads: int, ending: str) -> None:
    assert run_ranks(fork_and_go_on, 2, transport, threads, ending) == [0, 0]


@pytest.mark.parametrize(("transport", "threads"), [("shm", 1), (NETWORK, 0)])
@pytest.mark.parametrize("ending", ["destroy", "abort"])
def test_a_child_that_uses_the_buffer(transport: str, threads: int, ending: str) -> None:
    assert run_ranks(fork_and_go_on, 2, transport, threads, ending) == [0, 0]

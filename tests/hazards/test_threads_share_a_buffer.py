"""Threads of a rank use one Buffer. Which of them comes first differs from rank to rank, so the
parts of their calls must not mingle: one rank would wait for headers, another one for grants."""

from __future__ import annotations

import threading

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import (
    LOCAL_EXPERTS,
    WAYS,
    built,
    dispatch,
    routes_to,
    rows,
    values_of,
)

from crossdock.ep import Buffer

THREADS = 3
CALLS = 25


def call_often(buffer: Buffer, asynchronous: bool, failed: list[BaseException]) -> None:
    """Each call is like any other: it does not matter with which one of a peer it meets."""
    peer = 1 - buffer.rank
    x, idx = rows(8, buffer.rank + 1), routes_to(peer, 8)
    try:
        for _ in range(CALLS):
            got, *_, event = dispatch(buffer, x, idx, LOCAL_EXPERTS * 2, async_finish=asynchronous)
            event.current_stream_wait()
            assert values_of(got) == [peer + 1.0]
    except BaseException as error:  # noqa: BLE001 - told to the main thread
        failed.append(error)


def share(rank: RankContext, transport: str, threads: int, asynchronous: bool) -> None:
    with built(rank, transport, threads) as buffer:
        failed: list[BaseException] = []
        workers = [
            threading.Thread(target=call_often, args=(buffer, asynchronous, failed))
            for _ in range(THREADS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failed, failed


@pytest.mark.parametrize(("transport", "threads"), WAYS[:3])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_calls_of_threads_do_not_mingle(transport: str, threads: int, asynchronous: bool) -> None:
    run_ranks(share, 2, transport, threads, asynchronous)

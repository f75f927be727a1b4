"""What two ranks do while a test disturbs their network: rounds of numbered writes, checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.harness import RankContext
from tests.proxy.jobs import communicator, write

from crossdock.proxy import Communicator

WRITES = 20
WRITE_BYTES = 4096


@dataclass(frozen=True)
class Ran:
    """How a rank fared: rounds that were right, the time of the longest."""

    rounds: int
    longest_s: float


@dataclass(frozen=True)
class Failed:
    """The error that ended the traffic of a rank, and how long after its last good round."""

    kind: str
    text: str
    rank: int | None
    nic: str | None
    status: str | None
    after_s: float


def exchange(
    context: RankContext, mark: str, devices: Sequence[str], seconds: float, more: dict[str, Any]
) -> Ran | Failed:
    """Runs rounds with the other rank for some time, or until one of the two is lost.

    Makes the file ``mark`` when both are ready. ``more`` goes to the options.
    """
    stop = context.folder / "stop"
    with communicator(context, "verbs", rdma_devices=devices[context.rank], **more) as comm:
        comm.barrier()
        Path(mark).touch()
        good = began = time.monotonic()
        longest, rounds = 0.0, 0
        try:
            while not stop.exists():
                _receive_pages(comm, rounds)
                # The other looks for the file after the barrier.
                if context.rank == 0 and time.monotonic() - began > seconds:
                    stop.touch()
                comm.barrier()
                rounds += 1
                longest = max(longest, time.monotonic() - good)
                good = time.monotonic()
            comm.fence()
        except ConnectionError as error:
            return _failed(error, time.monotonic() - good)
        return Ran(rounds, longest)


def _receive_pages(comm: Communicator, number: int) -> None:
    """Both write pages of this round to the other, and look at what the other wrote.

    The pages are written anew after the barrier, which tells that the other has looked.
    """
    peer, span = 1 - comm.rank, WRITES * WRITE_BYTES
    memory = comm.region_array(0)
    memory[:span] = _pattern(comm.rank, number)
    comm.push(
        [write(peer, at, WRITE_BYTES, dst_offset=span + at) for at in range(0, span, WRITE_BYTES)]
    )
    comm.wait([peer], 1, WRITES * (number + 1), f"round {number}")
    wrong = np.flatnonzero(memory[span : 2 * span] != _pattern(peer, number))
    assert wrong.size == 0, f"round {number}: byte {wrong[0]} is {memory[span + wrong[0]]}"


def _pattern(rank: int, number: int) -> int:
    return (2 * number + rank) % 251


def _failed(error: ConnectionError, after_s: float) -> Failed:
    rank, nic, status = (getattr(error, name, None) for name in ("rank", "nic", "status"))
    return Failed(type(error).__name__, str(error), rank, nic, status, after_s)


@contextmanager
def meanwhile(mark: Path, *steps: tuple[float, Callable[[], object]]) -> Iterator[None]:
    """Takes steps, at their seconds after ``mark`` is there, while the block runs.

    What a step raises is raised when the block ends.
    """
    failures: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        while not mark.exists():
            if over.wait(0.05):
                return
        began = time.monotonic()
        for at, step in steps:
            if over.wait(max(0.0, at - (time.monotonic() - began))):
                return
            try:
                step()
            except BaseException as error:  # noqa: BLE001 (raised below)
                failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]

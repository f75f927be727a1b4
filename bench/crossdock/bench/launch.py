"""Starts the ranks of a benchmark as processes, pinned, and watches them until the deadline.

Under torchrun the processes are there already; then this one is a rank, and nothing is started.
"""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import msgspec
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from crossdock.bench import machine, ranks
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import Rank, Tell

Body = Callable[[Rank, Any], bytes]
"""What a rank does with the options; importable by name. What rank 0 returns is the result."""

LOOPBACK = "127.0.0.1"
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
_ENDING_S = 5.0


class Progress(msgspec.Struct, tag=True, frozen=True):
    """How far rank 0 is; it waits until it is read, so that drawing disturbs no measurement."""

    done: int
    total: int
    text: str


class Result(msgspec.Struct, tag=True, frozen=True):
    """A rank is done."""

    data: bytes


class Failure(msgspec.Struct, tag=True, frozen=True):
    """A rank failed."""

    message: str


Message = Progress | Result | Failure


def silent(done: int, total: int, text: str) -> None:
    """Tells nobody."""
    del done, total, text


def under_torchrun(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process was started as a rank."""
    environment = os.environ if environment is None else environment
    return all(name in environment for name in TORCHRUN_VARIABLES)


def leads() -> bool:
    """Whether this process is the one that prints and saves."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def torchrun_size() -> int:
    """How many ranks torchrun has started."""
    return int(os.environ["WORLD_SIZE"])


def join_torchrun(body: Body, options: Any, deadline_s: float) -> bytes | None:
    """Be the rank that torchrun wants; the result on rank 0, None on others."""
    store, rank, size = next(iter(dist.rendezvous("env://")))  # type: ignore[attr-defined]
    local, num_local = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    cpus = ranks.cores_of(local, num_local, machine.cpuset())
    me = ranks.enter(rank, size, cpus, store, deadline_s, silent)
    try:
        data = body(me, options)
    finally:
        dist.destroy_process_group()
    return data if rank == 0 else None


def run(body: Body, options: Any, size: int, deadline_s: float, tell: Tell = silent) -> bytes:
    """Run `body` on `size` ranks on this host; what rank 0 returned.

    Raises:
        BenchFailed: a rank failed or ended, or the deadline has passed; no rank is left then.
    """
    job = _Job(size, deadline_s)
    try:
        job.start(body, options)
        return job.watch(tell)
    finally:
        job.end()


@dataclass(frozen=True)
class _Place:
    """What a new process must know to become a rank."""

    rank: int
    size: int
    cpus: tuple[int, ...]
    port: int
    deadline_s: float


class _Job:
    def __init__(self, size: int, deadline_s: float) -> None:
        self._size = size
        self._deadline_s = deadline_s
        self._end = time.monotonic() + deadline_s
        self._store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
        self._links: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        self._well = False

    def start(self, body: Body, options: Any) -> None:
        context = mp.get_context("spawn")
        shared = context.RawArray(ctypes.c_ubyte, ranks.MEETING_BYTES)
        cpus = machine.cpuset()
        for rank in range(self._size):
            own = ranks.cores_of(rank, self._size, cpus)
            place = _Place(rank, self._size, own, self._store.port, self._deadline_s)
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_rank_main, args=(place, shared, theirs, body, options), daemon=True
            )
            process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def watch(self, tell: Tell) -> bytes:
        """Read what ranks report until all are done."""
        results: dict[int, bytes] = {}
        while len(results) < self._size:
            pending = [link for r, link in enumerate(self._links) if r not in results]
            ready = wait(pending, max(0.0, self._end - time.monotonic()))
            if not ready:
                late = [r for r in range(self._size) if r not in results]
                raise BenchFailed(
                    f"ranks {late} are not done after {self._deadline_s:g} s; raise --deadline-s, "
                    "or measure less"
                )
            for rank, link in enumerate(self._links):
                if link in ready:
                    message = self._read(rank, link)
                    if isinstance(message, Progress):
                        tell(message.done, message.total, message.text)
                        link.send_bytes(b"go")
                    else:
                        results[rank] = message.data
        self._well = True
        return results[0]

    def _read(self, rank: int, link: Connection) -> Progress | Result:
        try:
            message: Message = msgspec.json.decode(link.recv_bytes(), type=Message)
        except (EOFError, OSError):
            self._processes[rank].join(_ENDING_S)
            status = self._processes[rank].exitcode
            raise BenchFailed(f"rank {rank} ended with status {status}") from None
        if isinstance(message, Failure):
            raise BenchFailed(f"rank {rank} failed: {message.message}")
        return message

    def end(self) -> None:
        """See to it that no process is left."""
        patience = time.monotonic() + (_ENDING_S if self._well else 0.0)
        for process in self._processes:
            process.join(max(0.0, patience - time.monotonic()))
            if process.is_alive():
                process.terminate()
        for process in self._processes:
            process.join(_ENDING_S)
            if process.is_alive():
                process.kill()
                process.join()
        for link in self._links:
            link.close()


def _rank_main(
    place: _Place,
    shared: ctypes.Array[ctypes.c_ubyte],
    link: Connection,
    body: Body,
    options: Any,
) -> None:
    def tell(done: int, total: int, text: str) -> None:
        if place.rank == 0:
            link.send_bytes(msgspec.json.encode(Progress(done, total, text)))
            link.recv_bytes()

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        store = TCPStore(LOOPBACK, place.port, is_master=False)
        me = ranks.enter(place.rank, place.size, place.cpus, store, place.deadline_s, tell)
        me.meeting = ranks.aligned_address(shared)
        data = body(me, options)
        me.meet()
        message: Message = Result(data)
        dist.destroy_process_group()
    except Exception:  # noqa: BLE001 - whatever it is, the parent must hear of it
        message = Failure(traceback.format_exc())
    link.send_bytes(msgspec.json.encode(message))

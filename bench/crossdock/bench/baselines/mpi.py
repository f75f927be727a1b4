"""Open MPI's alltoallv, through mpi4py: the plain exchange in processes that mpirun starts.

Each rank has a partner there, pinned to the same cores. A partner sleeps on a socket until it is
its turn, so that neither disturbs the other.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor

from crossdock.bench import parcels
from crossdock.bench.errors import BaselineMissing, BenchFailed
from crossdock.bench.ranks import Rank
from crossdock.bench.schedule import Interval
from crossdock.bench.workload import Expected, Shape

NAME = "openmpi"
WORKER = "crossdock.bench.baselines.mpi_worker"
_STARTING_S = 60.0
_ENDING_S = 10.0


class Request(msgspec.Struct, frozen=True):
    """What a partner is asked: a call of its contender, or its next shape."""

    call: str
    step: str = ""
    shape: Shape | None = None
    description: bytes = b""


class Reply(msgspec.Struct, frozen=True):
    """What it answers."""

    interval: Interval | None = None
    wrong: int = 0
    error: str = ""


class MpiWire:
    """``Alltoallv`` over an mpi4py communicator, in bytes."""

    def __init__(self, module: Any) -> None:
        self._byte = module.BYTE
        self._comm = module.COMM_WORLD

    def all_to_all(
        self, received: Tensor, sent: Tensor, receive: Sequence[int], send: Sequence[int]
    ) -> None:
        """See ``Wire.all_to_all``."""
        row = sent.shape[1]
        out = [sent.numpy(), [count * row for count in send], self._byte]
        into = [received.numpy(), [count * row for count in receive], self._byte]
        self._comm.Alltoallv(out, into)


def require() -> str:
    """The path of mpirun; BaselineMissing where a part is not installed."""
    if importlib.util.find_spec("mpi4py") is None:
        raise BaselineMissing("mpi4py is not installed: pip install 'crossdock[bench]'")
    launcher = shutil.which("mpirun")
    if launcher is None:
        raise BaselineMissing("there is no mpirun: install openmpi-bin and libopenmpi-dev")
    return launcher


class MpiPartner:
    """This rank's partner. Rank 0 starts all of them; building one is collective."""

    def __init__(self, rank: Rank) -> None:
        self._launched: subprocess.Popen[bytes] | None = None
        name = f"crossdock-bench-{secrets.token_hex(8)}".encode()
        name = rank.gather(name)[0]
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(min(_STARTING_S, rank.deadline_s))
        listener.bind(_address(name.decode(), rank.rank))
        listener.listen(1)
        rank.gather(b"listening")
        if rank.rank == 0:
            self._launched = _start(require(), rank.size, name.decode())
        with listener:
            try:
                self._link, _ = listener.accept()
            except TimeoutError:
                self.close()
                raise BenchFailed(
                    f"rank {rank.rank}: its partner under mpirun did not come; does "
                    f"`mpirun -n {rank.size} true` work here?"
                ) from None
        self._link.settimeout(rank.deadline_s)
        self.ask(Request("pin", step=",".join(map(str, rank.cpus))))

    def ask(self, request: Request, data: Sequence[Tensor] = ()) -> Reply:
        """Ask, and wait for the answer."""
        send_message(self._link, msgspec.json.encode(request))
        for tensor in data:
            self._link.sendall(tensor.numpy().data)
        reply = msgspec.json.decode(receive_message(self._link), type=Reply)
        if reply.error:
            raise BenchFailed(f"the partner under mpirun failed: {reply.error}")
        return reply

    def close(self) -> None:
        """End the partner; on rank 0 all of them."""
        with contextlib.suppress(AttributeError, OSError):
            self._link.close()
        if self._launched is None:
            return
        try:
            self._launched.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._launched.terminate()
            self._launched.wait(_ENDING_S)


class MpiContender:
    """Lets the partner take this rank's turns."""

    name = NAME

    def __init__(self, partner: MpiPartner, shape: Shape, expected: Expected) -> None:
        self._partner = partner
        description, data = parcels.pack(expected)
        partner.ask(Request("begin", shape=shape, description=description), data)

    def prepare(self, step: str) -> None:
        """See ``Contender.prepare``."""
        self._partner.ask(Request("prepare", step))

    def run(self, step: str) -> Interval:
        """See ``Contender.run``; the partners meet by themselves once more."""
        interval = self._partner.ask(Request("run", step)).interval
        if interval is None:
            raise BenchFailed("the partner under mpirun gave no times")
        return interval

    def count_wrong(self, step: str) -> int:
        """See ``Contender.count_wrong``."""
        return self._partner.ask(Request("count_wrong", step)).wrong

    def close(self) -> None:
        """See ``Contender.close``; the partner stays for the next shape."""
        self._partner.ask(Request("end"))


def connect(name: str, rank: int) -> socket.socket:
    """A partner's end of the link."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(_address(name, rank))
    return link


def send_message(link: socket.socket, data: bytes) -> None:
    """A length, then the bytes."""
    link.sendall(len(data).to_bytes(8, "little") + data)


def receive_message(link: socket.socket) -> bytes:
    """What ``send_message`` sent; EOFError when the other end is closed."""
    return bytes(receive_exactly(link, int.from_bytes(receive_exactly(link, 8), "little")))


def receive_exactly(link: socket.socket, size: int) -> bytearray:
    """So many bytes; EOFError when the other end is closed."""
    data = bytearray(size)
    receive_into(link, memoryview(data))
    return data


def receive_into(link: socket.socket, room: memoryview) -> None:
    """Fill the room; EOFError when the other end is closed."""
    while room:
        got = link.recv_into(room)
        if got == 0:
            raise EOFError("the other end is closed")
        room = room[got:]


def receive_tensors(link: socket.socket, rooms: Sequence[Tensor]) -> None:
    """Fill tensors of bytes."""
    for room in rooms:
        receive_into(link, room.numpy().data)


def _address(name: str, rank: int) -> str:
    """In the abstract namespace: no file is left behind."""
    return f"\0{name}-{rank}"


def _start(launcher: str, size: int, name: str) -> subprocess.Popen[bytes]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("OMPI_")},
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        # Where ranks share cores, waiting must give way, as it does in all contenders.
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [launcher, "-n", str(size), "--bind-to", "none", "--oversubscribe"]
    return subprocess.Popen(
        [*command, sys.executable, "-m", WORKER, name],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )

"""A partner of a rank, started by mpirun: does what it is asked until its rank hangs up."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback
from typing import Any

import msgspec
import torch

from crossdock.bench import parcels
from crossdock.bench.baselines import mpi
from crossdock.bench.baselines.mpi import MpiWire, Reply, Request
from crossdock.bench.baselines.plain import PlainWay
from crossdock.bench.way import WayContender


class Worker:
    """Answers one request after the other."""

    def __init__(self, module: Any, link: socket.socket) -> None:
        self._module = module
        self._comm = module.COMM_WORLD
        self._link = link
        self._contender: WayContender | None = None

    def serve(self) -> None:
        """Until the link is closed."""
        while True:
            try:
                data = mpi.receive_message(self._link)
            except (EOFError, OSError):
                return
            try:
                reply = self.answer(msgspec.json.decode(data, type=Request))
            except Exception:  # noqa: BLE001 - whatever it is, the rank must hear of it
                reply = Reply(error=traceback.format_exc())
            mpi.send_message(self._link, msgspec.json.encode(reply))

    def answer(self, request: Request) -> Reply:
        """Do what is asked."""
        if request.call == "pin":
            cpus = [int(cpu) for cpu in request.step.split(",")]
            os.sched_setaffinity(0, cpus)
            torch.set_num_threads(len(cpus))
        elif request.call == "begin":
            self._begin(request)
        elif request.call == "end":
            self._contender = None
        elif self._contender is None:
            raise RuntimeError(f"{request.call} before begin")
        elif request.call == "prepare":
            self._contender.prepare(request.step)
        elif request.call == "run":
            self._comm.Barrier()
            return Reply(interval=self._contender.run(request.step))
        elif request.call == "count_wrong":
            return Reply(wrong=self._contender.count_wrong(request.step))
        return Reply()

    def _begin(self, request: Request) -> None:
        rooms = parcels.empties(request.description)
        mpi.receive_tensors(self._link, rooms)
        if request.shape is None:
            raise RuntimeError("begin needs a shape")
        way = PlainWay(mpi.NAME, MpiWire(self._module), request.shape, self._comm.Get_rank())
        self._contender = WayContender(way, parcels.unpack(request.description, rooms))


def main() -> None:
    """Be the partner of the rank of the same number."""
    module = importlib.import_module("mpi4py.MPI")
    with mpi.connect(sys.argv[1], module.COMM_WORLD.Get_rank()) as link:
        Worker(module, link).serve()


if __name__ == "__main__":
    main()
